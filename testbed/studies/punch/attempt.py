"""Two peers are told each other's offers, start together, and echo.

The harness carries the offers, out of band, as a signalling server would; it
believes nothing of what the peers say afterwards.
"""

import random
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address

from testbed.errors import PeerError
from testbed.model.breach import Breach, Claim, ConnectedEarly
from testbed.model.contract import (
    ENDS,
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
from testbed.stacks.client import PeerClient, wait_all
from testbed.stacks.lookout import Lookout
from testbed.stacks.registry import Adapter, Stacks
from testbed.stacks.services import Services, services
from testbed.studies.punch.mechanism import USUAL, Deadlines

ECHO_BYTES = 16_384
START_MARGIN_NS = 60_000_000  # from the command to the common start: both have read it by then
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


def attempt(lab: Lab, task: Attempt) -> Account:
    """Run one attempt in a started lab; PeerError when a peer breaks the contract."""
    with ExitStack() as stack:
        found = stack.enter_context(
            services(lab, task.stacks, task.server, task.seed, task.relaying)
        )
        clients = {}
        ends = zip(ENDS, (task.dialer, task.listener), task.stacks.both, strict=True)
        for role, node, adapter in ends:
            process = lab.spawn(node, adapter.command())
            stack.callback(process.kill)
            clients[node] = PeerClient(process, node)
            also = also_at(lab.plan, node) if "also" in adapter.features else ()
            clients[node].send(_configure(lab, task, role, node, found, also))
        return _Attempting(task, clients).run()


def also_at(plan: Plan, host: str) -> tuple[IPv4Address, ...]:
    """The first address of each of the host's interfaces but the preferred one."""
    topology = plan.topology
    others = topology.host(host).interfaces[1:]
    return tuple(plan.addresses_of(host, one)[0] for one in others)


def _configure(
    lab: Lab,
    task: Attempt,
    role: Role,
    node: str,
    found: Services,
    also: tuple[IPv4Address, ...],
) -> Configure:
    return Configure(
        version=2,
        role=role,
        transport=Transport(task.stacks.transport),
        local_address=lab.plan.address(node),
        also=also,
        port=lab.plan.port(node),
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

    def __init__(self, task: Attempt, clients: dict[str, PeerClient]) -> None:
        self.task = task
        self.clients = clients
        self.both = [clients[task.dialer], clients[task.listener]]
        self.lookout = Lookout({client.name: client.process for client in self.both})
        for client in self.both:
            client.lookout = self.lookout
        self.window: Window | None = None
        self.start_ns: int | None = None
        self.start: int | None = None  # the same, in the peers' clock
        self.connect_ms: float | None = None
        self.breaches: tuple[Breach, ...] = ()

    def run(self) -> Account:
        offers = self._wait((Offered, Failed), self.task.deadlines.gathering)
        if all(isinstance(offer, Offered) for offer in offers):
            self._dial([offer for offer in offers if isinstance(offer, Offered)])
        for client in self.both:
            client.close(time.monotonic() + self.task.deadlines.closing)
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

    def _settled_s(self) -> float | None:
        """None where a peer tells of no connection."""
        told = [
            [event.at for event in client.events if isinstance(event, Connected | Upgraded)]
            for client in self.both
        ]
        if self.start is None or not all(told):
            return None
        return (max(max(moments) for moments in told) - self.start) / 1e9

    def _dial(self, offers: list[Offered]) -> None:
        self.start = start = time.monotonic_ns() + START_MARGIN_NS
        self.start_ns = time.time_ns() + START_MARGIN_NS
        late = int(self.task.skew_ms * 1e6)
        dialer, listener = self.both
        dialer.send(Dial(remote=offers[1].offer, start_at=start))
        listener.send(Dial(remote=offers[0].offer, start_at=start + late))
        self.lookout.expect(start / 1e9)
        ends = self._wait((Connected, Failed), self.task.deadlines.connecting)
        if not all(isinstance(end, Connected) for end in ends):
            return
        took = [(end.at - start) / 1e6 for end in ends]
        self.breaches = tuple(
            ConnectedEarly(client.name, -ms)
            for client, ms in zip(self.both, took, strict=True)
            if ms < 0
        )
        self.connect_ms = max(took) if max(took) >= 0 else None
        if "relay" in self.task.stacks.needs:
            self._upgrade()
        self._echo(dialer)

    def _upgrade(self) -> None:
        """Until it is known what becomes of a relayed connection: the listener leads."""
        dialer, listener = self.both
        kinds = (Upgraded, Stayed, Failed)
        end = listener.wait(kinds, time.monotonic() + self.task.deadlines.upgrading)
        if isinstance(end, Upgraded):
            dialer.wait(kinds, time.monotonic() + self.task.deadlines.upgrading)
            self._await_leaving()

    def _await_leaving(self) -> None:
        """Until both closed the relayed connection; who does not is found out by the verdict."""
        deadline = time.monotonic() + self.task.deadlines.leaving
        with suppress(PeerError):
            for client in self.both:
                while not any(_left(event) for event in client.events):
                    client.wait((Step,), deadline)

    def _echo(self, dialer: PeerClient) -> None:
        start = time.time_ns()
        dialer.send(Echo(bytes=ECHO_BYTES))
        dialer.wait((Echoed, Failed), time.monotonic() + self.task.deadlines.echoing)
        end = time.time_ns() + int(SETTLE * 1e9)
        self.window = Window(start, end, ECHO_BYTES)

    def _wait(self, kinds: tuple[type[Event], ...], seconds: float) -> list[Event]:
        return wait_all(self.both, kinds, time.monotonic() + seconds)


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
