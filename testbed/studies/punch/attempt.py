"""Two peers are told each other's offers, start together, and echo; and so do many pairs at once.

The harness carries the offers, out of band, as a signalling server would; it
believes nothing of what the peers say afterwards.
"""

import random
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import field
from ipaddress import IPv4Address
from itertools import repeat

from testbed.errors import PeerError
from testbed.lab.sockets import sockets_of
from testbed.model.address import Endpoint, Socket
from testbed.model.breach import Breach, Claim, ConnectedEarly, NonceUnheard
from testbed.model.contract import (
    ENDS,
    NONCE_BYTES,
    Ability,
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
    Heard,
    How,
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
from testbed.model.frozen import FrozenValue
from testbed.model.lab import Lab
from testbed.model.outcome import Outcome
from testbed.model.plan import Plan
from testbed.model.punctuality import UNSEEN, Punctuality
from testbed.model.saying import SaidConnected, SaidFailed, SaidNothing
from testbed.model.window import Window
from testbed.stacks.client import PeerClient
from testbed.stacks.lookout import Lookout
from testbed.stacks.registry import Adapter, Stacks
from testbed.stacks.services import Services, services
from testbed.studies.punch.mechanism import USUAL, Deadlines
from testbed.studies.punch.talks import Ended, Start, Talk, Wait, converse

ECHO_BYTES = 16_384
# Where each frame is seen on the wire with a nonce in it: four of them, which most of a cell's
# packets are, at each interface that they pass.
MARKED_BYTES = 4_000
HEARING = 1.0  # seconds after the echo in which the listener has to have said what it heard
SETTLE = 0.05  # seconds after the echo in which its last packets are still captured


class Attempt(FrozenValue):
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
    observing: Mapping[str, Adapter] = field(default_factory=dict)  # observers that are not ours
    deadlines: Deadlines = USUAL
    ports: tuple[int, int] | None = None  # where they listen; None: as the topology has it
    extra_time: float = 0.0  # seconds by which the deadlines of peers are longer
    patience: float | None = None  # seconds that ends try, from their start; None: as they do
    clear: bool = True  # what is echoed can be read on the wire


class Account(FrozenValue):
    """What happened, as the harness and the peers tell it."""

    claims: tuple[Claim, ...]
    window: Window | None
    start_ns: int | None  # capture time of the common start
    events: tuple[tuple[str, Event], ...]  # peer, event; in order for each peer
    connect_ms: float | None  # from the start that was set to the later ``connected``
    breaches: tuple[Breach, ...] = ()  # of rules that the harness saw broken
    settled_s: float | None = None  # from the common start to the later peer's last connection
    punctuality: Punctuality = UNSEEN  # of this machine, from the common start on
    foreknown: tuple[str, ...] = ()  # ends that accept no nonce, where that leaves less shown


class Cut(FrozenValue):
    """An attempt that came to no end of its own: a peer broke the contract, or was too slow."""

    error: PeerError
    events: tuple[tuple[str, Event], ...] = ()  # told until then, as `Account` has them
    start_ns: int | None = None  # as `Account` has it


class Attempted(FrozenValue):
    """How one of many attempts ended, how many seconds after all began, and by which sockets."""

    result: Account | Cut
    seconds: float
    sockets: frozenset[Socket]  # that the kernel said its peers had


def attempt(lab: Lab, task: Attempt) -> Account | Cut:
    """Run one attempt in a started lab."""
    with _services(lab, task, task.seed) as found:
        (ended,) = converse([_talk(lab, task, found, None)])
    return _whole(ended)


def attempts(lab: Lab, tasks: Sequence[Attempt], seed: int, *, at_once: bool) -> list[Attempted]:
    """Run many attempts in one started lab, with one server for all; results in their order.

    They begin ``at_once``, or each when the one before has ended.  A peer that breaks the
    contract ends its own attempt alone.
    """
    first = tasks[0]
    with _services(lab, first, seed) as found:
        seen: list[set[Socket]] = [set() for _ in tasks]
        talks = [_talk(lab, *one) for one in zip(tasks, repeat(found), seen)]
        groups = [talks] if at_once else [[talk] for talk in talks]
        ended = [one for group in groups for one in converse(group)]
    return [
        Attempted(_whole(one), one.seconds, frozenset(sockets))
        for one, sockets in zip(ended, seen, strict=True)
    ]


def _whole(ended: Ended[Account | Cut]) -> Account | Cut:
    """What a conversation gave; one that did not get to its peers has nothing to tell."""
    return Cut(ended.result) if isinstance(ended.result, PeerError) else ended.result


def _services(lab: Lab, task: Attempt, seed: int) -> AbstractContextManager[Services]:
    """What its peers need of the lab's hosts."""
    told, observing = task.stacks, task.observing
    return services(lab, told, task.server, seed, task.relaying, observing=observing)


def _talk(
    lab: Lab, task: Attempt, found: Services, seen: set[Socket] | None
) -> Talk[Account | Cut]:
    """The conversation of one attempt; the peers run as long as it lasts.

    ``seen`` is given the sockets that they are seen to have, if it is there.
    """
    with ExitStack() as stack:
        clients = []
        nodes = (task.dialer, task.listener)
        ports = task.ports or tuple(lab.plan.port(node) for node in nodes)
        for role, node, port, adapter in zip(ENDS, nodes, ports, task.stacks.both, strict=True):
            process = lab.spawn(node, adapter.command(), adapter.confinement(port))
            stack.callback(process.kill)
            clients.append(PeerClient(process, node))
            clients[-1].send(_configure(lab, task, role, (node, port), found, adapter))
            if seen is not None:
                seen |= {Socket(node, "udp", port), Socket(node, "tcp", port)}
        attempting = _Attempting(task, clients, seen)
        try:
            return (yield from attempting.run())
        except PeerError as error:
            return Cut(error, attempting.events, attempting.start_ns)


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
    adapter: Adapter,
) -> Configure:
    node, port = place
    return Configure(
        version=2,
        role=role,
        transport=Transport(task.stacks.transport),
        local_address=lab.plan.address(node),
        also=also_at(lab.plan, node) if "also" in adapter.features else (),
        port=port,
        stun=found.stun,
        turn=found.turn,
        relays=found.public.relays,
        observers=found.public.observers,
        session=f"{random.Random(task.seed).getrandbits(128):032x}",
        seed=task.seed,
        options=Options(mode=task.mode, relay_only=task.relay_only),
        extra_time=task.extra_time if "extra_time" in adapter.features else 0.0,
        patience=task.patience,
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
        self.foreknown: tuple[str, ...] = ()
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
            events=self.events,
            connect_ms=self.connect_ms,
            breaches=self.breaches,
            settled_s=self._settled_s(),
            punctuality=self.lookout.punctuality,
            foreknown=self.foreknown,
        )

    @property
    def events(self) -> tuple[tuple[str, Event], ...]:
        """What the peers have told so far."""
        return tuple((client.name, event) for client in self.both for event in client.events)

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
        nonce = self._nonce()
        start = time.time_ns()
        size = MARKED_BYTES if nonce and self.task.clear else ECHO_BYTES
        dialer.send(Echo(bytes=size, nonce=nonce or None))
        within = self.task.deadlines.echoing
        (end,) = yield Wait((dialer,), (Echoed, Failed), time.monotonic() + within)
        until = time.time_ns() + int(SETTLE * 1e9)
        self.window = Window(start, until, size, nonce=nonce if self.task.clear else "")
        if nonce and not self.task.clear and isinstance(end, Echoed) and end.bytes:
            yield from self._require_heard(nonce)

    def _nonce(self) -> str:
        """What nobody knows before, for the dialer alone; empty if it accepts none.

        Where it cannot be read on the wire, the listener has to have heard it.
        """
        ends = self.both[:1] if self.task.clear else self.both
        self.foreknown = tuple(client.name for client in ends if not _accepts_nonce(client))
        return secrets.token_hex(NONCE_BYTES) if _accepts_nonce(self.both[0]) else ""

    def _require_heard(self, nonce: str) -> Talk[None]:
        """The listener, which was not told ``nonce``, says it; or else that is a breach."""
        listener = self.both[1]
        if not _accepts_nonce(listener):
            return
        with suppress(PeerError):  # that it said nothing in time is judged
            yield Wait((listener,), (Heard,), time.monotonic() + HEARING)
        said = [event.nonce for event in listener.events if isinstance(event, Heard)]
        if nonce not in said:
            self.breaches += (NonceUnheard(listener.name, bool(said)),)

    def _wait(self, kinds: tuple[type[Event], ...], seconds: float) -> Talk[Sequence[Event]]:
        came: Sequence[Event] = yield Wait(self.both, kinds, time.monotonic() + seconds)
        return came


def _accepts_nonce(client: PeerClient) -> bool:
    told = (event for event in client.events if isinstance(event, Offered))
    return any(Ability.NONCE in event.accepts for event in told)


def _left(event: Event) -> bool:
    return isinstance(event, Step) and event.name is StepName.RELAY_LEFT


def _claim(client: PeerClient) -> Claim:
    """The last word of a peer on its connection."""
    for event in reversed(client.events):
        if isinstance(event, Failed):
            if event.failure is FailureClass.UNSUPPORTED:
                raise PeerError(event.reason, node=client.name)
            return Claim(client.name, Outcome.NONE, SaidFailed(event.failure, event.reason))
        if isinstance(event, Upgraded):
            return Claim(client.name, Outcome.DIRECT, _connected(event, event.how))
        if isinstance(event, Connected):
            return Claim(client.name, Outcome(event.path.value), _connected(event))
    return Claim(client.name, Outcome.NONE, SaidNothing())


def _connected(event: Upgraded | Connected, how: How | None = None) -> SaidConnected:
    local, remote = event.local, event.remote
    return SaidConnected(
        Endpoint(local.address, local.port), Endpoint(remote.address, remote.port), how
    )
