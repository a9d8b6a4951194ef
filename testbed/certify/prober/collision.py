"""Two LAN hosts on one source port (RFC 4787 section 4.2.1)."""

from collections.abc import Sequence

from testbed.certify.measured import Finding, unseen
from testbed.certify.prober.axes import A, B, Subject
from testbed.certify.prober.bench import Contact
from testbed.model.behaviour import Mapping

_COLLIDING = (None, 3479)


def collision(subject: Subject) -> tuple[Finding, Finding]:
    """Two LAN hosts on one source port (RFC 4787 REQ-3): overloading, and what becomes of both.

    The first pair of contacts goes to different destinations, the second to one.
    """
    if subject.mapping.value == Mapping.NONE:
        return unseen("no translation"), unseen("no translation")
    pairs = [_collision_of(subject, port) for port in _COLLIDING]
    overloads, aftermaths = zip(*pairs, strict=True)
    return _agreed(overloads), _agreed(aftermaths)


def _collision_of(subject: Subject, port: int | None) -> tuple[Finding, Finding]:
    port = (subject.free(A, port) and subject.free(B, port)) or subject.bench.port()
    one, other = subject.local(A, port), subject.local(B, port)
    first = subject.reach(one, subject.public(index=0))
    second = subject.reach(other, subject.public(index=1))
    overloaded = first.source == second.source
    shown = f"{port} of both hosts seen as {first.source[1]} and {second.source[1]}"
    third = subject.reach(other, subject.public(index=0))
    return Finding(overloaded, shown), _aftermath(subject, (first, second, third), overloaded)


def _aftermath(subject: Subject, contacts: Sequence[Contact], overloaded: bool) -> Finding:
    first, second, third = contacts
    if first.source == third.source:
        return Finding("crossed", f"both are {first.source} towards one destination")
    for contact in contacts:
        host = contact.caller.node
        if not contact.answered or not subject.bench.replies(contact):
            return Finding("lost", f"answers to {contact.source} do not come to {host}")
    if subject.admitted() is not None:
        # An overloaded port is one host's as much as the other's.
        mine = [] if overloaded else [(first, second.caller)]
        for contact, wrong in (*mine, (third, first.caller)):
            call = subject.admitted()
            assert call is not None
            if subject.bench.contact(call, contact.caller, contact.source) is None:
                stray = subject.admitted()
                assert stray is not None
                crossed = subject.bench.contact(stray, wrong, contact.source) is not None
                return Finding(
                    "crossed" if crossed else "lost",
                    f"a caller let in to {contact.source} does not come to {contact.caller.node}"
                    + (f" but to {wrong.node}" if crossed else ""),
                )
    return Finding("separate", "both hosts got what was sent to their own mapping")


def _agreed(findings: Sequence[Finding]) -> Finding:
    if len({finding.value for finding in findings}) == 1:
        return findings[0]
    shown = "; ".join(f"{finding.value}: {finding.evidence}" for finding in findings)
    return Finding("inconsistent", shown)
