"""Interactive Connectivity Establishment between two full agents (RFC 8445).

Candidates: host, server-reflexive by UDP STUN, relayed by TURN over TCP port 443
(RFC 8656).  Every pair is checked; a check succeeds only if its response comes
from where the request went (section 7.2.5.2.1).  The dialer controls and nominates a
pair, which the listener takes when its own check of it has succeeded.  How an agent
goes about it is data, `testbed.model.ice_agent`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import NamedTuple

from testbed.model.behaviour import Protocol
from testbed.model.ice_agent import IceAgent, Nomination
from testbed.model.outcome import Outcome
from testbed.model.reason import (
    CheckAnswered,
    DirectOff,
    GaveUp,
    Lost,
    NoRelay,
    NotEvenRelayed,
    Silence,
    Unlearned,
    WayLost,
)
from testbed.model.technique import Relaying
from testbed.model.trace import Place
from testbed.predict import stun, turn
from testbed.predict.model import Model, Result, Setting
from testbed.predict.network import addresses_of
from testbed.predict.packet import Message, Packet
from testbed.predict.punching import serve_stun, unlearned
from testbed.predict.stun import send_udp
from testbed.predict.tcp import Tcp

AGENT_PORTS = (40001, 40002)  # ephemeral, and never the same at both ends
INTERFACES_APART = 10  # from one's ephemeral port to the next one's
REFLEXIVE_OFFSET = 2000  # from there to the port of a server-reflexive candidate's own socket
DEADLINE = 6.0
GATHERING = 3.0
CHECK = "check"
NOMINATION = "nominating check"  # with USE-CANDIDATE
RESPONSE = "check response"


class Kind(IntEnum):
    """What a local candidate is; the value orders the checks."""

    HOST = 0
    REFLEXIVE = 1  # where the server-reflexive candidate has a socket of its own
    RELAY = 2


class Base(NamedTuple):
    """Where a local candidate sends from; ``interface`` is a number, the preferred one's 0."""

    kind: Kind
    interface: int = 0


RELAY = Base(Kind.RELAY)


@dataclass(eq=False)
class Pair:
    """``nominating``: by our checks of it; ``nominated``: by theirs."""

    base: Base
    remote: Place
    transaction: int
    starts: float = float("inf")  # not yet begun with
    gives_up: float = float("inf")
    attempt: int = 0  # a new series of checks ends the one before
    response: Packet | None = None
    nominating: bool = False
    nominated: bool = False

    @property
    def succeeded(self) -> bool:
        return self.response is not None


class Agent:
    """One end.  ``relay_only`` offers and uses no candidate but the relayed one."""

    def __init__(self, setting: Setting, end: int, *, relay_only: bool) -> None:
        host, port = setting.hosts[end], AGENT_PORTS[end]
        self._network = setting.network
        self._server = setting.server
        self._as: IceAgent = setting.agents[end]
        self._controlled = end  # an index, of what differs between the two roles
        self._relay_only = relay_only
        self._locals = [
            Place(address, port + number * INTERFACES_APART)
            for number, address in enumerate(_addresses(setting, end))
        ]
        self.local = self._locals[0]
        self._reflexive: dict[int, Place] = {}  # by interface
        self.pairs: list[Pair] = []
        self.selected: Pair | None = None
        self._gathering = True
        self._began = float("inf")
        self._theirs: list[Place] = []  # what was signalled, but for the relayed one
        self._their_relay: Place | None = None
        self._early: list[tuple[Base, Packet]] = []
        self._waiting: list[Pair] = []  # for a permission, before they are begun with
        self._turn = turn.TurnClient(Tcp(self._network, host), self._receiver(RELAY), self._begin)
        self._sockets = {Base(Kind.HOST, n): local for n, local in enumerate(self._locals)}
        if self._as.reflexive_socket:
            self._sockets |= {
                Base(Kind.REFLEXIVE, n): Place(local.address, local.port + REFLEXIVE_OFFSET)
                for n, local in enumerate(self._locals)
            }
        for base, socket in self._sockets.items():
            self._network.bind(host, Protocol.UDP, socket.port, self._receiver(base))

    # -- candidates -------------------------------------------------------

    def gather(self) -> None:
        if not self._relay_only:
            for number, local in enumerate(self._locals):
                asking = self._sockets.get(Base(Kind.REFLEXIVE, number), local)
                heard = partial(self._reflexive.__contains__, number)
                stun.ask(self._network, asking, self._server, heard)
        self._turn.allocate(self._network.entrance(self._server, Protocol.TCP, turn.PORT))

    def offer(self) -> None:
        """What has not come by now is no candidate."""
        self._gathering = False
        self._turn.settle()

    @property
    def reflexive(self) -> Place | None:
        """By the preferred interface."""
        return self._reflexive.get(0)

    @property
    def relay(self) -> Place | None:
        return self._turn.relay

    @property
    def gathered(self) -> bool:
        known = self._relay_only or len(self._reflexive) == len(self._locals)
        return self.relay is not None and known

    def candidates(self) -> list[Place]:
        """What is signalled: host, server-reflexive, relayed, the best first."""
        direct = [] if self._relay_only else [*self._locals, *self._reflexive.values()]
        found = direct if self.relay is None else [*direct, self.relay]
        return list(dict.fromkeys(found))

    def _bases(self) -> list[Base]:
        numbers = range(0 if self._relay_only else len(self._locals))
        bases = [Base(Kind.HOST, number) for number in numbers]
        if self._as.reflexive_socket:
            bases += [Base(Kind.REFLEXIVE, n) for n in numbers if n in self._reflexive]
        return bases if self.relay is None else [*bases, RELAY]

    def _send(self, base: Base, remote: Place, message: Message) -> None:
        if base == RELAY:
            self._turn.send(remote, message)
        else:
            send_udp(self._network, self._sockets[base], remote, message)

    # -- connectivity checks ----------------------------------------------

    def start(self, peer: "Agent") -> None:
        """Check every pair with what ``peer`` signalled, one new pair each pace; then heed who

        was earlier.
        """
        self._began, self._their_relay = self._network.now, peer.relay
        remotes = peer.candidates()
        self._theirs = [one for one in remotes if one != peer.relay]
        for remote in remotes:
            self._waiting += [self._pair(base, remote) for base in self._bases()]
        if self._as.by_priority:
            self._waiting.sort(key=self.is_relayed)
        self._network.at(self._began + self._as.begins, self._begin)
        for base, packet in self._early:
            self._heed(base, packet)
        if not self._controlled and self._as.nomination is not Nomination.FIRST:
            self._nominate()

    def _begin(self) -> None:
        """Check what was not checked yet, as far as no permission must be awaited."""
        for index in range(len(self._waiting)):
            pair = self._waiting.pop(0)
            self._check(pair, index * self._as.pace)
            unpermitted = pair.base == RELAY and not self._turn.may_send(pair.remote)
            if unpermitted and self._as.awaits_permissions:
                return

    def _pair(self, base: Base, remote: Place) -> Pair:
        self.pairs.append(Pair(base, remote, len(self.pairs)))
        return self.pairs[-1]

    def _check(self, pair: Pair, wait: float = 0.0) -> None:
        """A series of requests, in place of what was planned for the pair."""
        pair.starts = self._network.now + wait
        if self.is_relayed(pair) and not self._relay_only:
            pair.starts = max(pair.starts, self._began + self._as.relays_wait)
        pair.gives_up = pair.starts + self._as.gives_up
        pair.attempt += 1
        attempt = pair.attempt
        for delay in self._as.checks:
            self._network.at(pair.starts + delay, lambda: self._request(pair, attempt))

    def _request(self, pair: Pair, attempt: int) -> None:
        answered = pair.succeeded and not pair.nominating
        if answered or attempt != pair.attempt or self.selected is not None:
            return
        nominating = pair.nominating or self._as.nomination is Nomination.FIRST
        name = NOMINATION if nominating and not self._controlled else CHECK
        self._send(pair.base, pair.remote, Message(name, transaction=pair.transaction))

    def _nominate(self) -> None:
        """Look for a pair to nominate, again and again."""
        best = self._best()
        if best is not None:
            best.nominating = True
            self._check(best)
        elif self._network.now < self._began + DEADLINE:
            self._network.at(self._network.now + self._as.tick, self._nominate)

    def _best(self) -> Pair | None:
        """What regular nomination settles on by now (section 8.1.1)."""
        now = self._network.now
        valid = [pair for pair in self.pairs if pair.succeeded]
        if not valid:
            return None
        best = min(valid, key=self.is_relayed)
        if self._as.nomination is Nomination.BEST:
            patient = self.is_relayed(best) and not self._relay_only
            return best if not patient or now >= self._began + self._as.relays_accepted else None
        under_way = any(not pair.succeeded and now < pair.gives_up for pair in self.pairs)
        return best if len(valid) > 1 or not under_way else None

    def _heed(self, base: Base, packet: Packet) -> None:
        """A request of the other side may trigger a check of ours (section 7.3.1.4)."""
        pair = self._find(base, packet.source)
        if pair is None:
            bases = self._bases() if self._as.pairs_with_all else [base]
            new = {one: self._pair(one, packet.source) for one in bases}
            for one in new.values():
                self._check(one)
            pair = new[base]
        elif self._rechecks(pair):
            self._check(pair)
        if packet.message is not None and packet.message.name == NOMINATION:
            pair.nominated = True
            self._settle(pair)

    def _find(self, base: Base, remote: Place) -> Pair | None:
        found = (pair for pair in self.pairs if pair.base == base and pair.remote == remote)
        return next(found, None)

    def _rechecks(self, pair: Pair) -> bool:
        now = self._network.now
        if pair.succeeded:
            return False
        if now < pair.starts:
            return True
        wanted = self._as.rechecks_failed if now >= pair.gives_up else self._as.rechecks_in_progress
        return wanted[self._controlled]

    def _settle(self, pair: Pair) -> None:
        """Take a pair that succeeded and that was nominated, if it is the first."""
        first = self._as.nomination is Nomination.FIRST
        chosen = pair.nominated if self._controlled else first or pair.nominating
        if pair.succeeded and chosen and self.selected is None:
            self.selected = pair

    def _receiver(self, base: Base) -> Callable[[Packet], None]:
        def receive(packet: Packet) -> None:
            if packet.message is not None and packet.message.name == stun.RESPONSE:
                if self._gathering:
                    self._learn(base, packet.message.endpoint)
            else:
                self._receive(base, packet)

        return receive

    def _learn(self, base: Base, seen: Place | None) -> None:
        if seen is not None:
            self._reflexive[base.interface] = seen

    def _receive(self, base: Base, packet: Packet) -> None:
        message, source = packet.message, packet.source
        if message is None or base not in self._bases():
            return
        if message.name in (CHECK, NOMINATION):
            began = self._began <= self._network.now
            if began or self._as.heeds_early:
                self._send(base, source, Message(RESPONSE, transaction=message.transaction))
            if began:
                self._heed(base, packet)
            elif self._as.heeds_early:
                self._early.append((base, packet))
        elif message.name == RESPONSE and message.transaction < len(self.pairs):
            pair = self.pairs[message.transaction]
            if pair.base == base and pair.remote == source:
                pair.response = packet
                self._settle(pair)

    def is_relayed(self, pair: Pair) -> bool:
        """Whether a relay, ours or theirs, seems to be on the way.

        Theirs is known by its address, since a NAT may have rewritten its port; by both, where
        they have the same address themselves.
        """
        relay, remote = self._their_relay, pair.remote
        if pair.base == RELAY or remote == relay:
            return True
        alone = all(one.address != remote.address for one in self._theirs)
        return relay is not None and relay.address == remote.address and alone

    @property
    def relayed(self) -> bool:
        """Whether a relay is on the way of what it selected, whatever it takes it for."""
        pair = self.selected
        if pair is None or pair.response is None:
            return False
        return pair.base == RELAY or pair.response.origin == self._server

    @property
    def gave_up(self) -> bool:
        """Whether it heeds no more requests for pairs that failed."""
        failed = any(p.gives_up <= self._network.now and not p.succeeded for p in self.pairs)
        return failed and not self._as.rechecks_failed[self._controlled]


def _addresses(setting: Setting, end: int) -> list[str]:
    """Those that an end gathers from."""
    host = setting.network.topology.host(setting.hosts[end])
    found = [addresses_of(host, interface)[0] for interface in host.interfaces]
    return found if setting.agents[end].every_interface else found[:1]


def ice(setting: Setting) -> Result:
    """Full ICE."""
    return _run(setting, relay_only=False)


def ice_relay_only(setting: Setting) -> Result:
    """ICE with hole punching switched off: the relayed candidates alone."""
    return _run(setting, relay_only=True)


def _run(setting: Setting, *, relay_only: bool) -> Result:
    network = setting.network
    turn.TurnServer(network, setting.server, serve_stun(setting))
    agents = tuple(Agent(setting, end, relay_only=relay_only) for end in (0, 1))
    dialer, listener = agents
    for agent in agents:
        agent.gather()
    patience = max(one.gathers for one in setting.agents) if network.chancy else GATHERING
    network.run(network.now + patience, lambda: all(agent.gathered for agent in agents))
    for agent in agents:
        agent.offer()
    starts = setting.starts()
    network.at(starts[0], lambda: dialer.start(listener))
    network.at(starts[1], lambda: listener.start(dialer))
    network.run(min(starts) + DEADLINE, lambda: all(agent.selected for agent in agents))
    chosen = [agent.selected for agent in agents if agent.selected is not None]
    relayed = any(agent.relayed for agent in agents)
    if len(chosen) == len(agents) and not relayed:
        return Result(Outcome.DIRECT, _why_direct(dialer))
    failure = DirectOff() if relay_only else _why_not(setting, agents)
    if len(chosen) == len(agents):
        return Result(Outcome.RELAYED, failure)
    lacks = tuple(lack for agent in agents for lack in _lacks(setting, agent))
    return Result(Outcome.NONE, NotEvenRelayed(failure, lacks))


def _lacks(setting: Setting, agent: Agent) -> Iterator[NoRelay | GaveUp]:
    """Why not even a relay connects this end."""
    relay = setting.network.entrance(setting.server, Protocol.TCP, turn.PORT)
    host = agent.local.address
    if agent.relay is None:
        yield NoRelay(host, setting.network.lost.get((host, relay)))
    if agent.gave_up:
        yield GaveUp(host)


def _why_direct(agent: Agent) -> CheckAnswered:
    pair = agent.selected
    assert pair  # both ends have selected one,
    assert pair.response  # by a check that was answered
    return CheckAnswered(pair.remote, pair.response.notes)


def _why_not(setting: Setting, agents: tuple[Agent, ...]) -> Lost:
    """Why the peer's server-reflexive candidate was not reached, from either end."""
    ways: list[WayLost | Unlearned] = []
    for agent, peer in (agents, agents[::-1]):
        host, target = agent.local.address, peer.reflexive
        if target is None:
            ways.append(unlearned(setting, peer.local.address, Protocol.UDP))
        elif (host, target) in setting.network.lost:
            ways.append(WayLost(host, target, setting.network.lost[host, target]))
    return Lost(tuple(ways), Silence.NO_CHECK)


_TURN = Relaying.TURN
ICE = Model(name="ice", protocol="udp", relaying=_TURN, run=ice, races=True, patient=True)
ICE_RELAY_ONLY = Model(
    name="ice_relay_only", protocol="udp", relaying=_TURN, run=ice_relay_only, patient=True
)
