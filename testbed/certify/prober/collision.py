"""Two LAN hosts on one source port (RFC 4787 section 4.2.1)."""

from collections.abc import Sequence

from testbed.certify.allowance import needed
from testbed.certify.measured import PRESERVING_WITHIN, Finding, unseen
from testbed.certify.prober.axes import FEW
from testbed.certify.prober.bench import SERVER, Contact, End
from testbed.certify.prober.subject import A, B, Subject
from testbed.model.behaviour import Mapping

_COLLIDING = (None, 3479)


def collision(subject: Subject) -> tuple[Finding, Finding]:
    """Two LAN hosts on one source port (RFC 4787 REQ-3): overloading, and what becomes of both.

    The first pair of contacts goes to different destinations, the second to one.
    """
    if subject.mapping.value == Mapping.NONE:
        return unseen("no translation"), unseen("no translation")
    hosts = [(A, B)[number] for number in needed("collision", subject.mapping.value)]
    if not subject.allowance.covers(hosts):
        return unseen(FEW), unseen(FEW)
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
    shown = f"{port} of both hosts seen as {_end(first)} and {_end(second)}"
    why = ""
    if first.source[0] != second.source[0]:
        why = "no external address of both hosts was seen"
    elif subject.allocation.value == PRESERVING_WITHIN and first.source[1] != port:
        why = "the port is none of those that are preserved"
    if why:
        finding = unseen(f"{shown}: {why}")
        return finding, _aftermath(subject, (first, second, third), overloaded)
    return Finding(overloaded, shown), _aftermath(subject, (first, second, third), overloaded)


def _of_the_same_address(subject: Subject, local: End, first: Contact) -> Contact:
    """A contact that leaves from the external address of ``first``, if one of some does."""
    for index in range(1, subject.bench.count(SERVER)):
        contact = subject.reach(local, subject.public(index=index))
        if contact.source[0] == first.source[0]:
            break
    return contact


def _end(contact: Contact) -> str:
    return f"{contact.source[0]}:{contact.source[1]}"


def _aftermath(subject: Subject, contacts: Sequence[Contact], overloaded: bool) -> Finding:
    first, second, third = contacts[0], contacts[1], contacts[-1]
    if first.source == third.source:
        return Finding("crossed", f"both are {first.source} towards one destination")
    for contact in contacts:
        host = contact.caller.node
        if not contact.answered or not subject.bench.replies(contact):
            return Finding("lost", f"answers to {contact.source} do not come to {host}")
    # An overloaded port is one host's as much as the other's.
    mine = [] if overloaded else [(first, second.caller)]
    for contact, wrong in (*mine, (third, first.caller)):
        node = contact.caller.node
        call, stray = subject.admitted(node), subject.admitted(node)
        if call is None or stray is None:
            continue
        if subject.bench.contact(call, contact.caller, contact.source) is None:
            crossed = subject.bench.contact(stray, wrong, contact.source) is not None
            return Finding(
                "crossed" if crossed else "lost",
                f"a caller let in to {contact.source} does not come to {node}"
                + (f" but to {wrong.node}" if crossed else ""),
            )
    return Finding("separate", "both hosts got what was sent to their own mapping")


def _agreed(findings: Sequence[Finding]) -> Finding:
    if len({finding.value for finding in findings}) == 1:
        return findings[0]
    shown = "; ".join(f"{finding.value}: {finding.evidence}" for finding in findings)
    return Finding("inconsistent", shown)
