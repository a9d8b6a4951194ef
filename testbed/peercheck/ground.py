"""Where a scene is played: addresses of loopback's own, and a STUN server on one of them."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import cast

from testbed.errors import UnfitError
from testbed.model.contract import Endpoint
from testbed.model.topology import FIRST_PORT, PORTS_APART
from testbed.stacks.stun import HEADER_LENGTH, message_length
from testbed.traversal import stun_server
from testbed.traversal.stun_server import Addresses

STUN_PORT = 3478
# Where each party listens: no two at one port, so that a peer cannot take one for another.
SUBJECT_PORT, PARTNER_PORT, NOBODY_PORT, NODE_PORT = (
    FIRST_PORT + number * PORTS_APART for number in range(4)
)
_TRIES = 20


@dataclass
class Ground:
    """All of 127.0.0.0/8 is this machine's own: every party of a scene has an address there."""

    subject: IPv4Address
    partner: IPv4Address
    server: IPv4Address
    nobody: IPv4Address
    deaf: socket.socket  # of datagrams to `nobody`
    seen: list[tuple[str, int]] = field(default_factory=list)  # whom the STUN server answered

    @property
    def stun(self) -> Endpoint:
        return Endpoint(address=self.server, port=STUN_PORT)


@asynccontextmanager
async def ground() -> AsyncIterator[Ground]:
    """Addresses that nobody else uses now, STUN served on one, and a deaf port on another.

    UnfitError if there is no loopback interface.
    """
    _require_loopback()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(_TRIES):
            base = int(IPv4Address("127.64.0.0")) + random.randrange(0x3FFF00) // 8 * 8
            subject, partner, server, nobody = (IPv4Address(base + n) for n in range(1, 5))
            place = Ground(subject, partner, server, nobody, _datagrams(stack))
            try:
                await stack.enter_async_context(_stun(place))
                stack.enter_context(_deaf(place.nobody, place.deaf))
            except OSError as error:
                trouble = error
                continue
            yield place
            return
        raise UnfitError(f"no address of 127.0.0.0/8 can be used: {trouble}")


def _require_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("127.0.0.1", STUN_PORT))  # sends nothing
        except OSError as error:
            raise UnfitError(
                f"the loopback interface is down: {error.strerror}", remedy="ip link set lo up"
            ) from None


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, place: Ground) -> None:
        self._place = place

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # it is no subclass of asyncio.DatagramTransport before Python 3.12
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        told = _answer(self._place, data, addr)
        if told is not None:
            self._transport.sendto(told, addr)


@asynccontextmanager
async def _stun(place: Ground) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    where = place.stun.pair
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(place), local_addr=where)
    serving: set[asyncio.Task[None]] = set()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_serve(place, reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    try:
        server = await asyncio.start_server(accepted, *where)
        async with server:
            yield
            for task in list(serving):
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
    finally:
        transport.close()


async def _serve(place: Ground, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """STUN over TCP (RFC 8489 section 6.2.2), until the client goes."""
    with contextlib.suppress(asyncio.IncompleteReadError, OSError):
        try:
            while True:
                head = await reader.readexactly(HEADER_LENGTH)
                rest = await reader.readexactly(message_length(head) - HEADER_LENGTH)
                told = _answer(place, head + rest, writer.get_extra_info("peername"))
                if told is not None:
                    writer.write(told)
        finally:
            writer.close()


def _answer(place: Ground, data: bytes, source: tuple[str, int]) -> bytes | None:
    here = place.stun.pair
    told = stun_server.answer(data, source, here, Addresses(here))
    if told is None:
        return None
    place.seen.append(source)
    return told.data


def _datagrams(stack: contextlib.AsyncExitStack) -> socket.socket:
    made = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    made.setblocking(False)
    return made


@contextlib.contextmanager
def _deaf(address: IPv4Address, datagrams: socket.socket) -> Iterator[None]:
    """A port of both protocols that takes everything and says nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream:
        datagrams.bind((str(address), NOBODY_PORT))
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stream.bind((str(address), NOBODY_PORT))
        stream.listen()
        yield
