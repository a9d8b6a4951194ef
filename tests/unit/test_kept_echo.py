"""An end that keeps its connection, with a node that is made for it."""

import asyncio
from typing import Any

import pytest

from testbed.model.contract import Keeping
from testbed.stacks import keeping
from testbed.stacks.keeping import NEVER, KeptEcho, kept
from testbed.traversal.aio.host import HostLimits
from testbed.traversal.errors import ConnectionClosedError


class Stream:
    """Gives back what was written, until its connection is gone."""

    def __init__(self, connections: list[str], own: str) -> None:
        self._connections, self._own = connections, own
        self._written = b""
        self.closed = False

    async def write(self, data: bytes) -> None:
        self._written = data

    async def read_exactly(self, count: int) -> bytes:
        if self._own not in self._connections:
            raise ConnectionClosedError("gone")
        return self._written[:count]

    async def close(self) -> None:
        self.closed = True


class Node:
    """Has the connections that the test gives it, the best first."""

    def __init__(self) -> None:
        self.connections: list[str] = ["relayed"]
        self.opened: list[str] = []
        self.streams: list[Stream] = []
        self.dials = 0
        self.host = self

    def connections_to(self, _peer: Any) -> list[str]:
        return list(self.connections)

    async def dial(self, *_targets: Any) -> None:
        self.dials += 1
        self.connections = ["again"]

    async def open_stream(self, best: str, _protocols: Any) -> Stream:
        self.opened.append(best)
        self.streams.append(Stream(self.connections, best))
        return self.streams[-1]


def echo_of(node: Node) -> KeptEcho:
    return KeptEcho(node, None, (), "/echo")  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "PAUSE", 0.0)


def test_echoes_share_the_stream_of_their_connection() -> None:
    async def claim() -> None:
        node = Node()
        echo = echo_of(node)
        assert [await echo.run(b"one"), await echo.run(b"two")] == [b"one", b"two"]
        assert node.opened == ["relayed"]

    asyncio.run(claim())


def test_a_better_connection_is_taken_at_once() -> None:
    async def claim() -> None:
        node = Node()
        echo = echo_of(node)
        await echo.run(b"one")
        node.connections.insert(0, "direct")
        assert await echo.run(b"two") == b"two"
        assert node.opened == ["relayed", "direct"]
        assert node.streams[0].closed
        assert node.dials == 0

    asyncio.run(claim())


def test_an_echo_that_is_lost_gives_nothing_and_the_next_one_dials_again() -> None:
    async def claim() -> None:
        node = Node()
        echo = echo_of(node)
        await echo.run(b"one")
        node.connections.clear()
        assert await echo.run(b"two") == b"two"  # nothing was under way: it dials first
        assert node.dials == 1
        node.streams[-1]._connections.clear()
        assert await echo.run(b"three") == b""
        assert await echo.run(b"four") == b"four"

    asyncio.run(claim())


def test_the_timers_are_those_that_were_told_and_none_is_for_ever() -> None:
    told = kept(HostLimits(), Keeping(keepalive=0.5, patience=2.0))
    assert (told.streams.keepalive, told.streams.keepalive_timeout) == (0.5, 2.0)
    assert (told.quic.keepalive, told.quic.idle_timeout) == (0.5, 2.0)
    assert kept(HostLimits(), Keeping(keepalive=None, patience=2.0)).quic.keepalive == NEVER
    assert kept(HostLimits(), None) == HostLimits()
