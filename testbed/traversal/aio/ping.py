"""Ping: 32 random bytes there and back (libp2p ping spec)."""

import asyncio
import os

from ..errors import (
    DeadlineError,
    LimitError,
    NegotiationError,
    ProtocolError,
    TraversalError,
)
from .connection import Connection
from .host import Host
from .stream import Stream

PROTOCOL = "/ipfs/ping/1.0.0"
_SIZE = 32
_INBOUND = 2
_IDLE = 60.0
_FRESH = 2.0  # seconds since when a connection was heard that say that it lives


async def serve(stream: Stream, connection: Connection) -> None:
    """Echo until the other side ends or is silent for a minute; at most two streams at once.

    The specification counts by peer; here each connection has its own, since one that may be
    dead is asked beside another.
    """
    open_here = sum(s.protocol == PROTOCOL and s.theirs for s in connection.streams)
    if open_here > _INBOUND:
        raise LimitError(f"{open_here} ping streams at once")
    while True:
        try:
            async with asyncio.timeout(_IDLE):
                data = await stream.read(_SIZE)
                if not data:
                    return
                await stream.write(data)
        except TimeoutError as error:
            raise DeadlineError(f"ping stream of {connection.peer} was idle") from error


async def ping(host: Host, connection: Connection, timeout: float = 5.0) -> float:
    """The round-trip time in seconds.  Raises DeadlineError, ProtocolError."""
    loop = asyncio.get_running_loop()
    try:
        async with (
            asyncio.timeout(timeout),
            connection.pinging,
            host.exchange(connection, PROTOCOL) as stream,
        ):
            payload = os.urandom(_SIZE)
            start = loop.time()
            await stream.write(payload)
            if await stream.read_exactly(_SIZE) != payload:
                raise ProtocolError("ping", "answer differs")
            return loop.time() - start
    except TimeoutError as error:
        raise DeadlineError(f"no ping answer from {connection.peer} in {timeout:g} s") from error


async def alive(host: Host, connection: Connection, timeout: float) -> bool:
    """Whether the connection answers; one that does not within `timeout` seconds is aborted."""
    if asyncio.get_running_loop().time() - connection.heard_at < _FRESH:
        return connection.usable
    try:
        await ping(host, connection, timeout)
    except TraversalError as error:
        if not isinstance(error, LimitError | NegotiationError):
            connection.abort("it does not answer")
    return connection.usable
