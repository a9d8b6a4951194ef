"""A route socket of a node: what it is asked for, in batches, and what the kernel says is there."""

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network

from testbed.errors import BackendError
from testbed.lab.links.interfaces import await_carrier
from testbed.lab.rtnetlink import (
    ALL_LINKS,
    ALL_ROUTES,
    ALL_RULES,
    FRA_PRIORITY,
    FRA_SRC,
    FRA_TABLE,
    HEADER,
    IFLA_IFNAME,
    LINK,
    ROUTE,
    RTA_DST,
    RTA_GATEWAY,
    RTA_PRIORITY,
    RTA_TABLE,
    RTN_BLACKHOLE,
    RULE,
    Request,
    attributes,
)
from testbed.model.address import MAIN, Route, Rule

_ERROR, _DONE = 2, 3
_LOCAL = 255  # the routing table of a node's own addresses, the kernel's affair
_DEFAULT = 253  # asked after the main one
_KERNELS_OWN = {(0, _LOCAL), (32766, MAIN), (32767, _DEFAULT)}  # priority and table of rules
_RECEIVE = 1 << 18
_DEADLINE = 5.0  # seconds
_AT_ONCE = 64  # messages a send: their answers must fit into the socket's buffer
_EVERYWHERE = bytes(4)


class Netlink:
    """A route socket of one network namespace.  Made inside it, usable from anywhere."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self.socket.bind((0, 0))
        self.socket.settimeout(_DEADLINE)

    def close(self) -> None:
        self.socket.close()

    def send(self, requests: list[Request]) -> None:
        """Apply all, in order; BackendError names the first that was refused."""
        for start in range(0, len(requests), _AT_ONCE):
            self._batch(requests[start : start + _AT_ONCE])

    def _batch(self, requests: list[Request]) -> None:
        parts = []
        for sequence, request in enumerate(requests):
            parts += [request.data[:8], sequence.to_bytes(4, "little"), request.data[12:]]
        self.socket.send(b"".join(parts))
        pending = len(requests)
        while pending:
            for _, sequence, body in _messages(self._receive()):
                pending -= 1
                code = -struct.unpack_from("=i", body)[0]
                if code:
                    about = requests[sequence].about
                    raise BackendError(f"{about}: {os.strerror(code)}", node=self.node)

    def _receive(self) -> bytes:
        try:
            return self.socket.recv(_RECEIVE)
        except TimeoutError:
            raise BackendError(
                f"netlink gave no answer within {_DEADLINE:g} s", node=self.node
            ) from None
        except OSError as error:
            raise BackendError(f"netlink: {error.strerror}", node=self.node) from error

    def await_carrier(self, index: int) -> None:
        """Until the interface carries packets; BackendError at the deadline."""
        try:
            await_carrier(self.socket, index, _DEADLINE)
        finally:
            self.socket.settimeout(_DEADLINE)

    def interfaces(self) -> set[str]:
        """The names of all interfaces in the namespace."""
        dump = (attributes(body, LINK.size) for body in self._dump(ALL_LINKS))
        return {found[IFLA_IFNAME].rstrip(b"\0").decode() for found in dump}

    def routes(self) -> set[Route]:
        """Those of all tables but that of the node's own addresses."""
        found = set()
        for body in self._dump(ALL_ROUTES):
            _, length, _, _, short, _, _, kind, _ = ROUTE.unpack_from(body)
            told = attributes(body, ROUTE.size)
            table = _number(told.get(RTA_TABLE), short)
            if table == _LOCAL:
                continue
            gateway = told.get(RTA_GATEWAY)
            found.add(
                Route(
                    _network(told.get(RTA_DST, _EVERYWHERE), length),
                    None if gateway is None else IPv4Address(gateway),
                    kind == RTN_BLACKHOLE,
                    _number(told.get(RTA_PRIORITY), 0),
                    table,
                )
            )
        return found

    def rules(self) -> set[Rule]:
        """The routing policy, but for the kernel's own rules, which have every source."""
        found = set()
        for body in self._dump(ALL_RULES):
            _, _, length, _, short, _, _, _, _ = RULE.unpack_from(body)
            told = attributes(body, RULE.size)
            table = _number(told.get(FRA_TABLE), short)
            if (_number(told.get(FRA_PRIORITY), 0), table) not in _KERNELS_OWN:
                found.add(Rule(_network(told.get(FRA_SRC, _EVERYWHERE), length), table))
        return found

    def _dump(self, request: Request) -> Iterator[bytes]:
        """The body of each message that the kernel answers with."""
        self.socket.send(request.data)
        while True:
            for kind, _, body in _messages(self._receive()):
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    code = -struct.unpack_from("=i", body)[0]
                    raise BackendError(
                        f"netlink dump of {request.about}: {os.strerror(code)}", node=self.node
                    )
                yield body


def _number(value: bytes | None, otherwise: int) -> int:
    return otherwise if value is None else int.from_bytes(value, sys.byteorder)


@lru_cache(maxsize=4096)
def _network(address: bytes, length: int) -> IPv4Network:
    """Hosts of one LAN have the same: that spares most of what an audit costs."""
    return IPv4Network((address, length))


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, sequence, body) of every message in one datagram."""
    offset = 0
    while offset < len(data):
        length, kind, _, sequence, _ = HEADER.unpack_from(data, offset)
        if length < HEADER.size:
            raise BackendError(f"netlink: {os.strerror(errno.EBADMSG)}")
        yield kind, sequence, data[offset + HEADER.size : offset + length]
        offset += (length + 3) & ~3
