"""Peers that follow libp2p's unified-testing hole-punch contract, left to themselves.

They are given their environment and a Redis server, as in the project's own runner, and
the dialer's end is awaited.  Nothing is asked of them that the contract does not have: no
echo follows, and what connected them is looked for among the packets of the time between
the dialer being told of the listener and its end.
"""

import os
import select
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial

from testbed import foreign
from testbed.errors import BackendError, PeerError
from testbed.lab.services.watch import watched
from testbed.model.breach import Breach, Carried, Claim
from testbed.model.contract import Event, Failed, FailureClass, Offer, Offered, Transport
from testbed.model.lab import Confinement, Image, Lab, Process
from testbed.model.outcome import Outcome
from testbed.model.saying import Deserter, EndedBadly, EndedWell
from testbed.model.window import Window
from testbed.stacks.infrastructure import infrastructure
from testbed.stacks.registry import Adapter
from testbed.stacks.unified import (
    LAN_INTERFACE,
    WAN_INTERFACE,
    Keys,
    Part,
    Places,
    environment,
    read_result,
)
from testbed.stacks.unified_redis import Redis
from testbed.stacks.unified_store import Store, Words
from testbed.studies.punch.attempt import Account, Attempt, Cut
from testbed.words.sayings import sentence

PATIENCE = 60.0  # seconds for the dialer; their runner has 180, a cell here has 90 in all
GRACE = 5.0  # seconds for it, once another has failed
SETTLE = 0.15  # seconds after its end in which its last packets are still captured
KEPT = 1 << 16  # bytes of each stream of a peer
LAST_WORDS = 800  # characters
TICK = 0.25  # seconds: an end that closes no pipe is noticed so late
# What tells a connection from attempts at one, in bytes each way.  A punch's probes have
# 64 bytes and Noise's first message 34; what follows has a signature, and twice 80.  To the
# relay a peer sends as much for its own ends: to identify itself, to reserve, to connect.
SHORTEST, CONNECTION, OVERHEAD = 80, 256, 400
# By the contract peers tell each other an address and a peer id, some 200 bytes.
CARRIED = 4096  # bytes


def attempt(lab: Lab, task: Attempt) -> Account | Cut:
    """Run one attempt in a started lab; PeerError where there is nothing to run."""
    if task.mode != "punch" or task.relay_only:
        raise PeerError("the unified-testing contract has no other mode than to punch")
    with ExitStack() as stack:
        running = _Running(lab, task)
        stack.callback(running.redis.close)
        running.start(stack)
        running.await_dialer(time.monotonic() + PATIENCE)
        try:
            return running.account()
        except PeerError as error:
            return Cut(error, running.offers(), running.told)


@dataclass
class _Peer:
    """A process, and the ends of what it said."""

    node: str
    process: Process
    said: dict[int, bytes] = field(default_factory=dict)  # by descriptor, until the stream's end
    open: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.open = {self.process.stdout.fileno(), self.process.stderr.fileno()}
        self.said = dict.fromkeys(self.open, b"")

    def read(self, fd: int) -> None:
        data = os.read(fd, KEPT)
        self.said[fd] = (self.said[fd] + data)[-KEPT:]
        if not data:
            self.open.discard(fd)

    def text(self, stream: str) -> str:
        """All that was said so far on ``stdout`` or ``stderr``."""
        fd = getattr(self.process, stream).fileno()
        while fd in self.open and select.select([fd], [], [], 0)[0]:
            self.read(fd)
        return foreign.words(self.said[fd].decode(errors="replace").strip())


class _Running:
    """One attempt under way."""

    def __init__(self, lab: Lab, task: Attempt) -> None:
        self.lab, self.task = lab, task
        self.keys = Keys.of(task.seed)
        self.places = Places(lab.plan, task.dialer, task.listener, task.server)
        self.redis = Redis(Store(), self._seen)
        self.peers: dict[Part, _Peer] = {}
        self.began = time.time_ns()
        self.told: int | None = None  # when the dialer was told of the listener, capture time
        self.asked = False  # did the dialer want to know the relay?
        self.offered: Offered | None = None
        self.code: int | None = None
        self.ended = 0

    # Starting

    def start(self, stack: ExitStack) -> None:
        """The relay first, for the peers' patience may be short; then listener and dialer."""
        for part in Part:
            self._named(self.places.node(part), WAN_INTERFACE if part is Part.RELAY else None)
            self.redis.open(self.lab, self.places.node(part))
        relaying, transport = self.task.relaying, Transport(self.task.stacks.transport)
        if relaying is not None and relaying.contract == "unified":
            self._spawn(stack, Part.RELAY, relaying)
            process = self.peers[Part.RELAY].process
            stack.enter_context(watched(self.lab, self.task.server, relaying.name, process))
        else:
            public = stack.enter_context(
                infrastructure(
                    self.lab,
                    self.task.server,
                    transport,
                    self.task.seed,
                    relaying,
                    observing=self.task.observing,
                )
            )
            self.redis.store.values[self.keys.relay] = public.relays[0].encode()
        self._spawn(stack, Part.LISTENER, self.task.stacks.listener)
        self._spawn(stack, Part.DIALER, self.task.stacks.dialer)

    def _named(self, node: str, name: str | None) -> None:
        """Give the node's interface the name that their networks have, beside its own."""
        (own,) = self.lab.interfaces(node) - {"lo"}
        words = ("ip", "link", "property", "add", "dev", own, "altname", name or LAN_INTERFACE)
        with suppress(BackendError):  # there already: the lab is used a second time
            self.lab.run(node, words)

    def _spawn(self, stack: ExitStack, part: Part, adapter: Adapter) -> None:
        transport = Transport(self.task.stacks.transport)
        told = environment(part, self.places, transport, self.keys)
        node, command = self.places.node(part), adapter.command()
        if isinstance(command, Image):
            # Their entry points set routes, and their runner lets them.
            command = replace(command, environment=told, capabilities=("NET_ADMIN",))
            process = self.lab.spawn(node, command)
        elif callable(command):
            raise PeerError(f"{adapter.name} is no program", node=node)
        else:
            confinement = adapter.confinement(self.lab.plan.port(node)) or Confinement()
            process = self.lab.spawn(node, command, replace(confinement, environment=told))
        stack.callback(process.kill)
        self.peers[part] = _Peer(node, process)

    # Running

    def _seen(self, node: str, words: Words) -> None:
        """A request to Redis: the listener's offer, and the dialer taking it."""
        now = time.monotonic_ns()
        match [words[0].upper(), *words[1:3]]:
            case [b"SET", self.keys.listener, value] if self.offered is None:
                name = foreign.line(value[:200].decode(errors="replace"))
                multiaddrs = (name if name.startswith("/") else f"/p2p/{name}",)
                offer = Offer(addresses=(), ice=None, multiaddrs=multiaddrs)
                self.offered = Offered(at=now, offer=offer)
            case [_, self.keys.listener, *_] if node == self.task.dialer:
                if self.told is None and self.redis.store.holds(self.keys.listener):
                    self.told = time.time_ns()
            case [_, self.keys.relay, *_] if node == self.task.dialer:
                self.asked = True
            case _:
                pass

    def await_dialer(self, deadline: float) -> None:
        """Until it ends, or the deadline; meanwhile Redis answers and the peers are heard."""
        dialer = self.peers[Part.DIALER]
        deserted: float | None = None
        while self.code is None and time.monotonic() < deadline:
            if deserted is None and self._deserted():
                deserted = time.monotonic() + GRACE
                deadline = min(deadline, deserted)
            self._hear(min(TICK, deadline - time.monotonic()))
            if not dialer.open:
                with suppress(TimeoutError):
                    self.code = dialer.process.wait(max(0.0, deadline - time.monotonic()))
            else:
                self.code = dialer.process.poll()
        self.ended = time.time_ns()
        end = time.monotonic() + SETTLE
        while time.monotonic() < end:
            self._hear(end - time.monotonic())

    def _deserted(self) -> list[Part]:
        """Who else has ended: some listeners do so, with 0, when they are connected."""
        others = (part for part in self.peers if part is not Part.DIALER)
        return [part for part in others if self.peers[part].process.poll()]

    def _hear(self, seconds: float) -> None:
        ears: dict[int, Callable[[], None]] = {}
        for peer in self.peers.values():
            for fd in peer.open:
                ears[fd] = partial(peer.read, fd)
        self.redis.serve(ears, seconds)

    # Afterwards

    def offers(self) -> tuple[tuple[str, Event], ...]:
        """What the listener told, if it did, as an event of our contract."""
        return ((self.task.listener, self.offered),) if self.offered is not None else ()

    def account(self) -> Account:
        """What the dialer claims, and where in the capture to look for it."""
        claim = self._claim()
        events = list(self.offers())
        if claim.outcome is None and claim.said is not None:
            reason = sentence(claim.said)[:1000]
            failed = Failed(at=time.monotonic_ns(), failure=FailureClass.CHECKS, reason=reason)
            events.append((self.task.dialer, failed))
        end = self.ended + int(SETTLE * 1e9)
        window = None
        if self.told is not None or claim.outcome is not None:
            start = self.told or self.began
            window = Window(start, end, CONNECTION, shortest=SHORTEST, overhead=OVERHEAD)
        return Account((claim,), window, self.told, tuple(events), None, self._breaches())

    def _claim(self) -> Claim:
        dialer = self.peers[Part.DIALER]
        if self.code == 0:
            ms = read_result(dialer.text("stdout"), dialer.node)
            return Claim(dialer.node, Outcome.DIRECT, EndedWell(ms))
        others = ((part, self.peers[part]) for part in self._deserted())
        deserters = tuple(
            Deserter(part, other.node, other.process.poll(), other.text("stderr")[-LAST_WORDS:])
            for part, other in others
        )
        said = EndedBadly(self.code, dialer.text("stderr")[-LAST_WORDS:], deserters)
        if not self.asked:  # it failed before it knew where to go
            raise PeerError(f"asked for no relay, and {sentence(said)}", node=dialer.node)
        return Claim(dialer.node, None, said)

    def _breaches(self) -> tuple[Breach, ...]:
        """What else the peers did by way of the server that they only were to meet at."""
        return tuple(
            Carried(node, size) for node, size in self.redis.carried.items() if size > CARRIED
        )
