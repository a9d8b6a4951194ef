"""The study of AutoNAT: what it says behind a NAT, beside a stranger's dial and the prediction."""

from collections.abc import Mapping

from testbed.errors import TestbedError, UnfitError, UsageError
from testbed.evidence.account import WireAccount
from testbed.explain.crossings import Shown, crossings, openings
from testbed.model.autonat_agent import AutonatAgent
from testbed.model.behaviour import Protocol
from testbed.model.details import AutonatDetails, Dialable, Reached, TransportSeen
from testbed.model.explanation import Cause, Explanation
from testbed.model.failure import fault_of
from testbed.model.fault import Fault
from testbed.model.frozen import FrozenValue
from testbed.model.furnishing import behaviours
from testbed.model.packet import Endpoint
from testbed.model.presets import Found, find
from testbed.model.profile import Profile
from testbed.model.result import Result
from testbed.model.topology import Link, Topology
from testbed.model.verdict import Judgement, Tardy, TooBusy
from testbed.nat.load import by_name
from testbed.predict.autonat import Prediction, Reachability, between
from testbed.stacks.registry import OURS, public
from testbed.studies import base
from testbed.studies.autonat.asking import Asking
from testbed.studies.autonat.asking import measure as measure_between
from testbed.studies.autonat.reachability import Measured, edge, measure
from testbed.studies.base import Site, Study
from testbed.words import Fact, sentence

WORLD = "observers"  # where no other one is named
PUBLIC = "public"  # in place of NATs, of a client that is behind none
TOO_LATE = 0.5  # seconds: a node that was later than that may be why a dial-back failed


class AutonatCase(FrozenValue):
    """One NAT, and who asks whom behind it; ``asking`` is None where our own stack asks its own.

    Our own tells more than the peers' contract does: what each observer sees of it.  ``nat`` is
    the profile for -a of the ``topology``, the name or file of a world; None: those of the file.
    """

    nat: Profile | None
    asking: Asking | None = None
    repeat: int = 0
    topology: str = WORLD

    @property
    def world(self) -> Found:
        return find(self.topology)

    def build(self) -> Topology:
        """The lab.  Ours has no delay, for no verdict needs one."""
        named = (self.nat.name,) if self.nat else ()
        access = None if self.topology != WORLD else lambda _: Link()
        return self.world.topology(*named, access=access)

    def require_possible(self) -> None:
        """UsageError where the world has nobody who asks, or nobody outside who is asked."""
        topology = self.build()
        roles, hosts = topology.roles, [host.name for host in topology.hosts]
        named = {"a": roles.a, "relay": roles.relay}
        missing = [part for part, host in named.items() if host not in hosts]
        if missing or not topology.observers:
            lacks = " and ".join(missing) or "observers"
            raise UsageError(
                f"{topology.name} has no host for AutoNAT's {lacks}",
                remedy="its [roles] say who they are: a asks the observers, relay is the stranger",
            )
        own = {router.name for router in topology.path_out(roles.a)}
        for host in (roles.relay, *topology.observers):
            shared = own & {router.name for router in topology.path_out(host)}
            if shared:
                raise UsageError(
                    f"{topology.name}: {host} is behind {min(shared)}, as {roles.a} is",
                    remedy="the observers and the relay, who is the stranger, are outside of it",
                )
        if roles.relay in topology.observers:
            raise UsageError(f"{topology.name}: {roles.relay} observes, and is no stranger")

    def nats(self) -> dict[str, Profile]:
        """The profile of each NAT, by its name."""
        names = [router.profile for router in self.build().routers]
        return by_name([self.nat] if self.nat else (), names)

    @property
    def profiles(self) -> tuple[str, ...]:
        """What the client is behind, nearest first; `PUBLIC` alone, if it is behind nothing."""
        topology = self.build()
        way = topology.path_out(topology.roles.a)
        return tuple(router.profile for router in way) or (PUBLIC,)

    @property
    def profile(self) -> str:
        """The same in one word."""
        return "--".join(self.profiles)

    @property
    def ends(self) -> tuple[str, str]:
        """The stacks of the client and of the servers."""
        return (self.asking.client, self.asking.server) if self.asking else (OURS, OURS)

    def agents(self, protocol: Protocol) -> tuple[AutonatAgent, AutonatAgent]:
        """How the stacks of the client and of the servers do it."""
        client, server = self.ends
        return (
            public(client, protocol.value, "autonat_client").autonat,
            public(server, protocol.value, "autonat_server").autonat,
        )

    @property
    def group(self) -> str:
        """``go--traversal/full-cone``, after the world's name if it is another one than usual."""
        place = "" if self.topology == WORLD else f"{self.world.name}/"
        return f"{place}{'--'.join(self.ends)}/{self.profile}"

    @property
    def name(self) -> str:
        """With its repetition."""
        return f"{self.group}/{self.repeat}"

    @property
    def labels(self) -> Mapping[str, str]:
        """Axis -> value."""
        client, server = self.ends
        stacks = {"stack": "--".join(self.ends), "client": client, "server": server}
        return {"profile": self.profile, **stacks, "topology": self.world.name}

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """The transports that both stacks speak."""
        return self.asking.protocols if self.asking else tuple(Protocol)


class Reading(FrozenValue):
    """One transport; ``measured`` is None when ``fault`` kept it from being.

    A machine too busy casts a doubt: it leaves an agreement alone, and makes a
    difference inconclusive.
    """

    protocol: Protocol
    predicted: Prediction
    measured: Measured | None
    fault: Fault | None = None

    @property
    def judgement(self) -> Judgement:
        """Measured against predicted."""
        if self.measured is None:
            return Judgement.INCONCLUSIVE
        if self.measured.outcome == self.predicted.outcome:
            return Judgement.PASS
        return Judgement.INCONCLUSIVE if self.measured.late > TOO_LATE else Judgement.FAIL

    @property
    def notes(self) -> tuple[Fact, ...]:
        """Why it is so, as far as that is known."""
        if self.measured is None:
            return (self.fault,) if self.fault else ()
        if self.judgement is Judgement.INCONCLUSIVE:
            return (TooBusy(Tardy.NODE, self.measured.late),)
        return tuple(self.predicted.notes)

    def seen(self) -> TransportSeen:
        """The record of it."""
        found = self.measured
        return TransportSeen(
            transport=self.protocol.value,
            judgement=self.judgement,
            measured=None if found is None else _reached(found.outcome),
            predicted=_reached(self.predicted.outcome),
            addresses=() if found is None else tuple(str(one.address) for one in found.addresses),
            notes=tuple(map(sentence, self.notes)),
        )


def run(case: AutonatCase, site: Site) -> Result:
    """Measure one case and judge it."""
    try:
        measured, packets = _measured(case, site)
    except UnfitError:
        raise
    except TestbedError as error:
        return judged(case, (), site, error)
    return judged(case, measured, site, packets=packets)


def _measured(case: AutonatCase, site: Site) -> tuple[tuple[Measured, ...], int]:
    """Each transport in one lab, all of it recorded; and how many packets there were."""
    with site.lab(case.build(), case.nats()) as lab:
        with site.recorded(lab) as recorder:
            found = measure_between(lab, case.asking) if case.asking else measure(lab)
        return found, recorder.recording.packets


def judged(
    case: AutonatCase,
    measured: tuple[Measured, ...],
    site: Site,
    error: TestbedError | None = None,
    packets: int = 0,
) -> Result:
    """The result of a case; each transport of ``measured`` against its prediction."""
    fault = None if error is None else fault_of(error)
    by_protocol = {one.protocol: one for one in measured}
    topology = case.build()
    declared = behaviours(topology, case.nats())
    readings = [
        Reading(
            protocol,
            between(topology, declared, protocol, *case.agents(protocol)),
            by_protocol.get(protocol),
            fault,
        )
        for protocol in case.protocols
    ]
    judgements = [one.judgement for one in readings]
    judgement = Judgement.PASS
    for worse in (Judgement.INCONCLUSIVE, Judgement.FAIL):
        judgement = worse if worse in judgements else judgement
    seen = tuple(one.seen() for one in readings)
    return base.judged(
        "autonat",
        case,
        site.folder,
        _value([(one.transport, one.measured) for one in seen]),
        _value([(one.transport, one.predicted) for one in seen]),
        judgement=judgement,
        details=AutonatDetails(transports=seen),
        because=[note for one in readings for note in one.notes],
        packets=packets,
        late=Judgement.INCONCLUSIVE in judgements if error is None else error.crowded,
    )


def explained(result: Result, account: WireAccount) -> Explanation:
    """By the dials of servers and of the stranger, who use ports that the client never sent to."""
    plan, topology = account.plan, account.plan.topology
    client, stranger = topology.roles.a, topology.roles.relay
    # A firewall changes no address.
    outside = {plan.address(node) for node in (edge(topology), client)}
    served = {Endpoint(plan.address(host), plan.port(host)) for host in topology.observers}
    dials = [
        one
        for one in account.journeys
        if one.first.protocol in ("udp", "tcp")
        and one.first.destination.address in outside
        and one.sender != client
        and one.first.source not in served
    ]
    shown = Shown(openings(dials), lambda one: one.sender == stranger, Cause.FILTER_ADMITS)
    return crossings(result, account, shown)


def _reached(found: Reachability) -> Reached:
    return Reached(
        stranger=found.reachable,
        v1=found.v1.value,
        v2=tuple(Dialable(stranger=a.reachable, verdict=a.v2.value) for a in found.addresses),
    )


def _value(seen: list[tuple[str, Reached | None]]) -> str | None:
    """All transports as one short value; None where one was not measured."""
    parts = []
    for transport, one in seen:
        if one is None:
            return None
        known = "+".join(f"{'in' if a.stranger else 'out'}:{a.verdict}" for a in one.v2)
        parts.append(f"{transport}={one.v1},{known}")
    return " ".join(parts)


# The nodes keep processors busy: what was late needs much more room.
STUDY = Study("autonat", run, AutonatDetails, fewer=4, explain=explained)
