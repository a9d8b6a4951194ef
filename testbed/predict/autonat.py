"""What AutoNAT says behind a NAT, and what is true (libp2p autonat-v1 and autonat-v2 specs).

Both versions take a *server's* dial for everybody's.  The client must have contacted
the server before it could ask, and a filter that goes by address lets that server in
for ever after: so the protocol errs, whoever implements it.  Here client, servers and
a stranger meet in the model of the NAT, and the error comes out of that.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from testbed.model.autonat_agent import UNREAD_AUTONAT, AutonatAgent
from testbed.model.behaviour import Behaviour, Protocol
from testbed.model.entrance import entrance
from testbed.model.frozen import FrozenValue
from testbed.model.statement import Statement, reachability
from testbed.model.topology import Topology
from testbed.model.trace import Place
from testbed.predict.nat import TransportNat
from testbed.predict.network import addresses_of
from testbed.predict.translation import Dropped

_FRESH_PORT = 40001  # of dial-backs and of the stranger: no port that anybody was told


class NodeVerdict(StrEnum):
    """Version 1 judges the node."""

    PUBLIC = "public"
    PRIVATE = "private"
    UNKNOWN = "unknown"


class AddressVerdict(StrEnum):
    """Version 2 judges each address."""

    REACHABLE = "reachable"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, order=True)
class Address:
    """An external address of the node: can a stranger dial it, and what does version 2 say?"""

    reachable: bool
    v2: AddressVerdict


class Reachability(FrozenValue):
    """One transport of one node.  ``addresses`` are sorted: their ports tell nothing."""

    v1: NodeVerdict
    addresses: tuple[Address, ...]

    @property
    def reachable(self) -> bool:
        """True when a stranger can dial the node somewhere."""
        return any(address.reachable for address in self.addresses)


class Prediction(FrozenValue):
    """``notes`` name every verdict that is not the truth, and what in the protocol errs."""

    outcome: Reachability
    notes: tuple[Statement, ...]


def between(
    topology: Topology,
    behaviours: Mapping[str, Behaviour],
    protocol: Protocol,
    client: AutonatAgent,
    server: AutonatAgent,
) -> Prediction:
    """Let a node of the stack ``client`` ask servers of the stack ``server``."""
    unheard = protocol is Protocol.UDP and client.resets and server.awaits
    return predict(topology, behaviours, protocol, client, adding=server.adds, heard=not unheard)


def predict(
    topology: Topology,
    behaviours: Mapping[str, Behaviour],
    protocol: Protocol,
    rules: AutonatAgent = UNREAD_AUTONAT,
    *,
    adding: bool = True,
    heard: bool = True,
) -> Prediction:
    """Let the node that plays ``a`` in ``topology`` ask the observers.

    They and the stranger are on the internet, or behind NATs of their own that lead to them.
    ``behaviours``: those of the routers, by name.
    ``adding``: to what they are asked about by version 1 they add what they observe.
    ``heard``: servers of version 2 get the answer to their nonce.

    The node's connections to the servers stay open.
    """
    return _Experiment(topology, behaviours, protocol, rules, adding=adding, heard=heard).run()


class _Way:
    """The NATs between a host and the internet, nearest first, as one."""

    def __init__(self, host: str, nats: Sequence[TransportNat]) -> None:
        self._nats = nats
        self.outermost = nats[-1].name if nats else host

    def outgoing(self, now: float, source: Place, target: Place) -> Place | None:
        """Where a packet comes from in the end; None if it does not get out."""
        for nat in self._nats:
            left = nat.outgoing(now, source, target)
            if isinstance(left, Dropped):
                return None
            source, target = left.external, left.remote
        return source

    def incoming(self, now: float, source: Place, target: Place) -> tuple[Place, Place] | None:
        """The source and the target of a packet of the internet's that got in; None: it did not."""
        for nat in reversed(self._nats):
            came = nat.incoming(now, source, target)
            if isinstance(came, Dropped):
                return None
            source, target = came.remote, came.internal
        return source, target


class _Experiment:
    """The client, its NAT, the servers and the stranger."""

    def __init__(
        self,
        topology: Topology,
        behaviours: Mapping[str, Behaviour],
        protocol: Protocol,
        rules: AutonatAgent,
        *,
        adding: bool,
        heard: bool,
    ) -> None:
        self.rules = rules
        self.adding, self.heard = adding, heard
        self.client, *self.servers = (
            Place(host, topology.port(host)) for host in (topology.roles.a, *topology.observers)
        )
        self.stranger = topology.roles.relay
        self._told: dict[Place, Place] = {}  # where a server is reached from outside
        for server in self.servers:
            at = entrance(topology, behaviours, server.address, protocol, server.port)
            self._told[server] = Place(addresses_of(topology.node(at.node))[at.number], at.port)
        nats = {
            router.name: TransportNat(
                router.name,
                protocol,
                behaviours[router.name],
                addresses_of(router, router.interfaces[0]),
                [node.name for node in topology.attached(router.lan)],
            )
            for router in topology.routers
        }
        hosts = (self.client.address, self.stranger, *topology.observers)
        self._ways = {
            host: _Way(host, [nats[router.name] for router in topology.path_out(host)])
            for host in hosts
        }
        self.way = self._ways[self.client.address]
        self._now = 0.0
        self._port = _FRESH_PORT

    def run(self) -> Prediction:
        observed = {s: seen for s in self.servers if (seen := self._contact(s)) is not None}
        counts = Counter(map(self._believed, observed.values()))
        ranked = sorted(counts, key=lambda address: (-counts[address], address))
        agreed = [address for address in ranked if counts[address] >= self.rules.agreed]
        asked = agreed[: self.rules.asked]
        v1 = self._ask_v1(observed, asked)
        v2 = {address: self._ask_v2(observed, address) for address in asked}
        tested = dict.fromkeys([*sorted(observed.values()), *asked]) or [self._unmapped()]
        addresses = [
            Address(self._dial(self.stranger, one), v2.get(one, AddressVerdict.UNKNOWN))
            for one in tested
        ]
        outcome = Reachability(v1, tuple(sorted(addresses)))
        return Prediction(outcome, tuple(self._notes(outcome, len(asked), bool(observed))))

    def _believed(self, observed: Place) -> Place:
        return Place(observed.address, self.client.port) if self.rules.own_port else observed

    def _unmapped(self) -> Place:
        """Where one would look for a node that nobody has observed."""
        return Place(self.way.outermost, self.client.port)

    def _contact(self, server: Place) -> Place | None:
        """The client connects; the address that the server observes."""
        told = self._told[server]
        left = self.way.outgoing(self._tick(), self.client, told)
        there = self._ways[server.address]
        came = None if left is None else there.incoming(self._tick(), left, told)
        if left is None or came is None or came[1] != server:
            return None
        if there.outgoing(self._tick(), server, came[0]) == told:
            self.way.incoming(self._tick(), told, left)
        return came[0]

    def _dial(self, dialer: str, address: Place) -> bool:
        """A dial from a port never used before, and the answer to it."""
        self._port += 1
        there, begun = self._ways[dialer], Place(dialer, self._port)
        source = there.outgoing(self._tick(), begun, address)
        came = None if source is None else self.way.incoming(self._tick(), source, address)
        if source is None or came is None or came[1] != self.client:
            return False
        if self.way.outgoing(self._tick(), self.client, came[0]) != address:
            return False
        back = there.incoming(self._tick(), address, source)
        return back is not None and back[1] == begun

    def _ask_v1(self, observed: dict[Place, Place], asked: Sequence[Place]) -> NodeVerdict:
        """Each server dials what it is asked about and what it observes itself."""
        dialed = {
            server: dict.fromkeys([*asked, own] if self.adding else asked)
            for server, own in observed.items()
        }
        votes = [
            any(self._dial(server.address, one) for one in addresses)
            for server, addresses in dialed.items()
            if addresses
        ]
        reached = _verdict(votes, self.rules.v1_votes)
        if reached is None:
            return NodeVerdict.UNKNOWN
        return NodeVerdict.PUBLIC if reached else NodeVerdict.PRIVATE

    def _ask_v2(self, observed: dict[Place, Place], address: Place) -> AddressVerdict:
        dialed = [self._dial(server.address, address) for server in observed]
        votes = [reached for reached in dialed if self.heard or not reached]
        reached = _verdict(votes, self.rules.v2_votes)
        if reached is None:
            return AddressVerdict.UNKNOWN
        return AddressVerdict.REACHABLE if reached else AddressVerdict.UNREACHABLE

    def _notes(self, outcome: Reachability, asked: int, contacted: bool) -> Iterator[Statement]:
        if not contacted:
            yield reachability.NoneAsked()
            return
        v2 = {(address.reachable, address.v2) for address in outcome.addresses}
        wrong: list[reachability.Version] = []
        if outcome.v1 is NodeVerdict.PUBLIC and not outcome.reachable:
            wrong.append("v1")
        if (False, AddressVerdict.REACHABLE) in v2:
            wrong.append("v2")
        if wrong:
            # In this model a server is a stranger that the client has contacted, no more.
            yield reachability.ServerOpened(tuple(wrong))
        if outcome.v1 is NodeVerdict.PRIVATE and outcome.reachable:
            yield reachability.ServersKeptOut("v1")
        if (True, AddressVerdict.UNREACHABLE) in v2:
            yield reachability.ServersKeptOut("v2")
        if outcome.v1 is NodeVerdict.UNKNOWN:
            yield reachability.TooFewAgree("v1")
        unasked = len(outcome.addresses) - asked
        if unasked > 0:
            yield reachability.NotAsked(unasked, len(outcome.addresses), asked)
        elif any(address.v2 is AddressVerdict.UNKNOWN for address in outcome.addresses):
            yield reachability.TooFewAgree("v2") if self.heard else reachability.NonceReset()

    def _tick(self) -> float:
        """A little later: an experiment is over before any timer is."""
        self._now += 0.001
        return self._now


def _verdict(votes: Sequence[bool], needed: int) -> bool | None:
    """What ``needed`` votes say; None while neither side has them, or both have."""
    yes, no = sum(votes) >= needed, len(votes) - sum(votes) >= needed
    return yes if yes != no else None
