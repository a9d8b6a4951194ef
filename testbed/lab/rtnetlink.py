"""What labs ask of rtnetlink(7): pyroute2 spells each message, and each is kept for the next lab.

The labs of a matrix differ in rules, hardly in wiring.  Interface indices are chosen by us, so
no message has to wait for another's answer.  What the kernel answers to a dump is read with
`struct`: an audit looks at a few attributes of very many messages.
"""

import socket
import struct
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from pyroute2.netlink.rtnl.tcmsg import tcmsg
from pyroute2.netlink.rtnl.tcmsg.sched_netem import get_parameters

from testbed.model.address import MAIN
from testbed.model.frozen import FrozenValue

_REQUEST, _ACK, _CREATE_EXCL, _REPLACE, _DUMP = 0x1, 0x4, 0x600, 0x500, 0x300
_NEWLINK, _GETLINK, _SETLINK = 16, 18, 19
_NEWADDR, _NEWROUTE, _GETROUTE, _NEWNEIGH = 20, 24, 26, 28
_NEWRULE, _GETRULE, _NEWQDISC = 32, 34, 36
_NUD_PERMANENT = 0x80
_RTN_UNICAST, RTN_BLACKHOLE = 1, 6
_IFF_UP = 0x1
_FR_ACT_TO_TBL = 1
_TC_H_ROOT = 0xFFFF_FFFF
_KEPT = 1 << 17  # messages of a kind: a lab of 5,000 nodes has some 60,000 in all

HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port
LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
ROUTE = struct.Struct("=8BI")  # rtmsg: family, dst_len, src_len, tos, table, proto, scope, type
RULE = struct.Struct("=8BI")  # fib_rule_hdr: family, dst_len, src_len, tos, table, -, -, action
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
IFLA_IFNAME = 3
RTA_DST, RTA_GATEWAY, RTA_PRIORITY, RTA_TABLE = 1, 5, 6, 15
FRA_SRC, FRA_PRIORITY, FRA_TABLE = 2, 6, 15


@dataclass(frozen=True, slots=True)
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


class VethEnd(FrozenValue):
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


@lru_cache(maxsize=_KEPT)
def veth(a: VethEnd, b: VethEnd) -> Request:
    """A pair with both ends made inside their namespaces; ``b`` is not yet up.

    The kernel opens ``b`` before it knows ``a``, and refuses if asked to.
    """
    peer = _end(b) | {"flags": 0, "change": 0}
    data = {"attrs": [("VETH_INFO_PEER", peer)]}
    info = {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", data)]}
    fields = _end(a, ("IFLA_LINKINFO", info))
    return _request(ifinfmsg, _NEWLINK, _CREATE_EXCL, f"link {a.ifname} - {b.ifname}", fields)


@lru_cache(maxsize=_KEPT)
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


@lru_cache(maxsize=_KEPT)
def enslave(index: int, master: int) -> Request:
    """Make interface ``index`` a port of bridge ``master``."""
    fields = {"index": index, "attrs": [("IFLA_MASTER", master)]}
    return _request(ifinfmsg, _SETLINK, 0, f"port {index} of bridge {master}", fields)


@lru_cache(maxsize=_KEPT)
def up(index: int, is_up: bool = True) -> Request:
    """Set interface ``index`` up, or down."""
    fields = {"index": index, "flags": int(is_up) * _IFF_UP, "change": _IFF_UP, "attrs": []}
    return _request(ifinfmsg, _SETLINK, 0, f"interface {index} up={is_up}", fields)


@lru_cache(maxsize=_KEPT)
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


@lru_cache(maxsize=_KEPT)
def neighbour(index: int, ip: IPv4Address, mac: str) -> Request:
    """A permanent neighbour on interface ``index``."""
    fields = {
        "family": socket.AF_INET,
        "ifindex": index,
        "state": _NUD_PERMANENT,
        "attrs": [("NDA_DST", str(ip)), ("NDA_LLADDR", mac)],
    }
    return _request(ndmsg, _NEWNEIGH, _REPLACE, f"neighbour {ip}", fields)


@lru_cache(maxsize=_KEPT)
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
        "type": RTN_BLACKHOLE if blackhole else _RTN_UNICAST,
        "scope": 253 if gateway is None and not blackhole else 0,
        "attrs": attrs,
    }
    return _request(rtmsg, _NEWROUTE, _REPLACE, f"route {destination}", fields)


@lru_cache(maxsize=_KEPT)
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


@lru_cache(maxsize=_KEPT)
def netem(index: int, options: tuple[tuple[str, float], ...]) -> Request:
    """Make netem the root qdisc of interface ``index``, or change it in place.

    ``options`` are the keywords of pyroute2's netem: delay and jitter in us, shares in percent,
    rate in bytes a second, limit in frames.
    """
    fields = {
        "index": index,
        "parent": _TC_H_ROOT,
        "attrs": [("TCA_KIND", "netem"), ("TCA_OPTIONS", get_parameters(dict(options)))],
    }
    return _request(tcmsg, _NEWQDISC, _REPLACE, f"netem on interface {index}", fields)


def _dump(kind: type, number: int, family: int, about: str) -> Request:
    return _request(kind, number, _DUMP, about, {"family": family, "attrs": []})


ALL_LINKS = _dump(ifinfmsg, _GETLINK, socket.AF_UNSPEC, "interfaces")
ALL_ROUTES = _dump(rtmsg, _GETROUTE, socket.AF_INET, "routes")
ALL_RULES = _dump(fibmsg, _GETRULE, socket.AF_INET, "rules")


def attributes(body: bytes, start: int) -> dict[int, bytes]:
    """The attributes of a message's body after its first ``start`` bytes, by number."""
    found, end = {}, len(body)
    while start + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(body, start)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = body[start + _ATTRIBUTE.size : start + length]
        start += (length + 3) & ~3
    return found
