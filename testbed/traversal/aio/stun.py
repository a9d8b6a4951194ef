"""STUN on sockets: a client, a server, and RFC 5780's discovery."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from .. import stun, stun_server
from ..errors import DeadlineError, ProtocolError
from ..nat_discovery import WAITS, Behaviour, Discovery
from ..stun import Address, Class
from ..stun_server import Addresses

_QUEUED = 64  # datagrams that wait for a reader; more are dropped, as a socket does


class _Inbox(asyncio.DatagramProtocol):
    """Datagrams of one socket, in order."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[tuple[bytes, Address]] = asyncio.Queue(_QUEUED)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if not self.arrived.full():
            self.arrived.put_nowait((data, addr[:2]))


@asynccontextmanager
async def _socket(local: Address) -> AsyncIterator[tuple[asyncio.DatagramTransport, _Inbox]]:
    loop = asyncio.get_running_loop()
    transport, inbox = await loop.create_datagram_endpoint(_Inbox, local_addr=local)
    try:
        yield transport, inbox
    finally:
        transport.close()


async def ask(server: Address, *, local: Address = ("0.0.0.0", 0)) -> Address:
    """How ``server`` sees a socket bound to ``local``; DeadlineError when it does not say."""
    async with _socket(local) as (transport, inbox):
        request = stun.request()
        for wait in WAITS:
            transport.sendto(request.encode(), server)
            answer = await _answer(inbox, request.transaction, server, wait)
            if answer is not None:
                return answer
    raise DeadlineError(f"no STUN answer from {server[0]}:{server[1]} in {sum(WAITS):g} s")


async def _answer(
    inbox: _Inbox, transaction: bytes, server: Address, wait: float
) -> Address | None:
    try:
        async with asyncio.timeout(wait):
            while True:
                data, source = await inbox.arrived.get()
                try:
                    message = stun.decode(data)
                except ProtocolError:
                    continue
                theirs = source == server and message.transaction == transaction
                if theirs and message.klass is Class.SUCCESS and message.mapped:
                    return message.mapped
    except TimeoutError:
        return None


async def discover(server: Address, *, ip: str) -> Behaviour:
    """What RFC 5780 can tell of the NATs between ``ip`` (ours) and ``server``.

    Takes up to 12 s where answers are filtered: silence has to be waited for.
    """
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(_socket((ip, 0))) for _ in range(3)]
        run = Discovery(server, sockets[0][0].get_extra_info("sockname")[:2])
        while (asked := run.ask()) is not None:
            transport, inbox = sockets[asked.socket]
            # What is sent to our own mapping comes in where the mapping leads: socket 0.
            hears = sockets[0][1] if asked.socket == 2 else inbox
            for wait in WAITS:
                transport.sendto(asked.message.encode(), asked.to)
                if await _taken(hears, run, wait):
                    break
            else:
                run.silent()
    return run.behaviour


async def _taken(inbox: _Inbox, run: Discovery, wait: float) -> bool:
    try:
        async with asyncio.timeout(wait):
            while True:
                data, source = await inbox.arrived.get()
                if run.answered(data, source):
                    return True
    except TimeoutError:
        return False


class _Answerer(asyncio.DatagramProtocol):
    def __init__(self, local: Address, server: "StunServer") -> None:
        self._local, self._server = local, server

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._server.answer(data, addr[:2], self._local)


class StunServer:
    """Answers Bindings; with an ``other`` address, RFC 5780's questions, too."""

    def __init__(self, addresses: Addresses) -> None:
        self.addresses = addresses
        self._transports: dict[Address, asyncio.DatagramTransport] = {}

    async def __aenter__(self) -> "StunServer":
        loop = asyncio.get_running_loop()
        try:
            for local in self.addresses.all:
                transport, _ = await loop.create_datagram_endpoint(
                    partial(_Answerer, local, self), local_addr=local
                )
                self._transports[local] = transport
        except OSError:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for transport in self._transports.values():
            transport.close()

    def answer(self, data: bytes, source: Address, local: Address) -> None:
        """Answer one datagram that came in at ``local``."""
        told = stun_server.answer(data, source, local, self.addresses)
        if told is not None:
            self._transports[told.source].sendto(told.data, told.destination)
