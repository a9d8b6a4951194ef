"""Where everybody is, through which NATs their packets go, and which wires carry nothing."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from testbed.model.behaviour import Allocation, Behaviour, Hairpin, Protocol
from testbed.model.life import NobodyAt, PathEnd, Shut
from testbed.model.topology import Host, Router, Topology
from testbed.model.trace import NoHairpin, Place
from testbed.predict.nat import TransportNat
from testbed.predict.network import addresses_of
from testbed.predict.port_mapping import MappedPort
from testbed.predict.translation import Dropped
from testbed.predict.wires import ASLEEP, Wire

SOMEBODY = Place("somebody", 9)  # to whom others send
ROAMING = "wifi0"  # the interface that a host gets where it has none


class Ground:
    """``why``: what became of the last packet that did not arrive."""

    def __init__(
        self, topology: Topology, behaviours: Mapping[str, Behaviour], protocol: Protocol
    ) -> None:
        self.why: PathEnd | None = None
        self._topology, self._behaviours, self._protocol = topology, dict(behaviours), protocol
        self._uplinks = {router.name: router.interfaces[0] for router in topology.routers}
        self._nats = {
            router.name: self._nat(router.name, addresses_of(router, router.interfaces[0]))
            for router in topology.routers
        }
        self._by = {host.name: host.interfaces[0].name for host in topology.hosts}
        self._where = {host.name: host.interfaces[0].network for host in topology.hosts}
        self._beside: dict[str, set[str]] = {host.name: set() for host in topology.hosts}
        self._closed: dict[str, float] = {}  # router -> when it forwards again
        self._cut: set[Wire] = set()  # the wires that carry nothing
        self._asleep: set[str] = set()
        self._generation = 0

    def _nat(self, name: str, external: tuple[str, ...]) -> TransportNat:
        router = self._topology.node(name)
        assert isinstance(router, Router)
        inside = [node.name for node in self._topology.attached(router.lan)]
        return TransportNat(name, self._protocol, self._behaviours[name], external, inside)

    # -- the way ----------------------------------------------------------

    def travel(self, now: float, source: Place, target: Place, whose: str) -> Place | None:
        """A packet from where ``source`` is; its source, as the host ``whose`` sees it.

        None where it goes elsewhere or no further, which ``why`` tells.
        """
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
        """Whether the wire that it goes by carries nothing."""
        by = self._uplinks[node].name if node in self._uplinks else self._by[node]
        return node in self._asleep or (node, by) in self._cut

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
                nat.outgoing(now, Place(f"other-{n}", 1), SOMEBODY)
        self._nats[router] = nat

    def lose_leases(self, router: str) -> None:
        """What its gateway has mapped leads nowhere; what flows, flows on."""
        behaviour = self._behaviours[router]
        forwards = tuple(one for one in behaviour.forwards if not isinstance(one, MappedPort))
        self._behaviours[router] = replace(behaviour, forwards=forwards)
        self._nats[router].unmap()

    def pause(self, router: str, until: float) -> None:
        """It forwards nothing until then."""
        self._closed[router] = until

    def cut(self, wires: Iterable[Wire], asleep: Iterable[str]) -> None:
        """These are the wires that carry nothing, and the hosts none of whose wires does."""
        self._cut, self._asleep = {self.named(wire) for wire in wires}, set(asleep)

    def named(self, wire: Wire) -> Wire:
        """A node's first one has no name in a fault that does not say which."""
        node, interface = wire
        return node, interface or self._topology.wires_of(node)[0].name

    @contextmanager
    def undisturbed(self, cut: Iterable[Wire] = ()) -> Iterator[None]:
        """As if nobody slept and no router paused, and only the wires ``cut`` were dead."""
        was = self._closed, self._cut, self._asleep
        self._closed = {}
        wires = tuple(cut)
        self.cut(wires, (node for node, by in wires if by == ASLEEP))
        try:
            yield
        finally:
            self._closed, self._cut, self._asleep = was

    def roam(self, host: str, network: str) -> None:
        """The host is elsewhere, by an interface that it has there or by one that it gets."""
        self._beside[host].clear()
        self._where[host] = network
        here = self._topology.on(host, network)
        self._by[host] = self._topology.interface(host, network).name if here else ROAMING

    def switch(self, now: float, node: str, to: str) -> None:
        """The node goes by its interface ``to``; TCP's socket stays where it is."""
        found, chosen = self._topology.node(node), self._topology.interface(node, to)
        if isinstance(found, Router):
            self._uplinks[node] = chosen
            self._renew(now, node, addresses_of(found, chosen))
        elif self._protocol is not Protocol.TCP:
            self._beside[node].add(self._where[node])  # where it still hears
            self._where[node], self._by[node] = chosen.network, chosen.name
