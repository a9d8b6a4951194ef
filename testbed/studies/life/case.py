"""One case of the life study: a scenario, and the stacks that live through it."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from testbed.errors import UsageError
from testbed.model.frozen import FrozenValue
from testbed.model.furnishing import behaviours
from testbed.model.life import FileExpects, Timers, Transport
from testbed.model.network_fault import LeaseLost, Rebinding
from testbed.model.plan import Engine
from testbed.model.profile import Profile
from testbed.model.topology import Topology
from testbed.predict.life import Course, Expected, expect
from testbed.stacks.registry import Stacks, stacks
from testbed.studies.life.scenarios import Scenario
from testbed.studies.punch.mechanism import PUNCH
from testbed.studies.punch.mechanisms import MECHANISMS, of

PATIENCE = (
    10.0  # seconds: an echo's deadline in the contract; without `keep` a peer gives up by then
)


class LifeCase(FrozenValue):
    """``peer`` is as `testbed.stacks.registry.stacks` reads it."""

    scenario: Scenario
    peer: str
    repeat: int = 0

    @cached_property
    def stacks(self) -> Stacks:
        """The two ends."""
        return stacks(self.peer)

    @property
    def transport(self) -> Transport:
        """What carries the echo."""
        carries = of(self.stacks).carries
        assert carries is not None  # `require_followed` lets no other pass
        return carries

    @property
    def keeps(self) -> bool:
        """Whether both ends have the feature ``keep``: they dial again, by timers that we set."""
        return all("keep" in one.features for one in self.stacks.both)

    @property
    def course(self) -> Course:
        """What happens to them."""
        if self.keeps or self.transport is Transport.UDP:  # then the application has the timers
            return self.scenario.course(self.scenario.timers)
        return self.scenario.course(Timers(patience=PATIENCE))

    @cached_property
    def topology(self) -> Topology:
        """With observers for stacks that need some, but not where it is our timers that decide.

        Each connection to an observer has keepalives that refresh the dialer's mapping, at a
        time of its own.  What keeps its connections has to do with what its relay tells.
        """
        needs = "observers" in self.stacks.needs
        return self.scenario.topology(observers=needs and not self.keeps)

    @cached_property
    def routers(self) -> Mapping[str, Profile]:
        """The profile of each router, by the name that the topology has for it."""
        return self.scenario.profiles

    @property
    def profiles(self) -> tuple[str, ...]:
        """The NATs, in the order of the world's file."""
        return self.scenario.nats

    @property
    def group(self) -> str:
        """``traversal-quic/reboot``, and the NATs where they are not the scenario's."""
        told = self.scenario
        nats = "" if told.usual else f"/{'--'.join(one.name for one in told.given)}"
        return f"{self.peer}/{told.name}{nats}"

    @property
    def name(self) -> str:
        """With its repetition."""
        return f"{self.group}/{self.repeat}"

    @property
    def labels(self) -> Mapping[str, str]:
        """Axis -> value."""
        return {
            "scenario": self.scenario.name,
            "stack": self.peer,
            "transport": self.transport.value,
        }

    def expected(self) -> Expected:
        """By the world's file, where it says so of its own NATs, else by the model.

        UsageError where neither knows, and where there is no direct path to begin with.
        """
        stated = self.scenario.stated
        if stated is None:
            return self._predicted()
        try:
            told = self._predicted()
        except UsageError:
            return replace(stated, why=FileExpects(None, None))
        return replace(stated, why=FileExpects(told.fate, told.why))

    def _predicted(self) -> Expected:
        known = behaviours(self.topology, self.routers)
        try:
            model = of(self.stacks).modes[PUNCH].model
            return expect(
                self.topology, known, self.course, self.transport, redials=self.keeps, model=model
            )
        except UsageError as error:
            told = self.scenario
            raise UsageError(
                f"{told.name} with {self.peer} between {' and '.join(told.nats)}: {error.message}",
                remedy=error.remedy or "other NATs, or other scenarios and --peer",
            ) from None


def require_followed(ends: Stacks) -> None:
    """UsageError for stacks whose connections the model does not follow."""
    if of(ends).carries is None or ends.contract != "lines":
        by = ends.mechanism if ends.contract == "lines" else f"the contract {ends.contract}"
        followed = ", ".join(name for name, one in MECHANISMS.items() if one.carries)
        raise UsageError(
            f"{ends.name}: there is no model of the life of its connections ({by})",
            remedy=f"stacks of {followed}",
        )


def require_doable(one: LifeCase) -> None:
    """UsageError for what cannot be done to these NATs."""
    for _, fault in one.course.faults:
        match fault:
            case Rebinding(router) if one.routers[router].engine is not Engine.NFTABLES:
                why = "a NAT of iptables cannot be renumbered: the kernel's own has no maps"
            case LeaseLost(router) if not one.routers[router].behaviour.port_mapping.offered:
                why = "it has no gateway that could lose a mapped port"
            case _:
                continue
        raise UsageError(f"{one.scenario.name}: {router}: {why}", remedy="name another profile")


def require_timed(one: LifeCase) -> None:
    """UsageError where the scenario is about timers that these stacks do not let us set."""
    if one.keeps or one.transport is Transport.UDP:
        return
    if one.scenario.sleeps:
        raise UsageError(
            f"{one.scenario.name} lets the dialer sleep, and {one.peer} lacks the feature keep: "
            "the deadline of its echo passes meanwhile, or does not",
            remedy="another scenario, or stacks that can be told to keep their connections",
        )
    if one.scenario.silent:
        raise UsageError(
            f"{one.scenario.name} sets the stack's timers, and {one.peer} lacks the feature keep",
            remedy="another scenario, or stacks that can be told to keep their connections",
        )
