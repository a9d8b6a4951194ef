"""Two ways through a NAT whose mappings depend on the destination, without sockets.

The *hard* side is behind such a NAT: what STUN tells it is not the port that its peer
will see.  The *easy* side's NAT keeps one external endpoint, which the hard side knows.
The hard side opens mappings towards it (`Opener`), the easy side tries ports (`Prober`).

- Port prediction (RFC 5128 section 3.5), where ports are given one after another:
  `Sounding.next_ports` has the ports to try.
- Birthday probing (D. Anderson, "How NAT traversal works", Tailscale 2020, on the
  benefits of birthdays), where they are random: many sockets on the hard side, many
  random ports on the easy one; `Birthday.draw` has the ports.

`hard_nat_odds` has the chances of both.  Both need a channel, a relay say, to agree on a
session and to tell endpoints and ports.  A hit is a pair on which both directions were
seen to work: the easy side's PROBE was answered from where it had been sent to, and the
CONFIRM came in.
"""

import math
import random
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from .stun import Address

SESSION_LENGTH = 16  # octets that only the two sides know
MAX_SOCKETS = 1024
MAX_PACKETS = 65536
MAX_STEP = 64  # ports between two mappings; what leaps further is not sequential
_CONFIRMS = 3  # the last word may be lost, and nobody answers it
_BURST = 32  # packets in one go, also for who woke late: a queue on the way is short
_MAGIC = b"\xf5hn1"  # first two bits 11: neither STUN (00) nor TURN channel data (01)
_FRAME = struct.Struct(f"!4sB{SESSION_LENGTH}sI")


class Kind(IntEnum):
    """Each has one direction, so that a packet thrown back at its sender says nothing."""

    OPEN = 1  # hard to easy: makes a mapping; mostly dropped at the easy side's NAT
    PROBE = 2  # easy to hard, to one port
    ANSWER = 3  # hard to easy: the probe of that number came in
    CONFIRM = 4  # easy to hard: and its answer did


@dataclass(frozen=True)
class Frame:
    """One datagram's payload.  ``number``: which socket an OPEN is of, which probe else."""

    kind: Kind
    session: bytes
    number: int

    def encode(self) -> bytes:
        return _FRAME.pack(_MAGIC, self.kind, self.session, self.number)


def decode(data: bytes) -> Frame | None:
    """The frame that ``data`` is; None for whatever else it may be."""
    if len(data) != _FRAME.size:
        return None
    magic, kind, session, number = _FRAME.unpack(data)
    if magic != _MAGIC or kind not in set(Kind):
        return None
    return Frame(Kind(kind), session, number)


# What may be spent, and on what


@dataclass(frozen=True)
class Ports:
    """A range of ports, both ends included."""

    first: int = 1024
    last: int = 65535

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last <= 65535:
            raise ValueError(f"no range of ports: {self.first} to {self.last}")

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    @property
    def size(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True)
class Limits:
    """What one side spends at most: ``packets`` of every kind, ``seconds`` in all.

    It sends unasked at ``pace`` packets a second, and nothing unasked in its last
    ``patience`` seconds, in which the answers to the last ones come.  An `Opener` waits
    for all its seconds; a `Prober` gives up ``patience`` after its last probe.
    """

    packets: int = 4096
    seconds: float = 20.0
    pace: float = 200.0
    patience: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.packets <= MAX_PACKETS:
            raise ValueError(f"{self.packets} packets: 1 to {MAX_PACKETS} are possible")
        if not (0 < self.patience < self.seconds < math.inf and 0 < self.pace < math.inf):
            raise ValueError("needed: 0 < patience < seconds, and a pace above 0")

    def sent_by(self, elapsed: float) -> int:
        """How many packets may have left unasked after ``elapsed`` seconds."""
        in_time = 1 + int(min(elapsed, self.seconds - self.patience) * self.pace)
        return min(self.packets, in_time)

    @property
    def unasked(self) -> int:
        """How many leave unasked at most: what of a strategy's packets is really sent."""
        return self.sent_by(self.seconds)


@dataclass(frozen=True)
class Birthday:
    """``sockets`` on the hard side, ``probes`` distinct ones of ``ports`` on the easy side.

    ``ports``: where the hard side's NAT takes its own from; all that are not the system's
    where that is not known.  The pace of the default limits is what a port scan's detector
    overlooks rather than what a line carries.
    """

    sockets: int = 256
    probes: int = 1024
    ports: Ports = Ports()
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if not 1 <= self.sockets <= MAX_SOCKETS:
            raise ValueError(f"{self.sockets} sockets: 1 to {MAX_SOCKETS} are possible")
        if not 1 <= self.probes <= self.ports.size:
            raise ValueError(f"{self.probes} probes of {self.ports.size} ports")

    def draw(self, rng: random.Random | None = None) -> tuple[int, ...]:
        """The ports to probe: nobody's guess, unless ``rng`` is there to repeat a run."""
        chosen = rng or random.SystemRandom()
        return tuple(chosen.sample(range(self.ports.first, self.ports.last + 1), self.probes))


@dataclass(frozen=True)
class Prediction:
    """The easy side tries ``candidates`` ports; the hard side has one socket."""

    candidates: int = 16
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if not 1 <= self.candidates <= MAX_PACKETS:
            raise ValueError(f"{self.candidates} candidates: 1 to {MAX_PACKETS} are possible")


@dataclass(frozen=True)
class Sounding:
    """How two STUN servers saw one socket, the ``last`` one right before it opens."""

    first: Address
    last: Address

    @property
    def step(self) -> int | None:
        """From one mapping's port to the next: 0 for an endpoint-independent NAT.

        None where nothing can be foretold: too far apart, or on two external addresses.
        """
        apart = self.last[1] - self.first[1]
        return apart if self.first[0] == self.last[0] and abs(apart) <= MAX_STEP else None

    def next_ports(self, candidates: int) -> tuple[int, ...]:
        """The ports to try, likeliest first; none where none can be foretold.

        Where the NAT's range ends and begins anew is not known, so none goes round.
        """
        if self.step is None:
            return ()
        if self.step == 0:
            return (self.last[1],)
        ports = (self.last[1] + self.step * n for n in range(1, candidates + 1))
        return tuple(port for port in ports if port in Ports(1, 65535))


# The two sides


@dataclass(frozen=True)
class Send:
    """``data`` is to leave ``socket``, counted from 0, to ``to``."""

    socket: int
    data: bytes
    to: Address


@dataclass(frozen=True)
class Hit:
    """Our ``socket`` and the ``remote`` endpoint that reach one another."""

    socket: int
    remote: Address


class Side:
    """What both have in common: packets at a pace, and answers, within `Limits`.

    Times are seconds of any one clock.  Ask `poll` what to send, again at `wakes` or when
    `received` was called, until it is `over`; then there is a `hit`, or none.
    """

    def __init__(self, session: bytes, limits: Limits, unasked: Sequence[Send], now: float) -> None:
        if len(session) != SESSION_LENGTH:
            raise ValueError(f"a session has {SESSION_LENGTH} octets, not {len(session)}")
        self.hit: Hit | None = None
        self.sent = 0  # packets, of every kind
        self._session, self._limits = session, limits
        self._unasked, self._done = unasked, 0
        self._due = min(len(unasked), limits.unasked)  # in the end
        self._answers: deque[Send] = deque()
        self._started = now
        self._end = now + limits.seconds

    def poll(self, now: float) -> Iterator[Send]:
        """What to send now."""
        while self._answers and self.sent < self._limits.packets:
            self.sent += 1
            yield self._answers.popleft()
        self._answers.clear()
        due = min(self._due, self._limits.sent_by(now - self._started))
        for _ in range(_BURST):
            if self.hit or self._done >= due or self.sent >= self._limits.packets:
                return
            self.sent += 1
            self._done += 1
            yield self._unasked[self._done - 1]
            self._sent_unasked(now)

    def wakes(self) -> float:
        """When to `poll` again if nothing comes in."""
        if self.hit is not None:
            return self._started
        if self.opened:
            return self._end
        return min(self._end, self._started + self._done / self._limits.pace)

    @property
    def opened(self) -> bool:
        """True when all is sent that is sent unasked."""
        return self._done >= self._due or self.sent >= self._limits.packets

    def over(self, now: float) -> bool:
        return (self.hit is not None and not self._answers) or now >= self._end

    def received(self, socket: int, data: bytes, source: Address) -> None:
        """Take in what ``source`` sent to ``socket``; what is not of this session is nothing."""
        frame = decode(data)
        if frame is not None and frame.session == self._session:
            self._heard(frame, socket, source)

    def _heard(self, frame: Frame, socket: int, source: Address) -> None:
        raise NotImplementedError

    def _sent_unasked(self, now: float) -> None:
        pass

    def _answer(self, kind: Kind, number: int, socket: int, to: Address) -> None:
        self._answers.append(Send(socket, Frame(kind, self._session, number).encode(), to))


class Opener(Side):
    """The hard side: a mapping for each of ``sockets`` towards ``remote``, then answers.

    A probe is answered from the socket and to the endpoint that it came by.
    """

    def __init__(
        self, session: bytes, remote: Address, sockets: int, limits: Limits, now: float
    ) -> None:
        opens = [Send(n, Frame(Kind.OPEN, session, n).encode(), remote) for n in range(sockets)]
        super().__init__(session, limits, opens, now)

    def _heard(self, frame: Frame, socket: int, source: Address) -> None:
        if frame.kind is Kind.PROBE:
            self._answer(Kind.ANSWER, frame.number, socket, source)
        elif frame.kind is Kind.CONFIRM and self.hit is None:
            self.hit = Hit(socket, source)


class Prober(Side):
    """The easy side: from its one socket a probe to each of ``ports`` of ``ip``.

    ``rounds`` > 1 repeats them, for probes that were lost or came before their mapping.
    """

    def __init__(
        self,
        session: bytes,
        ip: str,
        ports: Sequence[int],
        limits: Limits,
        now: float,
        *,
        rounds: int = 1,
    ) -> None:
        self._targets: list[Address] = [(ip, port) for port in ports]
        probes = [
            Send(0, Frame(Kind.PROBE, session, n).encode(), target)
            for n, target in enumerate(self._targets)
        ]
        super().__init__(session, limits, probes * rounds, now)
        if not probes:
            self._end = now

    def _sent_unasked(self, now: float) -> None:
        if self.opened:
            self._end = min(self._end, now + self._limits.patience)

    def _heard(self, frame: Frame, socket: int, source: Address) -> None:
        if self.hit is not None:
            return
        if frame.kind is Kind.ANSWER:
            if frame.number < len(self._targets) and self._targets[frame.number] == source:
                self.hit = Hit(socket, source)
                for _ in range(_CONFIRMS):
                    self._answer(Kind.CONFIRM, frame.number, socket, source)
        elif frame.kind is Kind.OPEN and self._is_new(source):
            # Our NAT let it in (its filter is not APDF): no need to guess that port.
            self._targets.append(source)
            self._answer(Kind.PROBE, len(self._targets) - 1, socket, source)

    def _is_new(self, source: Address) -> bool:
        return source not in self._targets and len(self._targets) < self._limits.packets
