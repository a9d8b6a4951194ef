"""One direct stream from process to process over loopback: ours beside what is below it.

`python -m testbed.bench.throughput serve|send <way> [<address>]` is one end, to be
profiled by hand.  The clock runs at the sender, from the first byte of a stream that
is open to the receiver's count of the last.
"""

import asyncio
import json
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from aioquic.asyncio.client import connect
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration

from testbed.bench.table import Results, say
from testbed.errors import TestbedError
from testbed.traversal import Multiaddr, Node, NodeOptions, PrivateKey, tls_certificate
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.stream import Stream

ROUNDS = 5
DEADLINE = 120.0  # seconds, of one transfer
CHUNK = 65536
MIB = 2**20
LOOPBACK = "127.0.0.1"
SINK = "/testbed/sink/1.0.0"
ALPN = "sink"

Ready = Callable[[str], None]


@dataclass(frozen=True)
class Way:
    """Two ends and how much goes over them: about a second on an idle machine."""

    name: str
    mib: int
    receive: Callable[[Ready], Awaitable[None]]
    send: Callable[[str, int], Awaitable[float]]


def measure(results: Results) -> None:
    """Medians of rounds in which the ways take turns, so that all meet the same load."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)  # the sandbox's
    rates: dict[str, list[float]] = {key: [] for key in WAYS}
    for _ in range(ROUNDS):
        for key in WAYS:
            rates[key].append(_transfer(key))
    for key, way in WAYS.items():
        note = f"{min(rates[key]):.0f} to {max(rates[key]):.0f}, {ROUNDS} x {way.mib} MiB"
        say(results, f"one stream, {way.name}", statistics.median(rates[key]), "MB/s", note)
    for one, other in (("ours-tcp", "tcp"), ("ours-quic", "aioquic"), ("ours-quic", "tcp")):
        ratio = statistics.median(a / b for a, b in zip(rates[one], rates[other], strict=True))
        what = f"  {WAYS[one].name} / {WAYS[other].name}"
        say(results, what, ratio, "x", "median of the rounds' ratios")


def _transfer(key: str) -> float:
    """MB (10^6 bytes) a second, between two fresh processes."""
    command = [sys.executable, "-m", "testbed.bench.throughput"]
    receiver = subprocess.Popen([*command, "serve", key], stdout=subprocess.PIPE, text=True)
    assert receiver.stdout is not None
    try:
        address = receiver.stdout.readline().strip()  # it ends by its own deadline
        if not address:
            raise TestbedError(f"{key}: the receiver did not start")
        done = subprocess.run(
            [*command, "send", key, address],
            capture_output=True, text=True, timeout=DEADLINE, check=False,
        )  # fmt: skip
    finally:
        receiver.kill()
        receiver.wait()
        receiver.stdout.close()
    if done.returncode:
        raise TestbedError(f"{key}: {done.stderr.strip().splitlines()[-1:]}")
    return WAYS[key].mib * MIB / 1e6 / float(json.loads(done.stdout))


class _Sink(Protocol):
    async def write(self, data: bytes, /) -> None: ...
    async def end(self) -> None: ...
    async def count(self) -> int: ...


async def _timed(sink: _Sink, size: int) -> float:
    """Seconds until the receiver has counted ``size`` bytes."""
    chunk = bytes(CHUNK)
    start = time.perf_counter()
    for _ in range(size // CHUNK):
        await sink.write(chunk)
    await sink.end()
    counted = await sink.count()
    if counted != size:
        raise TestbedError(f"{counted} bytes arrived of {size}")
    return time.perf_counter() - start


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


async def _tcp_receive(ready: Ready) -> None:
    server = await asyncio.start_server(_count, LOOPBACK, 0)
    ready(str(server.sockets[0].getsockname()[1]))
    await server.serve_forever()


async def _tcp_send(address: str, size: int) -> float:
    return await _timed(_AsyncioSink(*await asyncio.open_connection(LOOPBACK, int(address))), size)


async def _aioquic_receive(ready: Ready) -> None:
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

    server = await serve(LOOPBACK, 0, configuration=configuration, stream_handler=accept)
    assert server._transport is not None
    ready(str(server._transport.get_extra_info("sockname")[1]))
    await asyncio.get_running_loop().create_future()


async def _aioquic_send(address: str, size: int) -> float:
    configuration = QuicConfiguration(alpn_protocols=[ALPN], verify_mode=ssl.CERT_NONE)
    async with connect(LOOPBACK, int(address), configuration=configuration) as client:
        return await _timed(_AsyncioSink(*await client.create_stream()), size)


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


@asynccontextmanager
async def _node() -> AsyncIterator[Node]:
    async with Node(NodeOptions(allow_private=True, autonat_interval=0)) as node:
        yield node


async def _our_receive(listen: str, ready: Ready) -> None:
    async with _node() as node:
        node.set_handler(SINK, _our_count)
        ready(str((await node.listen(listen)).with_peer(node.peer)))
        await asyncio.get_running_loop().create_future()


async def _our_send(listen: str, address: str, size: int) -> float:
    async with _node() as node:
        await node.listen(listen)  # a node dials from the port that it listens on
        connection = await node.dial(Multiaddr.parse(address))
        stream = await node.open_stream(connection.peer, [SINK])
        return await _timed(_OurSink(stream), size)


def _ours(name: str, mib: int, kind: str) -> Way:
    listen = f"/ip4/{LOOPBACK}/{kind}"
    return Way(
        name,
        mib,
        lambda ready: _our_receive(listen, ready),
        lambda address, size: _our_send(listen, address, size),
    )


WAYS = {
    "ours-tcp": _ours("our TCP, Noise and Yamux", 64, "tcp/0"),
    "tcp": Way("asyncio's TCP", 512, _tcp_receive, _tcp_send),
    "ours-quic": _ours("our QUIC", 8, "udp/0/quic-v1"),
    "aioquic": Way("aioquic alone", 8, _aioquic_receive, _aioquic_send),
}


async def _end(words: list[str]) -> None:
    async with asyncio.timeout(DEADLINE):
        way = WAYS[words[1]]
        if words[0] == "serve":
            await way.receive(lambda address: print(address, flush=True))
        else:
            print(json.dumps(await way.send(words[2], way.mib * MIB)))


if __name__ == "__main__":
    asyncio.run(_end(sys.argv[1:]))
