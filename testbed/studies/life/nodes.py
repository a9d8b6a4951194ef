"""The programs inside the nodes of a life: a relay, a listener that echoes, a dialer that asks.

The dialer does what an application does: it echoes over the best connection there is,
and when that is lost it dials again by the same ladder.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from testbed.predict.life import DIAL, PAUSE, PROOF, Timers, Transport
from testbed.predict.lives import PORT, TICK
from testbed.traversal import Multiaddr, Node, NodeOptions, RelayLimits, TraversalError
from testbed.traversal import events as said
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.host import HostLimits
from testbed.traversal.aio.quic_connection import QuicTimers
from testbed.traversal.aio.stream import Stream
from testbed.traversal.aio.upgrade_service import UpgradeOptions
from testbed.traversal.errors import ConnectionClosedError
from testbed.traversal.yamux import Limits

ECHO = "/testbed/life/1.0.0"
SIZE = 900  # bytes of one echo: like nothing else that the stacks say (see `life.SHAPE`)
NEVER = 1e6  # seconds
CONNECT = 15.0  # seconds for the first direct connection
PUNCH = 1.2  # seconds for one round of an upgrade: a lost SYN is repeated after one
BROKEN = 0.4  # seconds without an echo: the run is broken
GRACE = 1.0  # seconds in which streams leave the relay

Work = Coroutine[Any, Any, int]


def say(answer: Any) -> None:
    os.write(1, (json.dumps(answer) + "\n").encode())


async def commands() -> AsyncIterator[dict[str, Any]]:
    """The lines of stdin, until it is closed."""
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)


# The stack


def _node(timers: Timers, *, relay: bool = False) -> Node:
    """A node with these timers."""
    keepalive = NEVER if timers.keepalive is None else timers.keepalive
    quic = QuicTimers(timers.patience, keepalive)
    streams = Limits(keepalive=keepalive, keepalive_timeout=timers.patience)
    return Node(
        NodeOptions(
            limits=HostLimits(dial_timeout=DIAL, streams=streams, quic=quic),
            upgrade=UpgradeOptions(punch_timeout=PUNCH, relay_grace=GRACE, proof_timeout=PROOF),
            relay=RelayLimits(duration=0, data=0) if relay else None,
            autonat_interval=0,
        )
    )


def _address(ip: str, transport: Transport) -> str:
    kind = f"tcp/{PORT}" if transport is Transport.TCP else f"udp/{PORT}/quic-v1"
    return f"/ip4/{ip}/{kind}"


async def serve_relay(ip: str, transport: Transport, timers: Timers) -> int:
    async with _node(timers, relay=True) as node:
        bound = await node.listen(_address(ip, transport))
        say(str(bound.with_peer(node.peer)))
        await asyncio.Event().wait()
    return 0


async def _echo(stream: Stream, _connection: Connection) -> None:
    while data := await stream.read():
        await stream.write(data)


async def listen(relay: str, transport: Transport, timers: Timers) -> int:
    """Reserve at the relay, echo what comes."""
    async with _node(timers) as node:
        node.set_handler(ECHO, _echo)
        await node.listen(_address("0.0.0.0", transport))
        held = await node.reserve(relay)
        say(str(held.addresses[0]))
        await asyncio.Event().wait()
    return 0


class Watch:
    """By how many seconds this process was late at worst: its machine is as busy as that."""

    def __init__(self) -> None:
        self.worst = 0.0
        self._task = asyncio.get_running_loop().create_task(self._run())  # it ends with the loop

    async def _run(self) -> None:
        while True:
            due = time.monotonic() + TICK
            await asyncio.sleep(TICK)
            self.worst = max(self.worst, time.monotonic() - due)


class Run:
    """The run of echoes over a direct path that is going on."""

    def __init__(self) -> None:
        self._since = self._last = 0.0

    def echo(self, *, direct: bool) -> None:
        now = time.monotonic()
        if not direct or now - self._last > BROKEN:
            self._since = now
        self._last = now

    async def steady(self, seconds: float, limit: float) -> None:
        """Until it has gone on for ``seconds`` from now on, or ``limit`` seconds are over."""
        began = time.monotonic()
        while (now := time.monotonic()) < began + limit:
            if now - self._last < BROKEN and now - max(self._since, began) >= seconds:
                return
            await asyncio.sleep(TICK)


class _Dialer:
    """Echoes one message at a time, every `TICK`, and keeps a diary."""

    def __init__(self, node: Node, target: Multiaddr) -> None:
        assert target.peer_id is not None  # a circuit address of a listener names it
        self.diary: list[dict[str, Any]] = []
        self.run = Run()
        self.speaking = asyncio.Event()
        self.speaking.set()
        self._node, self._target, self._peer = node, target, target.peer_id

    async def connect(self) -> None:
        await self._node.dial(self._target)
        await self._node.wait_direct(self._peer, CONNECT)

    async def live(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._node.dial(self._target)
                await self._talk()
            except (TraversalError, TimeoutError) as error:
                self._note("lost", reason=str(error) or type(error).__name__)
                await asyncio.sleep(PAUSE)

    async def _talk(self) -> None:
        """Over the best connection, until there is a better one."""
        best = self._best()
        stream = await self._node.host.open_stream(best, [ECHO])
        while self._best() is best:
            await self.speaking.wait()
            due = time.monotonic() + TICK
            await stream.write(os.urandom(SIZE))
            await stream.read_exactly(SIZE)
            self.run.echo(direct=not best.relayed)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await stream.close()

    def _best(self) -> Connection:
        """ConnectionClosedError when there is none."""
        for connection in self._node.host.connections_to(self._peer):
            return connection
        raise ConnectionClosedError("no connection is left")

    async def watch(self) -> None:
        async for event in self._node.events():
            if getattr(event, "peer", None) != self._peer:
                continue
            if isinstance(event, said.ConnectionOpened | said.ConnectionClosed):
                name = type(event).__name__.removeprefix("Connection").lower()
                self._note(name, relayed=event.relayed, reason=getattr(event, "reason", ""))
            elif isinstance(event, said.UpgradeFailed):
                self._note("stayed", reason=event.reason)

    def _note(self, what: str, **more: Any) -> None:
        self.diary.append({"at": time.time(), "what": what, **more})


async def dial(target: str, relay: str, transport: Transport, timers: Timers) -> int:
    """Obey: connect, speak, hush, report."""
    watch = Watch()
    async with _node(timers) as node:
        await node.listen(_address("0.0.0.0", transport))
        await node.identify.wait(await node.dial(relay))
        dialer = _Dialer(node, Multiaddr.parse(target))
        tasks = [asyncio.create_task(dialer.watch())]
        say("ready")
        async for command in commands():
            match command["do"]:
                case "connect":
                    try:
                        await dialer.connect()
                        say(None)
                    except (TraversalError, TimeoutError) as error:
                        say(f"{type(error).__name__}: {error}")
                    tasks.append(asyncio.create_task(dialer.live()))
                case "speak":
                    dialer.speaking.set()
                    say(None)
                case "hush":
                    dialer.speaking.clear()
                    say(None)
                case "steady":
                    await dialer.run.steady(command["seconds"], command["limit"])
                    say(None)
                case "report":
                    say({"diary": dialer.diary, "late": watch.worst})
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return 0
