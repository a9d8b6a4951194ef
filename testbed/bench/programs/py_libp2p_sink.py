"""py-libp2p, as the two programs of `testbed.bench.ways`; runs where py-libp2p is installed."""

import sys
import time
from typing import Any

import trio
from dns.resolver import BaseResolver

CHUNK = 65536
SINK = "/testbed/sink/1.0.0"


def made(kind: str, host: str, port: int) -> tuple[Any, Any]:
    """A host that does not run yet, and its address."""
    # It is not even imported where /etc/resolv.conf names no server, as in a lab.
    BaseResolver.read_resolv_conf = lambda *_: None  # type: ignore[method-assign]
    from libp2p import new_host
    from multiaddr import Multiaddr

    rest = f"tcp/{port}" if kind == "tcp" else f"udp/{port}/quic-v1"
    address = Multiaddr(f"/ip4/{host}/{rest}")
    return new_host(enable_quic=kind == "quic", listen_addrs=[address]), address


async def count(stream: Any) -> None:
    """To the end, which py-libp2p tells by nothing or by an error."""
    counted, wanted = 0, int.from_bytes(await exactly(stream, 8), "big")
    while counted < wanted:
        data = await stream.read(CHUNK)
        if not data:
            break
        counted += len(data)
    await stream.write(counted.to_bytes(8, "big"))


async def exactly(stream: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await stream.read(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


async def receive(kind: str, host: str, port: int) -> None:
    node, address = made(kind, host, port)
    async with node.run([address]):
        node.set_stream_handler(SINK, count)
        print(f"{address}/p2p/{node.get_id()}", flush=True)
        await trio.sleep_forever()


async def send(kind: str, host: str, port: int, target: str, size: int) -> None:
    node, address = made(kind, host, port)
    chunk = bytes(CHUNK)
    async with node.run([address]):
        from libp2p.peer.peerinfo import info_from_p2p_addr
        from multiaddr import Multiaddr

        peer = info_from_p2p_addr(Multiaddr(target))
        await node.connect(peer)
        stream = await node.new_stream(peer.peer_id, [SINK])
        print("open", flush=True)
        start = time.perf_counter()
        await stream.write(size.to_bytes(8, "big"))
        for _ in range(size // CHUNK):
            await stream.write(chunk)
        assert int.from_bytes(await exactly(stream, 8), "big") == size
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    kind, role, host, port, *rest = sys.argv[1:]
    if role == "receive":
        trio.run(receive, kind, host, int(port))
    else:
        trio.run(send, kind, host, int(port), rest[0], int(rest[1]))
