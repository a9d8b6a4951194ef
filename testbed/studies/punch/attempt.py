"""Two peers are told each other's offers, start together, and echo; and so do many pairs at once.

The harness carries the offers, out of band, as a signalling server would; it
believes nothing of what the peers say afterwards.
"""

import random
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import repeat

from testbed.errors import PeerError
from testbed.lab.sockets import sockets_of
from testbed.model.address import Socket
from testbed.model.breach import Breach, Claim, ConnectedEarly
from testbed.model.contract import (
    ENDS,
    Close,
    Closed,
    Configure,
    Connected,
    Dial,
    Echo,
    Echoed,
    Event,
    Failed,
    FailureClass,
    Mode,
    Offered,
    Options,
    Role,
    Stayed,
    Step,
    StepName,
    Transport,
    Upgraded,
)
from testbed.model.lab import Lab
from testbed.model.outcome import Outcome
from testbed.model.plan import Plan
from testbed.model.punctuality import UNSEEN, Punctuality
from testbed.model.window import Window
from testbed.stacks.client import PeerClient
from testbed.stacks.lookout import Lookout
from testbed.stacks.registry import Adapter, Stacks
from testbed.stacks.services import Services, services
from testbed.studies.punch.mechanism import USUAL, Deadlines
from testbed.studies.punch.talks import Start, Talk, Wait, converse

ECHO_BYTES = 16_384
SETTLE = 0.05  # seconds after the echo in which its last packets are still captured


@dataclass(frozen=True)
class Attempt:
    """What two peers are asked to do."""

    stacks: Stacks
    dialer: str
    listener: str
    server: str
    mode: Mode
    relay_only: bool
    seed: int
    skew_ms: float = 0.0  # how much later the listener starts
    relaying: Adapter | None = None  # what the server runs, where it is a libp2p relay
    deadlines: Deadlines = USUAL
    ports: tuple[int, int] | None = None  # where they listen; None: as the topology has it


@dataclass(frozen=True)
class Account:
    """What happened, as the harness and the peers tell it."""

    claims: tuple[Claim, ...]
    window: Window | None
    start_ns: int | None  # capture time of the common start
    events: tuple[tuple[str, Event], ...]  # peer, event; in order for each peer
    connect_ms: float | None  # from the start that was set to the later ``connected``
    breaches: tuple[Breach, ...] = ()  # of rules that the harness saw broken
    settled_s: float | None = None  # from the common start to the later peer's last connection
    punctuality: Punctuality = UNSEEN  # of this machine, from the common start on


@dataclass(frozen=True)
class Attempted:
    """How one of many attempts ended, how many seconds after all began, and by which sockets."""

    result: Account | PeerError
    seconds: float
    sockets: frozenset[Socket]  # that the kernel said its peers had


def attempt(lab: Lab, task: Attempt) -> Account:
    """Run one attempt in a started lab; PeerError when a peer breaks the contract."""
    with services(lab, task.stacks, task.server, task.seed, task.relaying) as found:
        (ended,) = converse([_talk(lab, task, found, None)])
    if isinstance(ended.result, PeerError):
        raise ended.result
    return ended.result


def attempts(lab: Lab, tasks: Sequence[Attempt], seed: int, *, at_once: bool) -> list[Attempted]:
    """Run many attempts in one started lab, with one server for all; results in their order.

    They begin ``at_once``, or each when the one before has ended.  A peer that breaks the
    contract ends its own attempt alone.
    """
    first = tasks[0]
    with services(lab, first.stacks, first.server, seed, first.relaying) as found:
        seen: list[set[Socket]] = [set() for _ in tasks]
        talks = [_talk(lab, *one) for one in zip(tasks, repeat(found), seen)]
        groups = [talks] if at_once else [[talk] for talk in talks]
        ended = [one for group in groups for one in converse(group)]
    return [
        Attempted(one.result, one.seconds, frozenset(sockets))
        for one, sockets in zip(ended, seen, strict=True)
    ]


def _talk(lab: Lab, task: Attempt, found: Services, seen: set[Socket] | None) -> Talk[Account]:
    """The conversation of one attempt; the peers run as long as it lasts.

    ``seen`` is given the sockets that they are seen to have, if it is there.
    """
    with ExitStack() as stack:
        clients = []
        nodes = (task.dialer, task.listener)
        ports = task.ports or tuple(lab.plan.port(node) for node in nodes)
        for role, node, port, adapter in zip(ENDS, nodes, ports, task.stacks.both, strict=True):
            process = lab.spawn(node, adapter.command())
            stack.callback(process.kill)
            clients.append(PeerClient(process, node))
            also = also_at(lab.plan, node) if "also" in adapter.features else ()
            clients[-1].send(_configure(lab, task, role, (node, port), found, also))
            if seen is not None:
                seen |= {Socket(node, "udp", port), Socket(node, "tcp", port)}
        return (yield from _Attempting(task, clients, seen).run())


def also_at(plan: Plan, host: str) -> tuple[IPv4Address, ...]:
    """The first address of each of the host's interfaces but the preferred one."""
    topology = plan.topology
    others = topology.host(host).interfaces[1:]
    return tuple(plan.addresses_of(host, one)[0] for one in others)


def _configure(
    lab: Lab,
    task: Attempt,
    role: Role,
    place: tuple[str, int],
    found: Services,
    also: tuple[IPv4Address, ...],
) -> Configure:
    node, port = place
    return Configure(
        version=2,
        role=role,
        transport=Transport(task.stacks.transport),
        local_address=lab.plan.address(node),
        also=also,
        port=port,
        stun=found.stun,
        turn=found.turn,
        relays=found.public.relays,
        observers=found.public.observers,
        session=f"{random.Random(task.seed).getrandbits(128):032x}",
        seed=task.seed,
        options=Options(mode=task.mode, relay_only=task.relay_only),
    )


class _Attempting:
    """The conversation with both peers, from the offers to the echo."""

    def __init__(
        self, task: Attempt, clients: Sequence[PeerClient], seen: set[Socket] | None
    ) -> None:
        self.task = task
        self.seen = seen
        self.both = clients
        self.lookout = Lookout({client.name: client.process for client in clients})
        for client in clients:
            client.lookout = self.lookout
        self.window: Window | None = None
        self.start_ns: int | None = None
        self.start: int | None = None  # the same, in the peers' clock
        self.connect_ms: float | None = None
        self.breaches: tuple[Breach, ...] = ()

    def run(self) -> Talk[Account]:
        offers = yield from self._wait((Offered, Failed), self.task.deadlines.gathering)
        if all(isinstance(offer, Offered) for offer in offers):
            yield from self._dial([offer for offer in offers if isinstance(offer, Offered)])
        self._look()
        for client in self.both:
            client.send(Close())
            yield Wait((client,), (Closed,), time.monotonic() + self.task.deadlines.closing)
            client.require_end()
        return Account(
            claims=tuple(_claim(client) for client in self.both),
            window=self.window,
            start_ns=self.start_ns,
            events=tuple((c.name, event) for c in self.both for event in c.events),
            connect_ms=self.connect_ms,
            breaches=self.breaches,
            settled_s=self._settled_s(),
            punctuality=self.lookout.punctuality,
        )

    def _look(self) -> None:
        """Which sockets the peers have by now."""
        if self.seen is not None:
            for client in self.both:
                self.seen |= sockets_of(client.name, client.process.pid)

    def _settled_s(self) -> float | None:
        """None where a peer tells of no connection."""
        told = [
            [event.at for event in client.events if isinstance(event, Connected | Upgraded)]
            for client in self.both
        ]
        if self.start is None or not all(told):
            return None
        return (max(max(moments) for moments in told) - self.start) / 1e9

    def _dial(self, offers: list[Offered]) -> Talk[None]:
        self._look()
        start = yield Start()
        self.start, self.start_ns = start.monotonic_ns, start.realtime_ns
        late = int(self.task.skew_ms * 1e6)
        dialer, listener = self.both
        dialer.send(Dial(remote=offers[1].offer, start_at=self.start))
        listener.send(Dial(remote=offers[0].offer, start_at=self.start + late))
        self.lookout.expect(self.start / 1e9)
        ends = yield from self._wait((Connected, Failed), self.task.deadlines.connecting)
        if not all(isinstance(end, Connected) for end in ends):
            return
        took = [(end.at - self.start) / 1e6 for end in ends]
        self.breaches = tuple(
            ConnectedEarly(client.name, -ms)
            for client, ms in zip(self.both, took, strict=True)
            if ms < 0
        )
        self.connect_ms = max(took) if max(took) >= 0 else None
        if "relay" in self.task.stacks.needs:
            yield from self._upgrade()
        yield from self._echo(dialer)

    def _upgrade(self) -> Talk[None]:
        """Until it is known what becomes of a relayed connection: the listener leads."""
        dialer, listener = self.both
        kinds = (Upgraded, Stayed, Failed)
        within = self.task.deadlines.upgrading
        (end,) = yield Wait((listener,), kinds, time.monotonic() + within)
        if isinstance(end, Upgraded):
            yield Wait((dialer,), kinds, time.monotonic() + within)
            yield from self._await_leaving()

    def _await_leaving(self) -> Talk[None]:
        """Until both closed the relayed connection; who does not is found out by the verdict."""
        deadline = time.monotonic() + self.task.deadlines.leaving
        with suppress(PeerError):
            for client in self.both:
                while not any(_left(event) for event in client.events):
                    yield Wait((client,), (Step,), deadline)

    def _echo(self, dialer: PeerClient) -> Talk[None]:
        self._look()
        start = time.time_ns()
        dialer.send(Echo(bytes=ECHO_BYTES))
        within = self.task.deadlines.echoing
        yield Wait((dialer,), (Echoed, Failed), time.monotonic() + within)
        end = time.time_ns() + int(SETTLE * 1e9)
        self.window = Window(start, end, ECHO_BYTES)

    def _wait(self, kinds: tuple[type[Event], ...], seconds: float) -> Talk[Sequence[Event]]:
        came: Sequence[Event] = yield Wait(self.both, kinds, time.monotonic() + seconds)
        return came


def _left(event: Event) -> bool:
    return isinstance(event, Step) and event.name is StepName.RELAY_LEFT


def _claim(client: PeerClient) -> Claim:
    """The last word of a peer on its connection."""
    for event in reversed(client.events):
        if isinstance(event, Failed):
            if event.failure is FailureClass.UNSUPPORTED:
                raise PeerError(event.reason, node=client.name)
            return Claim(client.name, Outcome.NONE, f"{event.failure}: {event.reason}")
        if isinstance(event, Upgraded):
            words = f"{event.how} {event.local} to {event.remote}"
            return Claim(client.name, Outcome.DIRECT, words)
        if isinstance(event, Connected):
            words = f"connected {event.local} to {event.remote}"
            return Claim(client.name, Outcome(event.path.value), words)
    return Claim(client.name, Outcome.NONE, "it said nothing of a connection")
