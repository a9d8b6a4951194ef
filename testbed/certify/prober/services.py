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
from dataclasses import dataclass
from ipaddress import IPv6Address

from testbed.certify.measured import Finding, unseen
from testbed.certify.prober.bench import LAN, ROUTER, STRANGER, Bench
from testbed.certify.prober.packets import Endpoint

_SSDP, _PORT, _HTTP_PORT = 1900, 5351, 5000  # HTTP's only where no search tells another
_GROUP = "239.255.255.250"
_NAMES = ("upnp-igd", "nat-pmp", "pcp")
_ROUNDS, _PATIENCE = 3, 0.12  # questions, and seconds for an answer to each
_GRANT = 2.0  # seconds for a service that answers to map
_LONG, _SHORT = 2**31 - 1, 1  # seconds: beyond any limit of leases
_UDP, _KIND = 17, "urn:schemas-upnp-org:service:WANIPConnection:1"
_SEARCH = (
    f'M-SEARCH * HTTP/1.1\r\nHOST: {_GROUP}:{_SSDP}\r\nMAN: "ssdp:discover"\r\nMX: 1\r\n'
    "ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n"
).encode()


@dataclass(frozen=True)
class Services:
    """What was found."""

    inside: Finding  # names as of `PortMapping.services`
    outside: Finding
    leases: Finding  # lowest and highest granted by PCP
    secure_mode: Finding  # bool, of UPnP


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
    shown = f"asked at {gateway}: {', '.join(names) or 'silence'}"
    return Services(
        Finding(tuple(names), shown),
        _outside(bench, server[1], path),
        _leases(bench, gateway, told),
        _secure_mode(bench, server, description),
    )


def _outside(bench: Bench, http_port: int, path: str) -> Finding:
    """All that the stranger is told, whoever tells it."""
    external = bench.address(ROUTER)
    names = list(_told(bench, STRANGER, external, external))
    if _get(bench, STRANGER, (external, http_port), path):
        names.append("http")
    return Finding(tuple(names), f"a stranger asked at {external}: {', '.join(names) or 'silence'}")


def _told(bench: Bench, node: str, server: str, group: str) -> dict[str, bytes]:
    """The first right answer of each service to ``node``."""
    client = IPv6Address(f"::ffff:{bench.address(node)}").packed
    questions: dict[str, tuple[Endpoint, bytes, Callable[[bytes], bool]]] = {
        "upnp-igd": ((group, _SSDP), _SEARCH, lambda data: data.startswith(b"HTTP/1.1 200")),
        "nat-pmp": ((server, _PORT), bytes(2), lambda data: data[:2] == b"\0\x80"),
        "pcp": (
            (server, _PORT),
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
                _send(sock, questions[name][1], questions[name][0])
            end = time.monotonic() + _PATIENCE
            while len(found) < len(questions) and (data := _received(sock, end)):
                for name, (_, _, right) in questions.items():
                    if right(data):
                        found.setdefault(name, data)
    return found


def _leases(bench: Bench, gateway: str, told: Mapping[str, bytes]) -> Finding:
    """A second is asked for, and very many."""
    if "pcp" not in told:
        return unseen("PCP does not answer")
    port, granted = bench.port(), []
    with bench.lab.socket(LAN[0], socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((gateway, _PORT))
        for seconds in (_SHORT, _LONG, 0):
            _send(sock, _pcp_map(bench, port, seconds))
            answer = _received(sock, time.monotonic() + _GRANT)
            if len(answer) < 8 or answer[3]:
                return Finding("refused", f"asked for {seconds} s: {answer[:4].hex() or 'silence'}")
            granted.append(struct.unpack_from("!I", answer, 4)[0])
    low, high = granted[:2]
    return Finding((low, high), f"{low} s granted for {_SHORT} s, {high} s for {_LONG} s")


def _pcp_map(bench: Bench, port: int, seconds: int) -> bytes:
    client = IPv6Address(f"::ffff:{bench.address(LAN[0])}").packed
    head = struct.pack("!BBHI16s", 2, 1, 0, seconds, client)
    return head + struct.pack("!12sB3xHH16s", b"prober-nonce", _UDP, port, port, bytes(16))


def _secure_mode(bench: Bench, server: Endpoint, description: bytes) -> Finding:
    """Can one LAN host map a port to the other?"""
    path = re.search(rb"WANIPConnection:\d</serviceType>.*?<controlURL>([^<]+)<", description, re.S)
    if path is None:
        return unseen("no UPnP gateway answers")
    asker, other = LAN
    port = {"NewRemoteHost": "", "NewExternalPort": bench.port(), "NewProtocol": "UDP"}
    rest = {
        "NewInternalPort": bench.port(),
        "NewInternalClient": bench.address(other),
        "NewEnabled": 1,
        "NewPortMappingDescription": "prober",
        "NewLeaseDuration": 60,
    }
    added = _call(bench, server, path[1].decode(), "AddPortMapping", port | rest)
    refused = re.search(rb"<errorCode>(\d+)<", added)
    if refused:
        return Finding(True, f"{asker} maps for {other}: error {refused[1].decode()}")
    if b"AddPortMappingResponse" not in added:
        return Finding("inconsistent", f"{asker} maps for {other}: {added[:60]!r}")
    _call(bench, server, path[1].decode(), "DeletePortMapping", port)
    return Finding(False, f"{asker} maps for {other}, as asked")


def _call(
    bench: Bench, server: Endpoint, path: str, action: str, words: Mapping[str, object]
) -> bytes:
    inside = "".join(f"<{name}>{value}</{name}>" for name, value in words.items())
    body = (
        '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
        's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
        f'<u:{action} xmlns:u="{_KIND}">{inside}</u:{action}></s:Body></s:Envelope>'
    )
    head = (
        f"POST {path} HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n"
        f'SOAPAction: "{_KIND}#{action}"\r\n\r\n'
    )
    return _http(bench, LAN[0], server, (head + body).encode(), _GRANT)


def _get(bench: Bench, node: str, server: Endpoint, path: str) -> bytes:
    return _http(bench, node, server, f"GET {path} HTTP/1.0\r\n\r\n".encode(), _PATIENCE * _ROUNDS)


def _http(bench: Bench, node: str, server: Endpoint, request: bytes, within: float) -> bytes:
    """All of the response, or what of it came in time; empty if nobody answers."""
    end, response = time.monotonic() + within, b""
    with bench.lab.socket(node, socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(within)
        try:
            sock.connect(server)
            sock.sendall(request)
        except OSError:
            return b""
        while data := _received(sock, end):
            response += data
    return response


def _send(sock: socket.socket, data: bytes, to: Endpoint | None = None) -> None:
    """A refusal of an earlier question is not this one's error."""
    try:
        sock.sendto(data, to) if to else sock.send(data)
    except OSError:
        sock.sendto(data, to) if to else sock.send(data)


def _received(sock: socket.socket, end: float) -> bytes:
    """The next data before ``end``; empty for silence, a refusal, or the end of a stream."""
    left = end - time.monotonic()
    if left <= 0:
        return b""
    sock.settimeout(left)
    try:
        return sock.recv(4096)
    except OSError:
        return b""
