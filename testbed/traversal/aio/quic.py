"""One UDP socket for every QUIC connection, listening and dialing alike.

A NAT's mapping and its filter belong to the socket: the dial, the listening port and the
random datagrams of a hole punch must share it.
"""

import asyncio
import os
import random
import socket
from collections.abc import Callable
from typing import Any, cast

from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic.packet import (
    QuicHeader,
    QuicPacketType,
    QuicProtocolVersion,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.retry import QuicRetryTokenHandler

from .. import tls_certificate
from ..errors import (
    AddressError,
    DialError,
    DialFailure,
    HandshakeError,
    PeerIdMismatchError,
    TraversalError,
)
from ..keys import PrivateKey
from ..multiaddr import Multiaddr
from ..peer_id import PeerId
from .connection import Direction
from .net import route_source
from .quic_connection import CONNECTION_ID_LENGTH, Engine, QuicPeer, QuicTimers, configuration

HANDSHAKE_TIMEOUT = 10.0
MAX_PENDING = 64
MAX_PENDING_PER_IP = 32  # more than RETRY_FROM: forged Initials do not use up an IP's share
RETRY_FROM = 16  # pending handshakes; then a new one must show that its address is its own
_MIN_INITIAL = 1200
_PUNCH_BYTES = 64


class QuicEndpoint(asyncio.DatagramProtocol):
    """Demultiplexes datagrams by connection id.  `on_connection` gets verified inbound ones."""

    def __init__(self, identity: PrivateKey, timers: QuicTimers) -> None:
        credentials = tls_certificate.make(identity)
        self._timers = timers
        self._server = configuration(credentials, timers, client=False)
        self._client = configuration(credentials, timers, client=True)
        self._connections: dict[bytes, QuicPeer] = {}
        self._pending: set[QuicPeer] = set()
        self._retry = QuicRetryTokenHandler()
        self._transport: asyncio.DatagramTransport | None = None
        self.accepting = True
        self.on_connection: Callable[[QuicPeer], None] = _refuse

    @classmethod
    async def bind(
        cls, identity: PrivateKey, address: Multiaddr, timers: QuicTimers | None = None
    ) -> "QuicEndpoint":
        """Open the socket.  Raises OSError, AddressError."""
        if address.transport != "quic-v1":
            raise AddressError(f"{address} is not a QUIC address")
        host, port = address.socket_address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, port))
        except OSError:
            sock.close()
            raise
        endpoint = cls(identity, timers or QuicTimers())
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: endpoint, sock=sock)
        return endpoint

    @property
    def local(self) -> Multiaddr:
        """The bound address; its IP may be the wildcard."""
        if self._transport is None:
            raise AddressError("the endpoint is closed")
        name = self._transport.get_extra_info("sockname")
        return Multiaddr.from_socket(name[0], name[1], "quic-v1")

    async def dial(self, address: Multiaddr, peer: PeerId | None, timeout: float) -> QuicPeer:
        """Connect from this socket.  Raises DialError."""
        target = _target(address)
        engine = Engine(configuration=self._client)
        connection = QuicPeer(
            engine,
            self._send,
            self._facing,
            address.without_peer(),
            Direction.OUTBOUND,
            peer,
            keepalive=self._timers.keepalive,
        )
        self._register(connection, engine.host_cid)
        try:
            async with asyncio.timeout(timeout):
                connection.connect(target)
                await asyncio.shield(connection.handshake)
        except TimeoutError as error:
            reason = f"no handshake in {timeout:g} s"
            raise DialError(address, DialFailure.TIMEOUT, reason) from error
        except PeerIdMismatchError as error:
            raise DialError(address, DialFailure.WRONG_PEER, str(error)) from error
        except HandshakeError as error:
            raise DialError(address, DialFailure.HANDSHAKE, str(error)) from error
        except TraversalError as error:
            raise DialError(address, DialFailure.REFUSED, str(error)) from error
        finally:
            if not connection.handshake.done() or connection.handshake.exception():
                connection.abort("dial failed")
        return connection

    async def punch(self, address: Multiaddr, interval: tuple[float, float]) -> None:
        """Send random datagrams until cancelled, at random intervals (DCUtR, QUIC side B)."""
        target = _target(address)
        while True:
            self._send(os.urandom(_PUNCH_BYTES), target)
            await asyncio.sleep(random.uniform(*interval))

    def close(self) -> None:
        """Close every connection and the socket."""
        for connection in set(self._connections.values()):
            connection.abort("the node closes")
        self._connections.clear()
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    # asyncio.DatagramProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The selector loop's transport is not a DatagramTransport by inheritance.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        try:
            header = pull_quic_header(Buffer(data=data), CONNECTION_ID_LENGTH)
        except ValueError:
            return  # noise, a punch for instance
        connection = self._connections.get(header.destination_cid)
        if connection is not None:
            connection.receive(data, addr)
            return
        if not self.accepting or len(data) < _MIN_INITIAL or header.version is None:
            return
        if header.packet_type is QuicPacketType.VERSION_NEGOTIATION:
            return  # answering one could loop between two endpoints
        if header.version != QuicProtocolVersion.VERSION_1:
            versions = [int(QuicProtocolVersion.VERSION_1)]
            self._send(
                encode_quic_version_negotiation(
                    header.destination_cid, header.source_cid, versions
                ),
                addr,
            )
        elif header.packet_type is QuicPacketType.INITIAL and len(self._pending) < MAX_PENDING:
            self._admit(header, data, addr)

    # Private.

    def _admit(self, header: QuicHeader, data: bytes, addr: Any) -> None:
        """Under load only an address that answers a Retry (RFC 9000 section 8.1.2)."""
        now = asyncio.get_running_loop().time()
        try:
            original = self._retry.validate_token(
                address=addr, destination_cid=header.destination_cid, token=header.token, now=now
            )
        except ValueError:  # none, or not of ours
            if len(self._pending) < RETRY_FROM:
                self._accept(header, header.destination_cid, None, data, addr)
                return
            source = os.urandom(CONNECTION_ID_LENGTH)
            token = self._retry.create_token(
                address=addr, original_destination_connection_id=header.destination_cid,
                retry_source_connection_id=source, now=now,
            )  # fmt: skip
            version = int(QuicProtocolVersion.VERSION_1)
            self._send(
                encode_quic_retry(
                    version, source, header.source_cid, header.destination_cid, token
                ),
                addr,
            )
        else:
            self._accept(header, original, header.destination_cid, data, addr)

    def _accept(
        self, header: QuicHeader, original: bytes, retried: bytes | None, data: bytes, addr: Any
    ) -> None:
        remote = Multiaddr.from_socket(addr[0], addr[1], "quic-v1")
        if sum(c.remote.party == remote.party for c in self._pending) >= MAX_PENDING_PER_IP:
            return  # an honest client repeats its Initial
        engine = Engine(
            configuration=self._server,
            original_destination_connection_id=original,
            retry_source_connection_id=retried,
        )
        connection = QuicPeer(
            engine,
            self._send,
            self._facing,
            remote,
            Direction.INBOUND,
            keepalive=self._timers.keepalive,
        )
        self._register(connection, header.destination_cid, engine.host_cid)
        self._pending.add(connection)
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(HANDSHAKE_TIMEOUT, self._give_up, connection)

        def settled() -> None:
            deadline.cancel()
            self._pending.discard(connection)
            if connection.handshake.exception() is None:
                self.on_connection(connection)

        # Called by hand rather than as a done-callback, which runs a turn later: stream
        # data may be in the very datagram that completes the handshake.
        connection.on_settled = settled
        connection.receive(data, addr)

    def _give_up(self, connection: QuicPeer) -> None:
        connection.abort("handshake took too long")
        self._pending.discard(connection)

    def _register(self, connection: QuicPeer, *connection_ids: bytes) -> None:
        mine = set(connection_ids)

        def on_connection_id(cid: bytes, issued: bool) -> None:
            if issued:
                mine.add(cid)
                self._connections[cid] = connection
            else:
                mine.discard(cid)
                self._connections.pop(cid, None)

        def on_terminated() -> None:
            self._pending.discard(connection)
            for cid in mine:
                self._connections.pop(cid, None)

        connection.on_connection_id = on_connection_id
        connection.on_terminated = on_terminated
        for cid in connection_ids:
            self._connections[cid] = connection

    def _facing(self, remote: Multiaddr) -> Multiaddr:
        """Our address on the way to `remote`: a wildcard says nothing about a mapping."""
        local = self.local
        if local.ip is None or not local.ip.is_unspecified:
            return local
        source = route_source(*remote.socket_address)
        return Multiaddr.from_socket(source, local.port or 0, "quic-v1") if source else local

    def _send(self, data: bytes, addr: Any) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, addr)


def _target(address: Multiaddr) -> tuple[Any, ...]:
    """As `recvfrom` gives it, since the engine compares the two."""
    host, port = address.socket_address
    return (host, port, 0, 0) if ":" in host else (host, port)


def _refuse(connection: QuicPeer) -> None:
    connection.abort("not accepting")
