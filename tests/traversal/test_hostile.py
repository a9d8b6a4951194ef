"""Hostile peers on the transport: bounded memory, a typed error, and the node lives on."""

import asyncio
import datetime
import os
import random
import socket
from typing import Any, cast

import pytest
from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic.crypto import CryptoPair
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from testbed.traversal import PrivateKey, multistream, noise, tls_certificate, varint
from testbed.traversal.aio import host, quic, upgrade
from testbed.traversal.aio import muxed as muxed_connection
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.quic import RETRY_FROM
from testbed.traversal.aio.quic_engine import configuration
from testbed.traversal.aio.quic_timers import QuicTimers
from testbed.traversal.aio.stream import Stream
from testbed.traversal.errors import DialError, HandshakeError, TraversalError
from testbed.traversal.events import ConnectionClosed, HandlerFailed
from testbed.traversal.identify import PROTOCOL as IDENTIFY
from testbed.traversal.identify import PUSH_PROTOCOL, PeerInfo
from testbed.traversal.identify import encode as identify_encode
from testbed.traversal.noise_xx import XX

from .fuzz import registry
from .hostile import AWAY, DATA, FIN, PING, RST, SYN, WINDOW, frame, muxed, send_raw, siege
from .nodes import address, run, wait_event

pytestmark = pytest.mark.timeout(90)
BOTH = pytest.mark.parametrize("transport", ["tcp", "quic"])
FIRST_FLIGHT = (
    multistream.Dialer([noise.PROTOCOL]).data_to_send()
    + noise.Handshake(PrivateKey.generate(), initiator=True).data_to_send()
)


# Before the handshake is over


async def until_closed(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(65536):
            pass
    except ConnectionError:
        return


def test_truncated_and_altered_handshakes_are_dropped() -> None:
    async def work() -> None:
        async with siege("tcp", 8) as (_, target):
            for data in registry.mutations((FIRST_FLIGHT,), 150, 7):
                reader, writer = await asyncio.open_connection(*address(target).socket_address)
                writer.write(data)
                writer.write_eof()
                await until_closed(reader)
                writer.close()
            assert not target.host.connections

    run(work, 60)


def test_handshake_messages_of_64_kib_lead_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cast(dict[str, Any], upgrade.upgrade.__kwdefaults__), "timeout", 1.0)

    async def work() -> None:
        async with siege("tcp", 8) as (_, target):
            for tail in (b"\xff\xff" + os.urandom(65535), b"\xff\xff" * 500_000):
                reader, writer = await asyncio.open_connection(*address(target).socket_address)
                writer.write(multistream.Dialer([noise.PROTOCOL]).data_to_send() + tail)
                await until_closed(reader)
                writer.close()

    run(work, 60)


PAYLOADS = {
    "a giant key": b"\x0a" + varint.frame(bytes(60_000)),
    "five thousand muxers": b"\x22" + varint.frame(b"\x12\x00" * 5000),
    "a key and a wrong signature": b"\x0a"
    + varint.frame(PrivateKey.generate().public.encode()) + b"\x12\x40" + bytes(64),
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_noise_payload_that_is_a_giant_or_proves_nothing_is_a_typed_error(name: str) -> None:
    ours = noise.Handshake(PrivateKey.generate(), initiator=False)
    static = X25519PrivateKey.generate()
    hostile = XX(static, X25519PrivateKey.generate())
    framed = [hostile.write_1()]
    ours.receive_data(len(framed[0]).to_bytes(2, "big") + framed[0])
    hostile.read_2(ours.data_to_send()[2:])
    last = hostile.write_3(PAYLOADS[name])
    with pytest.raises(TraversalError):
        ours.receive_data(len(last).to_bytes(2, "big") + last)
    assert not ours.done


def test_slow_loris_before_the_handshake_holds_nothing_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Silent ones, and ones that send a byte at a time; the flood is from one IP address."""
    monkeypatch.setitem(cast(dict[str, Any], upgrade.upgrade.__kwdefaults__), "timeout", 1.0)

    async def drip(target: tuple[str, int], silent: bool) -> None:
        reader, writer = await asyncio.open_connection(*target, local_addr=("127.0.0.66", 0))
        closed = asyncio.ensure_future(until_closed(reader))
        for byte in FIRST_FLIGHT:
            if not silent:
                writer.write(bytes([byte]))
            if (await asyncio.wait({closed}, timeout=0.1))[0]:
                break
        await asyncio.wait_for(closed, 4)
        writer.close()

    async def work() -> None:
        async with siege("tcp", 16) as (_, target):
            goal = address(target).socket_address
            await asyncio.gather(*(drip(goal, bool(n % 2)) for n in range(60)))
            assert not target.host.connections

    run(work, 40)


# Streams


@BOTH
def test_streams_that_never_finish_multistream_are_reset(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "NEGOTIATION_TIMEOUT", 2.0)

    async def work() -> None:
        async with siege(transport, 24) as (evil, target):
            connection = await evil.dial(address(target))
            await evil.identify.wait(connection)
            streams = [await connection.open_raw_stream() for _ in range(100)]
            for n, stream in enumerate(streams):
                await stream.write(b"\x13/multi"[: n % 8 + 1])
            await wait_event(target, HandlerFailed)
            [seen] = target.host.connections_to(evil.peer)
            while len(seen.streams) > 2:
                await asyncio.sleep(0.05)
            assert await evil.ping(target.peer) < 5  # on the very connection, too

    run(work, 40)


@BOTH
def test_a_flood_of_streams_is_held_to_the_limit(transport: str) -> None:
    async def work() -> None:
        async with siege(transport, 48) as (evil, target):
            connection = await evil.dial(address(target))
            await evil.identify.wait(connection)
            most = 0
            for _ in range(600):
                try:
                    stream = await connection.open_raw_stream()
                    await stream.write(b"\x13")
                except TraversalError:
                    pass
                await asyncio.sleep(0.001)
                for seen in target.host.connections_to(evil.peer):
                    most = max(most, len(seen.streams))
            assert 200 < most <= 257  # 256 of theirs, and our identify

    run(work, 60)


def test_streams_opened_and_reset_in_bulk_leave_nothing_behind() -> None:
    async def work() -> None:
        async with siege("tcp", 24) as (_, target):
            connection = await muxed(target)
            for batch in range(10):
                ids = range(batch * 2000 + 1, (batch + 1) * 2000 + 1, 2)
                await send_raw(
                    connection,
                    b"".join(frame(WINDOW, SYN, n, 0) + frame(WINDOW, 8, n, 0) for n in ids),
                )
                await asyncio.sleep(0.02)
            [seen] = target.host.connections
            while len(seen.streams) > 2:
                await asyncio.sleep(0.05)
            connection.abort("done")

    run(work, 60)


ABUSE = {
    "data beyond the window": frame(WINDOW, SYN, 1, 0) + frame(DATA, 0, 1, 300_000),
    "data of 4 GiB on no stream": frame(DATA, 0, 99, 2**32 - 1),
    "a window beyond 32 bits": frame(WINDOW, SYN, 1, 0) + frame(WINDOW, 0, 1, 2**32 - 1),
    "a stream with our parity": frame(WINDOW, SYN, 2, 0),
    "a stream twice": frame(WINDOW, SYN, 1, 0) * 2,
    "a stream again after its end": frame(WINDOW, SYN, 1, 0) + frame(WINDOW, RST, 1, 0)
        + frame(WINDOW, SYN, 1, 0),
    "an older stream twice": frame(WINDOW, SYN, 5, 0) + frame(WINDOW, SYN, 3, 0) * 2,
    "a stream long past": frame(WINDOW, SYN, 2001, 0) + frame(WINDOW, SYN, 3, 0),
    "data after its end": frame(DATA, SYN | FIN, 1, 0) + frame(DATA, 0, 1, 1, b"x"),
    "stream 0": frame(DATA, SYN, 0, 1, b"x"),
    "a ping on a stream": frame(PING, SYN, 7, 0),
    "an unknown type": frame(9, 0, 1, 0),
    "another version": b"\x01" + frame(PING, SYN, 0, 0)[1:],
}  # fmt: skip


@pytest.mark.parametrize("abuse", ABUSE)
def test_yamux_abuse_ends_its_connection_with_a_protocol_error(abuse: str) -> None:
    async def work() -> None:
        async with siege("tcp", 8) as (_, target):
            connection = await muxed(target)
            await send_raw(connection, ABUSE[abuse])
            closed = await wait_event(target, ConnectionClosed)
            assert closed.reason.startswith("yamux: ")
            connection.abort("done")

    run(work, 30)


def test_data_beyond_what_is_left_of_a_window_ends_the_connection() -> None:
    """A handler that does not read: what it holds never exceeds the window and one read."""

    async def work() -> None:
        async with siege("tcp", 8) as (_, target):
            held: list[Stream] = []

            async def hold(stream: Stream, connection: Connection) -> None:
                held.append(stream)
                await connection.wait_closed()

            target.set_handler("/hold", hold)
            connection = await muxed(target)
            hello = multistream.Dialer(["/hold"]).data_to_send()
            await send_raw(connection, frame(DATA, SYN, 1, len(hello), hello))
            while not held:
                await asyncio.sleep(0.01)
            for _ in range(5):
                await send_raw(connection, frame(DATA, 0, 1, 60_000, bytes(60_000)))
            closed = await wait_event(target, ConnectionClosed)
            assert closed.reason.startswith("yamux: 60000 bytes where the window is ")
            assert held[0].buffered <= 256 * 1024 + 65536
            connection.abort("done")

    run(work, 30)


def test_pings_whose_answers_are_not_read_end_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cap is lowered only for the test's time; the kernel's buffers come on top."""
    monkeypatch.setattr(muxed_connection, "_HARD_CAP", 256 * 1024)

    async def work() -> None:
        async with siege("tcp", 24) as (_, target):
            connection = await muxed(target, receive_buffer=4096)
            flood = frame(PING, SYN, 0, 1) * 4000

            async def pour() -> None:
                while True:
                    await send_raw(connection, flood)

            pouring = asyncio.ensure_future(pour())
            closed = await wait_event(target, ConnectionClosed)
            assert closed.reason == "the remote does not read what it asks for"
            pouring.cancel()
            connection.abort("done")

    run(work, 60)


def test_pings_whose_answers_are_read_and_many_farewells_cost_nothing() -> None:
    async def work() -> None:
        async with siege("tcp", 24) as (_, target):
            connection = await muxed(target)
            connection.start()
            await send_raw(connection, frame(PING, SYN, 0, 1) * 20_000)
            await send_raw(connection, frame(AWAY, 0, 0, 0) * 5000)
            await send_raw(connection, frame(PING, 2, 0, 1) * 5000)  # answers to nothing
            await asyncio.sleep(0.2)
            assert len(target.host.connections) == 1
            connection.abort("done")

    run(work, 60)


# Connections


def test_one_peer_gets_no_more_than_its_share_of_connections() -> None:
    async def work() -> None:
        async with siege("tcp", 24) as (evil, target):
            made = [await muxed(target, evil.options.identity) for _ in range(20)]
            for connection in made:
                connection.start()
            while sum(not c.closed for c in made) > 8:
                await asyncio.sleep(0.02)
            assert len(target.host.connections_to(evil.peer)) == 8
            for connection in made:
                connection.abort("done")

    run(work, 40)


def test_connections_that_come_and_go_leave_nothing_behind() -> None:
    async def work() -> None:
        async with siege("tcp", 24) as (_, target):
            for n in range(60):
                connection = await muxed(target)
                if n % 2:
                    connection.start()
                connection.abort("gone")
            while target.host.connections:
                await asyncio.sleep(0.02)
            assert not target.identify._done

    run(work, 40)


# Identify


@BOTH
def test_an_identify_giant_is_refused_at_its_length(transport: str) -> None:
    async def work() -> None:
        async with siege(transport, 8) as (evil, target):

            async def giant(stream: Stream, _: Connection) -> None:
                await stream.write(varint.encode(2**40) + bytes(100_000))

            evil.set_handler(IDENTIFY, giant)
            await evil.dial(address(target))
            seen = await target.host.wait_connection(evil.peer, 5)
            await target.identify.wait(seen)
            assert evil.peer not in target.identify.peers

    run(work, 30)


def test_different_pushes_one_after_the_other_are_held_to_bounded_memory() -> None:
    async def work() -> None:
        async with siege("tcp", 16) as (evil, target):
            await evil.identify.wait(await evil.dial(address(target)))
            for n in range(60):
                protocols = frozenset(f"/{n}/{i}" for i in range(600))
                info = PeerInfo(evil.peer, (), protocols)
                stream = await evil.open_stream(target.peer, [PUSH_PROTOCOL])
                await stream.write_frame(identify_encode(info, evil.host.identity.public))
                await stream.close()
            assert (await wait_event(target, HandlerFailed)).reason == "too many pushes"
            assert len(target.identify.peers[evil.peer].protocols) <= 256

    run(work, 60)


# QUIC


def initial(payload: bytes, rng: random.Random) -> bytes:
    """A QUIC v1 Initial, rightly protected, whatever its frames (RFC 9001 section 5.2)."""
    cid = rng.randbytes(8)
    crypto = CryptoPair()
    crypto.setup_initial(cid=cid, is_client=True, version=1)
    payload = payload.ljust(1200, b"\0")
    length = (4 + len(payload) + 16) | 0x4000
    header = b"\xc3\0\0\0\1" + varint.frame(cid) + b"\x08" + rng.randbytes(8) + b"\0"
    header += length.to_bytes(2, "big") + bytes(4)
    return crypto.encrypt_packet(header, payload, 0)


def garbage(rng: random.Random) -> bytes:
    """Noise, noise with a long header, an Initial with hostile frames, or one that is altered."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.randbytes(rng.randrange(1500))
    if kind == 1:
        version = rng.choice((0, 1, 0x6B3343CF, 0xFAFAFAFA)).to_bytes(4, "big")
        return bytes([rng.randrange(0x80, 0x100)]) + version + rng.randbytes(1300)
    if kind == 2:  # CRYPTO frames at wild offsets, with wild lengths
        offset = Buffer(capacity=8)
        offset.push_uint_var(rng.choice((0, 1, 1000, 2**20, 2**61)))
        return initial(b"\x06" + offset.data + b"\x44\x00" + rng.randbytes(1024), rng)
    if kind == 3:
        return initial(rng.randbytes(rng.randrange(1200)), rng)
    data = bytearray(initial(b"\x01", rng))
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data[: rng.choice((len(data), 1199, 20, 7))])


def test_garbage_datagrams_are_dropped_and_answered_with_less_than_they_brought() -> None:
    """Also the amplification limit of RFC 9000 section 8: at most three times what came."""

    async def work() -> None:
        rng = random.Random(5)
        async with siege("quic", 32) as (_, target):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sent = received = 0
                for n in range(1500):
                    data = garbage(rng)
                    sent += sock.sendto(data, address(target).socket_address)
                    if n % 20 == 0:
                        await asyncio.sleep(0.005)
                    try:
                        while True:
                            received += len(sock.recv(65536))
                    except BlockingIOError:
                        pass
            assert not target.host.connections
            assert received <= 3 * sent

    run(work, 60)


def test_forged_initials_do_not_close_the_port_to_others() -> None:
    """They would hold every place for a handshake, were an address not asked to answer first."""

    async def work() -> None:
        rng = random.Random(6)
        async with siege("quic", 32) as (evil, target):
            [endpoint] = target.host.transports._quic
            for n in range(200):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.bind((f"127.0.1.{n % 50 + 1}", 0))
                    forged = initial(b"\x01", rng)[:-1] + b"?"
                    sock.sendto(forged, address(target).socket_address)
                await asyncio.sleep(0.002)
            assert len(endpoint._pending) <= RETRY_FROM
            assert await evil.dial(address(target))
            assert await evil.ping(target.peer) < 5

    run(work, 40)


def test_handshakes_of_one_ip_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not its Initials answer a Retry: here none is asked for."""
    monkeypatch.setattr(quic, "RETRY_FROM", quic.MAX_PENDING)

    async def work() -> None:
        rng = random.Random(6)
        async with siege("quic", 32) as (_, target):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind(("127.0.0.66", 0))
                for _ in range(2 * quic.MAX_PENDING):
                    forged = initial(b"\x01", rng)[:-1] + b"?"
                    sock.sendto(forged, address(target).socket_address)
                    await asyncio.sleep(0.001)
            [endpoint] = target.host.transports._quic
            assert len(endpoint._pending) == quic.MAX_PENDING_PER_IP

    run(work, 60)


@pytest.mark.parametrize("kind", ["of another key", "without the extension", "none"])
def test_a_quic_client_whose_certificate_proves_nothing_is_turned_away(kind: str) -> None:
    async def work() -> None:
        async with siege("quic", 16) as (evil, target):
            [endpoint] = evil.host.transports._quic
            key = PrivateKey.generate()
            credentials = tls_certificate.make(key)
            if kind == "of another key":  # a certificate of somebody else's, with our own key
                other = tls_certificate.make(PrivateKey.generate())
                credentials = tls_certificate.Credentials(
                    other.certificate, credentials.private_key
                )
            elif kind == "without the extension":
                certificate = plain_certificate(credentials.private_key)
                credentials = tls_certificate.Credentials(certificate, credentials.private_key)
            endpoint._client = configuration(credentials, QuicTimers(), client=True)
            if kind == "none":
                endpoint._client.certificate = None
            try:
                connection = await evil.dial(address(target))
                await asyncio.wait_for(connection.wait_closed(), 10)
            except DialError:
                pass
            assert not target.host.connections

    run(work, 40)


def plain_certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Self-signed, in date, and no libp2p in it."""
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    name = x509.Name([])
    return x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day).sign(
        key, hashes.SHA256()
    )


def test_a_certificate_without_the_extension_is_a_handshake_error() -> None:
    key = tls_certificate.make(PrivateKey.generate()).private_key
    with pytest.raises(HandshakeError, match="libp2p extension"):
        tls_certificate.verify(plain_certificate(key))
