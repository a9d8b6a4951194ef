"""Hostile peers on the services: relay, vouchers, AutoNAT and DCUtR used as weapons."""

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import Any, cast

import pytest

from testbed.traversal import (
    Multiaddr,
    Node,
    PeerId,
    PrivateKey,
    RelayLimits,
    autonat_v1,
    autonat_v2,
    dcutr,
    relay,
)
from testbed.traversal.aio import relay_server, upgrade
from testbed.traversal.aio.autonat_server import AutonatOptions
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.stream import Stream
from testbed.traversal.aio.upgrade_service import UpgradeOptions
from testbed.traversal.errors import (
    DialError,
    ProtocolError,
    RelayRefusedError,
    StreamResetError,
    TraversalError,
)
from testbed.traversal.events import HandlerFailed

from .hostile import Bystander, siege
from .nodes import address, nodes, run, wait_event

pytestmark = pytest.mark.timeout(90)
BOTH = pytest.mark.parametrize("transport", ["tcp", "quic"])
STAY = {"upgrade": UpgradeOptions(enabled=False)}
STRANGER = PeerId.from_public_key(PrivateKey.from_seed(bytes(32)).public)


async def ask(node: Node, peer: PeerId, protocol: str, frame: bytes, limit: int = 8192) -> bytes:
    """One frame there, one back."""
    stream = await node.open_stream(peer, [protocol], allow_limited=True)
    await stream.write_frame(frame)
    answer = await stream.read_frame(limit)
    stream.abort()
    return answer


async def hop(node: Node, server: PeerId, frame: bytes) -> int | None:
    """The status that the relay answers a hop message with."""
    return relay.HopMessage.decode(await ask(node, server, relay.HOP_PROTOCOL, frame)).status


def connect_to(peer: PeerId) -> bytes:
    return relay.HopMessage(relay.HopType.CONNECT, relay.Peer(peer.multihash)).encode()


# Relay


NONSENSE = {
    "no message": (b"\xff\xff\xff", relay.Status.MALFORMED_MESSAGE),
    "an empty one": (b"", relay.Status.UNEXPECTED_MESSAGE),
    "a status": (relay.HopMessage(2, status=100).encode(), relay.Status.UNEXPECTED_MESSAGE),
    "an unknown type": (relay.HopMessage(77).encode(), relay.Status.UNEXPECTED_MESSAGE),
    "nobody": (relay.HopMessage(1).encode(), relay.Status.MALFORMED_MESSAGE),
    "a giant id": (relay.HopMessage(1, relay.Peer(bytes(4000))).encode(), 400),
    "a stranger": (connect_to(STRANGER), relay.Status.NO_RESERVATION),
}


@BOTH
@pytest.mark.parametrize("name", NONSENSE)
def test_a_relay_answers_nonsense_with_its_status(name: str, transport: str) -> None:
    message, status = NONSENSE[name]

    async def work() -> None:
        async with siege(transport, 8, relay=RelayLimits()) as (evil, target):
            await evil.dial(address(target))
            assert await hop(evil, target.peer, message) == status

    run(work)


def test_neither_reserve_nor_connect_is_served_over_a_relayed_connection() -> None:
    async def work() -> None:
        both = STAY | {"relay": RelayLimits()}
        async with nodes("tcp", both, STAY, both) as (hub, evil, target):
            await target.reserve(address(hub))
            await evil.dial(target.relays.addresses[0])
            [relayed] = evil.host.connections_to(target.peer)
            assert relayed.relayed
            for message in (relay.HopMessage(relay.HopType.RESERVE).encode(), connect_to(hub.peer)):
                assert await hop(evil, target.peer, message) == relay.Status.PERMISSION_DENIED

    run(work)


def test_many_identities_on_one_ip_share_its_reservations() -> None:
    async def work() -> None:
        limits = RelayLimits(reservations_per_ip=3)
        async with (
            siege("tcp", 24, relay=limits) as (_, target),
            contextlib.AsyncExitStack() as more,
        ):
            crowd = await more.enter_async_context(nodes("tcp", *[STAY] * 6))
            reserved = 0
            for node in crowd:
                try:
                    await node.reserve(address(target))
                    reserved += 1
                except RelayRefusedError as error:
                    assert error.status == relay.Status.RESERVATION_REFUSED  # noqa: PT017
            assert reserved == 3

    run(work, 40)


def test_circuits_of_one_peer_are_counted_and_given_back() -> None:
    async def work() -> None:
        limits = RelayLimits(circuits_per_peer=2)
        async with nodes("tcp", STAY | {"relay": limits}, STAY, STAY) as (hub, evil, target):
            target.set_handler(relay.STOP_PROTOCOL, accept)
            await target.reserve(address(hub))
            await evil.dial(address(hub))
            streams = []
            for _ in range(2):
                stream = await evil.open_stream(hub.peer, [relay.HOP_PROTOCOL])
                await stream.write_frame(connect_to(target.peer))
                assert relay.HopMessage.decode(await stream.read_frame(4096)).status == 100
                streams.append(stream)
            refused = relay.Status.RESOURCE_LIMIT_EXCEEDED
            assert await hop(evil, hub.peer, connect_to(target.peer)) == refused
            streams[0].abort()
            while await hop(evil, hub.peer, connect_to(target.peer)) != relay.Status.OK:
                await asyncio.sleep(0.02)

    run(work)


async def accept(stream: Stream, connection: Connection) -> None:
    """A circuit's target that says yes and holds the stream."""
    await stream.read_frame(relay.MAX_MESSAGE)
    await stream.write_frame(relay.StopMessage(1, status=100).encode())
    while await stream.read():
        pass
    del connection


@BOTH
def test_a_hop_stream_that_says_nothing_is_reset(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_server, "_TIMEOUT", 0.5)

    async def work() -> None:
        async with siege(transport, 8, relay=RelayLimits()) as (evil, target):
            await evil.dial(address(target))
            stream = await evil.open_stream(target.peer, [relay.HOP_PROTOCOL])
            await stream.write(b"\x20")  # a length, and never its bytes
            with pytest.raises(StreamResetError):
                await stream.read_exactly(1)
            assert (await wait_event(target, HandlerFailed)).protocol == relay.HOP_PROTOCOL

    run(work)


def test_a_circuit_that_nobody_asked_for_is_refused() -> None:
    """STOP from a peer that is not our relay."""

    async def work() -> None:
        async with siege("tcp", 8) as (evil, target):
            await evil.dial(address(target))
            request = relay.StopMessage(0, relay.Peer(STRANGER.multihash)).encode()
            answer = await ask(evil, target.peer, relay.STOP_PROTOCOL, request)
            status = relay.StopMessage.decode(answer).status
            assert status == relay.Status.PERMISSION_DENIED

    run(work)


def test_a_relay_that_brings_another_peer_than_it_says_is_found_out() -> None:
    async def work() -> None:
        async with nodes("tcp", STAY | {"relay": RelayLimits()}, STAY, STAY) as (hub, evil, target):
            held = await target.reserve(address(hub))
            await evil.dial(address(hub))

            async def lie(goal: PeerId, protocol: str, request: bytes) -> Stream:
                said = relay.StopMessage.decode(request)
                told = replace(said, peer=relay.Peer(STRANGER.multihash))
                stream: Stream = await honest(goal, protocol, told.encode())
                return stream

            server = hub.host.handlers[relay.HOP_PROTOCOL].__self__  # type: ignore[attr-defined]
            honest, server.open_stop = server.open_stop, lie
            with contextlib.suppress(DialError):
                await evil.dial(held.addresses[0])
            failed = await wait_event(target, HandlerFailed)
            assert f"not {STRANGER}" in failed.reason
            assert not target.host.connections_to(STRANGER)
            assert not target.host.connections_to(evil.peer)

    run(work)


# Vouchers

HUB = PrivateKey.from_seed(bytes(31) + b"h")
HUB_ID = PeerId.from_public_key(HUB.public)


def _answer(**words: Any) -> relay.HopMessage:
    plain = {"type": relay.HopType.STATUS, "status": relay.Status.OK}
    return relay.HopMessage(**(plain | words))


@pytest.mark.parametrize("kind", ["another peer's", "an older one", "another relay's", "expired",
                                  "of another domain", "cut off", "no reservation"])  # fmt: skip
def test_a_reservation_whose_voucher_is_replayed_or_worthless_is_not_held(kind: str) -> None:
    async def work() -> None:
        async with nodes("tcp", {"identity": HUB}, STAY) as (hub, target):
            now = int(time.time())
            expire = now + 1000
            seal = relay.seal_voucher
            voucher = {
                "another peer's": seal(HUB, HUB_ID, STRANGER, expire),
                "an older one": seal(HUB, HUB_ID, target.peer, expire - 500),
                "another relay's": seal(PrivateKey.generate(), HUB_ID, target.peer, expire),
                "expired": seal(HUB, HUB_ID, target.peer, now - 1),
                "of another domain": seal(HUB, HUB_ID, target.peer, expire)[:-8] + bytes(8),
                "cut off": seal(HUB, HUB_ID, target.peer, expire)[:50],
                "no reservation": None,
            }[kind]
            until = now - 1 if kind == "expired" else expire
            answer = (
                _answer(reservation=relay.Reservation(until, (), voucher)) if voucher else _answer()
            )

            async def serve(stream: Stream, _: Connection) -> None:
                await stream.read_frame(relay.MAX_MESSAGE)
                await stream.write_frame(answer.encode())

            hub.set_handler(relay.HOP_PROTOCOL, serve)
            with pytest.raises(ProtocolError):
                await target.reserve(address(hub))
            assert not target.relays.held
            assert await target.ping(hub.peer) < 5

    run(work)


# AutoNAT

V1, V2 = autonat_v1.PROTOCOL, autonat_v2.REQUEST_PROTOCOL
SERVER = {"autonat_server": True, "autonat": AutonatOptions(dial_data_wait=0, dial_timeout=2)}


def test_v1_never_dials_another_ip_and_few_ports_of_the_observed_one() -> None:
    async def work() -> None:
        foreign = [Bystander("127.0.0.9") for _ in range(20)]
        own = [Bystander("127.0.0.1") for _ in range(20)]
        async with siege("tcp", 24, **SERVER) as (evil, target):
            await evil.dial(address(target))
            asked = tuple(b.address for b in (*foreign, *own)) * 3
            request = autonat_v1.encode_request(evil.peer, asked)
            answer = autonat_v1.decode_answer(await ask(evil, target.peer, V1, request))
            assert answer.status is autonat_v1.Status.DIAL_ERROR
            assert sum(b.visits() for b in foreign) == 0
            assert sum(b.visits() for b in own) <= 8
        for bystander in (*foreign, *own):
            bystander.close()

    run(work, 40)


BAD_REQUESTS = {
    "empty": b"",
    "no message": b"\xff",
    "another peer's": autonat_v1.encode_request(STRANGER, ()),
    "a response": b"\x08\x01",
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_v1_does_nothing_for_a_request_on_behalf_of_another(name: str) -> None:
    async def work() -> None:
        async with siege("tcp", 8, **SERVER) as (evil, target):
            await evil.dial(address(target))
            answer = autonat_v1.decode_answer(await ask(evil, target.peer, V1, BAD_REQUESTS[name]))
            assert answer.status is autonat_v1.Status.BAD_REQUEST

    run(work)


async def demand(evil: Node, target: Node, addresses: tuple[Multiaddr, ...]) -> tuple[Stream, Any]:
    """Send a v2 request; the stream and the server's first word."""
    stream = await evil.open_stream(target.peer, [V2])
    request = autonat_v2.DialRequest(tuple(a.encode() for a in addresses), 1)
    await stream.write_frame(autonat_v2.Message(request=request).encode())
    return stream, autonat_v2.Message.decode(await stream.read_frame(8192))


def test_v2_demands_its_price_before_it_dials_another_ip_and_then_dials_one_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(cast(dict[str, Any], upgrade.upgrade.__kwdefaults__), "timeout", 1.0)

    async def work() -> None:
        victims = [Bystander("127.0.0.9") for _ in range(5)]
        async with siege("tcp", 24, **SERVER) as (evil, target):
            await evil.dial(address(target))
            stream, word = await demand(evil, target, tuple(b.address for b in victims))
            due = word.data_request
            assert autonat_v2.MIN_DIAL_DATA <= due.num_bytes <= autonat_v2.MAX_DIAL_DATA
            await asyncio.sleep(0.2)
            assert [b.visits() for b in victims] == [0] * 5
            frame, times = autonat_v2.dial_data_frames(due.num_bytes)
            for _ in range(times):
                await stream.write_frame(frame)
            last = autonat_v2.Message.decode(await stream.read_frame(8192)).response
            assert last is not None
            assert last.dial_status == autonat_v2.DialStatus.DIAL_ERROR
            assert [b.visits() for b in victims] == [1, 0, 0, 0, 0]
        for bystander in victims:
            bystander.close()

    run(work, 40)


@pytest.mark.parametrize("size", [0, autonat_v2.MAX_CHUNK + 1])
def test_v2_takes_no_payment_in_empty_or_oversize_chunks(size: int) -> None:
    async def work() -> None:
        victim = Bystander("127.0.0.9")
        async with siege("tcp", 8, **SERVER) as (evil, target):
            await evil.dial(address(target))
            stream, _ = await demand(evil, target, (victim.address,))
            chunk = autonat_v2.Message(data_response=autonat_v2.DialDataResponse(bytes(size)))
            with contextlib.suppress(TraversalError):
                for _ in range(30):
                    await stream.write_frame(chunk.encode())
            failed = await wait_event(target, HandlerFailed)
            assert "dial data" in failed.reason
            assert victim.visits() == 0
        victim.close()

    run(work)


def test_v2_serves_a_peer_only_so_often() -> None:
    async def work() -> None:
        async with siege("tcp", 24, **SERVER) as (evil, target):
            await evil.dial(address(target))
            statuses = []
            for _ in range(14):
                stream, word = await demand(evil, target, ())
                statuses.append(word.response.status)
                stream.abort()
            status = autonat_v2.ResponseStatus
            assert statuses == [status.DIAL_REFUSED] * 12 + [status.REQUEST_REJECTED] * 2

    run(work, 40)


def test_v2_a_server_that_asks_for_too_much_gets_nothing() -> None:
    async def work() -> None:
        async with siege("tcp", 8) as (evil, target):
            got = bytearray()

            async def greedy(stream: Stream, _: Connection) -> None:
                await stream.read_frame(8192)
                due = autonat_v2.DialDataRequest(0, 2**63)
                await stream.write_frame(autonat_v2.Message(data_request=due).encode())
                while data := await stream.read():
                    got.extend(data)

            evil.set_handler(V2, greedy)
            connection = await target.dial(address(evil))
            with pytest.raises(ProtocolError, match="dial data"):
                await target.autonat.ask_v2(connection, target.listening())
            assert not got

    run(work)


def test_v2_a_nonce_that_nobody_sent_is_refused() -> None:
    async def work() -> None:
        async with siege("tcp", 8) as (evil, target):
            await evil.dial(address(target))
            stream = await evil.open_stream(target.peer, [autonat_v2.DIAL_BACK_PROTOCOL])
            await stream.write_frame(autonat_v2.DialBack(12345).encode())
            with pytest.raises(StreamResetError):
                await stream.read_exactly(1)
            assert "unknown nonce" in (await wait_event(target, HandlerFailed)).reason

    run(work)


# DCUtR


def test_dcutr_is_refused_on_a_direct_connection() -> None:
    async def work() -> None:
        async with siege("tcp", 8) as (evil, target):
            await evil.dial(address(target))
            stream = await evil.open_stream(target.peer, [dcutr.PROTOCOL])
            with pytest.raises(StreamResetError):
                await stream.read_exactly(1)
            assert "relayed connection" in (await wait_event(target, HandlerFailed)).reason

    run(work)


def test_a_thousand_addresses_in_connect_are_cut_to_sixteen() -> None:
    many = tuple(Multiaddr.parse(f"/ip4/1.2.{n % 256}.4/udp/{n}/quic-v1") for n in range(1, 200))
    blobs = b"".join(b"\x12" + bytes([len(a.encode())]) + a.encode() for a in many)
    side = dcutr.Responder(())
    side.receive(b"\x08\x64" + blobs, 0.0)
    assert side.remote == many[: dcutr.MAX_ADDRESSES]
    flood = b"\x08\x64" + b"\x12\x00" * 2000
    with pytest.raises(ProtocolError):
        dcutr.Responder(()).receive(flood, 0.0)
