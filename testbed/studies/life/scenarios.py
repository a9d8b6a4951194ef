"""The scenarios: which NATs the two homes have, what happens to them, and the stack's timers.

Times are scaled: what takes 30 s in the field (a NAT's UDP timer, a keepalive of 15 s or
of 60 s) takes 2 s here.
"""

from dataclasses import dataclass, replace

from testbed.errors import UsageError
from testbed.model.behaviour import Allocation, Behaviour, Timeouts
from testbed.model.life import Timers
from testbed.model.network_fault import (
    Fault,
    LinkDown,
    LinkUp,
    MappingTimeout,
    NatReboot,
    Rebinding,
    Roaming,
    WanAddressChange,
)
from testbed.model.presets import ACCESS, libp2p, two_homes
from testbed.model.profile import Profile
from testbed.model.topology import INTERNET, Host, Network, Router, Scope, Topology
from testbed.naming import instead
from testbed.nat.load import by_name, with_timeouts
from testbed.nat.rules import check
from testbed.predict.life import Course

SHORT = Timeouts(udp=2, udp_stream=2, tcp_transitory=2, tcp_established=2)
SILENCE = 5.0
UNTIRING = 6.0  # seconds of patience that outlast the silence: the NAT's timer decides, not ours


NOTHING = Course()
_USUAL = Timers()


@dataclass(frozen=True)
class Scenario:
    """``a``, ``b``: profiles of the two homes' NATs; ``c``: of where a may roam to, a's if empty.

    ``random``: a's and b's NAT choose their ports at random instead.  ``given``: profiles of the
    user's, which are looked up before those that are known.
    """

    name: str
    about: str
    a: str = "port-restricted"
    b: str = "port-restricted"
    c: str = ""
    random: tuple[bool, bool] = (False, False)
    timeouts: Timeouts | None = None
    course: Course = NOTHING
    given: tuple[Profile, ...] = ()

    @property
    def roams(self) -> bool:
        return any(isinstance(fault, Roaming) for _, fault in self.course.faults)

    @property
    def profiles(self) -> dict[str, Profile]:
        """The profile of each router, under the name that the topology knows it by."""
        found = {}
        homes = [("nat-a", self.a, self.random[0]), ("nat-b", self.b, self.random[1])]
        if self.roams:
            homes.append(("nat-c", self.c or self.a, self.random[0]))
        for router, name, random in homes:
            profile = by_name(self.given, [name])[name]
            if random:
                profile = replace(profile, behaviour=_random(profile.behaviour))
            if self.timeouts is not None:
                profile = with_timeouts(profile, self.timeouts)
            check(profile)
            found[router] = profile
        return found

    @property
    def silent(self) -> bool:
        """Whether the application falls silent, so that the stack's own timers decide."""
        return any(isinstance(fault, MappingTimeout) for _, fault in self.course.faults)

    def course_of(self, timers: Timers) -> Course:
        """What happens to a stack with these ``timers``.

        A cut that outlasts the scenario's patience outlasts the stack's by as much.
        """
        own = self.course.timers.patience
        later = timers.patience - own
        faults = (
            (at + later if isinstance(fault, LinkUp) and at > own else at, fault)
            for at, fault in self.course.faults
        )
        return Course(tuple(faults), timers)

    def topology(self, *, observers: bool) -> Topology:
        """Two homes; and where a host roams, a third with a place to plug in."""
        homes = (libp2p if observers else two_homes)("nat-a", "nat-b")
        if not self.roams:
            return homes
        return Topology(
            "roaming",
            networks=(*homes.networks, Network("lan-c", Scope.PRIVATE)),
            routers=(*homes.routers, Router("nat-c", INTERNET, "lan-c", "nat-c", link=ACCESS)),
            hosts=(*homes.hosts, Host("dock", "lan-c")),
        )


def _random(behaviour: Behaviour) -> Behaviour:
    udp, tcp = (replace(t, allocation=Allocation.RANDOM) for t in (behaviour.udp, behaviour.tcp))
    return replace(behaviour, udp=udp, tcp=tcp)


def _at_once(*faults: Fault, timers: Timers = _USUAL) -> Course:
    return Course(tuple((0.0, fault) for fault in faults), timers)


def _cut(seconds: float) -> Course:
    return Course(((0.0, LinkDown("nat-a")), (seconds, LinkUp("nat-a"))))


def _silent(keepalive: float | None) -> Course:
    return _at_once(MappingTimeout(SILENCE), timers=Timers(keepalive, UNTIRING))


_NEW_PORTS = (True, False)
_OPEN = "full-cone"
_PATIENT = Timers(patience=6.0)  # a, told by an RST, is back long before b would notice

SCENARIOS = {
    one.name: one
    for one in (
        Scenario("steady", "nothing happens"),
        Scenario(
            "keepalive", "silence, and a keepalive of half the NAT's timer",
            random=_NEW_PORTS, timeouts=SHORT, course=_silent(1.0),
        ),
        Scenario(
            "slow-keepalive", "silence, and a keepalive of twice the NAT's timer",
            random=_NEW_PORTS, timeouts=SHORT, course=_silent(4.0),
        ),
        Scenario(
            "no-keepalive", "silence without any keepalive",
            random=_NEW_PORTS, timeouts=SHORT, course=_silent(None),
        ),
        Scenario(
            "reboot", "the NAT reboots and preserves the ports again",
            course=_at_once(NatReboot("nat-a")),
        ),
        Scenario(
            "reboot-new-ports", "the NAT reboots and draws other ports",
            random=_NEW_PORTS, course=_at_once(NatReboot("nat-a")),
        ),
        Scenario(
            "reboot-open", "the same, while the other's NAT lets anybody in",
            b=_OPEN, random=_NEW_PORTS, course=_at_once(NatReboot("nat-a"), timers=_PATIENT),
        ),
        Scenario(
            "reboot-of-listener", "the listener's NAT reboots and draws other ports",
            random=(False, True), course=_at_once(NatReboot("nat-b")),
        ),
        Scenario(
            "new-address", "the NAT gets another external address",
            course=_at_once(WanAddressChange("nat-a")),
        ),
        Scenario(
            "new-address-open", "the same, while the other's NAT lets anybody in",
            b=_OPEN, course=_at_once(WanAddressChange("nat-a"), timers=_PATIENT),
        ),
        Scenario(
            "rebinding", "the NAT changes the mapping's port",
            random=_NEW_PORTS, course=_at_once(Rebinding("nat-a")),
        ),
        Scenario(
            "rebinding-open", "the same, while the other's NAT lets anybody in",
            b=_OPEN, random=_NEW_PORTS, course=_at_once(Rebinding("nat-a"), timers=_PATIENT),
        ),
        Scenario("blip", "the wire is cut for less than the stack's patience", course=_cut(0.7)),
        Scenario(
            "outage", "the wire is cut for longer than the stack's patience", course=_cut(5.0)
        ),
        Scenario("roaming", "a moves to another network", course=_at_once(Roaming("a", "lan-c"))),
        Scenario(
            "roaming-open", "the same, while the other's NAT lets anybody in",
            b=_OPEN, course=_at_once(Roaming("a", "lan-c")),
        ),
        Scenario(
            "roaming-symmetric", "a moves to where each destination is given another port",
            c="symmetric", course=_at_once(Roaming("a", "lan-c")),
        ),
    )
}  # fmt: skip


def scenario(name: str) -> Scenario:
    """The scenario called ``name``; UsageError with the known names if there is none."""
    try:
        return SCENARIOS[name]
    except KeyError:
        raise UsageError(f"unknown scenario {name!r}", remedy=instead(name, SCENARIOS)) from None
