"""A swarm in a lab: all peers reserve and dial, then their pairs echo; everything is recorded.

Peers begin one batch after the other, and dial one pair after the other: a machine of few
processors starts so many programs no faster, and who waits for a processor seems to be far away.
Round trips are measured of few pairs at a time, for the same reason; what the pairs do then, they
do all at once.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from testbed.errors import LossError, PeerError
from testbed.model.contract import (
    ENDS,
    Configure,
    Connected,
    Dial,
    Echo,
    Echoed,
    Failed,
    FailureClass,
    Mode,
    Offer,
    Offered,
    Options,
    Role,
    Stayed,
    Transport,
    Upgraded,
)
from testbed.model.distance import extra_time_s
from testbed.model.frozen import FrozenValue
from testbed.model.lab import Lab
from testbed.model.plan import AddNode, NodeKind, Plan, Vantage
from testbed.stacks.client import PeerClient
from testbed.stacks.infrastructure import PublicNode, serving
from testbed.stacks.registry import OURS, public
from testbed.studies.base import Site
from testbed.studies.punch.talks import Talk, Wait, converse
from testbed.studies.punctual import watched
from testbed.studies.relays.counters import Counted, Used, counted, used
from testbed.studies.relays.lateness import late_ms
from testbed.studies.relays.swarm import TRIP_BYTES, TRIPS, Pair, Swarm

BATCH = 8  # pairs whose peers begin at a time, at most
APART = 0.1  # seconds between the dials of two pairs
FEW = 4  # pairs that measure round trips at a time
PATIENCE = 5.0  # seconds by which peers' deadlines are longer: a machine has many of them to serve
GATHERING, CONNECTING, UPGRADING, ECHOING = 30.0, 25.0, 30.0, 60.0  # seconds
CALM = 0.3  # seconds without a frame, after which none is under way
ENDING = 6.0  # seconds until then, at most


class Window(FrozenValue):
    """An echo of ``size`` bytes; times are the capture's.  ``back``: the dialer says it came."""

    size: int
    start_ns: int
    end_ns: int
    back: bool


class Met(FrozenValue):
    """What a pair did.  ``start_ns`` is None where one of them could not gather."""

    pair: Pair
    start_ns: int | None
    trips: tuple[Window, ...]
    work: tuple[Window, ...]
    late_ms: float = 0.0  # of the later of their punches


class Swarmed(FrozenValue):
    """What the effects left behind; the packets are in the folder."""

    plan: Plan
    met: tuple[Met, ...]
    counted: dict[str, Counted]  # relay -> frames and bytes while it was recorded
    used: dict[str, Used | None]
    late_s: float
    packets: int


def swarm(case: Swarm, site: Site) -> Swarmed:
    """Let a swarm meet in a lab of its own; TestbedError says what was waited for in vain."""
    with site.lab(case.topology, case.routers, case.seed) as lab:
        core = next(step.node for step in lab.plan.of(AddNode) if step.kind is NodeKind.CORE)
        before = {name: counted(lab, name) for name in case.relay_names}
        with site.recorded(lab, _vantages(lab, case)) as recorder, watched(lab, core) as late:
            with _public(lab, case) as (relays, observers), ExitStack() as stack:
                peers = [
                    _Peers(lab, case, pair, relays[pair.relay], observers, stack)
                    for pair in case.pairs
                ]
                _lead(peers)
                used_by = {name: used(lab, name) for name in case.relay_names}
            after = _calm(lab, case.relay_names)
            late_s = max(late(), lab.lateness_ms() / 1000)
        if lost := recorder.recording.dropped:
            raise LossError(f"{lost} packets were not recorded")
    return Swarmed(
        lab.plan,
        tuple(one.met for one in peers),
        {name: after[name].since(before[name]) for name in after},
        used_by,
        late_s,
        recorder.recording.packets,
    )


def _vantages(lab: Lab, case: Swarm) -> list[Vantage]:
    """The relays and all peers: what NATs make of a packet between them is not asked here."""
    ends = {name for pair in case.pairs for name in (pair.dialer, pair.listener)}
    nodes = ends | set(case.relay_names)
    return [vantage for vantage in lab.plan.vantages if vantage.node in nodes]


@contextmanager
def _public(lab: Lab, case: Swarm) -> Iterator[tuple[dict[str, str], tuple[str, ...]]]:
    """The relays' addresses by their names, and the observers'."""
    ours = public(OURS, case.stacks.transport)
    nodes = [
        PublicNode(name, ours, Role.RELAY, lab.plan.port(name), case.seed, limits=case.limits)
        for name in case.relay_names
    ]
    nodes += [
        PublicNode(name, ours, Role.AUTONAT_SERVER, lab.plan.port(name), case.seed)
        for name in lab.plan.topology.observers
    ]
    with serving(lab, nodes) as addresses:
        yield dict(zip(case.relay_names, addresses, strict=False)), addresses[case.relays :]


def _lead(peers: Sequence["_Peers"]) -> None:
    """All pairs, step by step."""
    _each(peers, BATCH, lambda one: one.gather())
    start = time.monotonic_ns() + int(APART * 1e9)
    for number, one in enumerate(peers):
        one.due = start + int(number * APART * 1e9)
    _each(peers, len(peers), lambda one: one.meet())
    _each(peers, FEW, lambda one: one.echo(TRIPS * (TRIP_BYTES,), one.trips))
    _each(peers, len(peers), lambda one: one.echo(one.case.echoes, one.work))


def _each(peers: Sequence["_Peers"], at_once: int, step: Callable[["_Peers"], Talk[bool]]) -> None:
    """Lead a step of all pairs, so many at a time; the first error ends it."""
    for first in range(0, len(peers), at_once):
        for ended in converse([step(one) for one in peers[first : first + at_once]]):
            if isinstance(ended.result, PeerError):
                raise ended.result


class _Peers:
    """The conversation with the two of a pair, in steps that say whether there is a next one."""

    def __init__(
        self,
        lab: Lab,
        case: Swarm,
        pair: Pair,
        relay: str,
        observers: tuple[str, ...],
        stack: ExitStack,
    ) -> None:
        self.lab, self.case, self.pair = lab, case, pair
        ends = pair.dialer, pair.listener
        self.extra = extra_time_s(lab.plan.topology, ends, pair.relay)  # seconds
        self.relay, self.observers, self.stack = relay, observers, stack
        self.both: list[PeerClient] = []
        self.offers: list[Offer] = []
        self.due = 0  # when they dial, by CLOCK_MONOTONIC
        self.connected = False
        self.trips: list[Window] = []
        self.work: list[Window] = []

    @property
    def met(self) -> Met:
        clock = time.time_ns() - time.monotonic_ns()
        start = self.due + clock if len(self.offers) == len(ENDS) else None
        late = max((late_ms(one.events) for one in self.both), default=0.0)
        return Met(self.pair, start, tuple(self.trips), tuple(self.work), late)

    def gather(self) -> Talk[bool]:
        """Both begin, and say where they can be reached."""
        nodes = (self.pair.dialer, self.pair.listener)
        for role, node, one in zip(ENDS, nodes, self.case.stacks.both, strict=True):
            confinement = one.confinement(self.lab.plan.port(node))
            process = self.lab.spawn(node, one.command(), confinement)
            self.stack.callback(process.kill)
            self.both.append(PeerClient(process, node))
            extra = PATIENCE + self.extra if "extra_time" in one.features else 0.0
            self.both[-1].send(self._configure(role, node, extra))
        told = yield Wait(self.both, (Offered, Failed), time.monotonic() + GATHERING + self.extra)
        self.offers = [one.offer for one in told if isinstance(one, Offered)]
        _refuse_unable(told)
        return True

    def meet(self) -> Talk[bool]:
        """They dial when it is their turn, until it is known what becomes of the connection."""
        if len(self.offers) < len(ENDS):
            return False
        dialer, listener = self.both
        dialer.send(Dial(remote=self.offers[1], start_at=self.due))
        listener.send(Dial(remote=self.offers[0], start_at=self.due))
        due = self.due / 1e9 + self.extra
        ends = yield Wait(self.both, (Connected, Failed), due + CONNECTING)
        if not all(isinstance(end, Connected) for end in ends):
            return False
        kinds = (Upgraded, Stayed, Failed)
        (end,) = yield Wait((listener,), kinds, due + CONNECTING + UPGRADING)
        if isinstance(end, Upgraded):
            yield Wait((dialer,), kinds, due + CONNECTING + UPGRADING)
        self.connected = not isinstance(end, Failed)
        return self.connected

    def echo(self, sizes: Sequence[int], windows: list[Window]) -> Talk[bool]:
        """One echo after the other."""
        dialer = self.both[0]
        for size in sizes:
            if not self.connected:
                break
            start = time.time_ns()
            dialer.send(Echo(bytes=size))
            (end,) = yield Wait(
                (dialer,), (Echoed, Failed), time.monotonic() + ECHOING + self.extra
            )
            back = isinstance(end, Echoed) and end.bytes == size
            windows.append(Window(size, start, time.time_ns(), back))
            self.connected = isinstance(end, Echoed)
        return self.connected

    def _configure(self, role: Role, node: str, extra: float) -> Configure:
        words = f"{self.case.seed}/{self.pair.name}"
        return Configure(
            version=2,
            role=role,
            transport=Transport(self.case.stacks.transport),
            local_address=self.lab.plan.address(node),
            port=self.lab.plan.port(node),
            stun=None,
            turn=None,
            relays=(self.relay,),
            observers=self.observers,
            session=f"{random.Random(words).getrandbits(128):032x}",
            seed=self.case.seed,
            options=Options(mode=Mode.PUNCH, relay_only=not self.case.upgrades),
            extra_time=extra,
        )


def _refuse_unable(told: Sequence[object]) -> None:
    """PeerError for a stack that lacks what it is configured for."""
    for one in told:
        if isinstance(one, Failed) and one.failure is FailureClass.UNSUPPORTED:
            raise PeerError(one.reason)


def _calm(lab: Lab, relays: Sequence[str]) -> dict[str, Counted]:
    """What the relays have counted, once nothing passes them any more; PeerError if it goes on."""
    last: dict[str, Counted] = {}
    until = time.monotonic() + ENDING
    while time.monotonic() < until:
        found = {name: counted(lab, name) for name in relays}
        if found == last:
            return found
        last = found
        time.sleep(CALM)
    raise PeerError(f"frames pass the relays {ENDING:g} s after all peers have ended")
