"""`python -m tests.traversal.bench`: how fast the upgrade, the streams and the import are."""

import asyncio
import os
import statistics
import subprocess
import sys
import time

from testbed.backends import sandbox

LINK_RTT = 0.040  # two access links of 10 ms each way
REPEAT = 5
MEGABYTES = 20
# From the relayed connection to a pinged direct one, in round trips of the direct path, when
# nothing is computed and nothing waits.  A relayed round trip is two of them.
#   identify over the relay 2, CONNECT/CONNECT 2, SYNC and half a round trip 1,
#   TCP: handshake 1 and Noise 1.5 (B's first packet waits for A's SYN); QUIC 1; ping 1
MINIMUM = {"tcp": 2 + 2 + 1 + 1 + 1.5 + 1, "udp": 2 + 2 + 1 + 1 + 1}


def upgrade_seconds(transport: str) -> list[float]:
    from .lab import world

    found = []
    for _ in range(REPEAT):
        with world("eim-apdf", "eim-apdf", transport, upgrade={"reversal_timeout": 0}) as w:
            w.observe(w.a, w.b)
            w.relayed()
            found.append(w.b.wait_any(30, "Upgraded")["seconds"])
    return found


async def throughput(transport: str) -> float:
    """MB/s of one direct stream on loopback, both ends in this process."""
    from .nodes import address, nodes

    async with nodes(transport, {}, {}) as (a, b):
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def sink(stream: object, connection: object) -> None:
            del connection
            total = 0
            while data := await stream.read():  # type: ignore[attr-defined]
                total += len(data)
            done.set_result(total)

        b.set_handler("/sink", sink)
        await a.dial(address(b))
        stream = await a.open_stream(b.peer, ["/sink"])
        start, block = time.monotonic(), os.urandom(1_000_000)
        for _ in range(MEGABYTES):
            await stream.write(block)
        stream.close_write()
        assert await done == MEGABYTES * 1_000_000
        return MEGABYTES / (time.monotonic() - start)


async def plain_tcp() -> float:
    """MB/s of asyncio streams alone."""
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        total = 0
        while data := await reader.read(65536):
            total += len(data)
        writer.close()
        done.set_result(total)

    server = await asyncio.start_server(sink, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    start, block = time.monotonic(), os.urandom(1_000_000)
    for _ in range(MEGABYTES):
        writer.write(block)
        await writer.drain()
    writer.close()
    await done
    server.close()
    return MEGABYTES / (time.monotonic() - start)


async def plain_aioquic() -> float:
    """MB/s of one aioquic stream, its own asyncio layer on both ends."""
    from aioquic.asyncio import QuicConnectionProtocol, connect, serve
    from aioquic.quic.events import QuicEvent, StreamDataReceived

    from testbed.traversal import PrivateKey, tls_certificate
    from testbed.traversal.aio.quic_connection import configuration

    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    class Sink(QuicConnectionProtocol):
        total = 0

        def quic_event_received(self, event: QuicEvent) -> None:
            if isinstance(event, StreamDataReceived):
                self.total += len(event.data)
                if event.end_stream:
                    done.set_result(self.total)

    credentials = tls_certificate.make(PrivateKey.generate())
    server = await serve(
        "127.0.0.1", 4999, configuration=configuration(credentials, client=False),
        create_protocol=Sink,
    )  # fmt: skip
    client = configuration(credentials, client=True)
    async with connect("127.0.0.1", 4999, configuration=client, local_port=0) as protocol:
        start = time.monotonic()
        _, writer = await protocol.create_stream()
        writer.write(os.urandom(1_000_000) * MEGABYTES)
        writer.write_eof()
        await done
        seconds = time.monotonic() - start
    server.close()
    return MEGABYTES / seconds


def start_cost() -> tuple[float, float]:
    """Seconds to import, MB resident of a listening node."""
    program = (
        "import time; t = time.perf_counter(); import testbed.traversal as T;"
        "print(time.perf_counter() - t); import asyncio\n"
        "async def main():\n"
        "    async with T.Node() as n:\n"
        "        await n.listen('/ip4/127.0.0.1/tcp/0')\n"
        "        await n.listen('/ip4/127.0.0.1/udp/0/quic-v1')\n"
        "        print([l for l in open('/proc/self/status') if l.startswith('VmRSS')][0])\n"
        "asyncio.run(main())"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    first, second = run.stdout.decode().strip().splitlines()[:2]
    return float(first), int(second.split()[1]) / 1024


def main() -> None:
    sandbox.enter()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for transport in ("tcp", "udp"):
        seconds = upgrade_seconds(transport)
        middle = statistics.median(seconds) / LINK_RTT
        print(
            f"relayed to direct, {transport}: median {middle:.1f} round trips "
            f"(minimum {MINIMUM[transport]:g}); "
            f"{min(seconds) * 1e3:.0f}..{max(seconds) * 1e3:.0f} ms"
        )
    print(f"stream over TCP, Noise, Yamux: {asyncio.run(throughput('tcp')):.0f} MB/s")
    print(f"asyncio TCP alone: {asyncio.run(plain_tcp()):.0f} MB/s")
    print(f"stream over QUIC: {asyncio.run(throughput('quic')):.1f} MB/s")
    print(f"aioquic alone: {asyncio.run(plain_aioquic()):.1f} MB/s")
    costs = [start_cost() for _ in range(REPEAT)]
    print(
        f"import {min(c[0] for c in costs):.2f} s, "
        f"listening node {statistics.median(c[1] for c in costs):.0f} MB"
    )


if __name__ == "__main__":
    main()
