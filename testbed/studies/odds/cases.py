"""What `testbed.studies.odds.runs` runs: NATs, strategies, and the theory of each case."""

import re
from collections import abc
from collections.abc import Iterator
from dataclasses import replace

from testbed.model.behaviour import Allocation, Behaviour, Mapping, PortRange, Timeouts, Transport
from testbed.model.frozen import FrozenValue
from testbed.model.plan import Engine
from testbed.model.profile import Profile
from testbed.traversal.hard_nat import Birthday, Limits, Ports, Prediction
from testbed.traversal.hard_nat_odds import birthday_odds, granted, prediction_odds

HARD, EASY = "hard", "easy"  # profiles
MAPPING_SECONDS = 2  # lifetime of an idle mapping in these labs
# Nothing is lost or delayed here, so a side hurries, and soon gives up.
LIMITS = Limits(packets=4096, seconds=10.0, pace=20_000.0, patience=0.5)
CAREFUL = Limits(packets=4096, seconds=1.0, pace=126.0, patience=0.5)  # 64 packets unasked


class Case(FrozenValue):
    """One strategy against one NAT; a point at ``x`` on the curve ``series`` of the plot.

    Of the hard side's subscriber the NAT allows ``quota`` mappings, ``in_use`` of which
    are taken; ``crossing`` is the mean number of others' mappings that come in between.
    With ``silent`` the hard side never sends: a negative control.

    It is run ``runs`` times, with what ``seed`` gives, and is one of ``of`` cases that share
    the chance of an error.
    """

    series: str
    x: int  # probes or candidates; sockets where there is a quota
    strategy: Birthday | Prediction
    hard: Transport
    quota: int | None = None
    in_use: int = 0
    crossing: float = 0.0
    silent: bool = False
    runs: int = 200
    seed: int = 0
    of: int = 1
    repeat: int = 0

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.series} / {self.x}"

    @property
    def group(self) -> str:
        """``birthday-2048-ports-16-sockets/192``."""
        return f"{re.sub('[^a-z0-9]+', '-', self.series)}/{self.x}"

    @property
    def name(self) -> str:
        """With its repetition."""
        return f"{self.group}/{self.repeat}"

    @property
    def labels(self) -> abc.Mapping[str, str]:
        """Axis -> value."""
        return {"series": self.series, "size": str(self.x), "runs": str(self.runs)}

    @property
    def profiles(self) -> tuple[str, ...]:
        """Those of `made_profiles`."""
        return HARD, EASY

    @property
    def theory(self) -> float:
        """The chance of a hit, by `testbed.traversal.hard_nat_odds`.

        A random NAT's ports lie among those probed, or all of them elsewhere.
        """
        plan = self.strategy
        if self.silent:
            return 0.0
        if isinstance(plan, Prediction):
            if self.hard.mapping is Mapping.ENDPOINT_INDEPENDENT:
                return 1.0  # nothing to predict
            return prediction_odds(self.crossing, min(plan.candidates, plan.limits.unasked))
        if self.hard.ports.last < plan.ports.first or plan.ports.last < self.hard.ports.first:
            return 0.0
        mapped = granted(min(plan.sockets, plan.limits.unasked), self.quota, self.in_use)
        return birthday_odds(plan.ports.size, mapped, min(plan.probes, plan.limits.unasked))

    def at(self, x: int) -> "Case":
        """The same, elsewhere on its curve."""
        plan = self.strategy
        if isinstance(plan, Prediction):
            return replace(self, x=x, strategy=replace(plan, candidates=x))
        if self.quota is None:
            return replace(self, x=x, strategy=replace(plan, probes=x))
        return replace(self, x=x, strategy=replace(plan, sockets=x))

    @property
    def sockets(self) -> int:
        """On the hard side."""
        return self.strategy.sockets if isinstance(self.strategy, Birthday) else 1

    def made_profiles(self) -> dict[str, Profile]:
        """The hard side's NAT and the easy side's."""
        hard = Behaviour(udp=self.hard, quota=self.quota)
        return {HARD: _profile(HARD, hard), EASY: _profile(EASY, Behaviour())}


def _profile(name: str, behaviour: Behaviour) -> Profile:
    timeouts = Timeouts(udp=MAPPING_SECONDS, udp_stream=MAPPING_SECONDS)
    return Profile(
        name,
        title=f"the {name} side's NAT",
        met="in one experiment",
        source="none: made of axes for it",
        engine=Engine.NFTABLES,
        behaviour=replace(behaviour, timeouts=timeouts),
    )


def cases(runs: int = 200, seed: int = 0) -> tuple[Case, ...]:
    """All of them: the strategies at several sizes, what makes them fail, the controls."""
    found = (*_quota(), *_birthday(), *_prediction(), *_others())  # what takes longest comes first
    return tuple(replace(case, runs=runs, seed=seed, of=len(found)) for case in found)


def _dependent(allocation: Allocation, first: int, last: int) -> Transport:
    """Mapping and filtering both address and port dependent."""
    mapping = Mapping.ADDRESS_AND_PORT_DEPENDENT
    return Transport(mapping=mapping, allocation=allocation, ports=PortRange(first, last))


SMALL = Ports(40000, 42047)  # 2048 ports
MIDDLE = Ports(40000, 48191)  # 8192


def _random(ports: Ports) -> Transport:
    return _dependent(Allocation.RANDOM, ports.first, ports.last)


def _birthday() -> Iterator[Case]:
    for ports, sockets, tried in ((SMALL, 16, (64, 192)), (MIDDLE, 32, (128, 384))):
        for probes in tried:
            plan = Birthday(sockets, probes, ports, LIMITS)
            series = f"birthday, {ports.size} ports, {sockets} sockets"
            yield Case(series, probes, plan, _random(ports))
    # The NAT has 32768 ports; who does not know which probes all.
    for probes in (256, 768):
        plan = Birthday(128, probes, Ports(), LIMITS)
        series = "birthday, all ports, 128 sockets"
        yield Case(series, probes, plan, _random(Ports(32768, 65535)))


def _quota() -> Iterator[Case]:
    for sockets in (8, 24, 64):
        plan = Birthday(sockets, 128, SMALL, LIMITS)
        series = "birthday, quota of 16, 4 in use"
        yield Case(series, sockets, plan, _random(SMALL), quota=16, in_use=4)


def _prediction() -> Iterator[Case]:
    for crossing, sizes in ((2.0, (1, 2, 4)), (8.0, (6, 9, 12))):
        for candidates in sizes:
            nat = _dependent(Allocation.SEQUENTIAL, 30000, 59999)
            series = f"prediction, {crossing:g} others in between"
            yield Case(series, candidates, Prediction(candidates, LIMITS), nat, crossing=crossing)


def _others() -> Iterator[Case]:
    paced = Birthday(16, 384, SMALL, CAREFUL)
    yield Case("birthday, time for 64 probes", 384, paced, _random(SMALL))
    yield Case("prediction, endpoint-independent", 1, Prediction(1, LIMITS), Transport())
    plan = Birthday(16, 192, SMALL, LIMITS)
    elsewhere = _random(Ports(50000, 52047))
    yield Case("control: another range of ports", 192, plan, elsewhere)
    yield Case("control: a silent hard side", 192, plan, _random(SMALL), silent=True)
