"""The whole ladder: mapped ports, AutoNAT's proof, direct dials, then what `dcutr` does.

Each end may have a port of its gateway: that router then forwards it, and the host leaves by
it, too, unless the gateway is one that grants and does nothing of the kind.  All public nodes
that an end has met dial back the addresses by which it may be reached; what three of them
reach, it advertises, and so its mapped and its own public ones.
The dialer tries the listener's at the moment in which it asks for the circuit.  When that is
there and no direct connection is, the listener dials the dialer's; then both punch.
"""

from collections.abc import Mapping
from dataclasses import replace

from testbed.model.behaviour import Behaviour, Protocol
from testbed.model.outcome import Outcome, Rung
from testbed.model.reason import Climbed
from testbed.model.technique import Relaying
from testbed.model.topology import Router, Scope, Topology
from testbed.model.trace import Place
from testbed.predict import dcutr, dcutr_peer
from testbed.predict.model import Model, Result, Setting
from testbed.predict.network import Network
from testbed.predict.packet import Message, Packet
from testbed.predict.port_mapping import Mapped, MappedPort, granted, mapped_endpoint
from testbed.predict.public import Carrier, Observer, Relay
from testbed.predict.punching import FRESH_PORT
from testbed.predict.quic import Quic
from testbed.predict.tcp import Connection, Program, Tcp

PROVEN_BY = 3  # public nodes
DIAL_BACK = 0.9  # seconds: less than a lost SYN takes to be sent again
CIRCUIT = "circuit"
ROUND_TRIPS = 2  # over the relay until the dialer has its circuit: HOP with STOP, and Noise
LINGER = 1.0  # seconds that direct dials go on beside a circuit, if nobody dials back
LONGEST = 4.0  # seconds for a circuit


def with_mappings(
    topology: Topology, behaviours: Mapping[str, Behaviour], hosts: tuple[str, ...]
) -> dict[str, Behaviour]:
    """The behaviours once ``hosts`` have asked for the ports on which they listen: forwards."""
    found = dict(behaviours)
    for host in hosts:
        router = topology.router_serving(topology.host(host).interfaces[0].network)
        if router is None:
            continue
        behaviour = found[router.name]
        index = [node.name for node in topology.attached(router.lan)].index(host)
        port = topology.port(host)
        mapped = tuple(
            MappedPort(protocol, port, index, port, behaviour.port_mapping.mapped_outward)
            for protocol in Protocol
            if granted(behaviour, wan_is_public=_is_public(topology, router))
            and _worth(topology, router, behaviour, protocol) is not Mapped.CLOSED
        )
        replaced = {(forward.protocol, port) for forward in mapped}
        others = (f for f in behaviour.forwards if (f.protocol, f.external_port) not in replaced)
        found[router.name] = replace(behaviour, forwards=(*others, *mapped))
    return found


def mapped_at(
    topology: Topology,
    behaviours: Mapping[str, Behaviour],
    host: str,
    by: Protocol = Protocol.UDP,
) -> Place | None:
    """The port that ``host`` advertises as mapped by its router; None where it has none."""
    router = topology.router_serving(topology.host(host).interfaces[0].network)
    if router is None or not _believed(topology, router, behaviours[router.name], by):
        return None
    return Place(router.name, topology.port(host))


def _believed(topology: Topology, router: Router, behaviour: Behaviour, by: Protocol) -> bool:
    """Does the host advertise the mapped endpoint?  It trusts a grant that looks sound."""
    return _worth(topology, router, behaviour, by) in (Mapped.REACHABLE, Mapped.IDLE)


def _worth(topology: Topology, router: Router, behaviour: Behaviour, by: Protocol) -> Mapped:
    public = _is_public(topology, router)
    return mapped_endpoint(behaviour, wan_is_public=public, protocol=by, caller_port=FRESH_PORT)


def _is_public(topology: Topology, router: Router) -> bool:
    outside = next(n for n in topology.networks if n.name == router.interfaces[0].network)
    return outside.scope is Scope.PUBLIC


class Peer(dcutr_peer.Peer):
    """One end.  ``mapped``: where its router forwards from."""

    def __init__(
        self,
        network: Network,
        host: str,
        carrier: Carrier,
        mapped: tuple[Place, ...],
        *,
        leads: bool,
    ) -> None:
        super().__init__(network, host, carrier, leads=leads)
        self.proven: set[Place] = set()
        self.connected = False  # over the relay
        self.turns = 0  # of the circuit's round trips, that this end has seen
        self._mapped = mapped
        self._targets: tuple[Place, ...] = ()
        self._fresh = self.local.port if isinstance(carrier, Quic) else FRESH_PORT

    def addresses(self, threshold: int) -> tuple[Place, ...]:
        """Mapped ones, too."""
        return tuple(dict.fromkeys((*self._mapped, *super().addresses(threshold))))

    @property
    def advertised(self) -> tuple[Place, ...]:
        """What others dial: mapped, or ours without translation, or proven."""
        seen = super().addresses(1)
        good = (a for a in seen if a == self.local or a in self.proven)
        return tuple(dict.fromkeys((*self._mapped, *good)))

    def begin(self, targets: tuple[Place, ...]) -> None:
        """A dials all that B offers, over TCP from a fresh port, and asks for the circuit."""
        self._targets = targets
        for target in targets:
            self._carrier.connect(self._fresh, target, self)
        self._signal(Message(CIRCUIT))

    def signalled(self, message: Message) -> None:
        if message.name != CIRCUIT:
            super().signalled(message)
            return
        self.turns += 1
        needed = ROUND_TRIPS + 1 if self._leads else ROUND_TRIPS  # Noise has a third message, for B
        self.connected = self.turns >= needed
        if self._leads or self.turns <= ROUND_TRIPS:
            self._signal(Message(CIRCUIT))

    def linger(self) -> None:
        """A has a circuit: direct dials end, at once where B will dial back."""
        if self.advertised:
            self._give_up()
        else:
            self._network.at(self._network.now + LINGER, self._give_up)

    def _give_up(self) -> None:
        for target in self._targets:
            self._carrier.abandon(self._fresh, target)


class DialBack(Program):
    """A public node that looks whether an address can be reached."""

    def __init__(self) -> None:
        self.reached = False

    def opened(self, _connection: Connection, _packet: Packet, /) -> None:
        self.reached = True


def ladder_tcp(setting: Setting) -> Result:
    """Everything over TCP."""
    return _Run(setting, Protocol.TCP).climb()


def ladder_quic(setting: Setting) -> Result:
    """Everything over QUIC."""
    return _Run(setting, Protocol.UDP).climb()


def rented_tcp(setting: Setting) -> Result:
    """Everything over TCP; a relay that sells forwarding is paid."""
    return _paid(ladder_tcp(setting))


def rented_quic(setting: Setting) -> Result:
    """Everything over QUIC; a relay that sells forwarding is paid."""
    return _paid(ladder_quic(setting))


def _paid(result: Result) -> Result:
    """Buying asks for no other packets than being relayed: the way is the same."""
    return result._replace(rung=Rung.RENTED) if result.rung is Rung.RELAYED else result


class _Run:
    """The ends, the public nodes, and what they do in order."""

    def __init__(self, setting: Setting, protocol: Protocol) -> None:
        self.setting, self.protocol, self.network = setting, protocol, setting.network
        observers = [n for n in self.network.topology.observers if n not in setting.hosts]
        self.public = {name: self._carrier(name) for name in (setting.server, *observers)}
        Relay(self.public[setting.server], setting.port(setting.server))
        for name in observers:
            Observer(self.public[name], setting.port(name))
        self.a = self._peer(setting.dialer, leads=False)
        self.b = self._peer(setting.listener, leads=True)
        self._fresh = FRESH_PORT

    def _carrier(self, host: str) -> Carrier:
        if self.protocol is Protocol.TCP:
            return Tcp(self.network, host)
        return Quic(self.network, host, self.setting.port(host), self.setting.opening(host))

    def _peer(self, host: str, *, leads: bool) -> Peer:
        network = self.network
        place = mapped_at(network.topology, network.behaviours, host, self.protocol)
        mapped = () if place is None else (place,)
        return Peer(network, host, self._carrier(host), mapped, leads=leads)

    def climb(self) -> Result:
        a, b = self.a, self.b
        for peer in (a, b):
            peer.meet(self.setting.server, [n for n in self.public if n != self.setting.server])
        self.network.run(self.network.now + dcutr_peer.PATIENCE, lambda: a.met and b.met)
        if unmet := dcutr.unmet(self.setting, a, b):
            return Result(Outcome.NONE, unmet)
        self._prove()
        return self._dial() or self._upgrade() or self._stay()

    def _prove(self) -> None:
        """Every public node dials back every address of both ends, each from a fresh port."""
        asked: list[tuple[Peer, Place, DialBack, Carrier, int]] = []
        for peer in (self.a, self.b):
            for name, carrier in self.public.items():
                for address in peer.addresses(1):
                    self._fresh += 1
                    if self.protocol is Protocol.UDP:
                        carrier = Quic(self.network, name, self._fresh, self.setting.opening(name))
                    asked.append((peer, address, DialBack(), carrier, self._fresh))
        for _, address, program, carrier, port in asked:
            carrier.connect(port, address, program)
        self.network.run(self.network.now + DIAL_BACK)
        votes: dict[tuple[Peer, Place], list[bool]] = {}
        for peer, address, program, carrier, port in asked:
            carrier.abandon(port, address)
            votes.setdefault((peer, address), []).append(program.reached)
        for (peer, address), cast in votes.items():
            if sum(cast) >= PROVEN_BY > len(cast) - sum(cast):
                peer.proven.add(address)
            peer.via = None

    def _there(self) -> bool:
        return self.a.direct and self.b.direct

    def _dial(self) -> Result | None:
        self.a.begin(self.b.advertised)
        end = self.network.now + LONGEST
        self.network.run(end, lambda: self._there() or self.a.connected)
        if not self._there():
            self.a.linger()
            self.network.run(end, lambda: self._there() or self.b.connected)
        return self._direct(Rung.DIRECT) if self._there() else None

    def _upgrade(self) -> Result | None:
        """B dials A's addresses, and meanwhile begins to punch."""
        if self.a.advertised:
            self.b.reverse(self.a.advertised)
        for _ in range(dcutr.ATTEMPTS):
            self.b.lead()
            limit = self.network.now + dcutr_peer.SIGNALLING + dcutr_peer.PUNCHING
            self.network.run(limit, lambda: self._there() or self.network.now >= self.b.until)
            if self._there():
                return self._direct(Rung.PUNCHED if self.b.synced else Rung.REVERSED)
        return None

    def _direct(self, rung: Rung) -> Result:
        reason = Climbed(rung, dcutr.why(self.a, self.b))
        return Result(Outcome.DIRECT, reason, rung)

    def _stay(self) -> Result:
        both_dial = self.protocol is Protocol.TCP
        reason = dcutr.why_not(self.setting, self.a, self.b, both_dial=both_dial)
        return Result(Outcome.RELAYED, reason, Rung.RELAYED)


LADDER_TCP = Model(
    name="ladder_tcp",
    protocol="tcp",
    relaying=Relaying.CIRCUIT,
    run=ladder_tcp,
    prepares=with_mappings,
)
LADDER_QUIC = replace(LADDER_TCP, name="ladder_quic", protocol="udp", run=ladder_quic)
RENTED_TCP = replace(LADDER_TCP, name="rented_tcp", run=rented_tcp)
RENTED_QUIC = replace(LADDER_QUIC, name="rented_quic", run=rented_quic)
