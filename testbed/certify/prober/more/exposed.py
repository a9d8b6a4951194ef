"""Whether one LAN host, or each of them, gets what nothing else in the NAT takes."""

from collections.abc import Sequence

from testbed.certify.measured import Finding, inconsistent, unseen
from testbed.certify.prober.bench import LAN
from testbed.certify.prober.subject import A, B, Subject
from testbed.model.behaviour import Exposed, Mapping
from testbed.model.statement import probing
from testbed.model.statement.probing import Circumstance


def measure(subjects: Sequence[Subject]) -> Finding:
    """What the calls from outside showed for UDP and TCP, and calls of the other host's address."""
    if any(subject.mapping.value == Mapping.NONE for subject in subjects):
        return Finding(Exposed.NONE, probing.Met(Circumstance.LAN_IS_PUBLIC))
    hosts = {subject.open_host for subject in subjects}
    if hosts == {None}:
        return Finding(Exposed.NONE, probing.Met(Circumstance.NO_OPEN_HOST))
    if hosts != {A}:
        none = probing.Met(Circumstance.NO_OPEN_HOST)
        told = ((one.protocol, one.open_host) for one in subjects)
        return inconsistent(
            (protocol, none if host is None else probing.OfHost(host, Exposed.FIRST_HOST))
            for protocol, host in told
        )
    shown = probing.HostAs(A, tuple(sorted(set[str]().union(*(s.pool[A] for s in subjects)))))
    each = [_other_too(subject) for subject in subjects]
    if len(set(each)) > 1:
        return unseen(shown)
    return Finding(Exposed.EACH_HOST if each[0] else Exposed.FIRST_HOST, shown)


def _other_too(subject: Subject) -> bool:
    """Has the other host an address of its own, at which a stranger comes to it unasked?"""
    addresses = [subject.pool.get(node, set()) for node in LAN]
    if any(len(seen) != 1 for seen in addresses) or addresses[0] == addresses[1]:
        return False
    called = subject.local(B)
    target = (next(iter(addresses[1])), called.endpoint[1])
    call = subject.bench.contact(subject.somebody(), called, target)
    return call is not None and call.answered
