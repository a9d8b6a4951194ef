"""The fate of a path: the connection that is there lives on, or another one takes its place."""

from collections.abc import Mapping
from dataclasses import replace

from testbed.errors import UsageError
from testbed.model.behaviour import Behaviour, PortMapping
from testbed.model.life import After, Ended, Fate, Transport
from testbed.model.network_fault import LeaseLost, RelayRestart, Roaming, Switch
from testbed.model.outcome import Outcome
from testbed.model.topology import Host, Router, Topology
from testbed.model.trace import Place
from testbed.predict.dcutr import DCUTR_QUIC, DCUTR_TCP
from testbed.predict.ladder import mapped_at
from testbed.predict.life.carried import SLACK, Carried, Span
from testbed.predict.life.expected import Course, Expected
from testbed.predict.life.path import TICK, Side
from testbed.predict.model import Model
from testbed.predict.prediction import predict
from testbed.predict.wires import ASLEEP, STATE, mends, past, require_certain

PAUSE = 0.7  # seconds before a lost connection is dialed again
DIAL = 3.0  # seconds that a dial may take: time for a SYN to be repeated
RESERVE = 2.0  # seconds until a listener that lost its relay is reserved there again


def expect(
    topology: Topology,
    behaviours: Mapping[str, Behaviour],
    course: Course,
    transport: Transport,
    *,
    redials: bool = True,
    model: Model | None = None,
) -> Expected:
    """The fate of the direct path between the dialer, a, and the listener, b, of ``topology``.

    ``behaviours``: of each router.  ``redials``: whether the stack dials again, and not a
    datagram's, which never does.  ``model``: how it dials; None: over a relay, and then an
    upgrade.  UsageError where the model has no direct path to
    begin with, and where chance decides.
    """
    require_certain(topology, course.faults)
    a, b = (topology.host(name) for name in (topology.roles.a, topology.roles.b))
    if a.network == b.network:
        raise UsageError(
            f"the model does not follow a path within one network, {a.network}", remedy=STATE
        )
    return _Life(topology, behaviours, course, transport, redials, model).expected()


class _Life:
    def __init__(
        self,
        topology: Topology,
        behaviours: Mapping[str, Behaviour],
        course: Course,
        transport: Transport,
        redials: bool,
        model: Model | None,
    ) -> None:
        self.redials = redials and transport is not Transport.UDP
        self.topology, self.behaviours = topology, behaviours
        self.course, self.transport = course, transport
        upgrade = DCUTR_TCP if transport is Transport.TCP else DCUTR_QUIC
        self.model = model or upgrade
        roles = topology.roles
        self.mapped = self._mapped({Side.A: roles.a, Side.B: roles.b})
        prepared = self._asked(topology, behaviours)
        self.old = Carried(topology, prepared, course, transport)
        self.past = past(course.faults)

    def _asked(
        self, topology: Topology, behaviours: Mapping[str, Behaviour]
    ) -> Mapping[str, Behaviour]:
        """Once both ends have asked their gateways, of a stack that does."""
        if self.model.prepares is None:
            return behaviours
        return self.model.prepares(topology, behaviours, (topology.roles.a, topology.roles.b))

    def _mapped(self, hosts: Mapping[Side, str]) -> Mapping[Side, Place]:
        """The ports that gateways have mapped for the two ends."""
        if self.model.prepares is None:
            return {}
        known = ((side, mapped_at(self.topology, self.behaviours, h)) for side, h in hosts.items())
        return {side: place for side, place in known if place is not None}

    def expected(self) -> Expected:
        began = self.old.path.establish(self.mapped)
        if began is None:
            raise UsageError("the model has no direct path to begin with")
        longest = self.old.suffer(began)
        moved = self.old.path.moved(Side.A)
        return replace(self._fate(began, longest), moved=moved)

    def _fate(self, began: float, longest: float | None) -> Expected:
        if longest is not None:
            return self.old.survives(longest)
        cut = self.past.dead
        if not self.redials or (cut and not self.old.path.served(cut)):
            return Expected(Fate.LOST, 0.0, 0.0, Ended(self.old.path.why))
        return self._again(began)

    def _again(self, began: float) -> Expected:
        if self.old.deaf and not self.old.path.reset:
            return Expected(Fate.LOST, 0.0, 0.0, Ended(self.old.path.why, After.UNNOTICED))
        if any(not mends(fault) for _, fault in self.old.todo):
            raise UsageError(
                "the model does not follow what happens to a second connection",
                remedy=STATE,
            )
        back = self._back(self._noticed(began))
        fate, after = self._final()
        why = Ended(self.old.path.why, after)
        low = max(0.0, back.low - self.old.held - 3 * TICK)
        return Expected(fate, low, back.high - self.old.held, why)

    def _noticed(self, began: float) -> Span:
        """When a knows that the connection is gone, seconds after the first fault."""
        if self.old.path.reset:
            at = self.old.path.reset - began
            return Span(at, at + SLACK / 2)
        since, patience = self.old.silent_since(), self.course.timers.patience
        return Span(since.low - began + patience, since.high - began + patience + 4 * TICK)

    def _back(self, noticed: Span) -> Span:
        """When the echo goes over the relay."""
        reserved = RESERVE + DIAL if self._unreserved else 0.0
        if (until := self.past.until) > noticed.low:
            # Of a dial that was under way when the wire was mended, nothing may come.
            return Span(until, max(noticed.high, until) + PAUSE + DIAL + SLACK + reserved)
        high = noticed.high + PAUSE + SLACK + self.old.phase
        if self.old.switched:
            high += DIAL  # a's first dial may go by the connection to the relay that it has left
        if self.old.path.moved(Side.A) and self.transport is Transport.TCP:
            # The relay's connection is dead, too: its server's RST says so, or nothing does.
            high += PAUSE + (DIAL if self.old.path.stuck else SLACK)
        return Span(noticed.low + PAUSE, high + reserved)

    @property
    def _unreserved(self) -> bool:
        """Whether the listener's reservation at the relay is gone with its connection there."""
        b = self.topology.roles.b
        way: list[Router | Host] = [self.topology.host(b), *self.topology.path_out(b)]
        used = {(node.name, node.interfaces[0].name) for node in way} | {(b, ASLEEP)}
        restarted = any(isinstance(fault, RelayRestart) for _, fault in self.course.faults)
        lost = not used.isdisjoint(map(self.old.path.ground.named, self.past.ever))
        return restarted or lost or self.old.path.moved(Side.B)

    def _final(self) -> tuple[Fate, After]:
        there = self._afterwards()
        roles, known = there.roles, dict(self.behaviours)
        for _, fault in self.course.faults:
            if isinstance(fault, LeaseLost):  # nobody asks again: they do not know
                known[fault.router] = replace(known[fault.router], port_mapping=PortMapping())
        told = predict(there, known, self.model, roles.a, roles.b, server=roles.relay)
        if told.outcome is Outcome.DIRECT:
            return Fate.DIRECT, After.UPGRADED
        return Fate.RELAYED, After.RELAYED

    def _afterwards(self) -> Topology:
        """Where everybody is in the end."""
        there = self.topology
        for _, fault in self.course.faults:
            match fault:
                case Switch(node, network):
                    there = there.switched(node, there.interface(node, network).name)
                case Roaming(host, network) if there.on(host, network):
                    there = there.switched(host, there.interface(host, network).name)
                case Roaming(host, network):
                    moved = replace(there.host(host), network=network)
                    hosts = (moved if one.name == host else one for one in there.hosts)
                    there = replace(there, hosts=tuple(hosts))
        return there
