"""The programs inside the nodes of a life on plain datagrams: a reflector, and two ends.

A datagram begins with what it is: ``?`` asks for the sender's address, ``!`` tells it,
``>`` wants an echo, ``<`` is one.
"""

import asyncio
import json
import os
import time
from contextlib import suppress
from typing import Any

from testbed.predict.life import Timers
from testbed.predict.lives import PORT, TICK
from testbed.studies.life.nodes import CONNECT, SIZE, Run, Watch, commands, say


class _Datagrams(asyncio.DatagramProtocol):
    """Answers: a question about an address, an echo, nothing else."""

    def __init__(self) -> None:
        self.transport: asyncio.DatagramTransport | None = None
        self.remote: tuple[str, int] | None = None
        self.seen: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.heard = asyncio.Event()
        self.run = Run()

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
            self.run.echo(direct=True)

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


async def either_end(server: str, timers: Timers) -> int:
    """Either end: tell our address, punch, then echo when told to."""
    watch = Watch()
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
            case "steady":
                await ours.run.steady(command["seconds"], command["limit"])
                say(None)
            case "report":
                say({"diary": [], "late": watch.worst})
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
