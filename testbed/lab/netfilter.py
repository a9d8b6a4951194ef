"""The netlink by which a node's kernel tells of its netfilter: framing, attributes, dumps.

A socket of the node's namespace is enough: no tool is run, and none needs root.
"""

import os
import socket
import struct
from collections.abc import Iterator

from testbed.errors import BackendError
from testbed.model.lab import Lab

NETLINK_NETFILTER = 12
HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
FAMILY = struct.Struct("=BBH")  # nfgenmsg: family, version, resource
CONNTRACK, NFTABLES = 1 << 8, 10 << 8  # NFNL_SUBSYS_*: what a type's upper byte says
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_TYPE = 0x3FFF  # without the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER
_REQUEST, _ACKNOWLEDGE, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_RECEIVE = 1 << 18
_DEADLINE = 5.0  # seconds


def dump(lab: Lab, node: str, kind: int) -> list[bytes]:
    """The bodies, after `FAMILY`, of all IPv4 objects that a request of type ``kind`` gives.

    BackendError when the kernel refuses to tell.
    """
    return _asked(lab, node, kind, _DUMP)


def ask(lab: Lab, node: str, kind: int) -> list[bytes]:
    """As `dump`, for a request that is not for a list of objects."""
    return _asked(lab, node, kind, _ACKNOWLEDGE)


def _asked(lab: Lab, node: str, kind: int, flags: int) -> list[bytes]:
    with lab.socket(node, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as asking:
        asking.settimeout(_DEADLINE)
        family = FAMILY.pack(socket.AF_INET, 0, 0)
        asking.send(HEADER.pack(HEADER.size + len(family), kind, _REQUEST | flags, 1, 0) + family)
        try:
            return [body[FAMILY.size :] for body in _answers(asking)]
        except OSError as error:
            raise BackendError(f"netfilter: {error.strerror or error}", node=node) from error


def _answers(asking: socket.socket) -> Iterator[bytes]:
    while True:
        for kind, _flags, body in messages(asking.recv(_RECEIVE)):
            if kind == _DONE:
                return
            if kind == _ERROR:
                code = -struct.unpack_from("=i", body)[0]
                if code:
                    raise OSError(code, os.strerror(code))
                return  # the acknowledgement, which is an error of 0
            yield body


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, flags, body) of each message in a datagram."""
    offset = 0
    while offset < len(data):
        length, kind, flags, _, _ = HEADER.unpack_from(data, offset)
        yield kind, flags, data[offset + HEADER.size : offset + length]
        offset += (length + 3) & ~3


def attributes(data: bytes) -> dict[int, bytes]:
    """What a list of attributes holds, by type; of several of one type the last."""
    return dict(each_attribute(data))


def each_attribute(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, value) of each, in order."""
    offset = 0
    while offset < len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        yield kind & _TYPE, data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
