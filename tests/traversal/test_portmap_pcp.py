"""PCP, the client's core: RFC 6887, without a socket."""

import itertools
import random
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from testbed.traversal.errors import ProtocolError
from testbed.traversal.portmap import mapping, pcp, pcp_client
from testbed.traversal.portmap.exchange import Failed, Restarted
from testbed.traversal.portmap.mapping import Endpoint, RefusedError, Transport, Wanted
from testbed.traversal.portmap.pcp import Announce, Filter, Map, Peer, PreferFailure, ThirdParty

GATEWAY, HOST = IPv4Address("192.168.1.1"), IPv4Address("192.168.1.100")
WAN, STRANGER = IPv4Address("73.0.0.1"), IPv4Address("73.0.0.9")
SERVER = Endpoint(GATEWAY, 5351)
NONCE = bytes(range(12))
WANTED = Wanted(Transport.UDP, 4001, 4001, 3600)
MAP = Map(NONCE, WANTED)
PEER = Peer(NONCE, WANTED, Endpoint(STRANGER, 53))
OPTIONS = (
    ThirdParty(HOST),
    PreferFailure(),
    Filter(128, Endpoint(STRANGER, 53)),
    pcp.UnknownOption(200, b"abcde"),
)


def mapped(address: IPv4Address) -> bytes:
    return bytes(10) + b"\xff\xff" + address.packed


def announcement(epoch: int = 100, result: int = 0) -> bytes:
    return struct.pack("!BBBBII12x", 2, 128, 0, result, 0, epoch)


def answer(
    opcode: int = 1, result: int = 0, lifetime: int = 3600, epoch: int = 100,
    nonce: bytes = NONCE, protocol: int = 17, port: int = 4001, external: int = 4001,
    tail: bytes = b"",
) -> bytes:  # fmt: skip
    head = struct.pack("!BBBBII12x", 2, 128 | opcode, 0, result, lifetime, epoch)
    body = struct.pack("!12sB3xHH16s", nonce, protocol, port, external, mapped(WAN))
    return head + body + tail


PEER_TAIL = struct.pack("!H2x16s", 53, mapped(STRANGER))


def asked(*requests: pcp.Request) -> pcp_client.Client:
    client = pcp_client.Client(GATEWAY, HOST, random.Random(1))
    for request in requests:
        client.request(request, 0.0)
    client.datagrams_to_send()
    return client


def test_requests_are_as_the_rfc_draws_them() -> None:
    head = bytes.fromhex("02010000 00000e10") + mapped(HOST)
    body = NONCE + bytes.fromhex("11000000 0fa1 0fa1") + mapped(IPv4Address(0))
    assert pcp.encode(MAP, HOST) == head + body
    assert pcp.encode(PEER, HOST) == head[:1] + b"\x02" + head[2:] + body + PEER_TAIL
    assert pcp.encode(Announce(), HOST) == bytes.fromhex("02000000 00000000") + mapped(HOST)


def test_options_read_back_and_are_padded() -> None:
    data = pcp.encode_options(OPTIONS)
    assert len(data) == (4 + 16) + 4 + (4 + 20) + (4 + 8)
    assert pcp.decode_options(data) == OPTIONS
    assert pcp.encode(Map(NONCE, WANTED, options=OPTIONS), HOST).endswith(data)


@pytest.mark.parametrize("text", ["73.0.0.1", "2001:db8::1"])
def test_both_families_fit_into_sixteen_bytes(text: str) -> None:
    option = ThirdParty(ip_address(text))
    assert pcp.decode_options(pcp.encode_options((option,))) == (option,)


@pytest.mark.parametrize(
    "data",
    [b"\x01", b"\x01\0\0\x10" + bytes(12), b"\x02\0\0\x04" + bytes(4), b"\xc8\0\0\x01a",
     b"\x03\0\0\x14" + b"\0\xff" + bytes(18)],
)  # fmt: skip
def test_a_broken_option_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        pcp.decode_options(data)


def test_map_peer_and_announce_are_answered() -> None:
    peer = Peer(bytes(12), WANTED, Endpoint(STRANGER, 53))
    client = asked(MAP, peer, Announce())
    assert client.receive_datagram(announcement(), SERVER, 0.1) == [
        pcp_client.Announced(Announce())
    ]
    assert client.receive_datagram(answer(external=5000), SERVER, 0.1) == [
        pcp_client.Mapped(MAP, Endpoint(WAN, 5000), 3600)
    ]
    reply = answer(opcode=2, nonce=bytes(12), tail=PEER_TAIL)
    assert client.receive_datagram(reply, SERVER, 0.1) == [
        pcp_client.Mapped(peer, Endpoint(WAN, 4001), 3600)
    ]
    assert client.next_timer is None


@pytest.mark.parametrize(
    "data",
    [
        answer(nonce=bytes(12)),
        answer(nonce=bytes(12), result=2),
        answer(protocol=6),
        answer(port=4002),
        answer(opcode=2, tail=PEER_TAIL),
        answer(lifetime=0),
        answer(external=0),
        answer(tail=b"abc"),
        answer(tail=bytes(1200)),
        answer(tail=b"\x01\0\0\x10"),
        answer()[:56],
        answer()[:24],
        b"\x02\x01" + answer()[2:],
        b"\x02\x85" + answer()[2:],
        b"\x03" + answer()[1:],
        b"",
    ],
)
def test_a_wrong_answer_is_ignored(data: bytes) -> None:
    client = asked(MAP)
    assert client.receive_datagram(data, SERVER, 0.1) == []
    assert client.receive_datagram(answer(), SERVER, 0.2)


def test_a_peer_answer_must_name_the_peer() -> None:
    other = struct.pack("!H2x16s", 54, mapped(STRANGER))
    assert asked(PEER).receive_datagram(answer(opcode=2, tail=other), SERVER, 0.1) == []


@pytest.mark.parametrize(
    "source", [Endpoint(IPv4Address("192.168.1.2"), 5351), Endpoint(GATEWAY, 5350)]
)
def test_a_stranger_is_not_believed(source: Endpoint) -> None:
    client = asked(MAP)
    assert client.receive_datagram(answer(), source, 0.1) == []
    assert client.receive_datagram(announcement(0), source, 99.0) == []
    assert client.receive_datagram(bytes([0, 129, 0, 1]), source, 0.1) == []
    assert client.receive_datagram(answer(), SERVER, 0.2)


RESULTS: list[tuple[int, type[RefusedError]]] = [
    (1, mapping.UnsupportedVersionError),
    (2, mapping.NotAuthorizedError),
    (3, mapping.MalformedRequestError),
    (4, mapping.UnsupportedRequestError),
    (5, mapping.UnsupportedRequestError),
    (6, mapping.MalformedRequestError),
    (7, mapping.NetworkFailureError),
    (8, mapping.NoResourcesError),
    (9, mapping.UnsupportedRequestError),
    (10, mapping.QuotaError),
    (11, mapping.ConflictError),
    (12, mapping.AddressMismatchError),
    (13, mapping.TooManyPeersError),
    (99, mapping.RefusedError),
]


@pytest.mark.parametrize(("result", "error"), RESULTS)
def test_each_result_code_has_its_error(result: int, error: type[RefusedError]) -> None:
    [event] = asked(MAP).receive_datagram(answer(result=result, lifetime=30), SERVER, 0.1)
    assert isinstance(event, Failed)
    assert type(event.error) is error
    assert event.error.code == result
    if result != 1:
        assert event.error.retry_after == 30


@pytest.mark.parametrize("data", [bytes([0, 129, 0, 1, 0, 0, 0, 9]), b"\0\x80\0\x01" + bytes(12)])
def test_version_zero_means_nat_pmp(data: bytes) -> None:
    [event] = asked(MAP).receive_datagram(data, SERVER, 0.1)
    assert isinstance(event, Failed)
    assert isinstance(event.error, mapping.UnsupportedVersionError)
    assert event.error.offers == 0


def test_tries_go_on_with_random_intervals_up_to_the_longest() -> None:
    client = pcp_client.Client(GATEWAY, HOST, random.Random(1))
    client.request(MAP, 0.0)
    times = [0.0]
    for _ in range(14):
        assert client.next_timer is not None
        times.append(client.next_timer)
        client.tick(times[-1])
    assert len(client.datagrams_to_send()) == len(times)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert 2.7 <= gaps[0] <= 3.3
    for before, gap in itertools.pairwise(gaps):
        expected = min(2 * before, 1024.0)
        assert 0.9 * expected <= gap <= 1.1 * expected + 1e-9
    assert 0.9 * 1024 <= gaps[-1] <= 1.1 * 1024
    assert len({round(g / 3, 3) for g in gaps}) == len(gaps)


@pytest.mark.parametrize(
    ("elapsed", "epoch", "restarted"),
    [
        (160.0, 1160, False),
        (160.0, 999, True),
        (0.5, 999, False),  # reordered answers
        (0.5, 998, True),
        (160.0, 1148, False),  # server 148 + 2 = client 160 - 10
        (160.0, 1147, True),
        (148.0, 1160, False),
        (147.0, 1160, True),
        (5.0, 10_000, True),
    ],
)
def test_the_epoch_must_go_at_the_pace_of_our_clock(
    elapsed: float, epoch: int, restarted: bool
) -> None:
    client = asked()
    assert client.receive_datagram(announcement(1000), SERVER, 50.0) == []
    events = client.receive_datagram(announcement(epoch), SERVER, 50.0 + elapsed)
    assert events == ([Restarted()] if restarted else [])


def test_a_deletion_is_answered_by_lifetime_zero_alone() -> None:
    delete = Map(NONCE, Wanted(Transport.UDP, 4001, 4001, 0))
    client = asked(MAP, delete)
    assert client.receive_datagram(answer(), SERVER, 0.1) == []
    [event] = client.receive_datagram(answer(lifetime=0), SERVER, 0.1)
    assert isinstance(event, pcp_client.Mapped)


def test_nonces_have_96_bits_and_differ() -> None:
    rng = random.SystemRandom()
    nonces = {pcp_client.new_nonce(rng) for _ in range(100)}
    assert len(nonces) == 100
    assert {len(n) for n in nonces} == {12}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("73.0.0.1", None),
        ("8.8.8.8", None),
        ("0.0.0.0", mapping.Useless.UNKNOWN),
        ("127.0.0.1", mapping.Useless.LOOPBACK),
        ("169.254.1.1", mapping.Useless.LINK_LOCAL),
        ("10.0.0.1", mapping.Useless.PRIVATE),
        ("172.31.255.255", mapping.Useless.PRIVATE),
        ("172.32.0.1", None),
        ("192.168.3.4", mapping.Useless.PRIVATE),
        ("100.64.0.1", mapping.Useless.SHARED),
        ("100.128.0.1", None),
        ("192.0.2.1", mapping.Useless.RESERVED),
        ("198.19.0.1", mapping.Useless.RESERVED),
        ("224.0.0.1", mapping.Useless.RESERVED),
        ("255.255.255.255", mapping.Useless.RESERVED),
    ],
)
def test_an_external_address_off_the_internet_is_useless(
    text: str, why: mapping.Useless | None
) -> None:
    assert mapping.why_useless(IPv4Address(text)) is why


def test_ipv6_is_useful_where_it_is_global() -> None:
    assert mapping.why_useless(IPv6Address("2607:f8b0::1")) is None
    assert mapping.why_useless(IPv6Address("fe80::1")) is mapping.Useless.RESERVED
