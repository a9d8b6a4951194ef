"""What a delay line needs of the interfaces that it joins: sockets, whole frames."""

import ctypes
import fcntl
import socket
import struct

from testbed.errors import BackendError

_ETH_P_ALL = 0x0003
_SOL_PACKET = 263
_PACKET_QDISC_BYPASS = 20
_PACKET_IGNORE_OUTGOING = 23
_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17


def wire_socket(ifname: str) -> socket.socket:
    """A raw socket that receives and sends whole frames on ``ifname`` of this namespace.

    It does not see what it sends.  The namespace should keep quiet on the interface
    (no addresses, IPv6 disabled), or its own packets are forwarded with the rest.
    Needs CAP_NET_RAW over the namespace; OSError if there is no such interface.
    """
    # Protocol 0 receives nothing before bind: no frame of another interface slips in.
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        sock.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        sock.bind((ifname, _ETH_P_ALL))
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
