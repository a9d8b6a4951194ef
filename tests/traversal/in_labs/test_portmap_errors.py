"""Which refusals the real miniupnpd can be brought to, and what they become here.

The rest of the codes comes from the doubles (test_portmap_mapper.py).
"""

import contextlib
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from testbed.model.lab import Lab
from testbed.model.topology import Scope, Topology
from testbed.nat.rules import HTTP_PORT
from testbed.traversal.portmap import http, igd, mapping, natpmp, pcp
from testbed.traversal.portmap.mapping import Endpoint, RefusedError, Service, Transport, Wanted
from testbed.traversal.portmap.pcp import Filter, Map, Peer, PreferFailure, ThirdParty
from testbed.traversal.portmap.ssdp import Location

from .portmap_lab import (
    PORT,
    SILENCE,
    Daemon,
    Mapper,
    carrier,
    home,
    lab_of,
    miniupnpd,
    reaches,
    rules,
)

pytestmark = pytest.mark.timeout(60)
UDP = Transport.UDP
GATEWAY, HOST, OTHER = (IPv4Address(f"10.0.0.{n}") for n in (1, 5, 6))
NONCE = bytes(range(12))
WANTED = Wanted(UDP, PORT, PORT, 60)
ADD: dict[str, object] = {**igd.addition(WANTED, HOST, "test")}
RANGE = {"NewStartPort": 5, "NewEndPort": 9, "NewProtocol": "UDP", "NewManage": 1}


@contextlib.contextmanager
def served(daemon: Daemon, topology: Topology | None = None) -> Iterator[Lab]:
    with lab_of(topology or home("eim-apdf")) as lab, miniupnpd(lab, "nat-a", daemon):
        assert topology or lab.plan.address("a") == HOST
        yield lab


def ask(lab: Lab, request: bytes) -> bytes:
    with lab.socket("a", socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(3.0)
        sock.connect((str(GATEWAY), natpmp.SERVER_PORT))
        sock.send(request)
        return sock.recv(2048)


def call(lab: Lab, action: str, arguments: dict[str, str], version: int = 1) -> dict[str, str]:
    """A call of UPnP; raises what it becomes."""
    kind = f"urn:schemas-upnp-org:service:WANIPConnection:{version}"
    server = Endpoint(GATEWAY, HTTP_PORT)
    connection = igd.Connection(kind, Location(server, "/ctl/IPConn"))
    headers = {"SOAPAction": f'"{kind}#{action}"', "Content-Type": "text/xml"}
    body = igd.encode(connection, action, arguments)  # type: ignore[arg-type]
    reader = http.ResponseReader()
    with lab.socket("a", socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(3.0)
        sock.connect((str(GATEWAY), HTTP_PORT))
        sock.sendall(http.request("POST", server, "/ctl/IPConn", headers, body))
        while reader.response is None:
            data = sock.recv(4096)
            reader.feed(data) if data else reader.close()
    return igd.decode(reader.response, action)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("action", "changes", "version", "code", "error"),
    [
        ("NoSuchAction", {}, 1, 401, mapping.UnsupportedRequestError),
        ("AddPortMapping", {"NewInternalPort": None}, 1, 402, mapping.MalformedRequestError),
        ("RequestConnection", {}, 1, 606, mapping.NotAuthorizedError),
        ("AddAnyPortMapping", {"NewInternalClient": OTHER}, 2, 606, mapping.NotAuthorizedError),
        (
            "GetGenericPortMappingEntry",
            {"NewPortMappingIndex": 9},
            1,
            713,
            mapping.NoSuchMappingError,
        ),
        ("GetSpecificPortMappingEntry", {}, 1, 714, mapping.NoSuchMappingError),
        ("AddPortMapping", {"NewExternalPort": 0}, 1, 716, mapping.WildcardError),
        ("AddPortMapping", {"NewInternalClient": OTHER}, 1, 718, mapping.ConflictError),
        ("DeletePortMappingRange", RANGE, 2, 730, mapping.NoSuchMappingError),
        (
            "DeletePortMappingRange",
            RANGE | {"NewEndPort": 1},
            2,
            733,
            mapping.MalformedRequestError,
        ),
    ],
)
def test_upnp_refuses(
    action: str, changes: dict[str, object], version: int, code: int, error: type[RefusedError]
) -> None:
    arguments = {k: str(v) for k, v in (ADD | changes).items() if v is not None}
    with served(Daemon()) as lab, pytest.raises(RefusedError) as caught:
        call(lab, action, arguments, version)
    assert (caught.value.code, type(caught.value)) == (code, error)


def test_upnp_has_no_port_where_none_is_allowed() -> None:
    with served(Daemon(extra=("deny 0-65535 0.0.0.0/0 0-65535",))) as lab:
        addition = igd.addition(WANTED, HOST, "test")
        with pytest.raises(mapping.NoResourcesError) as caught:
            call(lab, "AddAnyPortMapping", addition, 2)
        assert caught.value.code == 728


def test_upnp_gives_the_port_that_is_allowed_where_another_was_asked() -> None:
    allowed = ("allow 4001 0.0.0.0/0 4001", "deny 0-65535 0.0.0.0/0 0-65535")
    with served(Daemon(datagrams=False, extra=allowed)) as lab:
        mapper = Mapper(lab, "a", Service.UPNP_V2)
        assert mapper.map(UDP, external_port=4000)["external"].endswith(":4001")
        mapper.kill()


MAP = pcp.encode(Map(NONCE, WANTED), HOST)


@pytest.mark.parametrize(
    ("request_", "code", "error"),
    [
        (b"\x03" + MAP[1:], 1, mapping.UnsupportedVersionError),
        (MAP[:40], 3, mapping.MalformedRequestError),
        (MAP[:1] + b"\x05" + MAP[2:], 4, mapping.UnsupportedRequestError),
        (pcp.encode(Map(NONCE, WANTED, options=(ThirdParty(OTHER),)), HOST), 5,
         mapping.UnsupportedRequestError),
        (MAP + b"\x02\0\0\4abcd", 6, mapping.MalformedRequestError),
        (pcp.encode(Map(NONCE, WANTED, IPv4Address("73.0.0.9"), (PreferFailure(),)), HOST), 11,
         mapping.ConflictError),
        (pcp.encode(Map(NONCE, WANTED), OTHER), 12, mapping.AddressMismatchError),
    ],
)  # fmt: skip
def test_pcp_refuses(request_: bytes, code: int, error: type[RefusedError]) -> None:
    with served(Daemon()) as lab:
        answer = ask(lab, request_)
    # what is malformed is sent back as it is: too short for our parser of answers
    response = pcp.Response(pcp.Opcode.MAP, answer[3], 0, 0, None)
    assert (answer[3], type(pcp.refusal(response))) == (code, error)


def test_nat_pmp_refuses_an_opcode_that_it_does_not_know() -> None:
    with served(Daemon()) as lab:
        assert ask(lab, b"\0\5" + bytes(10))[:4] == bytes([0, 133, 0, 5])


def test_a_peer_mapping_is_made() -> None:
    with served(Daemon()) as lab:
        remote = Endpoint(lab.plan.address("b"), 9)
        answer = pcp.decode_response(ask(lab, pcp.encode(Peer(NONCE, WANTED, remote), HOST)))
        assert answer.result == pcp.Result.SUCCESS
        assert answer.body
        assert answer.body.remote == remote
        assert f"snat ip to {lab.plan.address('nat-a')}:{PORT}" in rules(lab)


def test_options_come_back_as_they_were_sent() -> None:
    with served(Daemon()) as lab:
        options = (Filter(128, Endpoint(lab.plan.address("b"), 0)),)
        request = pcp.encode(Map(NONCE, WANTED, options=options), HOST)
        answer = pcp.decode_response(ask(lab, request))
        assert answer.body
        assert answer.body.options == options


def test_an_address_that_the_daemon_was_told_to_claim_is_not_reached() -> None:
    """No client can know: only who is outside finds out that this mapping is in vain."""
    claimed = "29.0.0.9"
    daemon = Daemon(extra=(f"ext_ip={claimed}",))
    with served(daemon, carrier("eim-apdf", Scope.SHARED)) as lab:
        mapper = Mapper(lab, "a", Service.PCP)
        made = mapper.map(UDP)
        assert made["external"] == f"{claimed}:{PORT}"
        assert made["useless"] is None
        assert not reaches(lab, "b", UDP, (claimed, PORT), SILENCE)
        assert not reaches(lab, "b", UDP, (str(lab.plan.address("cgn")), PORT), SILENCE)
        mapper.kill()
