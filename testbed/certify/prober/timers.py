"""How long a mapping lives, what keeps it, and what comes after it."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from testbed.certify.measured import Finding, unseen
from testbed.certify.prober.bench import SILENCE, Contact
from testbed.certify.prober.handshakes import REUSE, Handshakes
from testbed.certify.prober.ports import SCATTERED
from testbed.certify.prober.subject import Subject
from testbed.certify.prober.waiting import Sample, Waiting, into, together
from testbed.model.behaviour import Allocation, Protocol, Refresh
from testbed.model.frozen import FrozenValue
from testbed.model.statement import Statement, probing
from testbed.model.statement.probing import Circumstance

# Timers count whole seconds: each is told from its neighbours by half a second.
IDLE = (0.5, 1.5, 2.5, 3.5)
_PACE = 0.7  # seconds between two refreshing packets
_STREAM = (1.1, 1.1)  # UDP traffic for more than two seconds makes a stream
_REUSES, _REUSES_OF_FEW = 2, 4
_REFRESHING = 5  # refreshing lasts for so many seconds


@dataclass
class Clocks:
    """The results of all that waits, in no order."""

    udp: list[Sample] = field(default_factory=list)
    udp_stream: list[Sample] = field(default_factory=list)
    tcp_transitory: list[Sample] = field(default_factory=list)
    tcp_established: list[Sample] = field(default_factory=list)
    inbound: list["Watch"] = field(default_factory=list)
    outbound: dict[Protocol, list["Watch"]] = field(
        default_factory=lambda: {p: [] for p in Protocol}
    )
    reuse: dict[Protocol, list[bool | None]] = field(
        default_factory=lambda: {p: [] for p in Protocol}
    )


# How many mappings it has at once, and the experiment itself.
Experiment = tuple[int, Callable[[Subject], Waiting[None]]]


def measure(subjects: Sequence[Subject]) -> Clocks:
    """Run every experiment on the protocols that are let out."""
    clocks, waiting = Clocks(), list[Waiting[None]]()
    for subject in subjects:
        if not subject.ports:
            continue
        of_protocol = _of_udp if subject.protocol is Protocol.UDP else _of_tcp
        for mappings, experiment in of_protocol(subject, clocks):
            waiting.append(experiment(subject.beside(*[subject.quiet] * mappings)))
    together(waiting)
    return clocks


def _of_udp(subject: Subject, clocks: Clocks) -> Iterator[Experiment]:
    for idle in IDLE:
        for results, stream in ((clocks.udp, False), (clocks.udp_stream, True)):
            yield 1, partial(_sampled, results, idle, stream)
    yield 1, lambda here: into(clocks.inbound, inbound_only(here))
    for mappings, others in _reuses(subject):
        yield mappings, partial(_reused, clocks, others)
    yield 1, lambda here: into(clocks.outbound[Protocol.UDP], outbound_only(here))


def _sampled(results: list[Sample], idle: float, stream: bool, here: Subject) -> Waiting[None]:
    return into(results, udp_sample(here, idle, stream=stream))


def _reused(clocks: Clocks, others: int, here: Subject) -> Waiting[None]:
    return into(clocks.reuse[Protocol.UDP], udp_reuse(here, others))


def _of_tcp(subject: Subject, clocks: Clocks) -> Iterator[Experiment]:
    shaking = _Shaking(clocks)
    for idle in IDLE:
        yield 1, partial(shaking.sample, idle)
        yield 1, partial(shaking.half_open, idle)
        yield 1, partial(_kept, clocks, idle)
    for mappings, others in _reuses(subject):
        yield mappings, partial(shaking.reuse, others)
    yield 1, lambda here: into(clocks.outbound[Protocol.TCP], outbound_only(here))


def _kept(clocks: Clocks, idle: float, here: Subject) -> Waiting[None]:
    return into(clocks.tcp_established, tcp_sample(here, idle))


class _Shaking:
    """The experiments with first SYNs: one `Handshakes` for each bench."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._made: dict[int, Handshakes] = {}

    def _on(self, here: Subject) -> Handshakes:
        if id(here.bench) not in self._made:
            self._made[id(here.bench)] = Handshakes(here)
        return self._made[id(here.bench)]

    def sample(self, idle: float, here: Subject) -> Waiting[None]:
        return into(self._clocks.tcp_transitory, self._on(here).sample(idle))

    def half_open(self, idle: float, here: Subject) -> Waiting[None]:
        return into(self._clocks.tcp_transitory, self._on(here).half_open(idle))

    def reuse(self, others: int, here: Subject) -> Waiting[None]:
        return into(self._clocks.reuse[Protocol.TCP], self._on(here).reuse(others))


def _reuses(subject: Subject) -> list[tuple[int, int]]:
    """For each experiment: the mappings that it needs, and the others that it makes meanwhile.

    Of few ports a random one may come back by chance.  So more are tried, each on a bench of its
    own, after another number of choices.
    """
    if subject.allocation.value != SCATTERED:
        return []
    few = subject.allowance.whole
    if few is None:
        return [(1, 0)] * _REUSES
    return [(few, min(others, few)) for others in range(_REUSES_OF_FEW)]


def udp_sample(subject: Subject, idle: float, *, stream: bool) -> Waiting[Sample]:
    """One UDP mapping, one-way or (``stream``) answered for two seconds, then idle."""
    local, public = subject.local(subject.quiet), subject.public()
    since = time.monotonic()
    contact = subject.bench.contact(local, public, answer=stream)
    for pause in _STREAM if stream else ():
        yield pause
        since = time.monotonic()
        contact = subject.bench.contact(local, public)
    if contact is None:
        return Sample(0.0, False)
    yield idle
    at = time.monotonic()
    token = subject.bench.send(public, contact.source)
    yield SILENCE
    return Sample(at - since, subject.bench.got(local, token, 0.0) is not None)


def tcp_sample(subject: Subject, idle: float) -> Waiting[Sample]:
    """One established connection, then idle; the server's next byte is the test."""
    since = time.monotonic()
    contact = subject.reach(subject.local(subject.quiet))
    assert contact.far is not None
    assert contact.near is not None
    yield idle
    at = time.monotonic()
    with suppress(OSError):  # reset meanwhile
        contact.far.send(b"?")
    yield SILENCE
    return Sample(at - since, _readable(contact.near))


def _readable(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1))
    except OSError:
        return False


def udp_reuse(subject: Subject, others: int = 0) -> Waiting[bool | None]:
    """The same internal port again after expiry: is its external endpoint the same?

    ``others`` are mapped in between, and have expired as well by then.
    """
    local = subject.local(subject.quiet)
    before = subject.bench.contact(local, subject.public(), answer=False)
    yield REUSE / 2
    for _ in range(others):
        subject.bench.contact(subject.local(subject.quiet), subject.public(), answer=False)
    yield REUSE / 2
    after = subject.bench.contact(local, subject.public(), answer=False)
    return before.source == after.source if before and after else None


class Watch(FrozenValue):
    """What refreshing showed: until when it worked, and whether the filter's guests got in."""

    lasted: float
    whole: bool
    guest: bool | None  # None: the filtering lets no guest in
    seen: Statement


def inbound_only(subject: Subject) -> Waiting[Watch]:
    """After one answered exchange only the remote sends."""
    local, public = subject.local(subject.quiet), subject.public()
    start = time.monotonic()
    contact = subject.reach(local)
    lasted = 0.0
    while lasted < _REFRESHING:
        yield _PACE
        if not subject.bench.got(local, subject.bench.send(public, contact.source)):
            return Watch(lasted, False, None, probing.InboundUntil(lasted))
        lasted = time.monotonic() - start
    guest = _guest(subject, contact)
    return Watch(lasted, True, guest, probing.InboundFor(lasted))


def outbound_only(subject: Subject) -> Waiting[Watch]:
    """After the first contact only the LAN host sends; then the remote and a guest call."""
    local, public = subject.local(subject.quiet), subject.public()
    start = time.monotonic()
    contact = subject.reach(local)
    while time.monotonic() - start < _REFRESHING:
        yield _PACE
        if subject.protocol is Protocol.UDP:
            subject.bench.contact(local, public, answer=False)
        else:
            assert contact.near is not None
            assert contact.far is not None
            with suppress(OSError):  # lost on the way: what comes last will tell
                contact.near.send(b"!")
                contact.far.recv(1)
    lasted = time.monotonic() - start
    replied = subject.bench.replies(contact)
    guest = _guest(subject, contact)
    return Watch(lasted, replied, guest, probing.OutboundFor(lasted, replied))


def _guest(subject: Subject, contact: Contact) -> bool | None:
    guest = subject.admitted(contact.caller.node)
    if guest is None:
        return None
    return subject.bench.contact(guest, contact.caller, contact.source) is not None


def persistence(watches: Sequence[Watch]) -> Finding:
    """Is a mapping kept by its own outbound traffic (RFC 4787 REQ-6), for guests too?"""
    (watch,) = watches
    shown = watch.seen
    if watch.guest is not None:
        shown = probing.Besides(shown, probing.Guest(watch.guest))
    return Finding("kept" if watch.whole and watch.guest is not False else "lost", shown)


def refresh(watches: Sequence[Watch], timer: Finding) -> Finding:
    """Which packets keep a UDP mapping alive, given its measured lifetime."""
    if not watches:
        return unseen(probing.NotLetOut("UDP"))
    (watch,) = watches
    if not watch.whole:
        return Finding(Refresh.OUTBOUND, watch.seen)
    bounds = timer.value
    if not isinstance(bounds, tuple) or not isinstance(bounds[-1], float):
        return unseen(Circumstance.TIMER_TOO_LONG)
    if bounds[-1] > watch.lasted:
        return unseen(probing.Watched(watch.lasted))
    if watch.guest is False:
        return Finding("inconsistent", probing.Besides(watch.seen, probing.Guest(False)))
    return Finding(Refresh.BOTH, watch.seen)


def scattered(
    chosen: Finding, again: Sequence[bool | None], timer: Finding, *, few: bool = False
) -> Finding:
    """Hashed or random, by whether an expired mapping's port comes back.

    ``again`` holds the results of the reuse experiments, ``timer`` the lifetime
    that must be over before them.  ``few``: of so few ports that a random one comes back by
    chance.
    """
    if chosen.value != SCATTERED:
        return chosen
    bounds = timer.value
    if not isinstance(bounds, tuple) or not isinstance(bounds[-1], float) or None in again:
        value, what = None, Circumstance.NEVER_EXPIRED
    elif len(set(again)) > 1:
        value, what = Allocation.RANDOM if few else "inconsistent", Circumstance.SOME_COME_BACK
    elif again[0]:
        value, what = Allocation.HASHED, Circumstance.THE_SAME_AGAIN
    else:
        value, what = Allocation.RANDOM, Circumstance.OTHERS_AGAIN
    return Finding(value, probing.Besides(chosen.evidence, probing.Met(what)))
