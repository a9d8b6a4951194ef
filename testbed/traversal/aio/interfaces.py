"""The addresses of this machine's interfaces: where a wildcard listens.

Linux tells them by rtnetlink.  Elsewhere there is the source of the default route alone.
"""

import contextlib
import ipaddress
import socket
import struct
import sys
from collections.abc import Iterator

from ..ip_scope import IpAddress

_REQUEST = struct.Struct("=IHHII BBBBI")  # nlmsghdr, ifaddrmsg
_HEADER = struct.Struct("=IHHII")
_ADDRESS = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_NEW_ADDRESS, _GET_ADDRESS = 20, 22
_DUMP = 0x301  # NLM_F_REQUEST, NLM_F_DUMP
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
# Tentative, deprecated, or a duplicate: nobody is to be told of these (RFC 4862 section 5.5.4).
_UNFIT = 0x40 | 0x20 | 0x08
_MAX = 64
_FAMILIES = {socket.AF_INET: 4, socket.AF_INET6: 16}


def interface_addresses(version: int) -> tuple[IpAddress, ...]:
    """All of one IP version that others may dial: none of a single link, loopback last."""
    if sys.platform != "linux":
        return ()
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    found: list[IpAddress] = []
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink,
    ):
        netlink.settimeout(1.0)
        size = _REQUEST.size
        netlink.send(_REQUEST.pack(size, _GET_ADDRESS, _DUMP, 1, 0, family, 0, 0, 0, 0))
        over = False
        while not over:
            some, over = addresses_of(netlink.recv(1 << 16))
            found += (ip for ip in some if ip.version == version)
    dialable = [ip for ip in dict.fromkeys(found) if not ip.is_link_local]
    return tuple(sorted(dialable, key=lambda ip: ip.is_loopback))[:_MAX]


def addresses_of(data: bytes) -> tuple[list[IpAddress], bool]:
    """What messages of the kernel tell (rtnetlink(7)), and whether they were the last."""
    found: list[IpAddress] = []
    for kind, body in _messages(data):
        if kind != _NEW_ADDRESS:
            return found, True  # NLMSG_DONE, or an error
        if len(body) < _ADDRESS.size:
            continue
        family, _, flags, _, _ = _ADDRESS.unpack_from(body)
        values = dict(_attributes(body[_ADDRESS.size :]))
        raw = values.get(_IFA_LOCAL, values.get(_IFA_ADDRESS, b""))
        wide = values.get(_IFA_FLAGS, b"")
        if len(wide) == 4:  # those that fit no byte
            flags = int.from_bytes(wide, sys.byteorder)
        if len(raw) == _FAMILIES.get(family) and not flags & _UNFIT:
            found.append(ipaddress.ip_address(raw))
    return found, not data


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _HEADER.size:
        length, kind, _, _, _ = _HEADER.unpack_from(data)
        if not _HEADER.size <= length <= len(data):
            return
        yield kind, data[_HEADER.size : length]
        data = data[_aligned(length) :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            return
        yield kind, data[_ATTRIBUTE.size : length]
        data = data[_aligned(length) :]


def _aligned(length: int) -> int:
    return (length + 3) & ~3
