"""Batched rtnetlink: pyroute2 spells the messages, one send carries them all.

Messages are encoded by pure, cached functions: the labs of a matrix differ in
rules, hardly in wiring.  Interface indices are chosen by us, so no message has to
wait for another's answer.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from testbed.errors import BackendError
from testbed.lab.links.interfaces import await_carrier
from testbed.model.address import MAIN, Route, Rule

_HEADER = struct.Struct("=IHHII")
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _CREATE_EXCL, _REPLACE, _DUMP = 0x1, 0x4, 0x600, 0x500, 0x300
_NEWLINK, _GETLINK, _SETLINK = 16, 18, 19
_NEWADDR, _NEWROUTE, _GETROUTE, _NEWNEIGH = 20, 24, 26, 28
_NEWRULE, _GETRULE = 32, 34
_NUD_PERMANENT = 0x80
_RTN_UNICAST, _RTN_BLACKHOLE = 1, 6
_IFF_UP = 0x1
_LOCAL = 255  # the routing table of a node's own addresses, the kernel's affair
_DEFAULT = 253  # asked after the main one
_FR_ACT_TO_TBL = 1
_KERNELS_OWN = {(0, _LOCAL), (32766, MAIN), (32767, _DEFAULT)}  # priority and table of rules
_RECEIVE = 1 << 18
_DEADLINE = 5.0  # seconds
_AT_ONCE = 64  # messages a send: their answers must fit into the socket's buffer


@dataclass(frozen=True)
class Request:
    """One encoded message and what it is for, as an error would name it."""

    data: bytes
    about: str


def _request(kind: type, number: int, flags: int, about: str, fields: dict[str, Any]) -> Request:
    message = kind()
    message.update(fields)
    message["header"] = {
        "type": number,
        "flags": _REQUEST | _ACK | flags,
        "sequence_number": 0,
        "pid": 0,
    }
    message.encode()
    return Request(bytes(message.data), about)


@dataclass(frozen=True)
class VethEnd:
    """One end of a veth pair: made in, named and numbered for its namespace."""

    netns: int
    ifname: str
    index: int
    mac: str
    mtu: int | None = None


def _end(end: VethEnd, *extra: tuple[str, Any]) -> dict[str, Any]:
    return {
        "index": end.index,
        "flags": _IFF_UP,
        "change": _IFF_UP,
        "attrs": [
            ("IFLA_IFNAME", end.ifname),
            ("IFLA_NET_NS_FD", end.netns),
            ("IFLA_ADDRESS", end.mac),
            ("IFLA_GSO_MAX_SEGS", 1),  # captures show packets, not super-packets
            *([("IFLA_MTU", end.mtu)] if end.mtu is not None else []),
            *extra,
        ],
    }


@lru_cache(maxsize=4096)
def veth(a: VethEnd, b: VethEnd) -> Request:
    """A pair with both ends made inside their namespaces; ``b`` is not yet up.

    The kernel opens ``b`` before it knows ``a``, and refuses if asked to.
    """
    peer = _end(b) | {"flags": 0, "change": 0}
    data = {"attrs": [("VETH_INFO_PEER", peer)]}
    info = {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", data)]}
    fields = _end(a, ("IFLA_LINKINFO", info))
    return _request(ifinfmsg, _NEWLINK, _CREATE_EXCL, f"link {a.ifname} - {b.ifname}", fields)


@lru_cache(maxsize=64)
def bridge(ifname: str, index: int, mac: str) -> Request:
    """A bridge, up, in the namespace of the socket that sends this."""
    fields = {
        "index": index,
        "flags": _IFF_UP,
        "change": _IFF_UP,
        "attrs": [
            ("IFLA_IFNAME", ifname),
            ("IFLA_ADDRESS", mac),
            ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "bridge")]}),
        ],
    }
    return _request(ifinfmsg, _NEWLINK, _CREATE_EXCL, f"bridge {ifname}", fields)


@lru_cache(maxsize=4096)
def enslave(index: int, master: int) -> Request:
    """Make interface ``index`` a port of bridge ``master``."""
    fields = {"index": index, "attrs": [("IFLA_MASTER", master)]}
    return _request(ifinfmsg, _SETLINK, 0, f"port {index} of bridge {master}", fields)


@lru_cache(maxsize=4096)
def up(index: int, is_up: bool = True) -> Request:
    """Set interface ``index`` up, or down."""
    fields = {"index": index, "flags": int(is_up) * _IFF_UP, "change": _IFF_UP, "attrs": []}
    return _request(ifinfmsg, _SETLINK, 0, f"interface {index} up={is_up}", fields)


@lru_cache(maxsize=4096)
def address(index: int, interface: IPv4Interface) -> Request:
    """Give interface ``index`` an address."""
    ip = str(interface.ip)
    fields = {
        "family": socket.AF_INET,
        "prefixlen": interface.network.prefixlen,
        "index": index,
        "attrs": [("IFA_LOCAL", ip), ("IFA_ADDRESS", ip)],
    }
    return _request(ifaddrmsg, _NEWADDR, _CREATE_EXCL, f"address {interface}", fields)


@lru_cache(maxsize=4096)
def neighbour(index: int, ip: IPv4Address, mac: str) -> Request:
    """A permanent neighbour on interface ``index``."""
    fields = {
        "family": socket.AF_INET,
        "ifindex": index,
        "state": _NUD_PERMANENT,
        "attrs": [("NDA_DST", str(ip)), ("NDA_LLADDR", mac)],
    }
    return _request(ndmsg, _NEWNEIGH, _REPLACE, f"neighbour {ip}", fields)


@lru_cache(maxsize=4096)
def route(
    destination: IPv4Network,
    gateway: IPv4Address | None,
    index: int | None,
    metric: int = 0,
    table: int = MAIN,
) -> Request:
    """A route by ``gateway`` and interface; a blackhole where both are None."""
    blackhole = gateway is None and index is None
    attrs: list[tuple[str, Any]] = []
    if destination.prefixlen:
        attrs.append(("RTA_DST", str(destination.network_address)))
    if gateway is not None:
        attrs.append(("RTA_GATEWAY", str(gateway)))
    if index is not None:
        attrs.append(("RTA_OIF", index))
    if metric:
        attrs.append(("RTA_PRIORITY", metric))
    fields = {
        "family": socket.AF_INET,
        "dst_len": destination.prefixlen,
        "table": table,
        "proto": 4,
        "type": _RTN_BLACKHOLE if blackhole else _RTN_UNICAST,
        "scope": 253 if gateway is None and not blackhole else 0,
        "attrs": attrs,
    }
    return _request(rtmsg, _NEWROUTE, _REPLACE, f"route {destination}", fields)


@lru_cache(maxsize=4096)
def rule(source: IPv4Address, table: int) -> Request:
    """A rule of the routing policy: what has ``source`` asks ``table`` before the main one."""
    fields = {
        "family": socket.AF_INET,
        "src_len": 32,
        "table": table,
        "action": _FR_ACT_TO_TBL,
        "attrs": [("FRA_SRC", str(source)), ("FRA_TABLE", table)],
    }
    return _request(fibmsg, _NEWRULE, _CREATE_EXCL, f"rule from {source}", fields)


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
        return {message.get_attr("IFLA_IFNAME") for message in self._dump(ifinfmsg, _GETLINK)}

    def routes(self) -> set[Route]:
        """Those of all tables but that of the node's own addresses."""
        found = set()
        for message in self._dump(rtmsg, _GETROUTE):
            table = message.get_attr("RTA_TABLE", message["table"])
            if table == _LOCAL:
                continue
            destination = message.get_attr("RTA_DST") or "0.0.0.0"
            gateway = message.get_attr("RTA_GATEWAY")
            found.add(
                Route(
                    IPv4Network(f"{destination}/{message['dst_len']}"),
                    IPv4Address(gateway) if gateway else None,
                    message["type"] == _RTN_BLACKHOLE,
                    message.get_attr("RTA_PRIORITY") or 0,
                    table,
                )
            )
        return found

    def rules(self) -> set[Rule]:
        """The routing policy, but for the kernel's own rules, which have every source."""
        found = set()
        for message in self._dump(fibmsg, _GETRULE):
            table = message.get_attr("FRA_TABLE", message["table"])
            if (message.get_attr("FRA_PRIORITY") or 0, table) not in _KERNELS_OWN:
                source = message.get_attr("FRA_SRC") or "0.0.0.0"
                found.add(Rule(IPv4Network(f"{source}/{message['src_len']}"), table))
        return found

    def _dump(self, kind: type, number: int) -> Iterator[Any]:
        family = socket.AF_UNSPEC if kind is ifinfmsg else socket.AF_INET
        request = _request(kind, number, _DUMP, "dump", {"family": family, "attrs": []})
        self.socket.send(request.data)
        while True:
            for kind_number, _, body in _messages(self._receive()):
                if kind_number == _DONE:
                    return
                if kind_number == _ERROR:
                    code = -struct.unpack_from("=i", body)[0]
                    raise BackendError(f"netlink dump: {os.strerror(code)}", node=self.node)
                message = kind(_HEADER.pack(len(body) + 16, kind_number, 0, 0, 0) + body)
                message.decode()
                yield message


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, sequence, body) of every message in one datagram."""
    offset = 0
    while offset < len(data):
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            raise BackendError(f"netlink: {os.strerror(errno.EBADMSG)}")
        yield kind, sequence, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3
