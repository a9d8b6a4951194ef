"""The loop of a delay line's process: every wire of a lab, one epoll, one heap.

Nothing wakes it while no frame is on its way.
"""

import json
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from testbed.links.direction import Direction
from testbed.links.ring import SLOT, Ring
from testbed.links.timer import Timer
from testbed.topology.model import Impairment

_BATCH = 64  # frames taken or delivered in a row, so that no wire starves another
_RINGS = 32 << 20  # bytes of kernel memory that all rings of a lab share
_SLOTS = (32, 1024)  # at least, at most, in one ring


@dataclass(frozen=True)
class Wire:
    """Two bound packet sockets (see `wire_socket`) and what happens between them."""

    a: socket.socket
    b: socket.socket
    a_to_b: Impairment
    b_to_a: Impairment
    name: str


class _Lane:
    """One direction at work: where its frames come from and go to."""

    def __init__(self, source: socket.socket, sink: socket.socket, slots: int) -> None:
        self.source = source
        self.ring = Ring(source, slots)
        self.send = sink.send
        self.refused = 0
        self.late = 0  # ns, the worst

    def row(self, direction: Direction) -> list[int]:
        """The fields of `delay_line.Counters` after the wire's name, in its order."""
        return [
            direction.forwarded,
            direction.lost,
            direction.overflowed,
            direction.severed,
            self.ring.missed(),
            self.ring.unfinished,
            self.refused,
            self.late // 1000,
        ]


class Forwarder:
    """Forwards until it is told to stop or ``control`` (SOCK_SEQPACKET) ends."""

    def __init__(self, wires: Sequence[Wire], control: socket.socket, seed: int) -> None:
        self._control = control
        self._timer = Timer()
        self._armed = 0
        self._heap: list[tuple[int, int, int, bytes]] = []  # due, order, lane, frame
        self._count = 0
        self._lanes: list[_Lane] = []
        self._directions: list[Direction] = []
        self._wires = {wire.name: 2 * number for number, wire in enumerate(wires)}
        self._by_fd: dict[int, int] = {}
        self._epoll = select.epoll()
        slots = min(max(_RINGS // SLOT // max(2 * len(wires), 1), _SLOTS[0]), _SLOTS[1])
        for wire in wires:
            self._add(_Lane(wire.a, wire.b, slots), wire.a_to_b, f"{seed}/{wire.name}/ab")
            self._add(_Lane(wire.b, wire.a, slots), wire.b_to_a, f"{seed}/{wire.name}/ba")
        self._epoll.register(self._timer, select.EPOLLIN)
        self._epoll.register(control, select.EPOLLIN)

    def _add(self, lane: _Lane, impairment: Impairment, seed: str) -> None:
        self._by_fd[lane.source.fileno()] = len(self._lanes)
        self._lanes.append(lane)
        self._directions.append(Direction(impairment, seed))
        self._epoll.register(lane.source, select.EPOLLIN)

    def run(self) -> None:
        """Forward frames; returns on the command ``stop`` or at the end of the control."""
        control, timer = self._control.fileno(), self._timer.fileno()
        while True:
            for fd, events in self._epoll.poll():
                if fd == control:
                    if not self._obey():
                        return
                elif fd != timer:  # the timer is read by setting it
                    number = self._by_fd[fd]
                    if events & select.EPOLLERR:  # the interface went down: say so once
                        self._lanes[number].source.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    self._take(number)
            self._deliver()

    def _take(self, number: int) -> None:
        admit, heap = self._directions[number].admit, self._heap
        for arrival, frame in self._lanes[number].ring.take(_BATCH):
            due = admit(arrival, len(frame))
            if due is not None:
                self._count += 1
                heappush(heap, (due, self._count, number, frame))

    def _deliver(self) -> None:
        heap, now = self._heap, time.monotonic_ns()
        for _ in range(_BATCH):
            if not heap or heap[0][0] > now:
                break
            due, _, number, frame = heappop(heap)
            lane = self._lanes[number]
            lane.late = max(lane.late, now - due)
            try:
                lane.send(frame)
            except OSError:  # the far interface is down or full, as a real wire may be
                lane.refused += 1
            self._directions[number].delivered()
            now = time.monotonic_ns()
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
            first = self._wires[order["wire"]]
            for number, key in enumerate(("a_to_b", "b_to_a"), first):
                if order.get(key) is not None:
                    self._directions[number].set(Impairment(**order[key]))
                if "cut" in order:
                    self._directions[number].cut = order["cut"]
        pairs = zip(self._lanes, self._directions, strict=True)
        rows = [lane.row(direction) for lane, direction in pairs]
        self._control.send(json.dumps(rows).encode())
        return "stop" not in order
