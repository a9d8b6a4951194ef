"""SSDP, HTTP, XML and IGD without a socket: what is read, and what is disbelieved."""

from ipaddress import IPv4Address

import pytest

from testbed.traversal.errors import ProtocolError
from testbed.traversal.portmap import http, igd, ssdp, xmltree
from testbed.traversal.portmap.mapping import Endpoint, RefusedError, Service, Transport, Wanted

GATEWAY = IPv4Address("192.168.1.1")
SERVER = Endpoint(GATEWAY, 5000)
BASE = ssdp.Location(SERVER, "/upnp/desc.xml")


def test_a_search_is_as_the_architecture_draws_it() -> None:
    assert ssdp.search("upnp:rootdevice") == (
        b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n"
        b'MAN: "ssdp:discover"\r\nMX: 1\r\nST: upnp:rootdevice\r\n\r\n'
    )


def test_answers_and_notices_are_read_whatever_the_case_of_their_headers() -> None:
    answer = b"HTTP/1.1 200 OK\r\nlocation:  http://x/ \r\nSt: a\r\nBootId.Upnp.Org: 7\r\n\r\n"
    assert ssdp.decode(answer) == ssdp.Found("http://x/", "a", 7)
    notice = b"NOTIFY * HTTP/1.1\r\nNT: a\r\nNTS: ssdp:byebye\r\n\r\n"
    assert ssdp.decode(notice) == ssdp.Notice("a", False, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 404 Not Found\r\n\r\n",
        b"M-SEARCH * HTTP/1.1\r\n\r\n",
        b"NOTIFY * HTTP/1.1\r\nNTS: ssdp:update\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 100,
        b"HTTP/1.1 200 OK\r\n" + b"a" * 5000,
    ],
)
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        ssdp.decode(data)


@pytest.mark.parametrize(
    "location",
    [
        "http://192.168.1.2:5000/",
        "http://73.0.0.1/",
        "http://gateway.lan/",
        "https://192.168.1.1/",
        "file:///etc/passwd",
        "http://192.168.1.1@73.0.0.1/",
        "http://user@192.168.1.1/",
        "http://[::1]/",
        "http://192.168.1.1:99999/",
        "http://192.168.1.1/\r\nHost: x",
        "http://192.168.1.1/a b",
        "//192.168.1.1/",
        "",
        "http://0300.0250.1.1/",
    ],
)
def test_a_location_off_the_gateway_is_disbelieved(location: str) -> None:
    with pytest.raises(ProtocolError):
        ssdp.check_location(location, GATEWAY)


def test_a_public_gateway_is_disbelieved() -> None:
    with pytest.raises(ProtocolError):
        ssdp.check_location("http://73.0.0.1/", IPv4Address("73.0.0.1"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/ctl", "/ctl"),
        ("ctl", "/upnp/ctl"),
        ("http://192.168.1.1:5000/a?b=c", "/a?b=c"),
        ("?x", "/upnp/?x"),
    ],
)
def test_a_control_url_may_be_whole_or_relative(path: str, expected: str) -> None:
    assert ssdp.resolve(path, BASE) == ssdp.Location(SERVER, expected)


@pytest.mark.parametrize("path", ["http://73.0.0.1/ctl", "//192.168.1.9/ctl", "javascript:x"])
def test_a_control_url_off_the_gateway_is_disbelieved(path: str) -> None:
    with pytest.raises(ProtocolError):
        ssdp.resolve(path, BASE)


def test_a_restart_is_a_new_boot_id_or_a_return_after_a_farewell() -> None:
    alive, gone = ssdp.Notice("a", True, 1), ssdp.Notice("a", False, None)
    presence = ssdp.Presence(1)
    assert not presence.restarted(alive)
    assert presence.restarted(ssdp.Notice("a", True, 2))
    assert not presence.restarted(ssdp.Notice("a", True, None))
    assert not presence.restarted(gone)
    assert presence.restarted(ssdp.Notice("a", True, None))


def response(data: bytes, step: int = 1000) -> http.Response:
    reader = http.ResponseReader(max_body=100)
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
    reader.close()
    assert reader.response
    return reader.response


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more", b"hello"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
        (
            b"HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n"
            b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
            b"hello",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello", b"hello"),
    ],
)
def test_a_response_is_read_in_whatever_pieces(data: bytes, body: bytes, step: int) -> None:
    assert response(data, step) == http.Response(200, body)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"32\r\n" + b"a" * 50 + b"\r\n"
        b"33\r\n" + b"a" * 51 + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 101,
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 5000,
    ],
)
def test_a_response_that_is_broken_or_too_large_is_refused(data: bytes) -> None:
    for step in (1, 5000):
        with pytest.raises(ProtocolError):
            response(data, step)


BOMB = b"""<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "aaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>
<r>&c;</r>"""
EXTERNAL = b"""<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]><r>&a;</r>"""


@pytest.mark.parametrize(
    "data",
    [
        BOMB,
        EXTERNAL,
        b"<!DOCTYPE r><r/>",
        b"<r>&undefined;</r>",
        b"<r>",
        b"",
        b"<r/><r/>",
        b'<?xml version="1.0" encoding="utf-7"?><r/>',
        b'<?xml version="1.0" encoding="nonsense"?><r/>',
        b"<r>\xff</r>",
        b"<r>" * 30 + b"</r>" * 30,
        b"<r>" + b" " * xmltree.MAX_SIZE + b"</r>",
    ],
)
def test_dangerous_or_broken_xml_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        xmltree.parse(data)


def test_xml_as_large_and_deep_as_allowed_is_read() -> None:
    size = (xmltree.MAX_SIZE - 7) // 4
    assert len(xmltree.parse(b"<r>" + b"<a/>" * size + b"</r>").children) == size
    depth = xmltree.MAX_DEPTH
    assert len(list(xmltree.parse(b"<r>" * depth + b"</r>" * depth).walk())) == depth


def service(kind: str, path: str) -> str:
    return f"<service><serviceType>{kind}</serviceType><controlURL>{path}</controlURL></service>"


IP1, IP2, PPP = (f"urn:schemas-upnp-org:service:WAN{n}" for n in
                 ("IPConnection:1", "IPConnection:2", "PPPConnection:1"))  # fmt: skip


def test_connections_are_found_wherever_they_are_the_best_first() -> None:
    listed = service(PPP, "/ppp") + service(IP1, "/1") + service("urn:x:WANCommon:1", "/c")
    deep = f"<x:root xmlns:x='urn:x'><a>{listed}</a><b><c>{service(IP2, '2')}</c></b></x:root>"
    assert igd.connections(deep.encode(), BASE) == (
        igd.Connection(IP2, ssdp.Location(SERVER, "/upnp/2")),
        igd.Connection(IP1, ssdp.Location(SERVER, "/1")),
        igd.Connection(PPP, ssdp.Location(SERVER, "/ppp")),
    )


@pytest.mark.parametrize(
    "description",
    [
        "<root/>",
        f"<root>{service(IP1, '')}</root>",
        f"<root>{service(IP1, 'http://1.1.1.1/')}</root>",
    ],
)
def test_a_description_without_a_connection_on_the_gateway_is_refused(description: str) -> None:
    with pytest.raises(ProtocolError):
        igd.connections(description.encode(), BASE)


CONNECTION = igd.Connection(IP1, BASE)


def test_a_call_has_its_arguments_in_order_and_escaped() -> None:
    wanted = Wanted(Transport.TCP, 4001, 5001, 60)
    body = igd.encode(CONNECTION, igd.Action.ADD, igd.addition(wanted, GATEWAY, "<&>")).decode()
    assert f'<u:AddPortMapping xmlns:u="{IP1}">' in body
    assert (
        "<NewRemoteHost></NewRemoteHost><NewExternalPort>5001</NewExternalPort>"
        "<NewProtocol>TCP</NewProtocol><NewInternalPort>4001</NewInternalPort>"
        "<NewInternalClient>192.168.1.1</NewInternalClient><NewEnabled>1</NewEnabled>"
        "<NewPortMappingDescription>&lt;&amp;&gt;</NewPortMappingDescription>"
        "<NewLeaseDuration>60</NewLeaseDuration>"
    ) in body
    assert igd.headers(CONNECTION, igd.Action.ADD)["SOAPAction"] == f'"{IP1}#AddPortMapping"'
    assert CONNECTION.service is Service.UPNP_V1


def answer(inside: str, status: int = 200) -> http.Response:
    return http.Response(status, f"<s:E xmlns:s='s' xmlns:u='u'><s:B>{inside}</s:B></s:E>".encode())


def test_values_are_read_off_the_answer_to_this_action() -> None:
    inside = "<u:GetExternalIPAddressResponse><NewExternalIPAddress> 73.0.0.1 "
    inside += "</NewExternalIPAddress></u:GetExternalIPAddressResponse>"
    values = igd.decode(answer(inside), igd.Action.GET_ADDRESS)
    assert igd.external_address(values) == IPv4Address("73.0.0.1")
    with pytest.raises(ProtocolError):
        igd.decode(answer(inside), igd.Action.ADD)
    with pytest.raises(ProtocolError):
        igd.decode(answer(inside, 500), igd.Action.GET_ADDRESS)


def test_an_error_is_an_error_whatever_the_status() -> None:
    inside = "<s:Fault><UPnPError><errorCode>718</errorCode></UPnPError></s:Fault>"
    for status in (200, 500):
        with pytest.raises(RefusedError):
            igd.decode(answer(inside, status), igd.Action.ADD)
    with pytest.raises(ProtocolError):
        igd.decode(answer(inside.replace("718", "many"), 500), igd.Action.ADD)


@pytest.mark.parametrize("text", ["x", "1.2.3", "::1", "73.0.0.1.1", "73.0.0.1 " * 99])
def test_an_external_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        igd.external_address({"NewExternalIPAddress": text})


@pytest.mark.parametrize("text", ["", "0", "-1", "65536", "٣", "1e3", "9" * 99])
def test_a_reserved_port_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        igd.reserved_port({"NewReservedPort": text})
