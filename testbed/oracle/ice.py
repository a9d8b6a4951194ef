"""Interactive Connectivity Establishment between two full agents (RFC 8445).

Candidates: host, server-reflexive by UDP STUN, relayed by TURN over TCP port 443
(RFC 8656).  Every pair is checked; a check succeeds only if its response comes
from where the request went (section 7.2.5.2.1).  The best pair that succeeded
at both ends decides: one without a relay before any with one.
"""

from dataclasses import dataclass
from enum import IntEnum

from testbed.nat.behaviour import Protocol
from testbed.oracle import stun
from testbed.oracle.mechanisms import Outcome, Result, Setting, serve_stun, unlearned
from testbed.oracle.network import Network
from testbed.oracle.packet import Endpoint, Kind, Message, Packet
from testbed.oracle.stun import send_udp
from testbed.oracle.tcp import Connection, Program, Tcp

TURN_PORT = 443
FIRST_RELAY_PORT = 49152
AGENT_PORTS = (40001, 40002)  # ephemeral, and never the same at both ends
TURN_CLIENT_PORT = 41001
RELAY_WAIT = 1.0  # seconds that direct pairs are ahead of relayed ones, as the lab's peer does
PACE = 0.05  # seconds, Ta of section 14.2
CHECK_TIMES = (0.0, 0.5, 1.5, 3.5)  # seconds, RFC 8489 section 6.2.1
DEADLINE = 6.0
GATHERING = 3.0
CHECK = "check"
RESPONSE = "check response"
ALLOCATE = "allocate"
ALLOCATED = "allocated"
SEND = "send"
DATA = "relayed data"


class TurnServer(Program):
    """TURN over TCP: one UDP relay port for each client connection."""

    def __init__(self, network: Network, host: str, tcp: Tcp) -> None:
        self._network = network
        self._host = host
        self._tcp = tcp
        self._relays: dict[Connection, Endpoint] = {}
        self._permitted: dict[Connection, set[str]] = {}  # by address alone, RFC 8656 section 9
        tcp.listen(TURN_PORT, self)

    def opened(self, connection: Connection, _packet: Packet, /) -> None:
        self._permitted[connection] = set()

    def received(self, connection: Connection, message: Message, /) -> None:
        if message.name == ALLOCATE:
            relay = Endpoint(self._host, FIRST_RELAY_PORT + len(self._relays))
            self._relays[connection] = relay
            self._network.bind(
                self._host, Protocol.UDP, relay.port, lambda packet: self._relay(connection, packet)
            )
            self._tcp.send(connection, Message(ALLOCATED, relay))
        elif message.name == SEND and message.endpoint is not None and message.inner is not None:
            self._permitted[connection].add(message.endpoint.address)
            send_udp(self._network, self._relays[connection], message.endpoint, message.inner)

    def _relay(self, connection: Connection, packet: Packet) -> None:
        if packet.source.address in self._permitted[connection]:
            self._tcp.send(connection, Message(DATA, packet.source, inner=packet.message))


class Base(IntEnum):
    """Where a local candidate sends from; the value orders the checks."""

    HOST = 0
    RELAY = 1


@dataclass(eq=False)
class Pair:
    base: Base
    remote: Endpoint
    transaction: int
    response: Packet | None = None

    @property
    def succeeded(self) -> bool:
        return self.response is not None


class Agent(Program):
    """One end.  ``relay_only`` offers and uses no candidate but the relayed one."""

    def __init__(
        self, network: Network, host: str, server: str, port: int, *, relay_only: bool
    ) -> None:
        self._network = network
        self._server = server
        self._relay_only = relay_only
        self.local = Endpoint(host, port)
        self.reflexive: Endpoint | None = None
        self.relay: Endpoint | None = None
        self.pairs: list[Pair] = []
        self._began = float("inf")
        self._early: list[tuple[Base, Endpoint]] = []
        self._tunnel: Connection | None = None
        self._tcp = Tcp(network, host)
        network.bind(host, Protocol.UDP, port, self._receive_udp)

    # -- candidates -------------------------------------------------------

    def gather(self) -> None:
        if not self._relay_only:
            server = Endpoint(self._server, stun.PORT)
            send_udp(self._network, self.local, server, Message(stun.REQUEST))
        self._tcp.connect(TURN_CLIENT_PORT, Endpoint(self._server, TURN_PORT), self)

    @property
    def gathered(self) -> bool:
        return self.relay is not None and (self._relay_only or self.reflexive is not None)

    def candidates(self) -> list[Endpoint]:
        """What is signalled: host, server-reflexive, relayed, the best first."""
        direct = [] if self._relay_only else [self.local, self.reflexive]
        found = [candidate for candidate in (*direct, self.relay) if candidate is not None]
        return list(dict.fromkeys(found))

    def _bases(self) -> list[Base]:
        bases = [] if self._relay_only else [Base.HOST]
        return bases if self.relay is None else [*bases, Base.RELAY]

    # -- the tunnel to the relay ------------------------------------------

    def opened(self, connection: Connection, _packet: Packet, /) -> None:
        self._tunnel = connection
        self._tcp.send(connection, Message(ALLOCATE))

    def received(self, _connection: Connection, message: Message, /) -> None:
        if message.name == ALLOCATED:
            self.relay = message.endpoint
        elif message.name == DATA and self.relay is not None and message.endpoint is not None:
            inner = message.inner
            packet = Packet(
                Protocol.UDP, message.endpoint, self.relay, Kind.DATAGRAM, "relay", inner
            )
            self._receive(Base.RELAY, packet)

    def _send(self, base: Base, remote: Endpoint, message: Message) -> None:
        if base is Base.HOST:
            send_udp(self._network, self.local, remote, message)
        elif self._tunnel is not None:
            self._tcp.send(self._tunnel, Message(SEND, remote, inner=message))

    # -- connectivity checks ----------------------------------------------

    def start(self, remotes: list[Endpoint]) -> None:
        """Check every pair, one new pair each Ta; those with a relay wait."""
        self._began = self._network.now
        for index, (base, remote) in enumerate(
            (base, remote) for remote in remotes for base in self._bases()
        ):
            self._check(base, remote, index * PACE)
        for base, remote in self._early:
            self._triggered(base, remote)

    def _check(self, base: Base, remote: Endpoint, pace: float = 0.0) -> None:
        pair = Pair(base, remote, len(self.pairs))
        self.pairs.append(pair)
        start = self._network.now + pace
        if self.is_relayed(pair) and not self._relay_only:
            start = max(start, self._began + RELAY_WAIT)
        for delay in CHECK_TIMES:
            self._network.at(start + delay, lambda: self._request(pair))

    def _request(self, pair: Pair) -> None:
        if not pair.succeeded:
            self._send(pair.base, pair.remote, Message(CHECK, transaction=pair.transaction))

    def _triggered(self, base: Base, remote: Endpoint) -> None:
        """A check of a pair that only the peer's request revealed (section 7.3.1.4)."""
        if not any(pair.base is base and pair.remote == remote for pair in self.pairs):
            self._check(base, remote)

    def _receive_udp(self, packet: Packet) -> None:
        if packet.message is not None and packet.message.name == stun.RESPONSE:
            self.reflexive = packet.message.endpoint
        else:
            self._receive(Base.HOST, packet)

    def _receive(self, base: Base, packet: Packet) -> None:
        message, source = packet.message, packet.source
        if message is None or base not in self._bases():
            return
        if message.name == CHECK:
            self._send(base, source, Message(RESPONSE, transaction=message.transaction))
            if self._began <= self._network.now:
                self._triggered(base, source)
            else:
                self._early.append((base, source))
        elif message.name == RESPONSE and message.transaction < len(self.pairs):
            pair = self.pairs[message.transaction]
            if pair.base is base and pair.remote == source:
                pair.response = packet

    def is_relayed(self, pair: Pair) -> bool:
        """Whether a relay, ours or theirs, is on the way.

        Theirs is known by its address: a NAT may have rewritten its port.
        """
        return pair.base is Base.RELAY or pair.remote.address == self._server

    def valid(self, *, direct: bool) -> Pair | None:
        """The first pair that works, without a relay or with one."""
        for pair in self.pairs:
            if pair.succeeded and self.is_relayed(pair) is not direct:
                return pair
        return None


def ice(setting: Setting) -> Result:
    """Full ICE."""
    return _run(setting, relay_only=False)


def ice_relay_only(setting: Setting) -> Result:
    """ICE with hole punching switched off: the relayed candidates alone."""
    return _run(setting, relay_only=True)


def _run(setting: Setting, *, relay_only: bool) -> Result:
    network = setting.network
    TurnServer(network, setting.server, serve_stun(setting))
    dialer, listener = agents = tuple(
        Agent(network, host, setting.server, port, relay_only=relay_only)
        for host, port in zip(setting.hosts, AGENT_PORTS, strict=True)
    )
    for agent in agents:
        agent.gather()
    network.run(network.now + GATHERING, lambda: all(agent.gathered for agent in agents))
    starts = setting.starts()
    network.at(starts[0], lambda: dialer.start(listener.candidates()))
    network.at(starts[1], lambda: listener.start(dialer.candidates()))

    def works(*, direct: bool) -> bool:
        return all(agent.valid(direct=direct) is not None for agent in agents)

    network.run(min(starts) + DEADLINE, lambda: works(direct=True) or works(direct=False))
    if works(direct=True):
        return Outcome.DIRECT, _why_direct(dialer)
    failure = "direct paths are switched off" if relay_only else _why_not(setting, agents)
    if works(direct=False):
        return Outcome.RELAYED, failure
    for agent in agents:
        if agent.relay is None:
            failure += f". {agent.local.address} reaches no relay: " + setting.network.lost.get(
                (agent.local.address, Endpoint(setting.server, TURN_PORT)), "no answer"
            )
    return Outcome.NONE, failure


def _why_direct(agent: Agent) -> str:
    pair = agent.valid(direct=True)
    if pair is None or pair.response is None or not pair.response.notes:
        return "a host candidate is reachable: no NAT or filter stands between them"
    return f"the check of {pair.remote} is answered: {'; '.join(pair.response.notes)}"


def _why_not(setting: Setting, agents: tuple[Agent, ...]) -> str:
    """Why the peer's server-reflexive candidate was not reached, from either end."""
    whys: list[str] = []
    for agent, peer in (agents, agents[::-1]):
        host, target = agent.local.address, peer.reflexive
        if target is None:
            whys.append(unlearned(setting, peer.local.address, Protocol.UDP))
        elif (host, target) in setting.network.lost:
            whys.append(f"{host} to {target}: {setting.network.lost[host, target]}")
    return ". ".join(whys) or "no check between the peers was answered"
