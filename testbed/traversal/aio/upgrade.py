"""From a byte pipe to a connection: multistream-select, Noise, Yamux.

`client` is the role in the security handshake and in the muxer.  After a TCP
simultaneous open both sides have dialed, so it cannot be read off the socket.
"""

import asyncio

from .. import multistream, noise, yamux
from ..errors import HandshakeError
from ..keys import PrivateKey
from ..multiaddr import Multiaddr
from ..peer_id import PeerId
from .connection import Direction, MuxedConnection
from .stream import BytePipe, run_machine

HANDSHAKE_TIMEOUT = 10.0
_MUXERS = (yamux.PROTOCOL,)


def _negotiator(client: bool, protocol: str) -> multistream.Dialer | multistream.Listener:
    return multistream.Dialer([protocol]) if client else multistream.Listener([protocol])


class _SecurePipe:
    """The Noise channel as a pipe, for the muxer's negotiation where it is not inlined."""

    def __init__(self, pipe: BytePipe, channel: noise.Channel, early: bytes) -> None:
        self._pipe, self._channel, self._early = pipe, channel, early

    async def read(self) -> bytes:
        data, self._early = self._early, b""
        while not data:
            wire = await self._pipe.read()
            if not wire:
                return b""
            data = self._channel.open(wire)
        return data

    async def write(self, data: bytes) -> None:
        await self._pipe.write(self._channel.seal(data))

    async def end(self) -> None:
        await self._pipe.end()

    def abort(self) -> None:
        self._pipe.abort()

    @property
    def undelivered(self) -> int:
        return self._pipe.undelivered


async def upgrade(
    pipe: BytePipe,
    identity: PrivateKey,
    *,
    client: bool,
    expected: PeerId | None,
    local: Multiaddr,
    remote: Multiaddr,
    direction: Direction,
    limits: yamux.Limits | None = None,
    timeout: float = HANDSHAKE_TIMEOUT,
) -> MuxedConnection:
    """Raises HandshakeError, PeerIdMismatchError, NegotiationError, ProtocolError, TimeoutError.

    The pipe is aborted when the upgrade fails.  Call `start` on the result.
    """
    try:
        async with asyncio.timeout(timeout):
            return await _upgrade(
                pipe, identity, client, expected, local, remote, direction, limits
            )
    except BaseException:
        pipe.abort()
        raise


async def _upgrade(
    pipe: BytePipe,
    identity: PrivateKey,
    client: bool,
    expected: PeerId | None,
    local: Multiaddr,
    remote: Multiaddr,
    direction: Direction,
    limits: yamux.Limits | None,
) -> MuxedConnection:
    handshake = noise.Handshake(identity, initiator=client, expected=expected, muxers=_MUXERS)
    negotiation = _negotiator(client, noise.PROTOCOL)
    if client:
        # Noise is all we speak, so its first message need not wait for the answer.
        await pipe.write(negotiation.data_to_send() + handshake.data_to_send())
    left = await run_machine(negotiation, pipe, "multistream")
    await run_machine(handshake, pipe, "noise", left)
    channel, peer = handshake.channel, handshake.remote_peer
    if channel is None or peer is None:
        raise HandshakeError("noise", "handshake did not finish")
    early = channel.open(b"")
    if handshake.muxer is None:
        secure = _SecurePipe(pipe, channel, early)
        early = await run_machine(_negotiator(client, yamux.PROTOCOL), secure, "multistream")
    session = yamux.Session(client=client, now=asyncio.get_running_loop().time(), limits=limits)
    connection = MuxedConnection(pipe, channel, session, peer, local, remote, direction)
    connection.early = early
    return connection
