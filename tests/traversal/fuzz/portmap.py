"""Targets: what a gateway, or whoever plays one, sends to the clients of port mapping."""

import random
import struct
from ipaddress import IPv4Address

from testbed.traversal.portmap import http, igd, natpmp, pcp, pcp_client, ssdp, xmltree
from testbed.traversal.portmap.mapping import Endpoint, Transport, Wanted

from .registry import modes, prefixed, target

_GATEWAY, _HOST = IPv4Address("192.168.1.1"), IPv4Address("192.168.1.2")
_SERVER = Endpoint(_GATEWAY, 5351)
_WANTED = Wanted(Transport.UDP, 4001, 4001, 60)
_NONCE = bytes(range(12))
_MAP = pcp.Map(_NONCE, _WANTED)
_PEER = pcp.Peer(_NONCE, _WANTED, Endpoint(_GATEWAY, 53))


def _pcp_answer(request: pcp.Request, tail: bytes = b"", result: int = 0) -> bytes:
    sent = pcp.encode(request, _HOST)
    head = struct.pack("!BBBBII12x", 2, sent[1] | 128, 0, result, 60, 9)
    return head + sent[24:] + tail


@target(
    struct.pack("!BBHI4s", 0, 128, 0, 9, _GATEWAY.packed),
    struct.pack("!BBHIHHI", 0, 129, 0, 9, 4001, 5000, 60),
    struct.pack("!BBHIHHI", 0, 129, 4, 9, 4001, 0, 0),
    b"\0\x81\0\x01\0\0\0\x09",
    b"\2\x81\0\1" + bytes(20),
)
def nat_pmps(data: bytes) -> None:
    """A client takes anything; what it believes has a port and a time."""
    client = natpmp.Client(_GATEWAY)
    client.request(_WANTED, 0.0)
    client.request(natpmp.AddressQuery(), 0.0)
    events = client.receive_datagram(data, _SERVER, 1.0)
    assert len(events) <= 2
    for event in events:
        if isinstance(event, natpmp.Mapped):
            assert 0 < event.external_port < 65536
            assert event.lifetime > 0
    assert client.receive_datagram(data, Endpoint(_HOST, 5351), 1.0) == []
    natpmp.decode_response(data)


@target(
    _pcp_answer(pcp.Announce()),
    _pcp_answer(_MAP),
    _pcp_answer(_PEER),
    _pcp_answer(_MAP, result=8),
    _pcp_answer(_MAP, pcp.encode_options((pcp.PreferFailure(), pcp.ThirdParty(_HOST)))),
    _pcp_answer(_MAP, pcp.encode_options((pcp.Filter(128, _SERVER), pcp.UnknownOption(9, b"x")))),
    b"\0\x81\0\x01\0\0\0\x09",
)
def pcps(data: bytes) -> None:
    """A client takes anything, believes only its nonce; options read back."""
    client = pcp_client.Client(_GATEWAY, _HOST, random.Random(1))
    for request in (_MAP, pcp.Announce()):
        client.request(request, 0.0)
    for event in client.receive_datagram(data, _SERVER, 1.0):
        if isinstance(event, pcp_client.Mapped):
            assert _NONCE in data
            assert event.lifetime > 0
    response = pcp.decode_response(data)
    if response.body is not None:
        options = response.body.options
        assert pcp.decode_options(pcp.encode_options(options)) == options


@target(
    *prefixed(0, b"HTTP/1.1 200 OK\r\nLOCATION: http://192.168.1.1:5000/d\r\nST: x\r\n\r\n"),
    *prefixed(0, b"NOTIFY * HTTP/1.1\r\nNT: x\r\nNTS: ssdp:alive\r\nBOOTID.UPNP.ORG: 7\r\n\r\n"),
    *prefixed(1, b"http://192.168.1.1:5000/a/b.xml?c=d", b"http://[::1]/", b"/x", b"//h/p"),
)
def ssdps(data: bytes) -> None:
    """Whatever the location, it is on the gateway and makes one line of HTTP."""
    mode, data = modes(data, 2)
    if mode == 0:
        ssdp.decode(data)
        return
    text = data.decode("latin1")
    base = ssdp.Location(_SERVER, "/a/b")
    location = ssdp.resolve(text, base)
    assert location.server.address == _GATEWAY
    assert 0 <= location.server.port < 65536
    head = http.request("GET", location.server, location.path, {})
    assert head.count(b"\r\n") == 4
    assert head.split(b"\r\n")[0].count(b" ") == 2


@target(
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.0 500 X\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x\r\nlo\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n",
)
def https(data: bytes) -> None:
    """Whole or in pieces it is the same response, and no longer than what came."""
    whole, pieces = http.ResponseReader(300), http.ResponseReader(300)
    whole.feed(data)
    whole.close()
    for at in range(0, len(data), 7):
        pieces.feed(data[at : at + 7])
    pieces.close()
    assert whole.response == pieces.response
    assert whole.response is not None
    assert len(whole.response.body) <= min(300, len(data))


@target(b"<a>x<b>y</b></a>", b'<?xml version="1.0"?><s:E xmlns:s="x" a="b">&amp;</s:E>')
def xmls(data: bytes) -> None:
    """A tree no larger than its text."""
    elements = list(xmltree.parse(data).walk())
    assert len(elements) * 4 <= len(data)
    assert sum(len(e.text) for e in elements) <= len(data)


_DESCRIPTION = (
    b"<root><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>"
    b"<controlURL>/c</controlURL></service></root>"
)


@target(
    *prefixed(0, _DESCRIPTION),
    *prefixed(1, b"<e><GetExternalIPAddressResponse><NewExternalIPAddress>1.2.3.4"
              b"</NewExternalIPAddress></GetExternalIPAddressResponse></e>"),
    *prefixed(2, b"<e><AddAnyPortMappingResponse><NewReservedPort>9</NewReservedPort>"
              b"</AddAnyPortMappingResponse></e>"),
    *prefixed(3, b"<e><GetSpecificPortMappingEntryResponse><NewInternalClient>1.2.3.4"
              b"</NewInternalClient><NewInternalPort>1</NewInternalPort><NewLeaseDuration>9"
              b"</NewLeaseDuration></GetSpecificPortMappingEntryResponse></e>"),
    *prefixed(1, b"<e><UPnPError><errorCode>718</errorCode></UPnPError></e>"),
)  # fmt: skip
def igds(data: bytes) -> None:
    """Descriptions and answers to calls."""
    mode, data = modes(data, 4)
    if mode == 0:
        for connection in igd.connections(data, ssdp.Location(_SERVER, "/")):
            assert connection.control.server.address == _GATEWAY
        return
    action = (igd.Action.GET_ADDRESS, igd.Action.ADD_ANY, igd.Action.GET)[mode - 1]
    values = igd.decode(http.Response(200, data), action)
    if mode == 1:
        igd.external_address(values)
    elif mode == 2:
        assert 0 < igd.reserved_port(values) < 65536
    else:
        assert 0 <= igd.entry(values).internal_port < 65536
