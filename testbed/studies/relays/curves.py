"""The swarms of a run as curves over their number of peers, and the claims that follow."""

from collections.abc import Iterator, Sequence
from statistics import mean, median

from testbed.model.details import Foreseen, PairSeen, RelaysDetails
from testbed.model.frozen import FrozenValue
from testbed.model.outcome import Outcome
from testbed.model.result import Result
from testbed.model.swarming import Claim, ClaimKind
from testbed.studies.relays.swarm import OFF, ON

MEGA = 1e6


class Point(FrozenValue):
    """All repetitions of one size, by whether upgrades are on; some was measured of each."""

    peers: int
    swarms: dict[str, tuple[RelaysDetails, ...]]

    def megabytes(self, upgrades: str) -> float:
        """Through all relays; the mean of the repetitions."""
        return mean(one.relay_bytes for one in self.swarms[upgrades]) / MEGA

    def cpu_ms(self, upgrades: str) -> float | None:
        """Of the relays' processors, for each peer; the mean of the repetitions."""
        known = [relay.cpu_s for one in self.swarms[upgrades] for relay in one.relays]
        if None in known:
            return None
        swarms = len(self.swarms[upgrades])
        return 1e3 * sum(filter(None, known)) / swarms / self.peers

    def share(self, upgrades: str) -> float:
        """Of pairs that went direct."""
        pairs = [pair for one in self.swarms[upgrades] for pair in one.pairs]
        return sum(pair.measured is Outcome.DIRECT for pair in pairs) / len(pairs)

    def undone(self, upgrades: str) -> int:
        """Pairs whose work did not get done."""
        return sum(len(one.pairs) - one.finished for one in self.swarms[upgrades])

    def foreseen(self, upgrades: str) -> Foreseen | None:
        return self.swarms[upgrades][0].foreseen

    def trip(self, upgrades: str) -> float | None:
        """The median round trip of the pairs that go direct where upgrades are on, in ms."""
        trips = [trip for both in self.upgraded if (trip := both[upgrades == ON].trip_ms)]
        return median(trips) if trips else None

    @property
    def upgraded(self) -> list[tuple[PairSeen, PairSeen]]:
        """The pairs that went direct: the same pair with upgrades off, and on."""
        return [
            (off, on)
            for before, after in zip(self.swarms[OFF], self.swarms[ON], strict=False)
            for off, on in zip(before.pairs, after.pairs, strict=True)
            if on.measured is Outcome.DIRECT and off.trip_ms and on.trip_ms
        ]


class Curve(FrozenValue):
    """The sizes of one population and stack, the smallest first."""

    population: str
    stack: str
    points: tuple[Point, ...]

    def claims(self) -> Iterator[Claim]:
        """Of its largest swarms."""
        last = self.points[-1]
        who = self.population, self.stack, last.peers
        pairs = last.upgraded
        yield Claim(ClaimKind.BANDWIDTH, *who, len(pairs), last.megabytes(OFF), last.megabytes(ON))
        before, after = last.trip(OFF), last.trip(ON)
        if before and after:
            yield Claim(ClaimKind.LATENCY, *who, len(pairs), before, after)
        off, on = last.cpu_ms(OFF), last.cpu_ms(ON)
        given, less = (1e3 * last.megabytes(end) / last.peers for end in (OFF, ON))
        cpu = None if off is None or on is None else (off, on)
        yield Claim(ClaimKind.INCENTIVE, *who, len(pairs), given, less, cpu)
        left, fewer = (last.undone(end) for end in (OFF, ON))
        if left or fewer:
            every = sum(len(one.pairs) for one in last.swarms[OFF])
            yield Claim(ClaimKind.LIMITS, *who, every, left, fewer)


def curves(results: Sequence[Result]) -> list[Curve]:
    """Those of which swarms were measured with upgrades off and on, in order of the results."""
    found: dict[tuple[str, str], dict[int, dict[str, list[RelaysDetails]]]] = {}
    for result in results:
        details = result.details
        if not isinstance(details, RelaysDetails) or not details.relays:
            continue
        labels = result.labels
        sizes = found.setdefault((labels["population"], labels["stack"]), {})
        ends = sizes.setdefault(int(labels["peers"]), {})
        ends.setdefault(labels["upgrades"], []).append(details)
    made = []
    for (population, stack), sizes in found.items():
        points = [
            Point(peers, {end: tuple(some) for end, some in ends.items()})
            for peers, ends in sorted(sizes.items())
            if {ON, OFF} <= ends.keys()
        ]
        if points:
            made.append(Curve(population, stack, tuple(points)))
    return made


def claims(results: Sequence[Result]) -> list[Claim]:
    """What the swarms of a run say of each claim."""
    return [claim for curve in curves(results) for claim in curve.claims()]
