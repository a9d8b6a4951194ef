"""A direct path is established, something happens to it, and the echo is watched.

The harness does the faults at their times and records every packet; what became of
the echo is read off the recording.
"""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from ipaddress import IPv4Address
from itertools import pairwise

from testbed.capture.reader import read
from testbed.errors import LossError, PeerError, StarvedError, UsageError
from testbed.lab.namespaces import NamespaceLab
from testbed.lab.network_faults import apply, touched
from testbed.lab.sentry import Guard
from testbed.model.contract import (
    ENDS,
    Configure,
    Connected,
    Dial,
    Endpoint,
    Failed,
    Keeping,
    Mode,
    Offer,
    Offered,
    Options,
    Path,
    Role,
    Stayed,
    Transport,
    Upgraded,
)
from testbed.model.details import Moment
from testbed.model.frozen import FrozenValue
from testbed.model.furnishing import furnished
from testbed.model.lab import Lab
from testbed.model.life import Fate
from testbed.model.life import Transport as Carrier
from testbed.model.network_fault import (
    Fault,
    MappingTimeout,
    RelayRestart,
    Sleep,
    dock,
    lasts,
)
from testbed.model.packet import Packet
from testbed.model.plan import AddNode, NodeKind, Vantage
from testbed.predict.life import Expected
from testbed.stacks.client import PeerClient, wait_all
from testbed.stacks.services import Services, begin_again, services
from testbed.studies.base import Site
from testbed.studies.kept import CAPTURE
from testbed.studies.life.application import Application
from testbed.studies.life.case import LifeCase
from testbed.studies.life.seat import Seat, seat
from testbed.studies.life.timeline import Ends, Heard, timeline
from testbed.studies.life.wire import ENDED, Seen, read_life
from testbed.studies.punctual import watched

TOO_LATE = 0.2  # seconds; beyond it a difference may be the machine's
GATHERING = 20.0  # seconds until both peers have their offers
CONNECT = 15.0  # seconds for the first direct connection
START_MARGIN_NS = 60_000_000  # from the command to the common start
CALM = 0.8  # seconds of echo in a row before the first fault
SETTLING = 7.0  # seconds to try the old connection, and for three rounds of an upgrade
NOTHING = 4.0  # seconds to see that nothing comes any more
READY = 5.0  # seconds until a relay that was restarted is known to be there
STEADY = 1.2  # seconds of direct echo in a row: nothing will change any more
USUAL = Keeping(keepalive=10.0, patience=30.0)  # of a relay whose ends have timers of their own

Wait = Callable[[float], None]
Apply = Callable[[NamespaceLab, Fault, Wait], None]


class Led(FrozenValue):
    """What the wire and the dialer show of one life.

    ``slow``: by how many seconds the harness took longer over its faults than planned.
    ``busy``: by how many seconds this machine or a wire was late at worst.  ``idle``: the longest
    time in a silence in which nothing left the dialer's NAT, in seconds.
    """

    seen: Seen
    moments: tuple[Moment, ...]
    said_lost: bool  # the dialer says that its direct connection was lost
    slow: float
    busy: float
    idle: float
    packets: int


def lead(case: LifeCase, expected: Expected, site: Site, do: Apply | None = None) -> Led:
    """Lead one life in a lab of its own; the site's folder gets the capture.

    Inside a sandbox.  ``do`` does the faults, by default to the lab.  TestbedError says what was
    waited for in vain.
    """
    with ExitStack() as stack:
        lab, guard = stack.enter_context(site.guarded_lab(case.topology, case.routers))
        if not isinstance(lab, NamespaceLab):
            raise UsageError(f"faults cannot be done to labs of {site.backend.name}")
        life = _Life(case, expected, lab, _ours(guard, do or _done(case)))
        life.meet(stack)
        vantages = _vantages(lab, case)
        with site.recorded(lab, vantages) as recorder:
            life.go()
        if recorder.recording.dropped:
            raise LossError(f"{recorder.recording.dropped} packets were not recorded")
    return life.read(site, recorder.recording.packets)


def _done(case: LifeCase) -> Apply:
    """To the lab itself."""
    profiles = furnished(case.topology, case.routers)
    return lambda lab, fault, wait: apply(lab, fault, profiles, wait)


def _ours(guard: Guard, do: Apply) -> Apply:
    """What ``do`` changes of routers, and nothing else, is by the world's will."""

    def done(lab: NamespaceLab, fault: Fault, wait: Wait) -> None:
        with guard.allowing(touched(lab.plan, fault)):
            do(lab, fault, wait)

    return done


class _Life:
    """The conversation with both peers, from their offers to the end of the watch."""

    def __init__(self, case: LifeCase, expected: Expected, lab: NamespaceLab, do: Apply) -> None:
        self.case, self.expected, self.lab, self.do = case, expected, lab, do
        self.both: list[PeerClient] = []  # the dialer, the listener
        self.offers: list[Offer] = []  # the listener's, the dialer's
        self.faults: list[tuple[int, Fault]] = []  # with the capture's time of each
        self.roles = case.topology.roles
        self.begun: list[Callable[[float], None]] = []  # relays of which nobody knows yet
        self.slow = self.busy = 0.0
        self.end_ns = 0

    def meet(self, stack: ExitStack) -> None:
        """Everybody in their places, with their offers: the listener first, who waits."""
        case, lab = self.case, self.lab
        timers = case.course.timers
        keep = Keeping(keepalive=timers.keepalive, patience=timers.patience)
        if not case.keeps:
            keep = USUAL
        self.keep = keep
        found = stack.enter_context(services(lab, case.stacks, self.roles.relay, 0, keep=keep))
        core = next(step.node for step in lab.plan.of(AddNode) if step.kind is NodeKind.CORE)
        self.late = stack.enter_context(watched(lab, core))
        ends = list(zip(ENDS, (self.roles.a, self.roles.b), case.stacks.both, strict=True))
        for role, node, one in reversed(ends):
            process = lab.spawn(node, one.command(), one.confinement(lab.plan.port(node)))
            stack.callback(process.kill)
            client = PeerClient(process, node)
            told = keep if case.keeps else None
            client.send(_configure(case, role, self._local(node), found, told))
            event = client.wait((Offered,), time.monotonic() + GATHERING)
            assert isinstance(event, Offered)
            self.both.insert(0, client)
            self.offers.append(event.offer)
        self.dialer, self.listener = self.both

    def _local(self, node: str) -> Endpoint:
        """Where it listens: at all addresses, of a host that will have another one."""
        roams = node in self.case.scenario.wandering
        address = IPv4Address(0) if roams else self.lab.plan.address(node)
        return Endpoint(address=address, port=self.lab.plan.port(node))

    def go(self) -> None:
        """From the dial to the end of the watch."""
        self._connect()
        udp = self.case.transport is Carrier.UDP
        keepalive = self.case.course.timers.keepalive if udp else None
        self.application = Application(self.dialer, self.listener, keepalive)
        if not self.application.until_steady(CALM, CONNECT):
            raise self._undone("its direct connection carries no steady echo", self.roles.a)
        self.clock_ns = time.time_ns() - time.monotonic_ns()
        self.fault_ns = time.time_ns()
        self._suffer()
        self._watch()
        self.end_ns = time.time_ns()
        self._all_went_on()
        for ready in self.begun:
            ready(READY)
        self.busy = self._lateness()

    def _all_went_on(self) -> None:
        """PeerError if a signal stopped a peer: a world that lets its host sleep says so."""
        asleep = {fault.host for _, fault in self.faults if isinstance(fault, Sleep)}
        for client in self.both:
            if client.name not in asleep and client.process.halted():
                raise PeerError("a signal stopped it while it was watched", node=client.name)

    def _lateness(self) -> float:
        """By how many seconds this machine was late at worst."""
        return max(self.late(), self.lab.lateness_ms() / 1000)

    def _undone(self, words: str, node: str) -> PeerError:
        """What keeps the life from being led: the peers' doing, or that of a machine too busy."""
        kind = StarvedError if self._lateness() > TOO_LATE else PeerError
        return kind(words, node=node)

    def _connect(self) -> None:
        """A direct connection; PeerError if there is none."""
        start = time.monotonic_ns() + START_MARGIN_NS
        deadline = time.monotonic() + CONNECT
        for client, offer in zip(self.both, self.offers, strict=True):  # each has the other's
            client.send(Dial(remote=offer, start_at=start))
        said = wait_all(self.both, (Connected,), deadline)
        direct = all(isinstance(one, Connected) and one.path is Path.DIRECT for one in said)
        if direct or "relay" not in self.case.stacks.needs:
            return
        event = self.listener.wait((Upgraded, Stayed), deadline)  # it leads
        if isinstance(event, Stayed):
            words = f"there is no direct connection to begin with: {event.reason}"
            raise self._undone(words, self.listener.name)
        self.dialer.wait((Upgraded,), deadline)

    def _suffer(self) -> None:
        """The faults at their times, a silence to its end."""
        start, planned = time.monotonic(), 0.0
        for at, fault in self.case.course.faults:
            self.application.go_on(max(0.0, start + at - time.monotonic()))
            planned = max(planned, at + lasts(fault))
            self.faults.append((time.time_ns(), fault))
            if isinstance(fault, MappingTimeout):
                self.application.be_silent(fault.silence)
            elif isinstance(fault, RelayRestart):
                self._restart(fault)
            else:
                self.do(self.lab, fault, self.application.go_on)
        self.slow = max(0.0, time.monotonic() - start - planned)

    def _restart(self, fault: RelayRestart) -> None:
        """End what relays, and begin it anew; whether that is ready is asked in the end."""
        relay = self.roles.relay
        for process in self.lab.processes(relay):
            process.kill()
        self.application.go_on(fault.down)
        ready = begin_again(self.lab, self.case.stacks, relay, 0, keep=self.keep)
        self.begun.append(ready)

    def _watch(self) -> None:
        """Until everything is as it will stay: a direct echo goes on, or all time is over."""
        if self.expected.fate is Fate.LOST:
            self.application.go_on(NOTHING)
            return
        limit = max(ENDED, self.expected.high) + SETTLING
        if self.expected.fate is Fate.RELAYED:
            self.application.go_on(limit)
        else:
            self.application.until_steady(STEADY, limit)
            if self.application.ended:
                self.application.go_on(ENDED)

    def read(self, site: Site, packets: int) -> Led:
        """What the recording shows."""
        recorded = read(site.folder / CAPTURE)
        plan = self.lab.plan
        relay = self.roles.relay
        server = plan.entrance(relay, self.case.transport.protocol, plan.port(relay)).address
        near, far = (seat(plan, one, self._docks(one)) for one in (self.roles.a, self.roles.b))
        ends = Ends(self.roles.a, self.roles.b, near, far, plan.topology.cores)
        carrier = self.case.transport
        heard = [
            Heard(event.at + self.clock_ns, event)
            for event in self.dialer.events
            if event.at + self.clock_ns > self.fault_ns
        ]
        given_up = next((one.time_ns for one in heard if isinstance(one.event, Failed)), None)
        seen = read_life(recorded, near, server, carrier, self.fault_ns, self.end_ns, given_up)
        moments = timeline(
            recorded, ends, server, carrier, self.fault_ns, seen.cited, self.faults, heard
        )
        lost = any(one.lost_direct for one in heard)
        return Led(seen, moments, lost, self.slow, self.busy, self._idle(recorded, near), packets)

    def _docks(self, host: str) -> tuple[str, ...]:
        """The hosts whose places it takes."""
        moves = (one.network for one in self.case.scenario.moving if one.host == host)
        return tuple(dock(network) for network in moves)

    def _idle(self, recorded: Sequence[Packet], dialer: Seat) -> float:
        ends = [
            (at, at + int(fault.silence * 1e9))
            for at, fault in self.faults
            if isinstance(fault, MappingTimeout)
        ]
        if not ends:
            return 0.0
        start, stop = ends[0]
        sent = (p.time_ns for p in recorded if dialer.enters(p))
        times = [start, *(at for at in sent if start < at < stop), stop]
        return max(later - at for at, later in pairwise(times)) / 1e9


def _vantages(lab: Lab, case: LifeCase) -> list[Vantage]:
    """All, but of a host that moves those that move with it."""
    moving = {name for one in case.scenario.moving for name in (one.host, dock(one.network))}
    return [vantage for vantage in lab.plan.vantages if vantage.node not in moving]


def _configure(
    case: LifeCase, role: Role, local: Endpoint, found: Services, keep: Keeping | None
) -> Configure:
    return Configure(
        version=2,
        role=role,
        transport=Transport(case.stacks.transport),
        local_address=local.address,
        port=local.port,
        stun=found.stun,
        turn=found.turn,
        relays=found.public.relays,
        observers=found.public.observers,
        session=f"{random.Random(case.name).getrandbits(128):032x}",
        seed=0,
        options=Options(mode=Mode.PUNCH, relay_only=False),
        keep=keep,
    )
