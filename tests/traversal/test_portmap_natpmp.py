"""NAT-PMP, the client's core: RFC 6886, without a socket."""

import struct
from ipaddress import IPv4Address

import pytest

from testbed.traversal.errors import ProtocolError
from testbed.traversal.portmap import natpmp
from testbed.traversal.portmap.exchange import Failed, Restarted
from testbed.traversal.portmap.mapping import (
    Endpoint,
    NetworkFailureError,
    NoResourcesError,
    NoServiceError,
    NotAuthorizedError,
    RefusedError,
    Transport,
    UnsupportedRequestError,
    UnsupportedVersionError,
    Wanted,
)

GATEWAY = IPv4Address("192.168.1.1")
SERVER = Endpoint(GATEWAY, 5351)
WAN = IPv4Address("73.0.0.1")
UDP, TCP = Transport.UDP, Transport.TCP
MAP = Wanted(UDP, 4001, 4001, 7200)


def address_answer(result: int = 0, epoch: int = 100, address: IPv4Address = WAN) -> bytes:
    return struct.pack("!BBHI4s", 0, 128, result, epoch, address.packed)


def map_answer(
    opcode: int = 1, result: int = 0, epoch: int = 100, port: int = 4001, external: int = 4001,
    lifetime: int = 7200,
) -> bytes:  # fmt: skip
    return struct.pack("!BBHIHHI", 0, 128 + opcode, result, epoch, port, external, lifetime)


def asked(*requests: natpmp.Request) -> natpmp.Client:
    client = natpmp.Client(GATEWAY)
    for request in requests:
        client.request(request, 0.0)
    client.datagrams_to_send()
    return client


def test_requests_are_as_the_rfc_draws_them() -> None:
    assert natpmp.encode(natpmp.AddressQuery()) == b"\0\0"
    assert natpmp.encode(MAP) == bytes.fromhex("0001 0000 0fa1 0fa1 00001c20")
    assert natpmp.encode(Wanted(TCP, 4001, 5, 60)) == bytes.fromhex("0002 0000 0fa1 0005 0000003c")


def test_a_deletion_has_lifetime_and_port_zero() -> None:
    assert natpmp.encode(Wanted(TCP, 4001, 4001, 0)) == bytes.fromhex(
        "0002 0000 0fa1 0000 00000000"
    )


def test_tries_are_nine_from_250_ms_each_twice_as_far() -> None:
    client = natpmp.Client(GATEWAY)
    client.request(MAP, 0.0)
    sent, now = [0.0] * len(client.datagrams_to_send()), 0.0
    events: list[natpmp.Event] = []
    while (due := client.next_timer) is not None:
        assert client.tick(due - 0.001) == []
        assert client.datagrams_to_send() == []
        now, events = due, client.tick(due)
        sent += [now] * len(client.datagrams_to_send())
    assert sent == [0.25 * (2**n - 1) for n in range(9)]
    assert now == 0.25 * (2**9 - 1)
    assert [type(e.error) for e in events if isinstance(e, Failed)] == [NoServiceError]


def test_an_address_and_a_mapping_are_learned() -> None:
    query = natpmp.AddressQuery()
    client = asked(query, MAP)
    assert client.receive_datagram(address_answer(), SERVER, 0.1) == [
        natpmp.AddressLearned(query, WAN)
    ]
    answer = map_answer(external=5000, lifetime=3600)
    assert client.receive_datagram(answer, SERVER, 0.1) == [natpmp.Mapped(MAP, 5000, 3600)]
    assert client.next_timer is None


@pytest.mark.parametrize(
    "source", [Endpoint(IPv4Address("192.168.1.2"), 5351), Endpoint(GATEWAY, 5350)]
)
def test_a_stranger_is_not_believed(source: Endpoint) -> None:
    client = asked(MAP)
    assert client.receive_datagram(map_answer(), source, 0.1) == []
    assert client.receive_datagram(map_answer(epoch=0), source, 9999.0) == []
    assert client.receive_datagram(map_answer(), SERVER, 0.2)


@pytest.mark.parametrize(
    "answer",
    [
        map_answer(opcode=2),
        map_answer(port=4002),
        map_answer(external=0),
        map_answer(lifetime=0),
        map_answer()[:15],
        map_answer(opcode=-127),
        map_answer(opcode=3),
        address_answer(),
        b"",
        bytes(16),
    ],
)
def test_a_wrong_answer_is_ignored(answer: bytes) -> None:
    client = asked(MAP)
    assert client.receive_datagram(answer, SERVER, 0.1) == []
    assert client.receive_datagram(map_answer(), SERVER, 0.2)


def test_a_deletion_is_answered_by_lifetime_zero_alone() -> None:
    delete = Wanted(UDP, 4001, 4001, 0)
    client = asked(MAP, delete)
    assert client.receive_datagram(map_answer(), SERVER, 0.1) == []  # the old request's, late
    answer = map_answer(external=0, lifetime=0)
    assert client.receive_datagram(answer, SERVER, 0.1) == [natpmp.Mapped(delete, 0, 0)]


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (1, UnsupportedVersionError),
        (2, NotAuthorizedError),
        (3, NetworkFailureError),
        (4, NoResourcesError),
        (5, UnsupportedRequestError),
        (77, RefusedError),
    ],
)
@pytest.mark.parametrize("short", [False, True])
def test_each_result_code_has_its_error(
    result: int, error: type[RefusedError], short: bool
) -> None:
    answer = map_answer(result=result, external=0, lifetime=0)
    [event] = asked(MAP).receive_datagram(answer[:8] if short else answer, SERVER, 0.1)
    assert isinstance(event, Failed)
    assert type(event.error) is error
    assert event.error.code == result


def test_a_server_of_pcp_alone_is_recognised() -> None:
    answer = bytes([2, 129, 0, 1]) + bytes(20)
    [event] = asked(MAP).receive_datagram(answer, SERVER, 0.1)
    assert isinstance(event, Failed)
    assert isinstance(event.error, UnsupportedVersionError)
    assert event.error.offers == 2


@pytest.mark.parametrize(
    ("elapsed", "epoch", "restarted"),
    [
        (80.0, 180, False),
        (80.0, 168, False),  # 100 + 7/8 of 80 is 170: two seconds behind is not yet a restart
        (80.0, 167, True),
        (80.0, 0, True),
        (80.0, 10_000, False),
        (1.0, 99, False),
    ],
)
def test_an_epoch_behind_seven_eighths_is_a_restart(
    elapsed: float, epoch: int, restarted: bool
) -> None:
    client = asked(natpmp.AddressQuery())
    client.receive_datagram(address_answer(epoch=100), SERVER, 1000.0)
    unasked = client.receive_datagram(address_answer(epoch=epoch), SERVER, 1000.0 + elapsed)
    assert unasked == ([Restarted()] if restarted else [])


def test_unreachable_ends_all_requests() -> None:
    client = asked(MAP, natpmp.AddressQuery())
    assert len(client.unreachable()) == 2
    assert client.next_timer is None


def test_a_withdrawn_request_is_not_answered() -> None:
    client = asked(MAP)
    client.withdraw(MAP)
    assert client.receive_datagram(map_answer(), SERVER, 0.1) == []


def test_what_is_cut_short_is_refused_by_the_parser() -> None:
    for size in range(12):
        with pytest.raises(ProtocolError):
            natpmp.decode_response(address_answer()[:size])
