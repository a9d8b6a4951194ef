"""WebSocket and secure WebSocket as transports: who meets over them, and what breaks them."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.traversal import (
    AddressError,
    DialError,
    DialFailure,
    Multiaddr,
    Node,
    NodeOptions,
    ProtocolError,
    RelayLimits,
    WebSocketOptions,
)
from testbed.traversal.__main__ import ECHO, echo
from testbed.traversal.aio import websocket
from testbed.traversal.aio.resolve import resolve
from testbed.traversal.aio.websocket import WebSocketPipe
from testbed.traversal.security import TLS

from .nodes import LISTEN, address, nodes, run
from .test_nodes import STAY_RELAYED, echoed
from .web_authority import Authority, make_authority

pytestmark = pytest.mark.timeout(60)
EACH = pytest.mark.parametrize("kind", ["ws", "wss"])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"), "lab.test")


@contextlib.asynccontextmanager
async def meeting(
    kind: str, authority: Authority, **options: object
) -> AsyncIterator[tuple[Node, Node]]:
    """Two nodes, the second of which listens."""
    tls = WebSocketOptions(authority.certified, authority.trusted)
    words = {"allow_private": True, "autonat_interval": 0, "websocket": tls} | options
    async with Node(NodeOptions(**words)) as a, Node(NodeOptions(**words)) as b:  # type: ignore[arg-type]
        for node in (a, b):
            node.set_handler(ECHO, echo)
        await b.listen(LISTEN[kind])
        yield a, b


@EACH
def test_two_nodes_meet_and_know_each_others_addresses(kind: str, authority: Authority) -> None:
    async def work() -> None:
        async with meeting(kind, authority) as (a, b):
            assert str(b.listening()[0]).endswith({"ws": "/ws", "wss": "/tls/ws"}[kind])
            connection = await a.dial(address(b))
            assert connection.transport == kind
            assert connection.remote == b.listening()[0]
            await a.identify.wait(connection)
            assert a.identify.peers[b.peer].addresses == b.listening()
            there = await b.host.wait_connection(a.peer, 5)
            assert there.remote.transport == kind
            data = bytes(range(256)) * 8000
            assert await echoed(a, b.peer, data) == data
            assert await a.ping(b.peer) < 1

    run(work)


@EACH
def test_tls_of_libp2p_runs_within(kind: str, authority: Authority) -> None:
    async def work() -> None:
        async with meeting(kind, authority, security=(TLS,)) as (a, b):
            assert (await a.dial(address(b))).security == TLS
            assert await echoed(a, b.peer, b"within") == b"within"

    run(work)


@EACH
def test_the_end_of_a_connection_loses_nothing(kind: str, authority: Authority) -> None:
    async def work() -> None:
        got = bytearray()
        async with meeting(kind, authority) as (a, b):

            async def take(stream, connection) -> None:  # type: ignore[no-untyped-def]
                del connection
                while data := await stream.read():
                    got.extend(data)

            b.set_handler("/take/1", take)
            connection = await a.dial(address(b))
            stream = await a.open_stream(b.peer, ["/take/1"])
            await stream.write(bytes(2_000_000))
            began = asyncio.get_running_loop().time()
            await a.close()
            assert asyncio.get_running_loop().time() - began < 2
            assert connection.undelivered_at_end == 0
        assert len(got) == 2_000_000

    run(work)


def test_a_relay_is_used_over_it() -> None:
    async def work() -> None:
        stay = {"upgrade": STAY_RELAYED}
        async with nodes("tcp", {"relay": RelayLimits()}, stay, stay) as (hub, a, b):
            await hub.listen(LISTEN["ws"])
            over = next(x for x in hub.listening() if x.transport == "ws").with_peer(hub.peer)
            held = await b.reserve(over)
            assert any("/ws/p2p/" in str(one) for one in held.addresses)
            ours = [one for one in held.addresses if "/ws/p2p/" in str(one)]
            connection = await a.dial(*ours)
            assert connection.relayed
            assert await echoed(a, b.peer, b"through") == b"through"

    run(work)


@pytest.mark.parametrize("way", ["/tls/sni/lab.test/ws", "/wss"])
def test_the_other_ways_to_write_a_secure_address(way: str, authority: Authority) -> None:
    async def work() -> None:
        async with meeting("wss", authority) as (a, b):
            goal = Multiaddr.parse(f"/ip4/127.0.0.1/tcp/{b.listening()[0].port}{way}")
            assert (await a.dial(goal.with_peer(b.peer))).transport == "wss"

    run(work)


def test_a_certificate_for_another_name_is_refused(authority: Authority) -> None:
    async def work() -> None:
        async with meeting("wss", authority) as (a, b):
            port = b.listening()[0].port
            with pytest.raises(DialError, match="certificate") as caught:
                await a.dial(f"/ip4/127.0.0.1/tcp/{port}/tls/sni/other.test/ws/p2p/{b.peer}")
            assert caught.value.failure is DialFailure.HANDSHAKE

    run(work)


def test_an_authority_that_is_not_trusted_is_refused(authority: Authority) -> None:
    async def work() -> None:
        stranger = WebSocketOptions(authority.certified, ssl.create_default_context())
        async with meeting("wss", authority, websocket=stranger) as (a, b):
            with pytest.raises(DialError, match="certificate"):
                await a.dial(address(b))

    run(work)


def test_listening_securely_takes_a_certificate() -> None:
    async def work() -> None:
        async with Node() as node:
            with pytest.raises(AddressError, match=r"NodeOptions\.websocket"):
                await node.listen(LISTEN["wss"])

    run(work)


def test_without_the_package_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "missing", lambda: "it lacks")

    async def work() -> None:
        async with Node() as node:
            with pytest.raises(AddressError, match="it lacks"):
                await node.listen(LISTEN["ws"])
            with pytest.raises(DialError, match="it lacks") as caught:
                await node.dial("/ip4/127.0.0.1/tcp/1/ws")
            assert caught.value.failure is DialFailure.UNSUPPORTED

    run(work)


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x13/multistream/1.0.0\n",
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 9000,
        b"x" * 40_000,
    ],
    ids=["plain http", "multistream", "many headers", "a long line"],
)
def test_what_is_no_websocket_is_turned_away(said: bytes, authority: Authority) -> None:
    async def work() -> None:
        async with meeting("ws", authority) as (_, b):
            host, port = b.listening()[0].socket_address
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(said)
            with contextlib.suppress(ConnectionError):
                answer = await asyncio.wait_for(reader.read(-1), 5)
                assert not answer.startswith(b"HTTP/1.1 101")
            writer.close()
            assert not b.host.connections
            assert not b.resources.handshakes

    run(work)


@pytest.mark.parametrize(
    ("name", "way", "found"),
    [
        ("dns4", "/tcp/1/tls/ws", "/ip4/127.0.0.1/tcp/1/tls/sni/localhost/ws"),
        ("dns4", "/tcp/1/wss", "/ip4/127.0.0.1/tcp/1/tls/sni/localhost/ws"),
        ("dns4", "/tcp/1/ws", "/ip4/127.0.0.1/tcp/1/ws"),
        ("dns4", "/tcp/1/tls/sni/other/ws", "/ip4/127.0.0.1/tcp/1/tls/sni/other/ws"),
    ],
)
def test_a_name_stays_what_the_certificate_is_asked_for(name: str, way: str, found: str) -> None:
    async def work() -> None:
        assert list(map(str, await resolve(Multiaddr.parse(f"/{name}/localhost{way}"), None))) == [
            found
        ]

    run(work)


# The pipe itself.


class Wire:
    """A byte pipe whose other end is a list."""

    def __init__(self, *pieces: bytes) -> None:
        self.written = bytearray()
        self.pieces = list(pieces)
        self.undelivered = 0

    async def read(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    async def write(self, data: bytes) -> None:
        self.written += data

    async def end(self) -> None: ...

    def abort(self) -> None: ...

    def silent_for(self) -> None:
        return None


async def opened() -> tuple[WebSocketPipe, Wire, WebSocketPipe, Wire]:
    """A client's and a server's end after the opening handshake."""
    here, there = Wire(), Wire()
    opening = asyncio.ensure_future(
        websocket.connect(here, Multiaddr.parse("/ip4/127.0.0.1/tcp/80/ws"))
    )
    answers: asyncio.Queue[bytes] = asyncio.Queue()
    here.read = answers.get  # type: ignore[method-assign]
    await asyncio.sleep(0)
    there.pieces = [bytes(here.written)]
    server = await websocket.accept(there)
    answers.put_nowait(bytes(there.written))
    client = await opening
    del here.read
    here.written.clear()
    there.written.clear()
    return client, here, server, there


@settings(deadline=None)
@given(
    data=st.lists(st.binary(min_size=1, max_size=70_000), min_size=1, max_size=4),
    size=st.integers(1, 5000),
    masked=st.booleans(),
)
def test_bytes_come_out_as_they_went_in_however_they_are_cut(
    data: list[bytes], size: int, masked: bool
) -> None:
    async def work() -> None:
        client, here, server, there = await opened()
        source, sent, target, got = (
            (client, here, server, there) if masked else (server, there, client, here)
        )
        for one in data:
            await source.write(one)
        await source.end()
        wire = bytes(sent.written)
        got.pieces = [wire[i : i + size] for i in range(0, len(wire), size)]
        read = bytearray()
        while piece := await target.read():
            read += piece
        assert read == b"".join(data)

    asyncio.run(work())


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (bytes.fromhex("810568656c6c6f"), "text"),
        (bytes.fromhex("827f0000000000100001"), "1048577 bytes"),
        (bytes.fromhex("83027878"), "opcode"),
        (bytes.fromhex("c2027878"), "reserved bits"),
    ],
    ids=["text", "too large", "an unknown opcode", "an extension"],
)
def test_a_frame_that_is_none_of_ours_is_an_error(frame: bytes, why: str) -> None:
    async def work() -> None:
        client, here, _, _ = await opened()
        here.pieces = [frame]
        with pytest.raises(ProtocolError, match=why):
            await client.read()

    run(work)


def test_a_ping_is_answered_and_a_close_is_the_end() -> None:
    async def work() -> None:
        client, here, server, there = await opened()
        here.pieces = [bytes.fromhex("8902707182017a8800")]
        assert await client.read() == b"z"
        assert await client.read() == b""
        there.pieces = [bytes(here.written)]
        assert await server.read() == b""

    run(work)
