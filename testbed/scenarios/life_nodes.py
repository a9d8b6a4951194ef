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
from contextlib import suppress
from typing import Any

from testbed.oracle.life import DIAL, PAUSE, Timers, Transport
from testbed.oracle.lives import PORT, TICK
from testbed.traversal import Multiaddr, Node, NodeOptions, RelayLimits, TraversalError
from testbed.traversal import events as said
from testbed.traversal.aio import quic_connection
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.host import HostLimits
from testbed.traversal.aio.stream import Stream
from testbed.traversal.aio.upgrade_service import UpgradeOptions
from testbed.traversal.yamux import Limits

ECHO = "/testbed/life/1.0.0"
SIZE = 900  # bytes of one echo: like nothing else that the stacks say (see `life.SHAPE`)
NEVER = 1e6  # seconds
CONNECT = 15.0  # seconds for the first direct connection
PUNCH = 1.2  # seconds for one round of an upgrade: a lost SYN is repeated after one
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
    """A node with these timers.  QUIC's are constants of its module, ours in this process."""
    keepalive = NEVER if timers.keepalive is None else timers.keepalive
    quic_connection.KEEPALIVE = keepalive
    quic_connection.IDLE_TIMEOUT = timers.patience
    streams = Limits(keepalive=keepalive, keepalive_timeout=timers.patience)
    return Node(
        NodeOptions(
            limits=HostLimits(dial_timeout=DIAL, streams=streams),
            upgrade=UpgradeOptions(punch_timeout=PUNCH, relay_grace=GRACE),
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


class _Dialer:
    """Echoes one message at a time, every `TICK`, and keeps a diary."""

    def __init__(self, node: Node, target: Multiaddr) -> None:
        assert target.peer_id is not None  # a circuit address of a listener names it
        self.diary: list[dict[str, Any]] = []
        self.late = 0.0  # seconds by which this process was late at worst
        self.speaking = asyncio.Event()
        self.speaking.set()
        self._node, self._target, self._peer = node, target, target.peer_id

    async def connect(self) -> None:
        await self._node.dial(self._target)
        await self._node.wait_direct(self._peer, CONNECT)

    async def run(self) -> None:
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
            due = max(due, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            self.late = max(self.late, time.monotonic() - due)
        await stream.close()

    def _best(self) -> Connection | None | Any:
        found = self._node.host.connections_to(self._peer)
        return found[0] if found else None

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
                    tasks.append(asyncio.create_task(dialer.run()))
                case "speak":
                    dialer.speaking.set()
                    say(None)
                case "hush":
                    dialer.speaking.clear()
                    say(None)
                case "report":
                    say({"diary": dialer.diary, "late": dialer.late})
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return 0


# Plain datagrams


class _Datagrams(asyncio.DatagramProtocol):
    """Answers: a question about an address, an echo, nothing else."""

    def __init__(self) -> None:
        self.transport: asyncio.DatagramTransport | None = None
        self.remote: tuple[str, int] | None = None
        self.seen: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.heard = asyncio.Event()

    @classmethod
    async def bind(cls) -> "_Datagrams":
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_datagram_endpoint(cls, local_addr=("0.0.0.0", PORT))
        return protocol

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def send(self, data: bytes, address: tuple[str, int] | None = None) -> None:
        target = address or self.remote
        if self.transport is not None and target is not None:
            with suppress(OSError):
                self.transport.sendto(data, target)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if data[:1] == b"?":
            self.send(b"!" + json.dumps(address).encode(), address)
        elif data[:1] == b"!" and not self.seen.done():
            self.seen.set_result(json.loads(data[1:]))
        elif data[:1] == b">":
            self.send(b"<" + data[1:], address)
        elif data[:1] == b"<" and address == self.remote:
            self.heard.set()

    async def ask(self, server: str) -> list[Any]:
        """Our address as the server sees it; asked again until it answers."""
        while not self.seen.done():
            self.send(b"?", (server, PORT))
            await asyncio.wait({self.seen}, timeout=0.3)
        return await self.seen


async def reflect() -> int:
    await _Datagrams.bind()
    say("ready")
    await asyncio.Event().wait()
    return 0


async def datagrams(server: str, timers: Timers) -> int:
    """Either end: tell our address, punch, then echo when told to."""
    ours = await _Datagrams.bind()
    say(await ours.ask(server))
    speaking = asyncio.Event()
    beating: asyncio.Task[None] | None = None
    async for command in commands():
        match command["do"]:
            case "punch":
                ours.remote = tuple(command["remote"])
                punching = asyncio.create_task(_punch(ours))
                say(None)
            case "punched":
                say(await punching)
            case "connect":
                speaking.set()
                beating = asyncio.create_task(_beat(ours, speaking, timers))
                say(None)
            case "speak":
                speaking.set()
                say(None)
            case "hush":
                speaking.clear()
                say(None)
            case "report":
                say({"diary": [], "late": 0.0})
    if beating is not None:
        beating.cancel()
    return 0


async def _punch(ours: _Datagrams) -> str | None:
    """Send until something came back; what was waited for, where nothing did."""
    deadline = time.monotonic() + CONNECT
    while not ours.heard.is_set():
        if time.monotonic() > deadline:
            return f"nothing came back from {ours.remote} in {CONNECT:g} s"
        ours.send(b">hello")
        with suppress(TimeoutError):
            await asyncio.wait_for(ours.heard.wait(), TICK)
    return None


async def _beat(ours: _Datagrams, speaking: asyncio.Event, timers: Timers) -> None:
    loop = asyncio.get_running_loop()
    quiet_since = loop.time()
    while True:
        if speaking.is_set():
            ours.send(b">" + os.urandom(SIZE))
            quiet_since = loop.time()
        elif timers.keepalive is not None and loop.time() - quiet_since >= timers.keepalive:
            ours.send(b">")
            quiet_since = loop.time()
        await asyncio.sleep(TICK)
