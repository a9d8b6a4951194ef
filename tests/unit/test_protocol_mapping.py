"""NAT-PMP, PCP, SSDP and UPnP as they are read."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.evidence.protocols import nat_pmp, pcp, ssdp, upnp
from testbed.model.journey import Label

V4 = bytes(10) + b"\xff\xff"
NONCE = bytes(range(12))


def test_nat_pmp_asks_for_the_address() -> None:
    said = nat_pmp.read(b"\0\0")
    assert said == Label("nat-pmp", "external address request", (("opcode", "0"),))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\0\x80\0\0\0\0\0\x2a\x1d\0\0\2", "external address response: 29.0.0.2"),
        (b"\0\1\0\0\x0f\xa1\x0f\xa1\0\0\x1c\x20", "map UDP request: port 4001 as 4001, 7200 s"),
        (b"\0\2\0\0\x0f\xa1\0\0\0\0\x1c\x20", "map TCP request: port 4001 as any, 7200 s"),
        (b"\0\1\0\0\x0f\xa1\0\0\0\0\0\0", "unmap UDP request: port 4001 as any, 0 s"),
        (
            b"\0\x82\0\0\0\0\0\x2a\x0f\xa1\x20\0\0\0\x0e\x10",
            "map TCP response: port 4001 as 8192, 3600 s",
        ),
        (b"\0\x81\0\2\0\0\0\x2a", "map UDP response: not authorized"),
        (b"\0\x85\0\5\0\0\0\x2a", "opcode 5 response: unsupported opcode"),
    ],
)
def test_nat_pmp_is_read_as_rfc_6886_has_it(data: bytes, text: str) -> None:
    said = nat_pmp.read(data)
    assert said is not None
    assert said.text == text


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\1\0\0", b"\2\1", b"\0\x80\0\0\0\0\0\0", b"\0\7"])
def test_what_is_no_nat_pmp_is_refused(data: bytes) -> None:
    assert nat_pmp.read(data) is None


def mapping(protocol: int, internal: int, external: int, address: bytes) -> bytes:
    return struct.pack("!12sB3xHH16s", NONCE, protocol, internal, external, V4 + address)


def test_a_pcp_map_request_is_read() -> None:
    data = struct.pack("!BB2xI16s", 2, 1, 7200, V4 + b"\x0a\0\0\2")
    said = pcp.read(data + mapping(17, 4001, 4001, bytes(4)) + b"\2\0\0\0")
    assert said is not None
    assert said.text == "MAP request: UDP port 4001 as 0.0.0.0:4001, 7200 s"
    assert dict(said.fields) == {
        "opcode": "MAP",
        "lifetime": "7200 s",
        "client": "10.0.0.2",
        "nonce": NONCE.hex(),
        "protocol": "UDP",
        "internal port": "4001",
        "external": "0.0.0.0:4001",
        "PREFER_FAILURE": "",
    }


def test_a_pcp_peer_response_is_read() -> None:
    head = struct.pack("!BBxBII12x", 2, 0x82, 0, 120, 42)
    body = mapping(6, 4001, 4002, b"\x1d\0\0\2")
    peer = struct.pack("!H2x16s", 443, V4 + b"\x1d\0\0\x22")
    said = pcp.read(head + body + peer + b"\1\0\0\2\xab\xcd\0\0\x7f\0\0\0")
    assert said is not None
    assert said.text == (
        "PEER response: TCP port 4001 as 29.0.0.2:4002 towards 29.0.0.34:443, 120 s"
    )
    assert said.field("epoch") == "42 s"
    assert said.fields[-2:] == (("THIRD_PARTY", "abcd"), ("option 127", ""))


def test_a_pcp_error_says_its_result() -> None:
    head = struct.pack("!BBxBII12x", 2, 0x81, 10, 30, 42)
    said = pcp.read(head + mapping(17, 4001, 0, bytes(4)))
    assert said is not None
    assert said.text == "MAP response: USER_EX_QUOTA, 30 s"
    assert said.field("result") == "10 USER_EX_QUOTA"


def test_a_native_ipv6_address_is_told_from_a_mapped_one() -> None:
    said = pcp.read(struct.pack("!BB2xI16s", 2, 0, 0, bytes(15) + b"\1"))
    assert said is not None
    assert (said.text, said.field("client")) == ("ANNOUNCE request", "[::1]")


def test_only_the_ports_of_rfc_6886_make_a_datagram_port_mapping() -> None:
    assert nat_pmp.is_port_mapping(40000, 5351)
    assert nat_pmp.is_port_mapping(5351, 40000)
    assert nat_pmp.is_port_mapping(5351, 5350)
    assert not nat_pmp.is_port_mapping(5350, 4001)


SEARCH = (
    b'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\n'
    b"MX: 2\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n"
)
FOUND = (
    b"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: upnp:rootdevice\r\n"
    b"USN: uuid:1::upnp:rootdevice\r\nLOCATION: http://10.0.0.1:5000/rootDesc.xml\r\n\r\n"
)


def test_ssdp_is_read() -> None:
    said = ssdp.read(SEARCH)
    assert said is not None
    assert said.text == "M-SEARCH for urn:schemas-upnp-org:device:InternetGatewayDevice:1"
    assert said.field("MX") == "2"
    said = ssdp.read(FOUND)
    assert said is not None
    assert said.text == "M-SEARCH response: http://10.0.0.1:5000/rootDesc.xml"
    said = ssdp.read(b"NOTIFY * HTTP/1.1\r\nNTS: ssdp:alive\r\nNT: upnp:rootdevice\r\n\r\n")
    assert said is not None
    assert said.text == "NOTIFY ssdp:alive upnp:rootdevice"
    assert ssdp.read(b"GET / HTTP/1.1\r\n\r\n") is None


ADD = (
    b'<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">'
    b'<s:Body><u:AddPortMapping xmlns:u="urn:schemas-upnp-org:service:WANIPConnection:1">'
    b"<NewRemoteHost></NewRemoteHost><NewExternalPort>4001</NewExternalPort>"
    b"<NewProtocol>UDP</NewProtocol><NewInternalPort>4001</NewInternalPort>"
    b"<NewInternalClient>10.0.0.2</NewInternalClient><NewEnabled>1</NewEnabled>"
    b"<NewPortMappingDescription>x</NewPortMappingDescription>"
    b"<NewLeaseDuration>3600</NewLeaseDuration></u:AddPortMapping></s:Body></s:Envelope>"
)
POST = (
    b"POST /ctl/IPConn HTTP/1.1\r\nContent-Length: 1\r\n"
    b'SOAPAction: "urn:schemas-upnp-org:service:WANIPConnection:1#AddPortMapping"\r\n\r\n'
)
CONFLICT = (
    b"<s:Envelope><s:Body><s:Fault><faultcode>s:Client</faultcode><detail><UPnPError>"
    b"<errorCode>718</errorCode><errorDescription>ConflictInMappingEntry</errorDescription>"
    b"</UPnPError></detail></s:Fault></s:Body></s:Envelope>"
)


@pytest.mark.parametrize(
    ("data", "protocol", "text"),
    [
        (POST + ADD, "upnp", "AddPortMapping request: UDP 4001 to 10.0.0.2:4001, 3600 s"),
        (POST, "upnp", "AddPortMapping request"),
        (ADD, "upnp", "AddPortMapping request: UDP 4001 to 10.0.0.2:4001, 3600 s"),
        (CONFLICT, "upnp", "UPnP error 718 ConflictInMappingEntry"),
        (
            b"HTTP/1.1 500 Internal Server Error\r\n\r\n" + CONFLICT,
            "upnp",
            "500 Internal Server Error: UPnP error 718 ConflictInMappingEntry",
        ),
        (
            b"HTTP/1.1 200 OK\r\n\r\n<s:Envelope><s:Body><u:GetExternalIPAddressResponse>"
            b"<NewExternalIPAddress>29.0.0.2</NewExternalIPAddress>"
            b"</u:GetExternalIPAddressResponse></s:Body></s:Envelope>",
            "upnp",
            "GetExternalIPAddress response: 29.0.0.2",
        ),
        (b"GET /rootDesc.xml HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", "http", "GET /rootDesc.xml"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "http", "HTTP/1.1 200 OK"),
    ],
)
def test_upnp_is_read_in_whole_and_in_parts(data: bytes, protocol: str, text: str) -> None:
    said = upnp.read(data)
    assert said is not None
    assert (said.protocol, said.text) == (protocol, text)


def test_the_arguments_of_an_action_are_fields() -> None:
    said = upnp.read(POST + ADD)
    assert said is not None
    assert said.field("action") == "AddPortMapping"
    assert said.field("NewLeaseDuration") == "3600"


def test_hostile_xml_is_read_in_linear_time() -> None:
    for data in (b"<?xml" + b"<New" * 20000, b"<?xml Body" + b" " * 50000, b"<?xml" + b"<" * 60000):
        assert upnp.read(data) is not None


@given(st.binary(max_size=120))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (nat_pmp.read, pcp.read, ssdp.read, upnp.read):
        for head in (b"", b"\0\x81", b"\2\1" + bytes(22), b"\2\x82" + bytes(22), POST, ADD[:200],
                     FOUND, b"HTTP/1.1 "):  # fmt: skip
            said = read(head + data)
            assert said is None or said.text.isprintable()
