"""One direct stream between two public hosts of the lab: ours beside what is below it.

First over bare wires, where the processor is the limit, then over a link with a round
trip, where windows are.  The lab's wires carry single packets, as a router would see
them: without segmentation offload plain TCP is slower here than over loopback.  The
clock runs at the sender, from the first byte of a stream that is open to the
receiver's count of the last.
"""

import asyncio
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from aioquic.asyncio.client import connect
from aioquic.asyncio.server import serve as serve_quic
from aioquic.quic.configuration import QuicConfiguration

from testbed.bench.process import DEADLINE, forever, hear, serve, tell
from testbed.bench.table import Results, say
from testbed.errors import TestbedError
from testbed.lab.namespaces import Namespaces
from testbed.model.lab import Lab
from testbed.model.presets import ACCESS, BARE
from testbed.model.topology import INTERNET, Host, Link, Network, Scope, Topology
from testbed.nat.load import catalogue
from testbed.plan.planner import plan
from testbed.traversal import Multiaddr, Node, NodeOptions, PrivateKey, tls_certificate
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.stream import Stream

ROUNDS = 5
DELAYED_ROUNDS = 3
CHUNK = 65536
MIB = 2**20
MOST_DELAYED = 32  # MiB over the link with delay
SINK = "/testbed/sink/1.0.0"
ALPN = "sink"
Address = tuple[str, int]


@dataclass(frozen=True)
class Way:
    """Two ends and how much goes over them: about a second on an idle machine.

    ``receive(own address)`` tells one line, by which it is reached, and goes on; ``send(own
    address, that line, bytes)`` gives the seconds.  Addresses are an IP and a port.
    """

    name: str
    mib: int
    receive: Callable[[Address], Coroutine[None, None, None]]
    send: Callable[[Address, str, int], Coroutine[None, None, float]]


def measure(results: Results) -> None:
    """Medians of rounds in which the ways take turns, so that all meet the same load."""
    _over(results, BARE, "bare wires", ROUNDS)
    trip = 2 * (ACCESS.up.delay_ms + ACCESS.down.delay_ms)
    _over(results, ACCESS, f"{trip:.0f} ms", DELAYED_ROUNDS, MOST_DELAYED)


def _over(results: Results, link: Link, where: str, rounds: int, most: int | None = None) -> None:
    rates: dict[str, list[float]] = {key: [] for key in WAYS}
    hosts = (Host("a", INTERNET, link=link), Host("b", INTERNET, link=link))
    two = Topology("two-hosts", (Network(INTERNET, Scope.PUBLIC),), (), hosts)
    with Namespaces().start(plan(two, catalogue())) as lab:
        for _ in range(rounds):
            for key, way in WAYS.items():
                rates[key].append(_transfer(lab, way, min(way.mib, most or way.mib)))
    for key, way in WAYS.items():
        note = f"{min(rates[key]):.1f} to {max(rates[key]):.1f}"
        what = f"one stream, {where}, {way.name}"
        say(results, what, statistics.median(rates[key]), "MB/s", note)
    for one, other in (("ours-tcp", "tcp"), ("ours-quic", "aioquic"), ("ours-quic", "tcp")):
        ratio = statistics.median(a / b for a, b in zip(rates[one], rates[other], strict=True))
        what = f"  {where}: {WAYS[one].name} / {WAYS[other].name}"
        say(results, what, ratio, "x", "median of the rounds' ratios")


def _transfer(lab: Lab, way: Way, mib: int) -> float:
    """MB (10^6 bytes) a second, between two fresh processes."""
    end = time.monotonic() + DEADLINE
    a, b = ((str(lab.plan.address(host)), lab.plan.port(host)) for host in "ab")
    with ExitStack() as stack:
        receiver = lab.spawn("b", partial(serve, partial(way.receive, b)))
        stack.callback(receiver.wait, DEADLINE)  # its port is free again
        stack.callback(receiver.kill)
        send = partial(_send, way, a, hear(receiver, end), mib * MIB)
        sender = lab.spawn("a", partial(serve, send))
        stack.callback(sender.kill)
        return mib * MIB / 1e6 / float(hear(sender, end))


async def _send(way: Way, local: Address, address: str, size: int) -> None:
    tell(repr(await way.send(local, address, size)))


def _told(address: Address) -> str:
    return f"{address[0]}:{address[1]}"


def _heard(line: str) -> Address:
    """What `_told` made."""
    ip, _, port = line.partition(":")
    return ip, int(port)


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


async def _tcp_receive(local: Address) -> None:
    server = await asyncio.start_server(_count, *local)
    tell(_told(local))
    await server.serve_forever()


async def _tcp_send(local: Address, address: str, size: int) -> float:
    opening = asyncio.open_connection(*_heard(address), local_addr=(local[0], 0))
    return await _timed(_AsyncioSink(*await opening), size)


async def _aioquic_receive(local: Address) -> None:
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
    tell(_told(local))
    await forever()


async def _aioquic_send(_local: Address, address: str, size: int) -> float:
    configuration = QuicConfiguration(alpn_protocols=[ALPN], verify_mode=ssl.CERT_NONE)
    async with connect(*_heard(address), configuration=configuration) as client:
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


async def _our_receive(kind: str, local: Address) -> None:
    async with _node() as node:
        node.set_handler(SINK, _our_count)
        bound = await node.listen(kind.format(*local))
        tell(str(bound.with_peer(node.peer)))
        await forever()


async def _our_send(kind: str, local: Address, address: str, size: int) -> float:
    async with _node() as node:
        await node.listen(kind.format(*local))  # and it dials from that port
        connection = await node.dial(Multiaddr.parse(address))
        stream = await node.open_stream(connection.peer, [SINK], allow_limited=True)
        return await _timed(_OurSink(stream), size)


def _ours(name: str, mib: int, kind: str) -> Way:
    return Way(name, mib, partial(_our_receive, kind), partial(_our_send, kind))


WAYS = {
    "ours-tcp": _ours("our TCP, Noise and Yamux", 64, "/ip4/{}/tcp/{}"),
    "tcp": Way("asyncio's TCP", 128, _tcp_receive, _tcp_send),
    "ours-quic": _ours("our QUIC", 8, "/ip4/{}/udp/{}/quic-v1"),
    "aioquic": Way("aioquic alone", 8, _aioquic_receive, _aioquic_send),
}
