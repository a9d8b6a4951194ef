"""A direct path between two hosts, packet by packet, through NATs that things happen to."""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

from testbed.model.behaviour import Allocation, Behaviour, Hairpin, Protocol
from testbed.model.entrance import entrance
from testbed.model.life import NobodyAt, NoConnection, NotKnown, PathEnd, Shut, SocketStuck
from testbed.model.reason import NoHairpin, Place
from testbed.model.topology import Host, Router, Topology
from testbed.predict.nat import TransportNat
from testbed.predict.network import addresses_of
from testbed.predict.translation import Dropped

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
    ``why``: what became of the last packet that did not arrive.
    """

    def __init__(
        self, topology: Topology, behaviours: Mapping[str, Behaviour], protocol: Protocol
    ) -> None:
        self.heard = 0.0
        self.asked = self.reached = 0.0
        self.owes = False
        self.reset = 0.0
        self.why: PathEnd | None = None
        self._topology, self._behaviours, self._protocol = topology, behaviours, protocol
        self._uplinks = {router.name: router.interfaces[0] for router in topology.routers}
        self._nats = {
            router.name: self._nat(router.name, addresses_of(router, router.interfaces[0]))
            for router in topology.routers
        }
        self._where = {host.name: host.interfaces[0].network for host in topology.hosts}
        self._beside: dict[str, set[str]] = {host.name: set() for host in topology.hosts}
        roles = topology.roles
        self._hosts = {Side.A: topology.host(roles.a).name, Side.B: topology.host(roles.b).name}
        self._places = {side: self._place(host) for side, host in self._hosts.items()}
        port = topology.port(roles.relay)
        there = entrance(topology, behaviours, roles.relay, protocol, port)
        self._relay = Place(there.node, there.port)
        self._closed: dict[str, float] = {}  # router -> when it forwards again
        self._cut: set[str] = set()  # nodes whose first wires carry nothing
        self._asleep: set[str] = set()
        self._generation = 0
        self._now = 0.0
        self._stuck: set[Side] = set()  # whose socket has an address that it has no longer
        self._goes_to: dict[Side, Place] = {}  # where each side sends
        self._known: dict[Side, Place] = {}  # as the relay has seen it

    def _place(self, host: str) -> Place:
        return Place(host, self._topology.port(host))

    def _nat(self, name: str, external: tuple[str, ...]) -> TransportNat:
        router = self._topology.node(name)
        assert isinstance(router, Router)
        inside = [node.name for node in self._topology.attached(router.lan)]
        return TransportNat(name, self._protocol, self._behaviours[name], external, inside)

    @property
    def stuck(self) -> bool:
        """Whether a's socket has an address that a has no longer."""
        return Side.A in self._stuck

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
        self.reached = now
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
        if side in self._stuck:
            self.why = SocketStuck()
            return None
        return self._travel(now, self._places[side], target, self._hosts[side.other])

    def _to_relay(self, now: float, side: Side) -> Place | None:
        """A packet to the relay, and its answer; where it comes from, as the relay sees it."""
        self._now = now
        relay = self._topology.roles.relay
        seen = self._travel(now, self._places[side], self._relay, relay)
        if seen is not None:
            why = self.why
            self._travel(now, self._place(relay), seen, self._hosts[side])
            self.why = why
        return seen

    # -- the way ----------------------------------------------------------

    def _travel(self, now: float, source: Place, target: Place, whose: str) -> Place | None:
        """A packet from where ``source`` is; its source, as the host ``whose`` sees it.

        None where it goes elsewhere or no further, which ``why`` tells.
        """
        self._now = now
        host, aim = source.address, target
        if self._shut(now, host):
            return None
        network, entered = self._where[host], False
        while True:
            owner = self._owner(network, target.address)
            gateway = self._topology.router_serving(network)
            if isinstance(owner, Host) and owner.name == whose:
                return None if self._shut(now, whose) else source
            if isinstance(owner, Host) or (owner is None and (entered or gateway is None)):
                self.why = NobodyAt(aim)
                return None
            router = owner or gateway
            assert isinstance(router, Router)
            hairpin = owner is None and target.address in self._nats[router.name].addresses
            if self._shut(now, router.name, wire=not hairpin):
                return None
            left = None if owner else self._out(now, router, source, target)
            if left is not None:
                source, target = left
            if owner is not None or (left and hairpin):
                came = self._in(now, router, source, target, filtered=owner is not None)
                if came is None:
                    return None
                source, target = came
                network, entered = router.lan, True
            elif left is None:
                return None
            else:
                network = self._uplinks[router.name].network

    def _out(
        self, now: float, router: Router, source: Place, target: Place
    ) -> tuple[Place, Place] | None:
        """Source and target of a packet that ``router`` sends on from its inside."""
        nat = self._nats[router.name]
        if target.address in nat.addresses:
            if nat.behaviour.hairpin is Hairpin.NONE:
                self.why = NoHairpin(router.name)
                return None
            if nat.behaviour.hairpin is not Hairpin.EXTERNAL_SOURCE:
                return source, target
        leaves = nat.outgoing(now, source, target)
        if isinstance(leaves, Dropped):
            self.why = leaves.why
            return None
        return leaves.external, leaves.remote

    def _in(
        self, now: float, router: Router, source: Place, target: Place, *, filtered: bool
    ) -> tuple[Place, Place] | None:
        """Source and target of a packet that ``router`` sends on to its inside."""
        enters = self._nats[router.name].incoming(now, source, target, filtered=filtered)
        if isinstance(enters, Dropped):
            self.why = enters.why
            return None
        return enters.remote, enters.internal

    def _shut(self, now: float, node: str, *, wire: bool = True) -> bool:
        """Whether nothing passes the node, or its wire, if the packet takes that."""
        shut = self._closed.get(node, 0.0) > now or (wire and self._dead(node))
        if shut:
            self.why = Shut(node)
        return shut

    def _dead(self, node: str) -> bool:
        """Whether its first wire carries nothing, and it goes by that one."""
        found = self._topology.node(node)
        first = next(one.network for one in found.interfaces if one.number == 0)
        router = isinstance(found, Router)
        if node in self._asleep:
            return True
        return node in self._cut and first == (
            self._uplinks[node].network if router else self._where[node]
        )

    def _owner(self, network: str, address: str) -> Host | Router | None:
        """Who on ``network`` takes packets for ``address``."""
        return next((node for node, taken in self._on(network) if address in taken), None)

    def _on(self, network: str) -> Iterator[tuple[Host | Router, tuple[str, ...]]]:
        """The nodes on ``network``, with the addresses whose packets they take."""
        for host in self._topology.hosts:
            if self._where[host.name] == network or network in self._beside[host.name]:
                yield host, addresses_of(host)
        for router in self._topology.routers:
            if self._uplinks[router.name].network == network:
                yield router, self._nats[router.name].addresses
                if not self._behaviours[router.name].translates:
                    yield router, tuple(one for _, all_ in self._on(router.lan) for one in all_)

    # -- what can happen --------------------------------------------------

    def forget(self, now: float, router: str) -> None:
        """All mappings are gone."""
        self._renew(now, router, self._nats[router].addresses)

    def readdress(self, now: float, router: str) -> None:
        """All mappings are gone, and so is the address."""
        self._generation += 1
        _, *more = self._nats[router].addresses
        self._renew(now, router, (f"{router}#{len(more) + self._generation}", *more))

    def _renew(self, now: float, router: str, addresses: tuple[str, ...]) -> None:
        nat = self._nat(router, addresses)
        behaviour = self._behaviours[router]
        if behaviour.transport(self._protocol).allocation is Allocation.RANDOM:
            # The model draws its ports in order: let another have the first one.
            self._generation += 1
            for n in range(self._generation):
                nat.outgoing(now, Place(f"other-{n}", self._relay.port), self._relay)
        self._nats[router] = nat

    def pause(self, router: str, until: float) -> None:
        """It forwards nothing until then."""
        self._closed[router] = until

    def cut(self, nodes: Iterable[str], asleep: Iterable[str]) -> None:
        """These are the nodes whose first wires carry nothing, or none of them, of who sleeps."""
        self._cut, self._asleep = set(nodes), set(asleep)

    def roam(self, host: str, network: str) -> None:
        """The host is elsewhere; TCP stays at the address that it began with."""
        self._beside[host].clear()
        self._where[host] = network
        if self._protocol is Protocol.TCP:
            self._stuck |= {side for side, name in self._hosts.items() if name == host}

    def switch(self, now: float, node: str, network: str) -> None:
        """The node goes by its interface on ``network``; TCP's socket stays where it is."""
        found = self._topology.node(node)
        if isinstance(found, Router):
            uplink = next(one for one in found.interfaces if one.network == network)
            self._uplinks[node] = uplink
            self._renew(now, node, addresses_of(found, uplink))
        elif self._protocol is not Protocol.TCP:
            self._beside[node].add(self._where[node])  # where it still hears
            self._where[node] = network

    def moved(self, side: Side) -> bool:
        """Whether the relay would see ``side`` at another address than it saw at first."""
        was, self._closed = (self._closed, self._cut, self._asleep), {}
        self.cut((), ())
        seen = self._to_relay(self._now, side)
        self._closed, self._cut, self._asleep = was
        return seen != self._known[side]

    def served(self, cut: Iterable[str]) -> bool:
        """Whether both sides reach the relay while the wires of the nodes ``cut`` are."""
        was, self._closed = (self._closed, self._cut, self._asleep), {}
        self.cut(cut, ())
        seen = [self._to_relay(self._now, side) for side in Side]
        self._closed, self._cut, self._asleep = was
        return None not in seen
