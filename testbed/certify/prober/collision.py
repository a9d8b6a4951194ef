"""Two LAN hosts on one source port (RFC 4787 section 4.2.1)."""

from collections.abc import Sequence

from testbed.certify.allowance import needed
from testbed.certify.measured import PRESERVING_WITHIN, Finding, endpoint, inconsistent, unseen
from testbed.certify.prober.bench import SERVER, Contact, End
from testbed.certify.prober.subject import A, B, Subject
from testbed.model.behaviour import Mapping
from testbed.model.statement import probing
from testbed.model.statement.probing import Circumstance

_COLLIDING = (None, 3479)


def collision(subject: Subject) -> tuple[Finding, Finding]:
    """Two LAN hosts on one source port (RFC 4787 REQ-3): overloading, and what becomes of both.

    The first pair of contacts goes to different destinations, the second to one.
    """
    if subject.mapping.value == Mapping.NONE:
        return unseen(Circumstance.NO_TRANSLATION), unseen(Circumstance.NO_TRANSLATION)
    hosts = [(A, B)[number] for number in needed("collision", subject.mapping.value)]
    if not subject.allowance.covers(hosts):
        return unseen(Circumstance.FEW_MAPPINGS), unseen(Circumstance.FEW_MAPPINGS)
    pairs = [_collision_of(subject, port, hosts) for port in _COLLIDING]
    overloads, aftermaths = zip(*pairs, strict=True)
    if any(finding.value is not None for finding in overloads):
        overloads = tuple(finding for finding in overloads if finding.value is not None)
    return _agreed(overloads), _agreed(aftermaths)


def _collision_of(
    subject: Subject, port: int | None, hosts: Sequence[str]
) -> tuple[Finding, Finding]:
    subject.afford(*hosts)
    port = (subject.free(A, port) and subject.free(B, port)) or subject.bench.port()
    one, other = subject.local(A, port), subject.local(B, port)
    first = subject.reach(one, subject.public(index=0))
    second = _of_the_same_address(subject, other, first)
    third = subject.reach(other, subject.public(index=0))  # whose guests a filter lets in
    overloaded = first.source == second.source
    shown = probing.SharedPort(port, endpoint(first.source), endpoint(second.source))
    why = None
    if first.source[0] != second.source[0]:
        why = Circumstance.NO_COMMON_ADDRESS
    elif subject.allocation.value == PRESERVING_WITHIN and first.source[1] != port:
        why = Circumstance.NOT_PRESERVED
    if why is not None:
        finding = unseen(probing.Besides(shown, probing.Met(why)))
        return finding, _aftermath(subject, (first, second, third), overloaded)
    return Finding(overloaded, shown), _aftermath(subject, (first, second, third), overloaded)


def _of_the_same_address(subject: Subject, local: End, first: Contact) -> Contact:
    """A contact that leaves from the external address of ``first``, if one of some does."""
    for index in range(1, subject.bench.count(SERVER)):
        contact = subject.reach(local, subject.public(index=index))
        if contact.source[0] == first.source[0]:
            break
    return contact


def _aftermath(subject: Subject, contacts: Sequence[Contact], overloaded: bool) -> Finding:
    first, second, third = contacts[0], contacts[1], contacts[-1]
    if first.source == third.source:
        return Finding("crossed", probing.SharedEnd(endpoint(first.source)))
    for contact in contacts:
        host = contact.caller.node
        if not contact.answered or not subject.bench.replies(contact):
            return Finding("lost", probing.AnswersLost(endpoint(contact.source), host))
    # An overloaded port is one host's as much as the other's.
    mine = [] if overloaded else [(first, second.caller)]
    for contact, wrong in (*mine, (third, first.caller)):
        node = contact.caller.node
        call, stray = subject.admitted(node), subject.admitted(node)
        if call is None or stray is None:
            continue
        if subject.bench.contact(call, contact.caller, contact.source) is None:
            crossed = subject.bench.contact(stray, wrong, contact.source) is not None
            instead = wrong.node if crossed else None
            lost = probing.CallerLost(endpoint(contact.source), node, instead)
            return Finding("crossed" if crossed else "lost", lost)
    return Finding("separate", probing.Met(Circumstance.OWN_MAPPINGS))


def _agreed(findings: Sequence[Finding]) -> Finding:
    if len({finding.value for finding in findings}) == 1:
        return findings[0]
    return inconsistent((finding.value, finding.evidence) for finding in findings)
