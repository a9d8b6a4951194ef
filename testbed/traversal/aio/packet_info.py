"""From which of our addresses a datagram is answered: the one that its question came to.

A socket that is bound to a wildcard answers from where the route leads out, which on a machine
of several addresses is another one at times; whoever asked knows nobody there, and a NAT or a
firewall on the way neither.  Linux tells and takes the address of each datagram (ip(7), ipv6(7)).
"""

import ipaddress
import socket
import struct
import sys
from typing import Any

from .net import route_source

Ancillary = list[tuple[int, int, bytes]]

_IP_PKTINFO = 8  # linux/in.h; `socket` does not name it everywhere
_V4, _V6 = struct.Struct("=I4s4s"), struct.Struct("=16sI")
_ROOM = socket.CMSG_SPACE(_V6.size) if hasattr(socket, "CMSG_SPACE") else 0
_MAX_KNOWN = 4096  # remotes; of those that are forgotten, the route decides again


class PacketInfo:
    """What one socket has to remember of the remotes that it met."""

    def __init__(self, version: int) -> None:
        self._v6 = version == 6
        self._known: dict[Any, tuple[bytes, Ancillary]] = {}

    @classmethod
    def of(cls, sock: socket.socket) -> "PacketInfo | None":
        """For a bound UDP socket; None where there is nothing to choose, or nobody who tells."""
        ip = ipaddress.ip_address(sock.getsockname()[0])
        if sys.platform != "linux" or not ip.is_unspecified:
            return None
        if ip.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        return cls(ip.version)

    def receive(self, sock: socket.socket, largest: int) -> tuple[bytes, Any]:
        """As `recvfrom` does."""
        data, ancillary, _, remote = sock.recvmsg(largest, _ROOM)
        if ancillary:
            local = self._local(ancillary[0][2])
            known = self._known.get(remote)
            if known is None or known[0] != local:
                self._learn(remote, local)
        return data, remote

    def send(self, sock: socket.socket, data: bytes, remote: Any) -> None:
        """As `sendto` does."""
        known = self._known.get(remote)
        if known is None or not known[1]:
            sock.sendto(data, remote)
            return
        try:
            sock.sendmsg((data,), known[1], 0, remote)
        except (BlockingIOError, InterruptedError):
            raise
        except OSError:  # the address is not ours any more
            del self._known[remote]
            sock.sendto(data, remote)

    def _local(self, info: bytes) -> bytes:
        if self._v6:
            return info[:16]
        return info[4:8]

    def _learn(self, remote: Any, local: bytes) -> None:
        if len(self._known) >= _MAX_KNOWN:
            del self._known[next(iter(self._known))]
        usual = route_source(remote[0])
        ancillary: Ancillary = []
        if usual != str(ipaddress.ip_address(local)):
            ancillary = [self._from(local)]
        self._known[remote] = local, ancillary

    def _from(self, local: bytes) -> tuple[int, int, bytes]:
        if self._v6:
            return socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _V6.pack(local, 0)
        return socket.IPPROTO_IP, _IP_PKTINFO, _V4.pack(0, local, bytes(4))
