"""Port-mapping services: who answers on the LAN and outside, and what is granted.

A LAN host asks its gateway as any client would: a search by multicast for UPnP
(UPnP Device Architecture 1.1, section 1.3), an address request for NAT-PMP (RFC 6886
section 3.2), an ANNOUNCE for PCP (RFC 6887 section 14.1).  The stranger asks the
router's external address for the same.  What was mapped is given back.
"""

import re
import socket
import struct
import time
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address

from testbed.certify.measured import Finding, MeasuredPortMapping, unseen
from testbed.certify.prober.bench import LAN, ROUTER, STRANGER, Bench
from testbed.certify.prober.gateways import PORT, Datagrams, Soap, http, received, send
from testbed.certify.prober.granted import Offer, granted
from testbed.certify.prober.packets import Endpoint
from testbed.model.behaviour import Protocol
from testbed.model.frozen import FrozenValue
from testbed.model.statement import gateways
from testbed.model.statement.probing import Circumstance

_SSDP, _HTTP_PORT = 1900, 5000  # HTTP's only where no search tells another
_GROUP = "239.255.255.250"
_NAMES = ("upnp-igd", "nat-pmp", "pcp")
_ROUNDS, _PATIENCE = 3, 0.12  # questions, and seconds for an answer to each
_LONG, _SHORT = 2**31 - 1, 1  # seconds: beyond any limit of leases
_SEARCH = (
    f'M-SEARCH * HTTP/1.1\r\nHOST: {_GROUP}:{_SSDP}\r\nMAN: "ssdp:discover"\r\nMX: 1\r\n'
    "ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n"
).encode()


class Services(FrozenValue):
    """What was found."""

    inside: Finding  # names as of `PortMapping.services`
    outside: Finding
    leases: Finding  # lowest and highest granted by PCP
    secure_mode: Finding  # bool, of UPnP
    granted: MeasuredPortMapping


def services(bench: Bench) -> Services:
    """Ask on both sides, then map."""
    gateway = str(bench.lab.plan.internal[ROUTER])
    told = _told(bench, LAN[0], gateway, _GROUP)
    location = re.search(rb"(?i)\nLOCATION:\s*http://[\d.]+:(\d+)(/\S*)", told.get("upnp-igd", b""))
    server, path = (gateway, _HTTP_PORT), "/rootDesc.xml"
    if location:
        server, path = (gateway, int(location[1])), location[2].decode()
    description = _get(bench, LAN[0], server, path) if location else b""
    version = re.search(rb"InternetGatewayDevice:(\d)", description)
    names = [name for name in _NAMES if name in told and name != "upnp-igd"]
    if location:
        names.insert(0, f"upnp-igd-{version[1].decode() if version else '?'}")
    datagrams, soap = Datagrams(bench, gateway), _control(bench, server, description)
    shown = gateways.ServicesAsked(gateway, tuple(names), outside=False)
    return Services(
        Finding(tuple(names), shown),
        _outside(bench, server[1], path),
        _leases(bench, datagrams, told),
        _secure_mode(bench, soap),
        granted(Offer(bench, tuple(names), datagrams, soap)),
    )


def _outside(bench: Bench, http_port: int, path: str) -> Finding:
    """All that the stranger is told, whoever tells it."""
    external = bench.address(ROUTER)
    names = list(_told(bench, STRANGER, external, external))
    if _get(bench, STRANGER, (external, http_port), path):
        names.append("http")
    return Finding(tuple(names), gateways.ServicesAsked(external, tuple(names), outside=True))


def _told(bench: Bench, node: str, server: str, group: str) -> dict[str, bytes]:
    """The first right answer of each service to ``node``."""
    client = IPv6Address(f"::ffff:{bench.address(node)}").packed
    questions: dict[str, tuple[Endpoint, bytes, Callable[[bytes], bool]]] = {
        "upnp-igd": ((group, _SSDP), _SEARCH, lambda data: data.startswith(b"HTTP/1.1 200")),
        "nat-pmp": ((server, PORT), bytes(2), lambda data: data[:2] == b"\0\x80"),
        "pcp": (
            (server, PORT),
            struct.pack("!BBHI16s", 2, 0, 0, 0, client),
            lambda data: data[:2] == b"\2\x80",
        ),
    }
    found: dict[str, bytes] = {}
    with bench.lab.socket(node, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((bench.address(node), 0))
        sock.setsockopt(
            socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(bench.address(node))
        )
        for _ in range(_ROUNDS):
            for name in questions.keys() - found:
                send(sock, questions[name][1], questions[name][0])
            end = time.monotonic() + _PATIENCE
            while len(found) < len(questions) and (data := received(sock, end)):
                for name, (_, _, right) in questions.items():
                    if right(data):
                        found.setdefault(name, data)
    return found


def _leases(bench: Bench, datagrams: Datagrams, told: Mapping[str, bytes]) -> Finding:
    """A second is asked for, and very many."""
    if "pcp" not in told:
        return unseen(Circumstance.NO_PCP)
    port, granted = bench.port(), []
    for seconds in (_SHORT, _LONG, 0):
        answer = datagrams.pcp(Protocol.UDP, port, port, seconds)
        if answer.result != 0:
            return Finding("refused", gateways.LeaseRefused(seconds, answer.result))
        granted.append(answer.lifetime)
    low, high = granted[:2]
    return Finding((low, high), gateways.LeaseLimits(_SHORT, low, _LONG, high))


def _control(bench: Bench, server: Endpoint, description: bytes) -> Soap | None:
    path = re.search(rb"WANIPConnection:\d</serviceType>.*?<controlURL>([^<]+)<", description, re.S)
    return Soap(bench, server, path[1].decode()) if path else None


def _secure_mode(bench: Bench, soap: Soap | None) -> Finding:
    """Can one LAN host map a port to the other?"""
    if soap is None:
        return unseen(Circumstance.NO_UPNP)
    asker, other = LAN
    external = bench.port()
    client = bench.address(other)
    code = soap.add(Protocol.UDP, bench.port(), external, 0, client=client)
    shown = gateways.MapsForOther(asker, other, code)
    if code:
        return Finding(True, shown)
    if code is None:
        return Finding("inconsistent", shown)
    soap.delete(Protocol.UDP, external)
    return Finding(False, shown)


def _get(bench: Bench, node: str, server: Endpoint, path: str) -> bytes:
    request = f"GET {path} HTTP/1.0\r\n\r\n".encode()
    return http(bench, node, server, request, _PATIENCE * _ROUNDS)
