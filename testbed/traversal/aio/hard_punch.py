"""`hard_nat`'s two sides on sockets, and the sounding by STUN from the very socket that punches.

The sockets are the caller's: bound or not, in whatever network namespace.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence

from .. import stun
from ..errors import DeadlineError, ProtocolError
from ..hard_nat import Hit, Side, Sounding
from ..nat_discovery import WAITS
from ..stun import Address, Class

_LONGEST = 2048  # bytes of a datagram; ours and STUN's are shorter
_BATCH = 64  # datagrams read from one socket before the others have their turn


async def drive(
    side: Side, sockets: Sequence[socket.socket], *, opened: Callable[[], None] | None = None
) -> Hit | None:
    """Let ``side`` punch with ``sockets``; the hit, or None when its limits are spent.

    ``opened`` is called once, when no more will go out unasked.  The sockets become
    non-blocking, and stay open, the hit's among them.
    """
    loop = asyncio.get_running_loop()
    news = asyncio.Event()

    def readable(index: int) -> None:
        for data, source in _arrived(sockets[index]):
            side.received(index, data, source)
        news.set()

    with contextlib.ExitStack() as stack:
        for index, one in enumerate(sockets):
            one.setblocking(False)
            loop.add_reader(one, readable, index)
            stack.callback(loop.remove_reader, one)
        seen = loop.time()
        while not side.over(seen):
            for send in side.poll(loop.time()):
                _send(sockets[send.socket], send.data, send.to)
            if opened is not None and side.opened:
                opened()
                opened = None
            seen = loop.time()  # who was kept from running reads first what had come by now
            await _until(news, side.wakes())
    if opened is not None:
        opened()
    return side.hit


async def sound(sock: socket.socket, first: Address, last: Address) -> Sounding:
    """Ask two STUN servers, one after the other; DeadlineError when one does not answer."""
    return Sounding(await mapped(sock, first), await mapped(sock, last))


async def mapped(sock: socket.socket, server: Address) -> Address:
    """How ``server`` sees ``sock``; DeadlineError when it does not say."""
    loop = asyncio.get_running_loop()
    request, news = stun.request(), asyncio.Event()
    told: list[Address] = []

    def readable() -> None:
        told.extend(_answers(sock, server, request.transaction))
        news.set()

    sock.setblocking(False)
    loop.add_reader(sock, readable)
    try:
        for wait in WAITS:
            _send(sock, request.encode(), server)
            until = loop.time() + wait
            while not told and loop.time() < until:
                await _until(news, until)
            if told:
                return told[0]
    finally:
        loop.remove_reader(sock)
    raise DeadlineError(f"no STUN answer from {server[0]}:{server[1]} in {sum(WAITS):g} s")


def _answers(sock: socket.socket, server: Address, transaction: bytes) -> list[Address]:
    found = []
    for data, source in _arrived(sock):
        with contextlib.suppress(ProtocolError):
            message = stun.decode(data)
            ours = source == server and message.transaction == transaction
            if ours and message.klass is Class.SUCCESS and message.mapped:
                found.append(message.mapped)
    return found


def _arrived(sock: socket.socket) -> list[tuple[bytes, Address]]:
    """What waits in ``sock``, oldest first."""
    waiting: list[tuple[bytes, Address]] = []
    with contextlib.suppress(OSError):  # BlockingIOError: nothing more
        while len(waiting) < _BATCH:
            data, source = sock.recvfrom(_LONGEST)
            waiting.append((data, source[:2]))
    return waiting


def _send(sock: socket.socket, data: bytes, to: Address) -> None:
    """A datagram that the kernel refuses is as lost as one that the network drops."""
    with contextlib.suppress(OSError):
        sock.sendto(data, to)


async def _until(news: asyncio.Event, when: float) -> None:
    """Wait for ``news``, until the loop's clock says ``when`` at the latest."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(when):
            await news.wait()
    news.clear()
