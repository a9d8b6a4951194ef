"""How long a mapping lives, and what keeps it: experiments that mostly wait, all at once.

Each experiment is a generator that yields the seconds it wants to sleep and
returns its result; `together` runs them side by side.  A lifetime is bracketed
by several mappings that are each tried once, after different idle times, since
trying refreshes.
"""

import heapq
import socket
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from testbed.nat.behaviour import Allocation, Protocol, Refresh
from testbed.nat.measured import Finding, unseen
from testbed.nat.prober.axes import SCATTERED, A, Subject
from testbed.nat.prober.bench import SERVER, SILENCE, Contact
from testbed.nat.prober.packets import ACK, SYN, Endpoint, segments, send_raw, swallow, tcp_packet

T = TypeVar("T")
Waiting = Generator[float, None, T]

# Timers count whole seconds: each is told from its neighbours by half a second.
IDLE = (0.5, 1.5, 2.5, 3.5)
_PACE = 0.7  # seconds between two refreshing packets
_STREAM = (1.1, 1.1)  # UDP traffic for more than two seconds makes a stream
_REUSE = 5.0  # seconds after which an expired mapping is made anew
_REUSES = 2
_REFRESHING = 5  # refreshing lasts for so many seconds


@dataclass(frozen=True)
class Sample:
    """A mapping tried after ``idle`` seconds."""

    idle: float
    alive: bool


def together(experiments: Sequence[Waiting[None]]) -> None:
    """Run all to their ends."""
    queue = [(time.monotonic(), number) for number in range(len(experiments))]
    while queue:
        due, number = heapq.heappop(queue)
        time.sleep(max(0.0, due - time.monotonic()))
        with suppress(StopIteration):
            pause = next(experiments[number])
            heapq.heappush(queue, (time.monotonic() + pause, number))


def _into(results: list[T], experiment: Waiting[T]) -> Waiting[None]:
    results.append((yield from experiment))


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


def measure(subjects: Sequence[Subject]) -> Clocks:
    """Run every experiment on the protocols that are let out."""
    clocks, waiting = Clocks(), list[Waiting[None]]()
    for subject in subjects:
        if not subject.ports:
            continue
        of_protocol = _of_udp if subject.protocol is Protocol.UDP else _of_tcp
        waiting += of_protocol(subject, clocks)
        waiting.append(_into(clocks.outbound[subject.protocol], outbound_only(subject)))
    together(waiting)
    return clocks


def _of_udp(subject: Subject, clocks: Clocks) -> Iterator[Waiting[None]]:
    for idle in IDLE:
        yield _into(clocks.udp, udp_sample(subject, idle, stream=False))
        yield _into(clocks.udp_stream, udp_sample(subject, idle, stream=True))
    yield _into(clocks.inbound, inbound_only(subject))
    for _ in range(_REUSES):
        yield _into(clocks.reuse[Protocol.UDP], udp_reuse(subject))


def _of_tcp(subject: Subject, clocks: Clocks) -> Iterator[Waiting[None]]:
    handshakes = Handshakes(subject)
    for idle in IDLE:
        yield _into(clocks.tcp_transitory, handshakes.sample(idle))
        yield _into(clocks.tcp_established, tcp_sample(subject, idle))
    for _ in range(_REUSES):
        yield _into(clocks.reuse[Protocol.TCP], handshakes.reuse())


def lifetime(samples: Sequence[Sample]) -> Finding:
    """Bounds from samples: longest idle time survived, shortest not survived."""
    if not samples:
        return unseen("the protocol is not let out")
    samples = sorted(samples, key=lambda sample: sample.idle)
    alive = [sample.idle for sample in samples if sample.alive]
    dead = [sample.idle for sample in samples if not sample.alive]
    low, high = max(alive, default=0.0), min(dead, default=None)
    shown = ", ".join(
        f"{sample.idle:.2f} s {'alive' if sample.alive else 'dead'}" for sample in samples
    )
    if high is not None and low > high:
        return Finding("inconsistent", shown)
    return Finding((round(low, 3), None if high is None else round(high, 3)), shown)


def udp_sample(subject: Subject, idle: float, *, stream: bool) -> Waiting[Sample]:
    """One UDP mapping, one-way or (``stream``) answered for two seconds, then idle."""
    local, public = subject.local(), subject.public()
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
    contact = subject.reach(subject.local())
    assert contact.far is not None
    assert contact.near is not None
    yield idle
    at = time.monotonic()
    contact.far.send(b"?")
    yield SILENCE
    return Sample(at - since, _readable(contact.near))


def _readable(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1))
    except OSError:
        return False


class Handshakes:
    """First SYNs to a server that answers nothing, made and watched as raw packets."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._server = subject.public(index=1)
        swallow(self._server.socket)
        bench = subject.bench
        self._senders = {node: bench.raw(node, socket.IPPROTO_RAW) for node in (A, SERVER)}
        self._sniffers = {node: bench.raw(node, socket.IPPROTO_TCP) for node in (A, SERVER)}
        self._seen: dict[str, dict[int, Endpoint]] = {A: {}, SERVER: {}}

    def syn(self, source: Endpoint, sequence: int) -> Endpoint | None:
        """Send a SYN; from where the server saw it."""
        target = self._server.endpoint
        send_raw(self._senders[A], tcp_packet(source, target, SYN, sequence))
        return self._arrived(SERVER, sequence)

    def answer(self, target: Endpoint, sequence: int) -> int:
        """Send the SYN-ACK to the SYN ``sequence``; its own sequence number."""
        own = int.from_bytes(self._subject.bench.token(), "big") | 1 << 30
        packet = tcp_packet(self._server.endpoint, target, SYN | ACK, own, sequence + 1)
        send_raw(self._senders[SERVER], packet)
        return own

    def came(self, sequence: int) -> bool:
        """Whether the segment ``sequence`` has come to the LAN host."""
        return self._arrived(A, sequence) is not None

    def _arrived(self, node: str, sequence: int) -> Endpoint | None:
        deadline = time.monotonic() + SILENCE
        seen = self._seen[node]
        while sequence not in seen and time.monotonic() < deadline:
            seen.update({s.sequence: s.source for s in segments(self._sniffers[node])})
        return seen.get(sequence)

    def sample(self, idle: float) -> Waiting[Sample]:
        """One unanswered SYN, then idle; the server's late SYN-ACK is the test."""
        sequence = int.from_bytes(self._subject.bench.token(), "big")
        since = time.monotonic()
        mapped = self.syn((self._subject.bench.address(A), self._subject.bench.port()), sequence)
        if mapped is None:
            return Sample(0.0, False)
        yield idle
        at = time.monotonic()
        own = self.answer(mapped, sequence)
        yield SILENCE
        return Sample(at - since, self.came(own))

    def reuse(self) -> Waiting[bool | None]:
        """The same port again after expiry, and is it mapped to the same as before?"""
        source = (self._subject.bench.address(A), self._subject.bench.port())
        token = self._subject.bench.token
        before = self.syn(source, int.from_bytes(token(), "big"))
        yield _REUSE
        after = self.syn(source, int.from_bytes(token(), "big"))
        return before == after if before and after else None


def udp_reuse(subject: Subject) -> Waiting[bool | None]:
    """The same internal port again after expiry: is its external endpoint the same?"""
    local = subject.local()
    before = subject.bench.contact(local, subject.public(), answer=False)
    yield _REUSE
    after = subject.bench.contact(local, subject.public(), answer=False)
    return before.source == after.source if before and after else None


@dataclass(frozen=True)
class Watch:
    """What refreshing showed: until when it worked, and whether the filter's guests got in."""

    lasted: float
    whole: bool
    guest: bool | None  # None: the filtering lets no guest in
    detail: str


def inbound_only(subject: Subject) -> Waiting[Watch]:
    """After one answered exchange only the remote sends."""
    local, public = subject.local(), subject.public()
    start = time.monotonic()
    contact = subject.reach(local)
    lasted = 0.0
    while lasted < _REFRESHING:
        yield _PACE
        if not subject.bench.got(local, subject.bench.send(public, contact.source)):
            return Watch(lasted, False, None, f"inbound packets came until {lasted:.1f} s")
        lasted = time.monotonic() - start
    guest = _guest(subject, contact)
    return Watch(lasted, True, guest, f"inbound packets alone came for {lasted:.1f} s")


def outbound_only(subject: Subject) -> Waiting[Watch]:
    """After the first contact only the LAN host sends; then the remote and a guest call."""
    local, public = subject.local(), subject.public()
    start = time.monotonic()
    contact = subject.reach(local)
    while time.monotonic() - start < _REFRESHING:
        yield _PACE
        if subject.protocol is Protocol.UDP:
            subject.bench.contact(local, public, answer=False)
        else:
            assert contact.near is not None
            assert contact.far is not None
            contact.near.send(b"!")
            contact.far.recv(1)
    lasted = time.monotonic() - start
    replied = subject.bench.replies(contact)
    guest = _guest(subject, contact)
    shown = f"after {lasted:.1f} s of outbound packets the remote's answer "
    shown += "came in" if replied else "did not come in"
    return Watch(lasted, replied, guest, shown)


def _guest(subject: Subject, contact: Contact) -> bool | None:
    guest = subject.admitted()
    if guest is None:
        return None
    return subject.bench.contact(guest, contact.caller, contact.source) is not None


def persistence(watches: Sequence[Watch]) -> Finding:
    """Is a mapping kept by its own outbound traffic (RFC 4787 REQ-6), for guests too?"""
    (watch,) = watches
    shown = watch.detail
    if watch.guest is not None:
        shown += f", a guest of the filter was {'' if watch.guest else 'not '}let in"
    return Finding("kept" if watch.whole and watch.guest is not False else "lost", shown)


def refresh(watches: Sequence[Watch], timer: Finding) -> Finding:
    """Which packets keep a UDP mapping alive, given its measured lifetime."""
    if not watches:
        return unseen("UDP is not let out")
    (watch,) = watches
    if not watch.whole:
        return Finding(Refresh.OUTBOUND, watch.detail)
    bounds = timer.value
    if not isinstance(bounds, tuple) or not isinstance(bounds[-1], float):
        return unseen("the timer is longer than was waited")
    if bounds[-1] > watch.lasted:
        return unseen(f"watched for {watch.lasted:.1f} s, the timer may be longer")
    if watch.guest is False:
        return Finding("inconsistent", f"{watch.detail}, but a guest of the filter did not")
    return Finding(Refresh.BOTH, watch.detail)


def scattered(chosen: Finding, again: Sequence[bool | None], timer: Finding) -> Finding:
    """Hashed or random, by whether an expired mapping's port comes back.

    ``again`` holds the results of the reuse experiments, ``timer`` the lifetime
    that must be over before them.
    """
    if chosen.value != SCATTERED:
        return chosen
    bounds = timer.value
    if not isinstance(bounds, tuple) or not isinstance(bounds[-1], float) or None in again:
        return unseen(f"{chosen.evidence}; hashed or random: no mapping was seen to expire")
    if len(set(again)) > 1:
        return Finding("inconsistent", f"{chosen.evidence}; some come back after expiry")
    value = Allocation.HASHED if again[0] else Allocation.RANDOM
    words = "the same again" if again[0] else "others"
    return Finding(value, f"{chosen.evidence}; {words} after expiry")
