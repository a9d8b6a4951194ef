"""How a NAT chooses external ports, and whether an early packet makes it choose another."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from testbed.certify.allowance import SAMPLES
from testbed.certify.measured import (
    PRESERVING_WITHIN,
    Finding,
    unseen,
)
from testbed.certify.prober.bench import STRANGER, Bench
from testbed.certify.prober.subject import A, Subject
from testbed.model.behaviour import Allocation, Mapping
from testbed.model.statement import probing as it
from testbed.model.statement.probing import Circumstance

_SAMPLES = (*(None,) * 10, 3478, 1022, 1024, 65000)  # source ports whose mappings are compared
assert len(_SAMPLES) == SAMPLES
SCATTERED = "scattered"  # hashed or random: only a second mapping after expiry tells


def allocation(subject: Subject) -> tuple[Finding, Finding]:
    """RFC 4787 section 4.2: how ports are chosen, and the lowest and highest seen."""
    if subject.mapping.value == Mapping.NONE:
        return unseen(Circumstance.NO_TRANSLATION), unseen(Circumstance.NO_TRANSLATION)
    pairs, steps = list[tuple[int, int]](), list[int]()
    last: tuple[Bench, int] | None = None
    for port in _SAMPLES:
        subject.afford(A)
        local = subject.local(A, subject.free(A, port))
        pairs.append((local.endpoint[1], subject.reach(local).source[1]))
        if last and last[0] is subject.bench:
            steps.append(pairs[-1][1] - last[1])
        last = subject.bench, pairs[-1][1]
    pairs += subject.mapped
    if not any(inside == outside for inside, outside in pairs):
        pairs += _between(subject, [external for _, external in pairs])
    shown = it.PortsMapped(tuple(pairs[:6]))
    every = [external for _, external in pairs]
    seen = Finding((min(every), max(every)), it.PortsCounted(len(every)))
    if all(inside == outside for inside, outside in pairs):
        return Finding(Allocation.PRESERVING, shown), seen
    if any(inside == outside for inside, outside in pairs):
        return _partly_preserving(pairs), seen
    if not steps:
        return unseen(it.Besides(shown, it.Met(Circumstance.NO_OTHER_MAPPING))), seen
    wraps = [step for step in steps if step != 1]  # at the end of the range, always the same
    once = len(wraps) <= 1 or (len(set(wraps)) == 1 and wraps[0] < 0)
    if once and len(wraps) < len(steps):
        return Finding(Allocation.SEQUENTIAL, shown), seen
    return Finding(SCATTERED, shown), seen


def _between(subject: Subject, seen: Sequence[int]) -> Iterator[tuple[int, int]]:
    """A mapping of an internal port that lies among ``seen`` external ones, farthest from any.

    A NAT may keep the ports of a range alone, of which no other sample need be one.
    """
    gaps = pairwise(sorted(seen))
    low, high = max(gaps, key=lambda two: two[1] - two[0], default=(0, 0))
    port = subject.free(A, (low + high) // 2)
    if port in (None, low) or not subject.afford(A):
        return
    local = subject.local(A, port)
    yield local.endpoint[1], subject.reach(local).source[1]


def _partly_preserving(pairs: Sequence[tuple[int, int]]) -> Finding:
    """Are the ports kept that lie in a range, and all others moved into it?"""
    kept = sorted({inside for inside, outside in pairs if inside == outside})
    moved = [pair for pair in pairs if pair[0] != pair[1]]
    shown = it.PortsKept(kept[0], kept[-1], tuple(moved))
    if all(not kept[0] <= inside <= kept[-1] for inside, _ in moved):
        return Finding(PRESERVING_WITHIN, shown)
    return Finding("inconsistent", it.Besides(shown, it.Met(Circumstance.SOME_PRESERVED)))


def early_inbound(subject: Subject) -> Finding:
    """The remote's packet comes first: does the later contact keep its port?

    The port is known beforehand only where it does not depend on the remote; a
    port that has no mapping yet, only where ports are preserved.
    """
    if subject.mapping.value != Mapping.ENDPOINT_INDEPENDENT:
        return unseen(it.PortUnknown(str(subject.mapping.value)))
    subject.afford(A)
    remote = subject.public(STRANGER)
    local = subject.local()
    known = subject.reach(local).source
    before = subject.bench.contact(remote, local, known)
    seen = known if before else subject.reach(local, remote).source
    shown = it.EarlySeen(known[1], seen[1])
    if seen != known:
        return Finding("moved", shown)
    if known[1] != local.endpoint[1]:
        return Finding("kept", shown)
    subject.afford(A)
    remote, fresh = subject.public(STRANGER), subject.local()
    port = fresh.endpoint[1]
    if subject.bench.contact(remote, fresh, (known[0], port)):
        return Finding("kept", it.Besides(shown, it.EarlyUnmapped(port, None)))
    seen = subject.reach(fresh, remote).source
    both = it.Besides(shown, it.EarlyUnmapped(port, seen[1]))
    return Finding("kept" if seen[1] == port else "moved", both)
