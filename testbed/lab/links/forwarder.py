"""The loop of a delay line's process: every wire of a lab, one epoll, one heap.

Nothing wakes it while no frame is on its way.
"""

import contextlib
import json
import select
import socket
import time
from collections.abc import Sequence
from heapq import heappop, heappush

from testbed.lab.links.direction import Direction
from testbed.lab.links.interfaces import frame_socket, interface_name
from testbed.lab.links.ring import Ring
from testbed.lab.links.timer import Timer
from testbed.lab.links.tunnel import TunnelEnds, Tunnels
from testbed.model.frozen import FrozenValue
from testbed.model.topology import Impairment

_BATCH = 64  # frames taken or delivered in a row, so that neither starves the other
_SLOTS = 2048  # of the receive ring, 4 MiB: what comes while this process is kept waiting


class Wire(FrozenValue):
    """Two interfaces of one namespace and what happens between them.

    ``a`` and ``b`` stand for the interfaces (see `wire_socket`).
    """

    a: socket.socket
    b: socket.socket
    a_to_b: Impairment
    b_to_a: Impairment
    name: str


class _Lane:
    """One direction at work; ``sink`` is the name of the interface it leads to."""

    def __init__(self, sink: str, impairment: Impairment, seed: str) -> None:
        self.sink = (sink, 0)
        self.direction = Direction(impairment, seed)
        self.unfinished = self.refused = 0
        self.late = 0  # ns, the worst

    def row(self, missed: int) -> list[int]:
        """The fields of `delay_line.Counters` after the direction's name, in its order."""
        way = self.direction
        counts = [way.forwarded, way.lost, way.overflowed, way.severed, way.oversized]
        return [*counts, missed, self.unfinished, self.refused, self.late // 1000]


class Forwarder:
    """Forwards until it is told to stop or ``control`` (SOCK_SEQPACKET) ends.

    Made in the namespace of the wires' interfaces.
    """

    def __init__(
        self,
        wires: Sequence[Wire],
        control: socket.socket,
        seed: int,
        tunnels: Sequence[TunnelEnds] = (),
    ) -> None:
        self._control = control
        self._timer = Timer()
        self._armed = 0
        self._heap: list[tuple[int, int, _Lane, bytes]] = []  # due, order, lane, frame
        self._count = 0
        self._lanes: dict[str, tuple[_Lane, _Lane]] = {}
        self._by_source: dict[int, _Lane] = {}
        for wire in wires:
            a, b = (interface_name(sock) for sock in (wire.a, wire.b))
            forth = _Lane(b, wire.a_to_b, f"{seed}/{wire.name}/ab")
            back = _Lane(a, wire.b_to_a, f"{seed}/{wire.name}/ba")
            self._lanes[wire.name] = (forth, back)
            self._by_source[socket.if_nametoindex(a)] = forth
            self._by_source[socket.if_nametoindex(b)] = back
        self._socket = frame_socket()
        self._ring = Ring(self._socket, _SLOTS)
        self._epoll = select.epoll()
        self._tunnels = Tunnels(tunnels, self._pass_on)
        own = [one.fileno() for one in (self._socket, self._timer, control)]
        for fd in (*own, *self._tunnels.readable):
            self._epoll.register(fd, select.EPOLLIN)

    def run(self) -> None:
        """Forward frames; returns on the command ``stop`` or at the end of the control."""
        control = self._control.fileno()
        while True:
            for fd, _ in self._epoll.poll():
                if fd == control and not self._obey():
                    return
                self._tunnels.ready(fd)
            self._take()
            self._deliver()

    def _take(self) -> None:
        lanes, heap = self._by_source, self._heap
        for frame in self._ring.take(_BATCH):
            lane = lanes.get(frame.ifindex)
            if lane is None:  # a tunnel's, or the loopback's, or not an interface of ours
                self._tunnels.take(frame.ifindex, frame.data)
                continue
            if not frame.whole:
                lane.unfinished += 1
                continue
            for due in lane.direction.admit(frame.arrival, len(frame.data)):
                self._count += 1
                heappush(heap, (due, self._count, lane, frame.data))

    def _pass_on(self, frame: bytes, ifname: str) -> None:
        """What a tunnel brought, at once: its delays were made on its way."""
        with contextlib.suppress(OSError):  # the interface is down or full
            self._socket.sendto(frame, (ifname, 0))

    def _deliver(self) -> None:
        heap, sendto, now = self._heap, self._socket.sendto, time.monotonic_ns()
        for _ in range(_BATCH):
            if not heap or heap[0][0] > now:
                break
            due, _, lane, data = heappop(heap)
            lane.late = max(lane.late, now - due)
            try:
                sendto(data, lane.sink)
            except OSError:  # the far interface is down or full, as a real wire may be
                lane.refused += 1
            lane.direction.delivered()
            now = time.monotonic_ns()
        # Setting the timer also takes back that it has fired.
        wanted = heap[0][0] if heap else 0
        if wanted != self._armed:
            self._timer.set(wanted)
            self._armed = wanted

    def _obey(self) -> bool:
        """Do what the parent says and answer with all counters; False to end."""
        message = self._control.recv(1 << 16)
        if not message:
            return False
        order = json.loads(message)
        if "wire" in order:
            for lane, key in zip(self._lanes[order["wire"]], ("a_to_b", "b_to_a"), strict=True):
                if order.get(key) is not None:
                    lane.direction.set(Impairment(**order[key]))
                if "cut" in order:
                    lane.direction.cut = order["cut"]
        missed = self._ring.missed()
        rows = [lane.row(missed) for pair in self._lanes.values() for lane in pair]
        self._control.send(json.dumps(rows).encode())
        return "stop" not in order
