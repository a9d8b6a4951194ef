"""Nodes on loopback, for tests in one process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from testbed.traversal import Multiaddr, Node, NodeOptions
from testbed.traversal.__main__ import ECHO, echo
from testbed.traversal.events import Event

LISTEN = {
    "tcp": "/ip4/127.0.0.1/tcp/0",
    "quic": "/ip4/127.0.0.1/udp/0/quic-v1",
    "ws": "/ip4/127.0.0.1/tcp/0/ws",
    "wss": "/ip4/127.0.0.1/tcp/0/tls/ws",
}


@contextlib.asynccontextmanager
async def nodes(transport: str, *options: dict[str, Any]) -> AsyncIterator[list[Node]]:
    """Listening nodes with an echo handler; private addresses count as public."""
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for words in options:
            plain = {"allow_private": True, "autonat_interval": 0} | words
            node = await stack.enter_async_context(Node(NodeOptions(**plain)))
            node.set_handler(ECHO, echo)
            await node.listen(LISTEN[transport])
            made.append(node)
        yield made


def address(node: Node) -> Multiaddr:
    return node.listening()[0].with_peer(node.peer)


async def wait_event(
    node: Node, kind: type[Event], check: Callable[[Any], bool] | None = None
) -> Any:
    """The first such event, past or to come."""
    async for event in node.events():
        if isinstance(event, kind) and (check is None or check(event)):
            return event
    raise AssertionError(f"the node closed without {kind.__name__}")


def run(work: Callable[[], Awaitable[None]], seconds: float = 20.0) -> None:
    """Run a test's coroutine against a deadline."""

    async def limited() -> None:
        async with asyncio.timeout(seconds):
            await work()

    asyncio.run(limited())
