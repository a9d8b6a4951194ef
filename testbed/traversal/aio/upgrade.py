"""From a byte pipe to a connection: multistream-select, Noise or TLS, Yamux.

`client` is the role in the security handshake and in the muxer.  After a TCP
simultaneous open both sides have dialed, so it cannot be read off the socket.
"""

import asyncio

from .. import multistream, yamux
from ..errors import HandshakeError, NegotiationError, SecurityRefusedError
from ..multiaddr import Multiaddr
from ..peer_id import PeerId
from ..security import Channel, Handshake, Security
from .connection import Direction
from .muxed import MuxedConnection
from .stream import BytePipe, run_machine

HANDSHAKE_TIMEOUT = 10.0


class _SecurePipe:
    """The channel as a pipe, for the muxer's negotiation where it is not inlined."""

    def __init__(self, pipe: BytePipe, channel: Channel, early: bytes) -> None:
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

    def silent_for(self) -> float | None:
        return self._pipe.silent_for()


async def upgrade(
    pipe: BytePipe,
    security: Security,
    *,
    client: bool,
    expected: PeerId | None,
    local: Multiaddr,
    remote: Multiaddr,
    direction: Direction,
    protocol: str | None = None,
    limits: yamux.Limits | None = None,
    timeout: float = HANDSHAKE_TIMEOUT,
) -> MuxedConnection:
    """As a client propose this security `protocol`, by default the first for the peer.

    The pipe is aborted when the upgrade fails.  Call `start` on the result.
    Raises HandshakeError, PeerIdMismatchError, NegotiationError, ProtocolError, TimeoutError;
    SecurityRefusedError where another protocol may be proposed over a new pipe.
    """
    try:
        async with asyncio.timeout(timeout):
            if client:
                chosen = protocol or security.order(expected)[0]
                handshake = await _propose(pipe, security, chosen, expected)
            else:
                chosen, handshake = await _answer(pipe, security, expected)
            channel, peer = handshake.channel, handshake.remote_peer
            if channel is None or peer is None:
                raise HandshakeError(chosen, "handshake did not finish")
            early = channel.open(b"")
            if handshake.muxer is None:
                early = await _agree_on_muxer(_SecurePipe(pipe, channel, early), client)
    except BaseException:
        pipe.abort()
        raise
    session = yamux.Session(client=client, now=asyncio.get_running_loop().time(), limits=limits)
    connection = MuxedConnection(pipe, channel, session, peer, local, remote, direction)
    connection.early, connection.security = early, chosen
    return connection


async def _propose(
    pipe: BytePipe, security: Security, protocol: str, expected: PeerId | None
) -> Handshake:
    """The first message of the handshake need not wait for the answer to the proposal."""
    negotiation = multistream.Dialer([protocol])
    handshake = security.handshake(protocol, initiator=True, expected=expected)
    await pipe.write(negotiation.data_to_send() + handshake.data_to_send())
    try:
        left = await run_machine(negotiation, pipe, "multistream")
    except NegotiationError as error:
        security.refused(expected, protocol)
        reason = f"the remote does not speak {protocol}"
        raise SecurityRefusedError("multistream", reason) from error
    await run_machine(handshake, pipe, protocol, left)
    return handshake


async def _answer(
    pipe: BytePipe, security: Security, expected: PeerId | None
) -> tuple[str, Handshake]:
    negotiation = multistream.Listener(security.protocols)
    left = await run_machine(negotiation, pipe, "multistream")
    protocol = negotiation.selected or ""
    handshake = security.handshake(protocol, initiator=False, expected=expected)
    await run_machine(handshake, pipe, protocol, left)
    return protocol, handshake


async def _agree_on_muxer(pipe: _SecurePipe, client: bool) -> bytes:
    known = [yamux.PROTOCOL]
    machine = multistream.Dialer(known) if client else multistream.Listener(known)
    return await run_machine(machine, pipe, "multistream")
