"""A direct path between two hosts, packet by packet, through NATs that things happen to."""

from collections.abc import Mapping
from enum import StrEnum

from testbed.model.behaviour import Allocation, Behaviour, Protocol
from testbed.model.life import NobodyAt, NoConnection, NotKnown, PathEnd, Shut, SocketStuck
from testbed.model.reason import Place
from testbed.model.topology import Topology
from testbed.predict.nat import TransportNat
from testbed.predict.translation import Dropped

TICK = 0.05  # seconds between two echoes
SERVER = "server"


class Side(StrEnum):
    A = "a"  # who dialed and sends the echo
    B = "b"


class Direct:
    """``heard``: when a last heard b; ``asked``: when it first sent after that.

    ``owes``: b has sent what was not acknowledged.  ``reset``: when an RST came, or 0.
    ``why``: what became of the last packet that did not arrive.
    """

    def __init__(
        self, topology: Topology, behaviours: Mapping[str, Behaviour], protocol: Protocol
    ) -> None:
        self.heard = 0.0
        self.asked = 0.0
        self.owes = False
        self.reset = 0.0
        self.why: PathEnd | None = None
        self._behaviours, self._protocol = behaviours, protocol
        self._nats = {r.name: self._nat(r.name, 0) for r in topology.routers}
        self._home = {side: topology.path_out(side)[0].name for side in Side}
        self._places = {side: Place(side, topology.port(side)) for side in Side}
        self._relay = Place(SERVER, topology.port(SERVER))
        self._closed: dict[str, float] = {}  # router -> when it forwards again
        self._generation = 0
        self._now = 0.0
        self.stuck = False  # a's socket has an address that a has no longer
        self._goes_to: dict[Side, Place] = {}  # where each side sends
        self._known: dict[Side, Place] = {}  # as the relay has seen it

    def _nat(self, name: str, address: int) -> TransportNat:
        external = name if not address else f"{name}#{address}"
        return TransportNat(name, self._protocol, self._behaviours[name], (external,), ("lan",))

    # -- packets ----------------------------------------------------------

    def establish(self) -> float | None:
        """Meet the relay, punch, echo for a second; the time then, None if it does not work."""
        for side in Side:
            seen = self._to_relay(0.0, side)
            if seen is None:
                return None
            self._known[side] = seen
        self._goes_to = {Side.A: self._known[Side.B], Side.B: self._known[Side.A]}
        for side in (Side.B, Side.A):
            self._send(0.0, side)
        now = 0.0
        while now < 1.0:
            now += TICK
            works = self.beat(now, follows=False)
        return now if works else None

    def beat(self, now: float, *, follows: bool) -> bool:
        """An echo from a to b and back.  ``follows``: b answers to wherever it came from."""
        source = self._send(now, Side.A)
        if source is None:
            return False
        if source != self._goes_to[Side.B]:
            if not follows:
                self.why = NoConnection(source)
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
            self.why = NotKnown(source)
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
        if side is Side.A and self.stuck:
            self.why = SocketStuck()
            return None
        external = self._out(now, side, target)
        other = Side.B if side is Side.A else Side.A
        router = target.address.partition("#")[0]
        nat = self._nats[router]
        if external is None:
            return None
        if target.address not in nat.addresses or self._home[other] != router:
            self.why = NobodyAt(target)
            return None
        if self._closed.get(router, 0.0) > now:
            self.why = Shut(router)
            return None
        enters = nat.incoming(now, external, target)
        if isinstance(enters, Dropped):
            self.why = enters.why
            return None
        return enters.remote

    def _out(self, now: float, side: Side, target: Place) -> Place | None:
        self._now = now
        router = self._home[side]
        if self._closed.get(router, 0.0) > now:
            self.why = Shut(router)
            return None
        leaves = self._nats[router].outgoing(now, self._places[side], target)
        if isinstance(leaves, Dropped):
            self.why = leaves.why
            return None
        return leaves.external

    def _to_relay(self, now: float, side: Side) -> Place | None:
        external = self._out(now, side, self._relay)
        if external is not None:
            self._nats[self._home[side]].incoming(now, self._relay, external)
        return external

    # -- what can happen --------------------------------------------------

    def forget(self, now: float, router: str) -> None:
        """All mappings are gone."""
        self._renew(now, router, self._nats[router].addresses[0])

    def readdress(self, now: float, router: str) -> None:
        """All mappings are gone, and so is the address."""
        self._generation += 1
        self._renew(now, router, f"{router}#{self._generation}")

    def _renew(self, now: float, router: str, address: str) -> None:
        behaviour = self._behaviours[router]
        nat = TransportNat(router, self._protocol, behaviour, (address,), ("lan",))
        if behaviour.transport(self._protocol).allocation is Allocation.RANDOM:
            # The model draws its ports in order: let another have the first one.
            self._generation += 1
            for n in range(self._generation):
                nat.outgoing(now, Place(f"other-{n}", self._relay.port), self._relay)
        self._nats[router] = nat

    def pause(self, router: str, until: float) -> None:
        """It forwards nothing until then."""
        self._closed[router] = until

    def roam(self, router: str) -> None:
        """a is behind another router; TCP stays at the address that it began with."""
        self.stuck = self._protocol is Protocol.TCP
        self._home[Side.A] = router

    def moved(self, side: Side) -> bool:
        """Whether the relay would see ``side`` at another address than it saw at first."""
        closed, self._closed = self._closed, {}
        seen = self._to_relay(self._now, side)
        self._closed = closed
        return seen != self._known[side]
