"""The connection that is there when something happens, and how long it is silent."""

from collections.abc import Mapping

from testbed.model.behaviour import Behaviour
from testbed.model.frozen import FrozenValue
from testbed.model.life import Fate, StillOpen, Transport, Undisturbed
from testbed.model.network_fault import (
    Fault,
    LeaseLost,
    LinkChange,
    MappingTimeout,
    NatReboot,
    Rebinding,
    Roaming,
    Switch,
    WanAddressChange,
)
from testbed.model.topology import Topology
from testbed.predict.life.expected import Course, Expected
from testbed.predict.life.path import TICK, Direct
from testbed.predict.wires import Wires

SLACK = 1.0  # seconds that handshakes and a busy machine may take


class Span(FrozenValue):
    """When something happens: no earlier, no later; seconds."""

    low: float
    high: float


class Carried:
    """``held``: seconds from the first fault to the last echo.  ``todo``: faults yet to come."""

    def __init__(
        self,
        topology: Topology,
        behaviours: Mapping[str, Behaviour],
        course: Course,
        transport: Transport,
    ) -> None:
        self.topology, self.course, self.transport = topology, course, transport
        self.path = Direct(topology, behaviours, transport.protocol)
        self.todo = list(course.faults)
        self.held = 0.0
        self.wires = Wires()

    def suffer(self, began: float) -> float | None:
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
        if self.transport is Transport.UDP or self.deaf:
            return now > resumed + 10.0
        return now > self.silent_since().high + self.course.timers.patience

    @property
    def deaf(self) -> bool:
        """Nothing asks whether the other is there."""
        return self.transport is Transport.TCP and self.course.timers.keepalive is None

    def silent_since(self) -> Span:
        """From when patience counts: QUIC's from the next send on (RFC 9000 section 10.1)."""
        heard, asked = self.path.heard, self.path.asked
        if self.transport is Transport.QUIC:
            since = max(heard, asked)
            return Span(max(heard, since - self.phase), since + self.phase)
        return Span(heard, heard + (self.course.timers.keepalive or 0.0) + self.phase)

    @property
    def phase(self) -> float:
        """When in a silence the first keepalive comes is chance."""
        return (self.course.timers.keepalive or 0.0) if self.silence else 0.0

    def _keep_alive(self, now: float, began: float) -> None:
        """In a silence: a's keepalive, and b's where it has a timer for it, too."""
        if self._due(now, began):
            self.path.beat(now, follows=self.transport is not Transport.TCP)
            self.path.refresh(now)
        self._prod(now, began)

    def _prod(self, now: float, began: float) -> None:
        if self.transport is not Transport.UDP:
            self.path.owes |= self._due(now, began)
            if not self.switched or now <= self.path.reached + self.course.timers.patience:
                self.path.repeat(now)

    def _due(self, now: float, began: float) -> bool:
        every = self.course.timers.keepalive
        return every is not None and int((now - began) / every) > int((now - TICK - began) / every)

    def _do(self, now: float, fault: Fault) -> float:
        """Change the model; when the change is over."""
        self.wires.change(fault)
        self.path.ground.cut(self.wires.dead, self.wires.asleep)
        match fault:
            case NatReboot(router, down):
                self.path.ground.forget(now, router)
                self.path.ground.pause(router, now + down)
                return now + down
            case Rebinding(router):
                self.path.ground.forget(now, router)
            case WanAddressChange(router):
                self.path.ground.readdress(now, router)
            case LeaseLost(router):
                self.path.ground.lose_leases(router)
            case Switch(node, network):
                self.path.ground.switch(now, node, network)
            case Roaming(host, network):
                self.path.roam(host, network)
        return now

    def survives(self, gap: float) -> Expected:
        """A stack repeats what was lost with growing pauses, the last as long as all before."""
        if gap <= 2 * TICK:
            return Expected(Fate.SURVIVES, 0.0, SLACK + self._slower, Undisturbed())
        longest = gap if self.transport is Transport.UDP or self.silence else 2 * gap
        return Expected(Fate.SURVIVES, gap - 3 * TICK, longest + SLACK + self._slower, StillOpen())

    @property
    def switched(self) -> bool:
        """Whether a still hears, by an interface that it sends by no more, until b gives up."""
        hosts = [one.name for one in self.topology.hosts]
        return any(isinstance(f, Switch) and f.node in hosts for _, f in self.course.faults)

    @property
    def _slower(self) -> float:
        """Seconds that an echo may take over a wire that has become slower."""
        links = (f.link for _, f in self.course.faults if isinstance(f, LinkChange))
        return max((link.up.delay_ms + link.down.delay_ms for link in links), default=0.0) / 1000

    @property
    def silence(self) -> bool:
        return any(isinstance(fault, MappingTimeout) for _, fault in self.course.faults)
