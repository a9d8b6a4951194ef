"""What is let out, and what is forwarded in."""

from collections.abc import Sequence

from testbed.certify.measured import Finding, forward_name, unseen
from testbed.certify.prober.bench import LAN, SERVER
from testbed.certify.prober.subject import A, Subject
from testbed.model.behaviour import Forward
from testbed.model.statement import probing
from testbed.model.statement.probing import Circumstance


def let_out(subject: Subject) -> list[int]:
    """Of the destination ports that are tried, those of the server that a LAN host reaches."""
    found = []
    for port in subject.tried:
        subject.afford(A)
        called = subject.bench.end(subject.protocol, SERVER, port)
        contact = subject.bench.contact(subject.local(A), called)
        if contact is not None:
            found.append(port)
            subject.external = contact.source[0]
            subject.saw(contact)
        called.socket.close()
    return found


def forwards(subjects: Sequence[Subject], stray: Sequence[str]) -> tuple[Finding, Finding]:
    """Of the static forwards looked for, those that work in both directions; and ``stray`` ones.

    A stray one is where a call from outside came to that nothing has let in.  The second
    finding has those that the other LAN host reaches, too: port reflection.
    """
    wanted = [(subject, forward) for subject in subjects for forward in subject.forwarded]
    if not wanted and not stray:
        none = probing.Met(Circumstance.NO_FORWARD_SOUGHT)
        return Finding((), none), unseen(Circumstance.NO_FORWARD)
    reflected: list[str] = []
    found = list(stray)
    failed: list[str] = []
    for subject, forward in wanted:
        with subject.brisk("forwards"):
            works, reflects = _tried(subject, forward)
        name = forward_name(forward)
        (found if works else failed).append(name)
        reflected += [name] if reflects else []
    shown = probing.ForwardsCalled(tuple(found), tuple(failed))
    inner = probing.ForwardsReflected(tuple(reflected))
    return Finding(tuple(found), shown), Finding(tuple(reflected), inner)


def _tried(subject: Subject, forward: Forward) -> tuple[bool, bool]:
    """Is a forward of use to a stranger, and to the other LAN host?"""
    other = LAN[1 - forward.host]
    subject.afford(other)
    inside = subject.local(LAN[forward.host], forward.internal_port)
    target = (subject.external, forward.external_port)
    calls = [
        subject.bench.contact(caller, inside, target)
        for caller in (subject.somebody(), subject.local(other))
    ]
    stranger, neighbour = (call is not None and call.answered for call in calls)
    return stranger, neighbour
