"""What becomes of an established direct path when something happens to it.

A small model: the two NATs as declared (`testbed.predict.nat`), an echo that goes to
and fro every `TICK`, and the timers of the stack.  It owes the lab nothing.  What is
known of the stacks:

- A datagram's echo goes to where it came from; nobody gives up, nobody dials again.
- QUIC's server follows its client to a new address (RFC 9000 section 9.3), never the
  other way round; the dialer ``a`` is the client.  Who hears nothing for `Timers.patience`
  seconds gives up (section 10.1).
- TCP knows no new address.  Where a segment with one gets through, the other's kernel
  answers with RST (RFC 9293 section 3.5.2); else a Yamux ping goes unanswered.
- Who dialed, dials again over the relay after a `PAUSE`; the listener then leads an
  upgrade.  If it still believes in its old direct connection, it tries that first, for
  `PROOF` seconds.
- A stack that does not dial again (``redials``) has lost its connection for good.
- The address offered in an upgrade is what the relay sees: of a QUIC connection that has
  migrated, it tells anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from testbed.errors import UsageError
from testbed.model.behaviour import Behaviour
from testbed.model.life import (
    After,
    Ended,
    Fate,
    FileExpects,
    LifeReason,
    StillOpen,
    Timers,
    Transport,
    Undisturbed,
)
from testbed.model.network_fault import (
    Fault,
    LinkChange,
    MappingTimeout,
    NatReboot,
    Rebinding,
    RelayRestart,
    Roaming,
    Switch,
    WanAddressChange,
)
from testbed.model.outcome import Outcome
from testbed.model.topology import Topology
from testbed.predict.dcutr import DCUTR_QUIC, DCUTR_TCP
from testbed.predict.lives import TICK, Direct, Side
from testbed.predict.prediction import predict
from testbed.predict.wires import STATE, Wires, mends, past, require_certain

PAUSE = 0.7  # seconds before a lost connection is dialed again
DIAL = 3.0  # seconds that a dial may take: time for a SYN to be repeated
SLACK = 1.0  # seconds that handshakes and a busy machine may take
PROOF = 1.0  # seconds that a direct connection has to answer, when its peer is back over a relay
RESERVE = 2.0  # seconds until a listener that lost its relay is reserved there again


@dataclass(frozen=True)
class Course:
    """The faults of one life, each with its time after the first, and the stack's timers."""

    faults: tuple[tuple[float, Fault], ...] = ()
    timers: Timers = field(default_factory=Timers)


@dataclass(frozen=True)
class Expected:
    """``low`` and ``high`` bound the gap in the echo, in seconds; both 0 where it is lost.

    ``moved``: the internet sees the dialer at another address or port than before.
    """

    fate: Fate
    low: float
    high: float
    why: LifeReason
    moved: bool = False

    @property
    def stated(self) -> bool:
        """Whether it is the world's file that says so, and not the model."""
        return isinstance(self.why, FileExpects)

    def admits(self, fate: Fate) -> bool:
        """Whether ``fate`` is as expected; a file says by which path alone, old or new."""
        direct = (Fate.SURVIVES, Fate.DIRECT)
        return fate is self.fate or (self.stated and self.fate in direct and fate in direct)

    def __str__(self) -> str:
        if self.fate is Fate.LOST:
            return self.fate.value
        return f"{self.fate} in {self.low:.1f}-{self.high:.1f} s"


def expect(
    topology: Topology,
    behaviours: Mapping[str, Behaviour],
    course: Course,
    transport: Transport,
    *,
    redials: bool = True,
) -> Expected:
    """The fate of the direct path between the dialer, a, and the listener, b, of ``topology``.

    ``behaviours``: of each router.  ``redials``: whether the stack dials again, and not a
    datagram's, which never does.  UsageError where the model has no direct path to
    begin with, and where chance decides.
    """
    require_certain(topology, course.faults)
    a, b = (topology.host(name) for name in (topology.roles.a, topology.roles.b))
    if a.network == b.network:
        raise UsageError(
            f"the model does not follow a path within one network, {a.network}", remedy=STATE
        )
    return _Life(topology, behaviours, course, transport, redials).expected()


@dataclass(frozen=True)
class _Span:
    """When something happens: no earlier, no later; seconds."""

    low: float
    high: float


class _Life:
    def __init__(
        self,
        topology: Topology,
        behaviours: Mapping[str, Behaviour],
        course: Course,
        transport: Transport,
        redials: bool,
    ) -> None:
        self.redials = redials and transport is not Transport.UDP
        self.topology, self.behaviours = topology, behaviours
        self.course, self.transport = course, transport
        self.path = Direct(topology, behaviours, transport.protocol)
        self.todo = list(course.faults)
        self.held = 0.0  # seconds from the first fault to the last echo
        self.wires = Wires()
        self.past = past(course.faults)

    def expected(self) -> Expected:
        began = self.path.establish()
        if began is None:
            raise UsageError("the model has no direct path to begin with")
        first = self._suffer(began)
        moved = self.path.moved(Side.A)
        return replace(self._fate(began, first), moved=moved)

    def _fate(self, began: float, first: float | None) -> Expected:
        if first is not None:
            return self._survives(first)
        cut = self.past.dead
        if not self.redials or (cut and not self.path.served(cut)):
            return Expected(Fate.LOST, 0.0, 0.0, Ended(self.path.why))
        return self._again(began)

    # -- the old connection -----------------------------------------------

    def _suffer(self, began: float) -> float | None:
        """Do the faults; the longest time without an echo, None if none comes after them."""
        todo = self.todo
        last, longest = began, 0.0
        silent_until = began
        resumed = began + max((at for at, _ in todo), default=0.0)
        now = began
        while True:
            while todo and now >= began + todo[0][0]:
                fault = todo.pop(0)[1]
                if isinstance(fault, MappingTimeout):
                    silent_until = resumed = now + fault.silence
                else:
                    resumed = max(resumed, self._do(now, fault))
            if self.path.reset or self._given_up(now, resumed):
                return None
            if now < silent_until:
                self._keep_alive(now, began)
            elif self.path.beat(now, follows=self.transport is not Transport.TCP):
                last, longest = now, max(longest, now - last)
                self.held = last - began
                if not todo:
                    return longest
                self._prod(now, began)
            else:
                self._prod(now, began)
            now += TICK

    def _given_up(self, now: float, resumed: float) -> bool:
        """Without patience of its own a path has ten seconds: time for any timer here."""
        if self.transport is Transport.UDP or self._deaf:
            return now > resumed + 10.0
        return now > self._silent_since().high + self.course.timers.patience

    @property
    def _deaf(self) -> bool:
        """Nothing asks whether the other is there."""
        return self.transport is Transport.TCP and self.course.timers.keepalive is None

    def _silent_since(self) -> _Span:
        """From when patience counts: QUIC's from the next send on (RFC 9000 section 10.1)."""
        heard, asked = self.path.heard, self.path.asked
        if self.transport is Transport.QUIC:
            since = max(heard, asked)
            return _Span(max(heard, since - self._phase), since + self._phase)
        return _Span(heard, heard + (self.course.timers.keepalive or 0.0) + self._phase)

    @property
    def _phase(self) -> float:
        """When in a silence the first keepalive comes is chance."""
        return (self.course.timers.keepalive or 0.0) if self._silence else 0.0

    def _keep_alive(self, now: float, began: float) -> None:
        """In a silence: a's keepalive, and b's where it has a timer for it, too."""
        if self._due(now, began):
            self.path.beat(now, follows=self.transport is not Transport.TCP)
            self.path.refresh(now)
        self._prod(now, began)

    def _prod(self, now: float, began: float) -> None:
        if self.transport is not Transport.UDP:
            self.path.owes |= self._due(now, began)
            if not self._switched or now <= self.path.reached + self.course.timers.patience:
                self.path.repeat(now)

    def _due(self, now: float, began: float) -> bool:
        every = self.course.timers.keepalive
        return every is not None and int((now - began) / every) > int((now - TICK - began) / every)

    def _do(self, now: float, fault: Fault) -> float:
        """Change the model; when the change is over."""
        self.wires.change(fault)
        self.path.cut(self.wires.dead, self.wires.asleep)
        match fault:
            case NatReboot(router, down):
                self.path.forget(now, router)
                self.path.pause(router, now + down)
                return now + down
            case Rebinding(router):
                self.path.forget(now, router)
            case WanAddressChange(router):
                self.path.readdress(now, router)
            case Switch(node, network):
                self.path.switch(now, node, network)
            case Roaming(host, network):
                self.path.roam(host, network)
        return now

    def _survives(self, gap: float) -> Expected:
        """A stack repeats what was lost with growing pauses, the last as long as all before."""
        if gap <= 2 * TICK:
            return Expected(Fate.SURVIVES, 0.0, SLACK + self._slower, Undisturbed())
        longest = gap if self.transport is Transport.UDP or self._silence else 2 * gap
        return Expected(Fate.SURVIVES, gap - 3 * TICK, longest + SLACK + self._slower, StillOpen())

    @property
    def _switched(self) -> bool:
        """Whether a still hears, by an interface that it sends by no more, until b gives up."""
        hosts = [one.name for one in self.topology.hosts]
        return any(isinstance(f, Switch) and f.node in hosts for _, f in self.course.faults)

    @property
    def _slower(self) -> float:
        """Seconds that an echo may take over a wire that has become slower."""
        links = (f.link for _, f in self.course.faults if isinstance(f, LinkChange))
        return max((link.up.delay_ms + link.down.delay_ms for link in links), default=0.0) / 1000

    @property
    def _silence(self) -> bool:
        return any(isinstance(fault, MappingTimeout) for _, fault in self.course.faults)

    # -- a new connection -------------------------------------------------

    def _again(self, began: float) -> Expected:
        if self._deaf and not self.path.reset:
            return Expected(Fate.LOST, 0.0, 0.0, Ended(self.path.why, After.UNNOTICED))
        if any(not mends(fault) for _, fault in self.todo):
            raise UsageError(
                "the model does not follow what happens to a second connection",
                remedy=STATE,
            )
        back = self._back(self._noticed(began))
        fate, after = self._final()
        why = Ended(self.path.why, after)
        low = max(0.0, back.low - self.held - 3 * TICK)
        return Expected(fate, low, back.high - self.held, why)

    def _noticed(self, began: float) -> _Span:
        """When a knows that the connection is gone, seconds after the first fault."""
        if self.path.reset:
            at = self.path.reset - began
            return _Span(at, at + SLACK / 2)
        since, patience = self._silent_since(), self.course.timers.patience
        return _Span(since.low - began + patience, since.high - began + patience + 4 * TICK)

    def _back(self, noticed: _Span) -> _Span:
        """When the echo goes over the relay."""
        reserved = RESERVE + DIAL if self._unreserved else 0.0
        if (until := self.past.until) > noticed.low:
            # Of a dial that was under way when the wire was mended, nothing may come.
            return _Span(until, max(noticed.high, until) + PAUSE + DIAL + SLACK + reserved)
        high = noticed.high + PAUSE + SLACK + self._phase
        if self._switched:
            high += DIAL  # a's first dial may go by the connection to the relay that it has left
        if self.path.moved(Side.A) and self.transport is Transport.TCP:
            # The relay's connection is dead, too: its server's RST says so, or nothing does.
            high += PAUSE + (DIAL if self.path.stuck else SLACK)
        return _Span(noticed.low + PAUSE, high + reserved)

    @property
    def _unreserved(self) -> bool:
        """Whether the listener's reservation at the relay is gone with its connection there."""
        b = self.topology.roles.b
        way = {b, *(router.name for router in self.topology.path_out(b))}
        restarted = any(isinstance(fault, RelayRestart) for _, fault in self.course.faults)
        return restarted or not way.isdisjoint(self.past.ever) or self.path.moved(Side.B)

    def _final(self) -> tuple[Fate, After]:
        model = DCUTR_TCP if self.transport is Transport.TCP else DCUTR_QUIC
        there = self._afterwards()
        roles = there.roles
        told = predict(there, self.behaviours, model, roles.a, roles.b, server=roles.relay)
        if told.outcome is Outcome.DIRECT:
            return Fate.DIRECT, After.UPGRADED
        return Fate.RELAYED, After.RELAYED

    def _afterwards(self) -> Topology:
        """Where everybody is in the end."""
        there = self.topology
        for _, fault in self.course.faults:
            match fault:
                case Switch(node, network):
                    there = there.switched(node, there.interface(node, network).name)
                case Roaming(host, network) if there.on(host, network):
                    there = there.switched(host, there.interface(host, network).name)
                case Roaming(host, network):
                    moved = replace(there.host(host), network=network)
                    hosts = (moved if one.name == host else one for one in there.hosts)
                    there = replace(there, hosts=tuple(hosts))
        return there
