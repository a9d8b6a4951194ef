"""The ways by which `throughput` sends a stream of bytes: asyncio's, aioquic's, ours, a relay's.

Each is a pair of programs.  The receiver says one line, by which it is reached, counts what comes,
and answers with the count as 8 bytes.  The sender says `open` once its stream is, and then how many
seconds it took until the receiver had counted all.  Those of others are in `rivals`.
"""

import asyncio
import ssl
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from aioquic.asyncio.client import connect
from aioquic.asyncio.server import serve as serve_quic
from aioquic.quic.configuration import QuicConfiguration

from testbed.bench.process import forever, serve, tell
from testbed.errors import TestbedError
from testbed.model.lab import Command
from testbed.traversal import (
    Multiaddr,
    Node,
    NodeOptions,
    PrivateKey,
    RelayLimits,
    tls_certificate,
)
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.rent_client import Rent
from testbed.traversal.aio.rent_server import RentOut
from testbed.traversal.aio.stream import Stream
from testbed.traversal.aio.upgrade_service import UpgradeOptions
from testbed.traversal.rent.sqlite import Book

CHUNK = 65536
SINK = "/testbed/sink/1.0.0"
ALPN = "sink"
Address = tuple[str, int]
Work = Coroutine[None, None, None]


@dataclass(frozen=True)
class Way:
    """Two ends, or three with a relay, and how many MiB are a second's work for them.

    `receive(own address, the relay's line)`, `send(own address, the receiver's line, bytes)` and
    `forward(own address)` are commands for a node of the lab.  Addresses are an IP and a port.
    """

    name: str
    mib: int
    receive: Callable[[Address, str], Command]
    send: Callable[[Address, str, int], Command]
    forward: Callable[[Address], Command] | None = None


def _way(
    name: str,
    mib: int,
    receive: Callable[[Address, str], Work],
    send: Callable[[Address, str, int], Work],
) -> Way:
    """Both ends are coroutines, in forks of this process."""
    return Way(
        name,
        mib,
        lambda *words: partial(serve, partial(receive, *words)),
        lambda *words: partial(serve, partial(send, *words)),
    )


def told(address: Address) -> str:
    """An address as a line."""
    return f"{address[0]}:{address[1]}"


def heard(line: str) -> Address:
    """What `told` made."""
    ip, _, port = line.partition(":")
    return ip, int(port)


class _Sink(Protocol):
    async def write(self, data: bytes, /) -> None: ...
    async def end(self) -> None: ...
    async def count(self) -> int: ...


async def _timed(sink: _Sink, size: int) -> None:
    chunk = bytes(CHUNK)
    tell("open")
    start = time.perf_counter()
    for _ in range(size // CHUNK):
        await sink.write(chunk)
    await sink.end()
    counted = await sink.count()
    if counted != size:
        raise TestbedError(f"{counted} bytes arrived of {size}")
    tell(repr(time.perf_counter() - start))


# asyncio's streams: plain TCP, and what aioquic offers.


class _AsyncioSink:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def write(self, data: bytes, /) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def end(self) -> None:
        self._writer.write_eof()

    async def count(self) -> int:
        return int.from_bytes(await self._reader.readexactly(8))


async def _count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    counted = 0
    while data := await reader.read(CHUNK):
        counted += len(data)
    writer.write(counted.to_bytes(8))
    writer.write_eof()


async def _tcp_receive(local: Address, _relay: str) -> None:
    server = await asyncio.start_server(_count, *local)
    tell(told(local))
    await server.serve_forever()


async def _tcp_send(local: Address, address: str, size: int) -> None:
    opening = asyncio.open_connection(*heard(address), local_addr=(local[0], 0))
    await _timed(_AsyncioSink(*await opening), size)


async def _aioquic_receive(local: Address, _relay: str) -> None:
    credentials = tls_certificate.make(PrivateKey.generate())
    configuration = QuicConfiguration(
        is_client=False,
        alpn_protocols=[ALPN],
        certificate=credentials.certificate,
        private_key=credentials.private_key,
    )
    running: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.create_task(_count(reader, writer)))

    await serve_quic(*local, configuration=configuration, stream_handler=accept)
    tell(told(local))
    await forever()


async def _aioquic_send(_local: Address, address: str, size: int) -> None:
    configuration = QuicConfiguration(alpn_protocols=[ALPN], verify_mode=ssl.CERT_NONE)
    async with connect(*heard(address), configuration=configuration) as client:
        await _timed(_AsyncioSink(*await client.create_stream()), size)


# Our node.


class _OurSink:
    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.write = stream.write

    async def end(self) -> None:
        self._stream.close_write()

    async def count(self) -> int:
        return int.from_bytes(await self._stream.read_exactly(8))


async def _our_count(stream: Stream, connection: Connection) -> None:
    del connection
    counted = 0
    while data := await stream.read(CHUNK):
        counted += len(data)
    await stream.write(counted.to_bytes(8))
    await stream.close()


_STAYS = NodeOptions(
    allow_private=True, autonat_interval=0, upgrade=UpgradeOptions(enabled=False),
    rent=Rent(budget=10**9),  # paid where the relay asks for it
)  # fmt: skip


def _options() -> NodeOptions:
    return replace(_STAYS, identity=PrivateKey.generate())


async def _our_receive(kind: str, local: Address, relay: str) -> None:
    async with Node(_options()) as node:
        node.set_handler(SINK, _our_count)
        bound = await node.listen(kind.format(*local))
        held = await node.reserve(relay) if relay else None
        tell(str(held.addresses[0] if held else bound.with_peer(node.peer)))
        await forever()


async def _our_send(kind: str, local: Address, address: str, size: int) -> None:
    async with Node(_options()) as node:
        await node.listen(kind.format(*local))  # and it dials from that port
        connection = await node.dial(Multiaddr.parse(address))
        stream = await node.open_stream(connection.peer, [SINK], allow_limited=True)
        await stream.agreed()
        await _timed(_OurSink(stream), size)


async def _our_relay(kind: str, rented: bool, local: Address) -> None:
    limits = RelayLimits() if rented else RelayLimits(duration=0, data=0)
    with tempfile.TemporaryDirectory() as folder:
        out = RentOut(book=Book(f"{folder}/book")) if rented else None
        await _forward(kind, local, replace(_options(), relay=limits, rent_out=out))


async def _forward(kind: str, local: Address, options: NodeOptions) -> None:
    async with Node(options) as node:
        bound = await node.listen(kind.format(*local))
        tell(str(bound.with_peer(node.peer)))
        await forever()


def _ours(name: str, mib: int, kind: str) -> Way:
    return _way(name, mib, partial(_our_receive, kind), partial(_our_send, kind))


def _forwarded(name: str, mib: int, kind: str, *, rented: bool = False) -> Way:
    relay = lambda local: partial(serve, partial(_our_relay, kind, rented, local))  # noqa: E731
    return replace(_ours(name, mib, kind), forward=relay)


_TCP, _QUIC = "/ip4/{}/tcp/{}", "/ip4/{}/udp/{}/quic-v1"
OURS = {
    "tcp": _way("asyncio's TCP", 128, _tcp_receive, _tcp_send),
    "ours-tcp": _ours("ours, TCP with Noise and Yamux", 64, _TCP),
    "ours-quic": _ours("ours, QUIC", 8, _QUIC),
    "relay-tcp": _forwarded("forwarded by our relay, TCP", 32, _TCP),
    "relay-quic": _forwarded("forwarded by our relay, QUIC", 8, _QUIC),
    "aioquic": _way("aioquic", 8, _aioquic_receive, _aioquic_send),
}
RENTED = {
    "relay-tcp": _forwarded("forwarded for receipts, TCP", 32, _TCP, rented=True),
    "relay-quic": _forwarded("forwarded for receipts, QUIC", 16, _QUIC, rented=True),
}
