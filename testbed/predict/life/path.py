"""A direct path between two hosts, packet by packet, through NATs that things happen to."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from testbed.errors import UsageError
from testbed.model.behaviour import Behaviour, Protocol
from testbed.model.entrance import entrance
from testbed.model.life import NoConnection, NotKnown, PathEnd, SocketStuck
from testbed.model.topology import Topology
from testbed.model.trace import Place
from testbed.predict.life.ground import Ground
from testbed.predict.wires import STATE, Wire

TICK = 0.05  # seconds between two echoes


class Side(StrEnum):
    A = "a"  # who dialed and sends the echo
    B = "b"

    @property
    def other(self) -> "Side":
        return Side.B if self is Side.A else Side.A


class Direct:
    """``heard``: when a last heard b; ``asked``: when it first sent after that;
    ``reached``: when b last heard a.

    ``owes``: b has sent what was not acknowledged.  ``reset``: when an RST came, or 0.
    ``ground``: between the two, to which things happen.
    """

    def __init__(
        self, topology: Topology, behaviours: Mapping[str, Behaviour], protocol: Protocol
    ) -> None:
        self.heard = 0.0
        self.asked = self.reached = 0.0
        self.owes = False
        self.reset = 0.0
        self.ground = Ground(topology, behaviours, protocol)
        self._topology, self._protocol = topology, protocol
        roles = topology.roles
        self._hosts = {Side.A: topology.host(roles.a).name, Side.B: topology.host(roles.b).name}
        self._places = {side: self._place(host) for side, host in self._hosts.items()}
        port = topology.port(roles.relay)
        there = entrance(topology, behaviours, roles.relay, protocol, port)
        self._relay = Place(there.node, there.port)
        self._now = 0.0
        self._stuck: set[Side] = set()  # whose socket has an address that it has no longer
        self._goes_to: dict[Side, Place] = {}  # where each side sends
        self._known: dict[Side, Place] = {}  # as the relay has seen it

    def _place(self, host: str) -> Place:
        return Place(host, self._topology.port(host))

    @property
    def why(self) -> PathEnd | None:
        """What became of the last packet that did not arrive."""
        return self.ground.why

    @property
    def stuck(self) -> bool:
        """Whether a's socket has an address that a has no longer."""
        return Side.A in self._stuck

    # -- packets ----------------------------------------------------------

    def establish(self, mapped: Mapping[Side, Place] | None = None) -> float | None:
        """Meet the relay, dial or punch, echo for a second; the time then, None if it fails.

        ``mapped``: what a gateway has mapped for each side.  The other's is dialed first.
        """
        for side in Side:
            seen = self._to_relay(0.0, side)
            if seen is None:
                return None
            self._known[side] = seen
        if not self._dialed(mapped or {}):
            self._goes_to = {Side.A: self._known[Side.B], Side.B: self._known[Side.A]}
            for side in (Side.B, Side.A):
                self._send(0.0, side)
        now = 0.0
        while now < 1.0:
            now += TICK
            works = self.beat(now, follows=False)
        return now if works else None

    def _dialed(self, mapped: Mapping[Side, Place]) -> bool:
        """Whether a gets to b by a port that b's gateway has mapped.

        UsageError where b would dial a: it were the client, and follow no new address.
        """
        if Side.B in mapped:
            self._goes_to = {Side.A: mapped[Side.B], Side.B: self._known[Side.A]}
            source = self._send(0.0, Side.A)
            if source is not None:
                self._goes_to[Side.B] = source
                return True
        if Side.A in mapped:
            raise UsageError("the model does not follow what the listener has dialed", remedy=STATE)
        return False

    def beat(self, now: float, *, follows: bool) -> bool:
        """An echo from a to b and back.  ``follows``: b answers to wherever it came from."""
        source = self._send(now, Side.A)
        if source is None:
            return False
        self.reached = now
        if source != self._goes_to[Side.B]:
            if not follows:
                self.ground.why = NoConnection(source)
                if self._answer(now, source):
                    self.reset = now
                return False
            self._goes_to[Side.B] = source
        return self._heard_by_a(now)

    def repeat(self, now: float) -> None:
        """b sends again what was not acknowledged."""
        if self.owes:
            self._heard_by_a(now)

    def refresh(self, now: float) -> None:
        """Both connections to the relay send their keepalives."""
        for side in Side:
            self._to_relay(now, side)

    def _heard_by_a(self, now: float) -> bool:
        self.owes = True
        source = self._send(now, Side.B)
        if source is None:
            return False
        if source != self._goes_to[Side.A]:
            self.ground.why = NotKnown(source)
            return False
        self.heard = now
        self.owes = False
        return True

    def _answer(self, now: float, source: Place) -> bool:
        """Whether an RST from b's kernel comes back to a."""
        kept, self._goes_to[Side.B] = self._goes_to[Side.B], source
        arrived = self._send(now, Side.B)
        self._goes_to[Side.B] = kept
        return arrived is not None

    def _send(self, now: float, side: Side) -> Place | None:
        """One packet to where ``side`` sends; the source that the other sees, if it arrives."""
        target = self._goes_to[side]
        if side is Side.A and self.asked <= self.heard:
            self.asked = now
        if side in self._stuck:
            self.ground.why = SocketStuck()
            return None
        self._now = now
        return self.ground.travel(now, self._places[side], target, self._hosts[side.other])

    def _to_relay(self, now: float, side: Side) -> Place | None:
        """A packet to the relay, and its answer; where it comes from, as the relay sees it."""
        self._now = now
        relay = self._topology.roles.relay
        seen = self.ground.travel(now, self._places[side], self._relay, relay)
        if seen is not None:
            why = self.why
            self.ground.travel(now, self._place(relay), seen, self._hosts[side])
            self.ground.why = why
        return seen

    # -- what can happen --------------------------------------------------

    def roam(self, host: str, network: str) -> None:
        """The host is elsewhere; TCP stays at the address that it began with."""
        self.ground.roam(host, network)
        if self._protocol is Protocol.TCP:
            self._stuck |= {side for side, name in self._hosts.items() if name == host}

    def moved(self, side: Side) -> bool:
        """Whether the relay would see ``side`` at another address than it saw at first."""
        with self.ground.undisturbed():
            return self._to_relay(self._now, side) != self._known[side]

    def served(self, cut: Iterable[Wire]) -> bool:
        """Whether both sides reach the relay while the wires ``cut`` carry nothing."""
        with self.ground.undisturbed(cut):
            return None not in [self._to_relay(self._now, side) for side in Side]
