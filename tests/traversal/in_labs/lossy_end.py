"""One end of many transfers over a link that loses frames: a program in a node of a lab.

The server closes in a way that the stream's first byte names; the client checks what it got.
"""

import asyncio
import hashlib
import json
import os
import random
from typing import Any

from testbed.traversal import Multiaddr, Node, NodeOptions
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.path_watch import PathOptions
from testbed.traversal.aio.stream import Stream
from testbed.traversal.errors import TraversalError

GIVE, TAKE = "/give/1", "/take/1"
WAYS = ("returns", "closes", "half-close", "resets", "is cancelled")


def new_node() -> Node:
    """With an identity of its own: options that are made once would give both ends the same.

    A TCP connection that loses a twelfth of its segments is silent for seconds, and lives.
    """
    return Node(NodeOptions(autonat_interval=0, paths=PathOptions(patience=15.0)))


def data_of(seed: int) -> bytes:
    rng = random.Random(seed)
    return rng.randbytes(rng.choice([0, 1, 3_000, 70_000, 400_000]))


def say(line: dict[str, Any]) -> None:
    os.write(1, (json.dumps(line) + "\n").encode())


async def give(stream: Stream, connection: Connection) -> None:
    """Write what the seed says, and end in the way that the client names."""
    del connection
    seed, way = (
        int.from_bytes(await stream.read_exactly(4), "big"),
        (await stream.read_exactly(1))[0],
    )
    data = data_of(seed)
    match WAYS[way]:
        case "returns":
            await stream.write(data)
        case "closes":
            await stream.write(data)
            await stream.close()
            await stream.wait_closed()
        case "half-close":
            await stream.write(data)
            stream.close_write()
            while await stream.read():
                pass
        case "resets":
            await stream.write(data[: len(data) // 2])
            stream.abort()
        case "is cancelled":
            writing = asyncio.ensure_future(stream.write(data))
            await asyncio.sleep(0.02)
            if not writing.done():
                writing.cancel()
                stream.abort()
            await asyncio.gather(writing, return_exceptions=True)


async def take(stream: Stream, connection: Connection) -> None:
    """The digest of all that comes."""
    del connection
    digest = hashlib.sha256()
    while data := await stream.read():
        digest.update(data)
    await stream.write(digest.digest())


async def serve(listen: str) -> None:
    async with new_node() as node:
        node.set_handler(GIVE, give)
        node.set_handler(TAKE, take)
        bound = await node.listen(listen)
        say({"address": str(bound.with_peer(node.peer))})
        await asyncio.Event().wait()


async def ask(address: str, count: int, seconds: float) -> None:
    """So many transfers, or as many as fit; says what broke a promise."""
    broken: list[str] = []
    loop, done = asyncio.get_running_loop(), 0
    started = loop.time()
    for seed in range(count):
        if loop.time() - started > seconds:
            break
        rng = random.Random(seed)
        way = rng.randrange(len(WAYS))
        try:
            async with (
                asyncio.timeout(60),
                new_node() as node,
            ):
                peer = (await node.dial(address)).peer
                if rng.random() < 0.3:
                    fault = await _put(node, peer, seed)
                else:
                    fault = await _get(node, peer, seed, way, rng)
        except TraversalError as error:
            fault = f"typed, but nothing was to fail: {error}"
        except TimeoutError:
            fault = "hangs"
        done += 1
        if fault:
            broken.append(f"{seed} {WAYS[way]}: {fault}")
    say({"done": done, "broken": broken, "address": Multiaddr.parse(address).transport})


async def _get(node: Node, peer: Any, seed: int, way: int, rng: random.Random) -> str:
    data, got = data_of(seed), bytearray()
    slow = rng.choice([0.0, 0.0, 0.01])
    stream = await node.open_stream(peer, [GIVE])
    await stream.write(seed.to_bytes(4, "big") + bytes([way]))
    ended = False
    try:
        while part := await stream.read(20_000):
            got += part
            await asyncio.sleep(slow)
        ended = True
        stream.close_write()
    except TraversalError:
        if WAYS[way] not in ("resets", "is cancelled"):
            return "an error in place of the end"
    if data[: len(got)] != got:
        return "other bytes"
    if ended and len(got) != len(data) and WAYS[way] != "resets":
        return f"the end after {len(got)} of {len(data)}"
    if ended and WAYS[way] == "resets":
        return "an end that nobody made"
    return ""


async def _put(node: Node, peer: Any, seed: int) -> str:
    data = data_of(seed)
    stream = await node.open_stream(peer, [TAKE])
    await stream.write(data)
    stream.close_write()
    answer = b""
    while part := await stream.read():
        answer += part
    return "" if answer == hashlib.sha256(data).digest() else "not what was written"


def main(role: str, *words: Any) -> int:
    work = serve(*words) if role == "serve" else ask(*words)
    asyncio.run(work)
    return 0
