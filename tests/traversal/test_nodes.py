"""Whole nodes on loopback: connections, streams, identify, relay, AutoNAT, hostile peers."""

import asyncio
import contextlib
import os
import socket
import tracemalloc
from typing import Any, cast

import pytest

from testbed.traversal import (
    DialError,
    DialFailure,
    Multiaddr,
    Node,
    PeerId,
    PrivateKey,
    RelayLimits,
    relay,
)
from testbed.traversal.__main__ import ECHO
from testbed.traversal.aio import upgrade_service
from testbed.traversal.aio.autonat_server import AutonatOptions, AutonatServer
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.fresh_dial import fresh_dial
from testbed.traversal.aio.host import Host, HostLimits
from testbed.traversal.aio.ping import PROTOCOL as PING
from testbed.traversal.aio.ping import ping
from testbed.traversal.aio.quic import QuicEndpoint
from testbed.traversal.aio.quic_engine import WINDOW
from testbed.traversal.aio.stream import Carrier, Stream
from testbed.traversal.aio.upgrade_service import UpgradeOptions, UpgradeService
from testbed.traversal.autonat_v1 import RateLimits, Reachability, Status
from testbed.traversal.autonat_v2 import DialStatus
from testbed.traversal.errors import (
    ConnectionClosedError,
    DeadlineError,
    LimitError,
    NegotiationError,
    ProtocolError,
    RelayRefusedError,
    StreamResetError,
    TraversalError,
)
from testbed.traversal.events import (
    Event,
    HandlerFailed,
    Identified,
    PunchStep,
    RelayLeft,
    ReservationLost,
    Reserved,
    Upgraded,
    UpgradeFailed,
)
from testbed.traversal.gater import Gater
from testbed.traversal.identify import PROTOCOL as IDENTIFY
from testbed.traversal.identify import PUSH_PROTOCOL, PeerInfo, encode

from .nodes import address, nodes, run, wait_event

pytestmark = pytest.mark.timeout(60)
BOTH = pytest.mark.parametrize("transport", ["tcp", "quic"])
STAY_RELAYED = UpgradeOptions(enabled=False)
STRANGER = PeerId.from_public_key(PrivateKey.generate().public)


async def echoed(node: Node, peer: PeerId, data: bytes) -> bytes:
    stream = await node.open_stream(peer, [ECHO], allow_limited=True)

    async def send() -> None:
        await stream.write(data)
        stream.close_write()

    writing = asyncio.ensure_future(send())
    got = bytearray()
    while part := await stream.read():
        got += part
    await writing
    return bytes(got)


# Connections and streams


@BOTH
def test_a_megabyte_comes_back_unaltered(transport: str) -> None:
    async def work() -> None:
        async with nodes(transport, {}, {}) as (a, b):
            await a.dial(address(b))
            data = os.urandom(1_000_000)
            assert await echoed(a, b.peer, data) == data
            assert await a.ping(b.peer) < 1

    run(work)


@BOTH
def test_the_dial_leaves_from_the_listening_port_and_is_observed_there(transport: str) -> None:
    async def work() -> None:
        async with nodes(transport, {}, {}) as (a, b):
            connection = await a.dial(address(b))
            await a.identify.wait(connection)
            seen = b.host.connections_to(a.peer)[0]
            assert seen.remote == a.listening()[0]
            assert a.identify.peers[b.peer].observed == a.listening()[0]

    run(work)


def test_streams_that_come_with_the_end_of_the_handshake_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seen on a busy machine: the ping that proves a punch was reset, and nobody told of it."""

    async def work() -> None:
        async with nodes("quic", {}, {}) as (a, b):
            dial = a.host.transports.dial

            async def late(*words: Any, **more: Any) -> Connection:
                connection = await dial(*words, **more)
                await asyncio.sleep(0.2)
                return connection

            monkeypatch.setattr(a.host.transports, "dial", late)
            dialing = asyncio.ensure_future(a.dial(address(b)))
            there = await b.host.wait_connection(a.peer, 5.0)
            assert await ping(b.host, there) > 0.0
            assert await echoed(b, a.peer, b"early") == b"early"
            await dialing

    run(work)


@BOTH
def test_another_peer_than_the_dialed_one_is_refused(transport: str) -> None:
    async def work() -> None:
        async with nodes(transport, {}, {}) as (a, b):
            stranger = PeerId.from_public_key(PrivateKey.generate().public)
            with pytest.raises(DialError) as caught:
                await a.dial(b.listening()[0].with_peer(stranger))
            assert caught.value.failure is DialFailure.WRONG_PEER
            assert not a.host.connections

    run(work)


def test_a_closed_port_is_refused_and_a_silent_one_times_out() -> None:
    async def work() -> None:
        async with nodes("tcp", {}) as (a,):
            with socket.socket() as silent:
                silent.bind(("127.0.0.1", 0))
                target = f"/ip4/127.0.0.1/tcp/{silent.getsockname()[1]}"
                with pytest.raises(DialError) as refused:
                    await a.dial(target)
                silent.listen()
                with pytest.raises(DialError) as mute:
                    await a.host.dial_direct(Multiaddr.parse(target), None, 0.5)
            assert refused.value.failure is DialFailure.REFUSED
            assert mute.value.failure is DialFailure.HANDSHAKE

    run(work)


@BOTH
def test_an_unknown_protocol_is_an_error_and_the_connection_lives_on(transport: str) -> None:
    async def work() -> None:
        async with nodes(transport, {}, {}) as (a, b):
            await a.dial(address(b))
            with pytest.raises(NegotiationError):
                await a.open_stream(b.peer, ["/nobody/1", "/nobody/2"])
            stream = await a.open_stream(b.peer, ["/nobody/1"])
            with pytest.raises(NegotiationError):
                await stream.read()
            assert await echoed(a, b.peer, b"still here") == b"still here"

    run(work)


@BOTH
def test_closing_a_node_ends_the_streams_of_the_other_with_an_error(transport: str) -> None:
    async def work() -> None:
        async with nodes(transport, {}, {}) as (a, b):
            await a.dial(address(b))
            stream = await a.open_stream(b.peer, [ECHO])
            await stream.write(b"x")
            assert await stream.read() == b"x"
            await b.close()
            with pytest.raises((ConnectionClosedError, StreamResetError)):
                await stream.read_exactly(1)

    run(work)


@BOTH
def test_a_reader_that_does_not_read_stops_the_writer_at_the_window(transport: str) -> None:
    async def work() -> None:
        async with nodes(transport, {}, {}) as (a, b):
            held: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()

            async def hold(stream: Stream, connection: Connection) -> None:
                held.set_result(stream)
                await connection.wait_closed()

            b.set_handler("/hold", hold)
            await a.dial(address(b))
            stream = await a.open_stream(b.peer, ["/hold"])
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.0):
                    await stream.write(bytes(20 * WINDOW))
            assert (await held).buffered <= WINDOW

    run(work)


@BOTH
def test_many_streams_at_once_are_served_and_the_excess_does_no_harm(transport: str) -> None:
    async def work() -> None:
        async with nodes(transport, {}, {}) as (a, b):
            await a.dial(address(b))
            answers = await asyncio.gather(
                *(echoed(a, b.peer, bytes([n])) for n in range(200)), return_exceptions=True
            )
            assert sum(isinstance(x, bytes) for x in answers) == 200

    run(work)


def test_connections_beyond_the_limit_are_refused_and_the_node_lives_on() -> None:
    async def work() -> None:
        limits = HostLimits(connections_per_ip=2)
        async with nodes("tcp", {"limits": limits}, {}, {}, {}) as (server, a, b, c):
            await a.dial(address(server))
            await b.dial(address(server))
            connection = await c.dial(address(server))
            await connection.wait_closed()
            assert await echoed(a, server.peer, b"fine") == b"fine"

    run(work)


def test_identify_push_brings_new_addresses() -> None:
    async def work() -> None:
        async with nodes("tcp", {}, {}) as (a, b):
            connection = await a.dial(address(b))
            await a.identify.wait(connection)
            await b.listen("/ip4/127.0.0.1/udp/0/quic-v1")
            while len(a.identify.peers[b.peer].addresses) < 2:
                await asyncio.sleep(0.01)

    run(work)


async def pushed(a: Node, b: Node, info: PeerInfo) -> None:
    """Push, and wait until it was dealt with."""
    stream = await a.open_stream(b.peer, [PUSH_PROTOCOL])
    await stream.write_frame(encode(info, a.host.identity.public))
    stream.close_write()
    with contextlib.suppress(StreamResetError):
        assert await stream.read() == b""


def test_a_push_that_changes_nothing_is_no_event_and_too_many_changes_are_refused() -> None:
    async def work() -> None:
        async with nodes("tcp", {}, {}) as (a, b):
            await a.dial(address(b))
            await b.identify.wait(await b.host.wait_connection(a.peer, 5))
            same = PeerInfo(a.peer, (), frozenset({"/same"}))
            for _ in range(50):
                await pushed(a, b, same)
            for n in range(50):
                await pushed(a, b, PeerInfo(a.peer, (), frozenset({f"/{n}"})))
            refused = await wait_event(b, HandlerFailed)
            assert (refused.protocol, refused.reason) == (PUSH_PROTOCOL, "too many pushes")
            told = [e for e in b.host._history if isinstance(e, Identified) and e.peer == a.peer]
            assert 2 < len(told) <= 34
            said = frozenset[str]().union(*(e.protocols for e in told))
            assert "/0" in said
            assert "/49" not in said

    run(work)


# Relay


async def circuit(transport_nodes: list[Node]) -> tuple[Node, Node, Node, Connection]:
    hub, a, b = transport_nodes
    held = await b.reserve(address(hub))
    connection = await a.dial(held.addresses[0])
    assert connection.relayed
    return hub, a, b, connection


def relayed_trio(**limits: int) -> tuple[dict[str, object], ...]:
    stay: dict[str, object] = {"upgrade": STAY_RELAYED}
    return {"relay": RelayLimits(**limits)} | stay, stay, stay


@BOTH
def test_a_circuit_carries_an_end_to_end_secured_connection(transport: str) -> None:
    async def work() -> None:
        async with nodes(transport, *relayed_trio()) as trio:
            _, a, b, _ = await circuit(trio)
            assert await echoed(a, b.peer, b"through the relay") == b"through the relay"
            assert [str(x).split("/p2p-circuit")[1] for x in b.relays.addresses] == [
                f"/p2p/{b.peer}"
            ]

    run(work)


@BOTH
@pytest.mark.parametrize("over", [0, 1])
def test_a_circuit_carries_exactly_its_bytes(transport: str, over: int) -> None:
    """On the hop protocol itself, so that nothing but our bytes is counted."""
    limit = 5000

    async def work() -> None:
        async with nodes(transport, *relayed_trio(data=limit)) as (hub, a, b):
            arrived = bytearray()
            ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

            async def stop(stream: Stream, connection: Connection) -> None:
                del connection
                await stream.read_frame(relay.MAX_MESSAGE)
                ok = relay.StopMessage(relay.StopType.STATUS, status=relay.Status.OK)
                await stream.write_frame(ok.encode())
                try:
                    while data := await stream.read():
                        arrived.extend(data)
                    ended.set_result("end")
                except TraversalError:
                    ended.set_result("reset")

            await b.reserve(address(hub))
            b.set_handler(relay.STOP_PROTOCOL, stop)
            await a.dial(address(hub))
            stream = await a.open_stream(hub.peer, [relay.HOP_PROTOCOL])
            ask = relay.HopMessage(relay.HopType.CONNECT, relay.Peer(b.peer.multihash))
            await stream.write_frame(ask.encode())
            answer = relay.HopMessage.decode(await stream.read_frame(relay.MAX_MESSAGE))
            assert (answer.status, answer.limit) == (relay.Status.OK, relay.Limit(120, limit))
            await stream.write(bytes(limit + over))
            stream.close_write()
            assert await ended == ("reset" if over else "end")
            assert len(arrived) == limit

    run(work)


def test_a_circuit_ends_when_its_time_is_over() -> None:
    async def work() -> None:
        async with nodes("tcp", *relayed_trio(duration=1)) as trio:
            loop = asyncio.get_running_loop()
            _, _, _, connection = await circuit(trio)
            start = connection.opened_at
            await connection.wait_closed()
            assert 0.8 < loop.time() - start < 1.3

    run(work)


@pytest.mark.parametrize(
    ("limits", "status"),
    [({"reservations": 0}, 200), ({"reservations_per_ip": 0}, 200)],
)
def test_a_full_relay_refuses_with_its_status(limits: dict[str, int], status: int) -> None:
    async def work() -> None:
        async with nodes("tcp", *relayed_trio(**limits)) as (hub, _, b):
            with pytest.raises(RelayRefusedError) as caught:
                await b.reserve(address(hub))
            assert caught.value.status == status

    run(work)


def test_a_circuit_to_a_peer_without_reservation_is_refused() -> None:
    async def work() -> None:
        async with nodes("tcp", *relayed_trio()) as (hub, a, b):
            await b.dial(address(hub))
            with pytest.raises(DialError, match="NO_RESERVATION") as caught:
                await a.dial(address(hub).circuit().with_peer(b.peer))
            assert caught.value.failure is DialFailure.RELAY_REFUSED

    run(work)


def test_neither_reserve_nor_autonat_is_served_over_a_relayed_connection() -> None:
    async def work() -> None:
        hub_options, plain, _ = relayed_trio()
        both = plain | {"relay": RelayLimits(), "autonat_server": True}
        async with nodes("tcp", hub_options, plain, both) as trio:
            _, a, _, connection = await circuit(trio)
            await a.identify.wait(connection)
            with pytest.raises(RelayRefusedError, match="PERMISSION_DENIED"):
                await a.relays.reserve(connection)
            assert (await a.autonat.ask_v1(connection)).status is Status.DIAL_REFUSED
            assert await a.autonat.ask_v2(connection, (a.listening()[0],)) is None

    run(work)


def test_a_reservation_is_refreshed_before_it_runs_out_and_sought_again_when_lost() -> None:
    async def work() -> None:
        async with nodes("tcp", *relayed_trio(reservation_ttl=3)) as (hub, _, b):
            first = await b.reserve(address(hub))
            refreshed = await wait_event(b, Reserved, lambda e: e.refreshed)
            assert refreshed.expire > first.expire
            await hub.host.connections_to(b.peer)[0].close()
            await wait_event(b, ReservationLost)
            await wait_event(b, Reserved, lambda e: not e.refreshed and e.at > refreshed.at)

    run(work)


def test_a_disconnected_peer_has_no_reservation() -> None:
    async def work() -> None:
        async with nodes("tcp", *relayed_trio()) as (hub, a, b):
            held = await b.reserve(address(hub))
            b.relays.release(hub.peer)
            await b.host.connections_to(hub.peer)[0].close()
            while hub.host.connections_to(b.peer):
                await asyncio.sleep(0.01)
            with pytest.raises(DialError, match="NO_RESERVATION"):
                await a.dial(held.addresses[0])

    run(work)


def test_a_voucher_of_another_relay_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = PrivateKey.generate()
    seal = relay.seal_voucher

    def forged(key: PrivateKey, hub: PeerId, peer: PeerId, expiration: int) -> bytes:
        del key
        return seal(other, hub, peer, expiration)

    async def work() -> None:
        async with nodes("tcp", *relayed_trio()) as (hub, _, b):
            monkeypatch.setattr(relay, "seal_voucher", forged)
            with pytest.raises(ProtocolError, match="voucher"):
                await b.reserve(address(hub))
            assert not b.relays.held

    run(work)


# Upgrade


@BOTH
def test_a_relayed_connection_is_upgraded_and_left(transport: str) -> None:
    async def work() -> None:
        hub_options = {"relay": RelayLimits()}
        async with nodes(transport, hub_options, {}, {}) as trio:
            _, a, b, relayed = await circuit(trio)
            await a.wait_direct(b.peer, 10)
            assert (await wait_event(b, Upgraded)).how == "reversed"
            await wait_event(a, RelayLeft)
            await relayed.wait_closed()
            assert await echoed(a, b.peer, b"direct") == b"direct"

    run(work)


def test_a_ping_stream_that_never_ends_does_not_keep_the_relayed_connection() -> None:
    """rust-libp2p holds one for the life of every connection."""

    async def work() -> None:
        async with nodes("tcp", {"relay": RelayLimits()}, {}, {}) as (hub, a, b):

            async def hold(connection: Connection) -> None:
                stream = await a.host.open_lazily(connection, PING)
                await stream.write(bytes(32))
                assert await stream.read_exactly(32) == bytes(32)
                held.append(stream)

            held: list[Stream] = []

            def held_if_relayed(connection: Connection) -> None:
                if connection.relayed:
                    a.host.spawn(hold(connection))

            a.host.connected_hooks.append(held_if_relayed)
            start = asyncio.get_running_loop().time()
            await a.dial((await b.reserve(address(hub))).addresses[0])
            for node in (a, b):
                assert not (await wait_event(node, RelayLeft)).forced
            assert held
            assert asyncio.get_running_loop().time() - start < UpgradeOptions().relay_grace / 2

    run(work)


def test_nothing_is_sent_for_a_dial_back_that_nobody_answers_once_sync_is_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would come in by the hole that A's own dial makes, as an Initial of B's."""
    order: list[str] = []

    async def work() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
            mute.bind(("127.0.0.1", 0))
            host, port = mute.getsockname()
            wrong = Multiaddr.from_socket(host, port, "quic-v1")
            send = QuicEndpoint._send

            def watched(endpoint: QuicEndpoint, data: bytes, to: Any) -> None:
                if to == wrong.socket_address:
                    order.append("dial back")
                send(endpoint, data, to)

            monkeypatch.setattr(QuicEndpoint, "_send", watched)
            elsewhere = {"announce": (str(wrong),)}
            async with nodes("quic", {"relay": RelayLimits()}, elsewhere, {}) as trio:
                _, a, b, _ = await circuit(trio)
                await a.wait_direct(b.peer, 10)
                assert (await wait_event(b, Upgraded)).how == "punched"

    step = UpgradeService._step

    def told(
        service: UpgradeService, peer: PeerId, role: str, attempt: int, name: str, **words: Any
    ) -> None:
        order.append(f"{role} {name}")
        step(service, peer, role, attempt, name, **words)

    monkeypatch.setattr(UpgradeService, "_step", told)
    run(work)
    assert "dial back" in order
    assert "dial back" not in order[order.index("initiator sync_sent") :]


@BOTH
def test_without_reversal_the_punch_makes_the_direct_connection(transport: str) -> None:
    async def work() -> None:
        punch = {"upgrade": UpgradeOptions(reversal_timeout=0)}
        async with nodes(transport, {"relay": RelayLimits()}, punch, punch) as trio:
            _, a, b, _ = await circuit(trio)
            await a.wait_direct(b.peer, 10)
            assert (await wait_event(b, Upgraded)).how == "punched"
            assert (await wait_event(a, Upgraded)).how == "punched"

    run(work)


@pytest.mark.parametrize(("lost", "ends"), [(2, Upgraded), (3, UpgradeFailed)])
def test_an_upgrade_ends_with_a_word_though_pings_get_lost(
    monkeypatch: pytest.MonkeyPatch, lost: int, ends: type[Event]
) -> None:
    """Of B, while A has long left the relay: who says nothing keeps its user waiting for ever."""
    asked: list[Connection] = []

    async def work() -> None:
        async with nodes("tcp", {"relay": RelayLimits()}, {}, {}) as trio:
            _, _, b, _ = await circuit(trio)

            async def lossy(host: Host, connection: Connection, timeout: float = 5.0) -> float:
                if host is b.host:
                    asked.append(connection)
                    if len(asked) <= lost:
                        raise DeadlineError("the ping was lost")
                return await ping(host, connection, timeout)

            monkeypatch.setattr(upgrade_service, "ping", lossy)
            await wait_event(b, ends)
            assert len(asked) == 3
            assert all(c.closed for c in asked) is (ends is UpgradeFailed)

    run(work)


def test_a_relayed_connection_that_ends_before_a_direct_one_is_there_is_told() -> None:
    async def work() -> None:
        elsewhere = {"announce": ("/ip4/127.0.0.1/tcp/1",)}
        async with nodes("tcp", {"relay": RelayLimits()}, elsewhere, elsewhere) as trio:
            _, _, b, relayed = await circuit(trio)
            await wait_event(b, PunchStep)
            relayed.abort("gone")
            assert "relayed connection" in (await wait_event(b, UpgradeFailed)).reason

    run(work)


# AutoNAT


@BOTH
def test_autonat_finds_a_reachable_node_public_in_both_versions(transport: str) -> None:
    async def work() -> None:
        client = {"v1_threshold": 1, "v2_threshold": 1}
        async with nodes(transport, client, {"autonat_server": True}) as (a, server):
            await a.identify.wait(await a.dial(address(server)))
            verdict, by_address = await a.probe_reachability()
            assert verdict is Reachability.PUBLIC
            assert by_address == {a.listening()[0]: Reachability.PUBLIC}

    run(work)


def test_autonat_v1_dials_nobody_for_too_many_requests() -> None:
    async def work() -> None:
        rates = AutonatOptions(v1_rates=RateLimits(per_peer=1))
        async with nodes("tcp", {}, {"autonat_server": True, "autonat": rates}) as (a, server):
            connection = await a.dial(address(server))
            assert (await a.autonat.ask_v1(connection)).status is Status.OK
            assert (await a.autonat.ask_v1(connection)).status is Status.DIAL_REFUSED

    run(work)


def test_autonat_v2_makes_the_client_pay_for_a_dial_to_a_foreign_ip() -> None:
    async def work() -> None:
        options = {"autonat_server": True, "autonat": AutonatOptions(dial_data_wait=0)}
        async with nodes("tcp", {"v2_threshold": 1}, options) as (a, server):
            connection = await a.dial(address(server))
            foreign = Multiaddr.parse("/ip4/127.0.0.9/tcp/9")
            answer = await a.autonat.ask_v2(connection, (foreign,))
            assert answer is not None
            assert not answer.reachable

    run(work)


def test_autonat_v2_does_not_dial_when_the_price_is_not_paid() -> None:
    async def work() -> None:
        async with nodes("tcp", {}, {"autonat_server": True}) as (a, server):
            await a.dial(address(server))
            with socket.socket() as victim:
                victim.bind(("127.0.0.9", 0))
                victim.listen()
                victim.setblocking(False)
                host, port = victim.getsockname()
                target = Multiaddr.from_socket(host, port, "tcp")
                stream = await a.open_stream(server.peer, ["/libp2p/autonat/2/dial-request"])
                from testbed.traversal import autonat_v2

                request = autonat_v2.DialRequest((target.encode(),), 1)
                await stream.write_frame(autonat_v2.Message(request=request).encode())
                due = autonat_v2.Message.decode(await stream.read_frame(8192)).data_request
                assert due is not None
                frame, times = autonat_v2.dial_data_frames(due.num_bytes or 0)
                for _ in range(times - 1):
                    await stream.write_frame(frame)
                stream.close_write()
                await wait_event(server, HandlerFailed)
                with pytest.raises(BlockingIOError):
                    victim.accept()

    run(work)


def test_autonat_v2_does_not_believe_a_server_that_never_dialed_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def lie(*_: object) -> DialStatus:
        return DialStatus.OK

    monkeypatch.setattr(AutonatServer, "_dial_back", lie)

    async def work() -> None:
        async with nodes("tcp", {"v2_threshold": 1}, {"autonat_server": True}) as (a, server):
            connection = await a.dial(address(server))
            assert await a.autonat.ask_v2(connection, (a.listening()[0],)) is None
            assert not a.autonat.address_verdicts

    run(work)


# Hostile peers


def test_garbage_and_silence_on_the_port_do_no_harm() -> None:
    async def work() -> None:
        async with nodes("tcp", {}, {}) as (a, b):
            port = b.listening()[0].port
            mute = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
            for n in range(20):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(os.urandom(50 * n + 1))
                writer.write_eof()
                while await reader.read(4096):
                    pass
                writer.close()
            await a.dial(address(b))
            assert await echoed(a, b.peer, b"alive") == b"alive"
            for _, writer in mute:
                writer.close()

    run(work)


def test_random_datagrams_do_no_harm() -> None:
    async def work() -> None:
        async with nodes("quic", {}, {}) as (a, b):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for size in range(1, 1400, 7):
                    sock.sendto(os.urandom(size), b.listening()[0].socket_address)
            await a.dial(address(b))
            assert await echoed(a, b.peer, b"alive") == b"alive"

    run(work)


@BOTH
def test_an_oversize_frame_resets_its_stream_and_nothing_else(transport: str) -> None:
    async def work() -> None:
        async with nodes(transport, {}, {"relay": RelayLimits()}) as (a, b):
            await a.dial(address(b))
            stream = await a.open_stream(b.peer, [relay.HOP_PROTOCOL])
            await stream.write(b"\xff\xff\xff\x7f" + bytes(100))
            with pytest.raises(StreamResetError):
                await stream.read_exactly(1)
            failed = await wait_event(b, HandlerFailed)
            assert "frame of 268435455" in failed.reason
            assert await echoed(a, b.peer, b"alive") == b"alive"

    run(work)


@BOTH
def test_a_flood_of_streams_leaves_memory_bounded(transport: str) -> None:
    async def work() -> None:
        async with nodes(transport, {}, {}) as (a, b):
            await a.identify.wait(await a.dial(address(b)))
            tracemalloc.start()
            connection = a.host.connections_to(b.peer)[0]
            for _ in range(3000):
                try:
                    (await connection.open_raw_stream()).abort()
                except TraversalError:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < 64 * 2**20
            while True:  # until the acknowledged resets have given the credit back
                try:
                    assert await echoed(a, b.peer, b"alive") == b"alive"
                    break
                except LimitError:
                    await asyncio.sleep(0.05)

    run(work, 40)


def test_a_dial_to_a_mute_listener_ends_at_its_timeout() -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as mute:
            host, port = mute.getsockname()
            goal = Multiaddr.from_socket(host, port, "tcp")
            async with nodes("tcp", {}) as (node,):
                start = loop.time()
                with pytest.raises(DialError):
                    await node.dial(goal.with_peer(STRANGER), timeout=0.3)
                with pytest.raises(DialError):
                    async with fresh_dial(goal, STRANGER, 0.3, Gater()):
                        pass
                assert 0.5 < loop.time() - start < 3

    run(work, 30)


class Ledger:
    """A carrier that only counts what was credited."""

    def __init__(self) -> None:
        self.credited = 0

    def hold(self, count: int) -> bool:
        del count
        return True

    def release(self, count: int) -> None:
        del count

    def stream_consumed(self, stream_id: int, count: int) -> None:
        del stream_id
        self.credited += count


def test_bytes_put_back_are_credited_to_the_remote_once() -> None:
    async def work() -> None:
        ledger = Ledger()
        stream = Stream(cast(Carrier, ledger), 1)
        stream.feed(bytes(1000))
        for size in (1000, 700, 300):
            stream.unread((await stream.read(size))[10:])
            stream.feed(bytes(10))
        left = 0
        while stream.buffered:
            left += len(await stream.read(77))
        assert left == 1000
        assert ledger.credited == 1030

    run(work)


def test_a_peer_that_never_finishes_its_handshake_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from testbed.traversal.aio import upgrade

    monkeypatch.setitem(cast(dict[str, Any], upgrade.upgrade.__kwdefaults__), "timeout", 0.5)

    async def work() -> None:
        async with nodes("tcp", {}) as (node,):
            reader, writer = await asyncio.open_connection(*node.listening()[0].socket_address)
            start = asyncio.get_running_loop().time()
            while asyncio.get_running_loop().time() - start < 5:
                writer.write(b"\x13")  # slow loris: a byte now and then
                try:
                    async with asyncio.timeout(0.1):
                        if await reader.read(4096) == b"":
                            break
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
            assert asyncio.get_running_loop().time() - start < 2
            writer.close()

    run(work)


def test_a_signature_for_identify_of_another_peer_is_not_believed() -> None:
    async def work() -> None:
        async with nodes("tcp", {}, {}) as (a, b):
            other = PrivateKey.generate().public

            async def lie(stream: Stream, connection: Connection) -> None:
                from testbed.traversal import identify

                del connection
                info = identify.PeerInfo(PeerId.from_public_key(other))
                await stream.write_frame(identify.encode(info, other))

            b.set_handler(IDENTIFY, lie)
            await a.identify.wait(await a.dial(address(b)))
            assert b.peer not in a.identify.peers

    run(work)


@pytest.mark.parametrize("kind", ["tcp/0", "udp/0/quic-v1"])
def test_ipv6_works_like_ipv4(kind: str) -> None:
    async def work() -> None:
        async with nodes("tcp", {}, {}) as (a, b):
            await a.listen(f"/ip6/::1/{kind}")
            bound = await b.listen(f"/ip6/::1/{kind}")
            connection = await a.dial(bound.with_peer(b.peer))
            assert connection.remote == bound
            assert await echoed(a, b.peer, b"six") == b"six"

    run(work)


def test_a_dial_with_direct_addresses_does_not_settle_for_a_relayed_connection() -> None:
    async def work() -> None:
        async with nodes("tcp", *relayed_trio()) as trio:
            _, a, b, relayed = await circuit(trio)
            assert await a.dial(*b.relays.addresses) is relayed
            assert not (await a.dial(address(b))).relayed

    run(work)
