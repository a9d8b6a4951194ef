"""The ladder of ways to a peer: what is tried when, what is better, and what was reached.

A dialer climbs two rungs itself, direct and relayed, in the order and at the times that
`LadderOptions` names.  The other side climbs the two between, once a relayed connection is
there: it dials back, then both punch (`dcutr`, `UpgradeOptions`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .errors import RelayRefusedError
from .multiaddr import Multiaddr
from .portmap.mapping import Mapping


class Rung(StrEnum):
    """What carries a connection, the best first: each costs more time than the one before."""

    DIRECT = "direct"  # a public, mapped or open address was dialed
    REVERSED = "reversed"  # the side that was dialed over a relay dialed back
    PUNCHED = "punched"  # both sides sent at once
    RELAYED = "relayed"

    def better(self, other: "Rung | None") -> bool:
        """Whether it stands above `other`; anything is better than nothing."""
        order = list(Rung)
        return other is None or order.index(self) < order.index(other)


@dataclass(frozen=True)
class Step:
    """A rung that the dialer climbs itself: direct or relayed.

    It begins `head_start` seconds after the one before it, or when that has failed.
    """

    rung: Rung
    head_start: float = 0.0


AFTER = float("inf")  # a head start: begin only when the one before has failed
ONE_BY_ONE = (Step(Rung.DIRECT), Step(Rung.RELAYED, AFTER))
AT_ONCE = (Step(Rung.DIRECT), Step(Rung.RELAYED))


@dataclass(frozen=True)
class LadderOptions:
    """Order and timers.  Times are seconds.

    `stagger` is between the starts of direct dials (RFC 8305 section 5), of which no more are
    begun once one stands, and the next at once where none is under way any more; circuits are
    tried one after another.  `linger` is how long direct dials go on when a circuit is there; not
    at all where the other side will dial us back, since of two dials that cross both may get
    through.  `map_patience` and `proof_patience` limit the waits of `Node.prepare`: for the
    gateway, and for AutoNAT.
    """

    steps: tuple[Step, ...] = ONE_BY_ONE
    stagger: float = 0.25
    linger: float = 1.0
    map_patience: float = 3.0
    proof_patience: float = 5.0


@dataclass(frozen=True)
class Try:
    """One address, on one rung.

    A TCP dial that others may follow, between the same two ports, leaves from a `fresh` one:
    the NAT remembers the sequence number of a SYN in vain and then takes the answer to the
    other side's SYN, which has a number of its own, for one of another connection.
    """

    rung: Rung
    address: Multiaddr
    fresh: bool = False


@dataclass(frozen=True)
class Prospects:
    """How others may reach us, as `Node.prepare` found out.

    `mapped` has the useless mappings, too; `troubles` says in words what there is not, and
    why.  `addresses` is what to tell others: direct ones that may be reachable, then circuits.
    `refusals` are those of the relays that answered and gave no reservation.
    """

    mapped: tuple[Mapping, ...]
    addresses: tuple[Multiaddr, ...]
    troubles: tuple[str, ...]
    refusals: tuple[RelayRefusedError, ...] = ()


class Climb:
    """One dial: hands out what is due, is told what came of it.  `now` is any clock's seconds.

    `dialed_back`: the other side knows addresses of ours that it will dial.  `beside`: a
    relayed connection is there already.
    """

    def __init__(
        self,
        options: LadderOptions,
        addresses: Sequence[Multiaddr],
        now: float,
        *,
        dialed_back: bool = False,
        beside: bool = False,
    ) -> None:
        self.best: Rung | None = None
        self._options = options
        self._linger = 0.0 if dialed_back else options.linger
        self._started = now
        self._until = AFTER
        circuits = [Try(Rung.RELAYED, a) for a in addresses if a.is_relayed]
        fresh = beside or bool(circuits)
        tries = [Try(Rung.DIRECT, a, fresh) for a in addresses if not a.is_relayed] + circuits
        self._waiting = {s.rung: [t for t in tries if t.rung is s.rung] for s in options.steps}
        self._running: set[Try] = set()
        # How much later than a step its next try begins; less than nothing: one has failed.
        self._later = dict.fromkeys(self._waiting, 0.0)
        self._failed = {rung: now for rung, some in self._waiting.items() if not some}

    def due(self, now: float) -> list[Try]:
        """What is to be begun now; each try is given once."""
        found = []
        for rung, at in list(self._next()):
            while at <= now and self._waiting[rung]:
                found.append(self._waiting[rung].pop(0))
                self._running.add(found[-1])
                if rung is Rung.RELAYED:
                    break
                self._later[rung] += self._options.stagger
                at += self._options.stagger
        return found

    def wake(self) -> float:
        """When `due` or `over` may say something new, if nothing else happens before."""
        return min((self._until, *(at for _, at in self._next())))

    def failed(self, attempt: Try, now: float) -> None:
        """A try came to nothing."""
        self._running.discard(attempt)
        rung = attempt.rung
        if any(t.rung is rung for t in self._running):
            return
        if not self._waiting[rung]:
            self._failed[rung] = now
        elif rung is Rung.DIRECT:  # nothing is under way that could be given time
            self._later[rung] -= max(0.0, self._starts(rung) + self._later[rung] - now)

    def reached(self, attempt: Try, now: float) -> None:
        """A try gave a connection.  After a circuit no other is begun."""
        self._running.discard(attempt)
        if attempt.rung.better(self.best):
            self.best = attempt.rung
        self._waiting[Rung.RELAYED] = []
        self._until = min(self._until, now + self._linger)

    def over(self, now: float) -> bool:
        """Whether nothing better is to be had by going on."""
        busy = self._running or any(self._waiting.values())
        return self.best is Rung.DIRECT or not busy or now >= self._until

    def _next(self) -> Iterator[tuple[Rung, float]]:
        """For each step that has tries left, when its next one begins."""
        for step in self._options.steps:
            under_way = step.rung is Rung.RELAYED and any(
                t.rung is Rung.RELAYED for t in self._running
            )
            if self._waiting[step.rung] and not under_way:
                yield step.rung, self._starts(step.rung) + self._later[step.rung]

    def _starts(self, rung: Rung) -> float:
        """When the first try of a step begins."""
        at = self._started
        for index, step in enumerate(self._options.steps):
            at += step.head_start
            if index:
                at = min(at, self._failed.get(self._options.steps[index - 1].rung, AFTER))
            if step.rung is rung:
                break
        return at
