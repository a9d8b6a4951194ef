"""What a delay line needs of the interfaces that it joins: sockets, whole frames."""

import ctypes
import fcntl
import select
import socket
import struct
import time

from testbed.errors import BackendError

_ETH_P_ALL = 0x0003
_SOL_PACKET = 263
_PACKET_QDISC_BYPASS = 20
_PACKET_IGNORE_OUTGOING = 23
_SIOCGSKNS = 0x894C
_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17
_GETLINK = struct.Struct("=IHHIIIiII")  # nlmsghdr; ifinfomsg, its family and type in one
_RTM_NEWLINK, _RTM_GETLINK = 16, 18
_NLM_F_REQUEST = 1
_IFLA_OPERSTATE = 16
_IF_OPER_UP = 6


def wire_socket(ifname: str) -> socket.socket:
    """A socket that stands for interface ``ifname`` of this namespace in a `Wire`.

    It carries no frame itself: every packet socket costs the kernel some 30 ms to
    close, so that the delay line has one for all its interfaces.  OSError if there is
    no such interface.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, ifname.encode())
    except OSError:
        sock.close()
        raise
    return sock


def interface_name(sock: socket.socket) -> str:
    """The name of the interface that a `wire_socket` stands for."""
    name = sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
    return name.rstrip(b"\0").decode()


def namespace_of(sock: socket.socket) -> int:
    """A new descriptor of the namespace that any socket was made in.

    Needs CAP_NET_ADMIN over the namespace; OSError.
    """
    return fcntl.ioctl(sock, _SIOCGSKNS)


def frame_socket() -> socket.socket:
    """A raw socket that receives and sends whole frames on all of this namespace's interfaces.

    It does not hear what it sends.  The namespace should keep quiet (no addresses, IPv6
    disabled), or its own packets travel with the rest.  Needs CAP_NET_RAW over the
    namespace; OSError.
    """
    everything = socket.htons(_ETH_P_ALL)
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, everything)
    try:
        sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        sock.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
    except OSError:
        sock.close()
        raise
    return sock


def disable_offloads(sock: socket.socket, ifname: str) -> None:
    """Make ``ifname`` of the namespace of ``sock`` send only finished frames.

    Any socket will do.  Transmit checksums are the one switch needed: the kernel
    never leaves segmentation (TCP or UDP) to a device that cannot checksum, so
    frames also keep to the MTU.  Needs CAP_NET_ADMIN over the namespace; raises
    BackendError if the kernel refuses.
    """
    value = ctypes.create_string_buffer(struct.pack("=II", _ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP16x", ifname.encode(), ctypes.addressof(value))
    try:
        fcntl.ioctl(sock, _SIOCETHTOOL, request)
    except OSError as error:
        raise BackendError(f"cannot turn off checksum offload of {ifname}: {error}") from error


def await_carrier(netlink: socket.socket, ifindex: int, timeout: float = 5.0) -> None:
    """Return when a veth end, up on both sides, sends what it is given.

    The kernel gives it a queue in the background, after the second side went up; until
    then frames vanish uncounted (measured: the first one of up to 4 % of new links on a
    busy machine).  IFF_RUNNING does not tell, for it is also set while the operational
    state (RFC 2863) is still unknown.  ``netlink`` is a bound NETLINK_ROUTE socket of the
    namespace with no answer outstanding.  BackendError after ``timeout`` seconds.
    """
    request = _GETLINK.pack(_GETLINK.size, _RTM_GETLINK, _NLM_F_REQUEST, 0, 0, 0, ifindex, 0, 0)
    deadline = time.monotonic() + timeout
    while True:
        netlink.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            netlink.send(request)
            answer = netlink.recv(1 << 16)
        except OSError as error:
            raise BackendError(f"carrier of interface {ifindex}: {error}") from error
        if _operational_state(answer) == _IF_OPER_UP:
            return
        if time.monotonic() > deadline:
            raise BackendError(f"interface {ifindex} has no carrier after {timeout} s")
        select.select([], [], [], 0.0002)


def _operational_state(answer: bytes) -> int | None:
    """IFLA_OPERSTATE of an RTM_NEWLINK message; None in any other."""
    if struct.unpack_from("=H", answer, 4)[0] != _RTM_NEWLINK:
        return None
    at = _GETLINK.size
    while at + 4 <= len(answer):
        length, kind = struct.unpack_from("=HH", answer, at)
        if kind == _IFLA_OPERSTATE:
            return answer[at + 4]
        at += max((length + 3) & ~3, 4)
    return None
