"""Tunnels: the frames of a link as datagrams between two nodes, by the forwarder's process.

A kernel that lets an ordinary user make a tunnel's device in a namespace is rare: of those of
Linux's own, VXLAN's alone is there where the testbed is built, and it sends to a port that it was
told, which no NAT keeps.  So the format is VXLAN's (RFC 7348), and who is answered where is as
with WireGuard: the far end knows a client by its number, and answers to wherever the last
datagram of it came from.  A client makes itself known at the start and keeps its mapping.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence

from testbed.lab.links.interfaces import interface_name
from testbed.lab.links.timer import Timer
from testbed.model.frozen import FrozenValue
from testbed.model.topology import TUNNEL_PORT

KEEPALIVE_S = 20.0  # less than any NAT forgets a mapping of UDP after, by RFC 4787 REQ-5
_HEADER = struct.Struct(">B3xI")
_HAS_NUMBER = 0x08
_LONGEST = 2048  # bytes of a datagram
_BATCH = 64  # datagrams in a row, so that no tunnel starves the wires
_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT = 10, 0  # it may be cut into fragments, as WireGuard's

Address = tuple[str, int]
Deliver = Callable[[bytes, str], None]  # a frame, and the interface that it leaves by


class TunnelEnds(FrozenValue):
    """A tunnel: two interfaces of the bench, and the sockets in the nodes at its ends.

    ``a`` and ``b`` stand for the interfaces (see `wire_socket`).  Sockets may serve several.
    """

    a: socket.socket
    b: socket.socket
    near: socket.socket
    far: socket.socket
    number: int


def endpoint(sock: socket.socket, address: str, port: int = TUNNEL_PORT) -> socket.socket:
    """A UDP socket, made in a node, as the end of its tunnels at its own ``address``."""
    sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
    sock.setblocking(False)
    sock.bind((address, port))
    return sock


class _Tunnel:
    """One at work; ``client`` is where the far end answers to."""

    def __init__(self, ends: TunnelEnds) -> None:
        self.a, self.b = (interface_name(sock) for sock in (ends.a, ends.b))
        self.near, self.far = ends.near, ends.far
        self.server: Address = ends.far.getsockname()
        self.client: Address | None = None
        self.header = _HEADER.pack(_HAS_NUMBER, ends.number << 8)

    def outwards(self, frame: bytes) -> None:
        """From the client; an empty frame makes it known."""
        _send(self.near, self.header + frame, self.server)

    def inwards(self, frame: bytes) -> None:
        """From the server, which is silent as long as it knows no client."""
        if self.client is not None:
            _send(self.far, self.header + frame, self.client)


class Tunnels:
    """All tunnels of a lab.  Made in the namespace of the bench's interfaces."""

    def __init__(self, ends: Sequence[TunnelEnds], deliver: Deliver) -> None:
        self._deliver = deliver
        self._timer = Timer()
        self._by_number = {one.number: _Tunnel(one) for one in ends}
        self._by_source: dict[int, Callable[[bytes], None]] = {}
        for tunnel in self._by_number.values():
            self._by_source[socket.if_nametoindex(tunnel.a)] = tunnel.outwards
            self._by_source[socket.if_nametoindex(tunnel.b)] = tunnel.inwards
        far = {one.far.fileno(): one.far for one in ends}
        near = {one.near.fileno(): one.near for one in ends}
        self._sockets: Mapping[int, tuple[socket.socket, bool]] = {
            **{fd: (sock, True) for fd, sock in far.items()},
            **{fd: (sock, False) for fd, sock in near.items()},
        }
        self._keep()

    @property
    def readable(self) -> list[int]:
        """What is to be waited for, as descriptors."""
        return [*self._sockets, self._timer.fileno()] if self._by_number else []

    def take(self, ifindex: int, frame: bytes) -> bool:
        """A frame that came from a node; False if the interface is no tunnel's."""
        send = self._by_source.get(ifindex)
        if send is None:
            return False
        send(frame)
        return True

    def ready(self, fd: int) -> None:
        """Do what there is to do, where ``fd`` is one of `readable`."""
        if fd == self._timer.fileno():
            self._keep()
        elif fd in self._sockets:
            self._read(*self._sockets[fd])

    def _read(self, sock: socket.socket, at_server: bool) -> None:
        for _ in range(_BATCH):
            try:
                data, source = sock.recvfrom(_LONGEST)
            except OSError:  # nothing more, or an ICMP error about what was sent
                return
            if len(data) < _HEADER.size:
                continue
            tunnel = self._by_number.get(_HEADER.unpack_from(data)[1] >> 8)
            if tunnel is None:
                continue
            if at_server:
                tunnel.client = source
            if frame := data[_HEADER.size :]:
                self._deliver(frame, tunnel.b if at_server else tunnel.a)

    def _keep(self) -> None:
        for tunnel in self._by_number.values():
            tunnel.outwards(b"")
        if self._by_number:
            self._timer.set(time.monotonic_ns() + int(KEEPALIVE_S * 1e9))


def _send(sock: socket.socket, data: bytes, target: Address) -> None:
    with contextlib.suppress(OSError):  # no route, or no room: lost, as on any network
        sock.sendto(data, target)
