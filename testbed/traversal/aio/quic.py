"""One UDP socket for every QUIC connection, listening and dialing alike.

A NAT's mapping and its filter belong to the socket: the dial, the listening port and the
random datagrams of a hole punch must share it.
"""

import asyncio
import os
import random
import socket
from collections.abc import Callable
from typing import Any

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
    DialTimeoutError,
    HandshakeError,
    PeerIdMismatchError,
    TraversalError,
)
from ..keys import PrivateKey
from ..multiaddr import Multiaddr
from ..peer_id import PeerId
from .connection import Direction
from .net import route_source
from .quic_connection import QuicPeer
from .quic_engine import CONNECTION_ID_LENGTH, Engine, configuration
from .quic_timers import QuicTimers
from .udp import Carrier, Datagrams, open_carrier

HANDSHAKE_TIMEOUT = 10.0
MAX_PENDING = 64
MAX_PENDING_PER_IP = 32  # more than RETRY_FROM: forged Initials do not use up an IP's share
RETRY_FROM = 16  # pending handshakes; then a new one must show that its address is its own
_MIN_INITIAL = 1200
_PUNCH_BYTES = 64


class QuicEndpoint:
    """Demultiplexes datagrams by connection id.  `on_connection` gets verified inbound ones."""

    def __init__(
        self,
        identity: PrivateKey,
        timers: QuicTimers,
        key_log: Callable[[str], None] | None = None,
    ) -> None:
        credentials = tls_certificate.make(identity)
        self._timers = timers
        self._server = configuration(credentials, timers, key_log, client=False)
        self._client = configuration(credentials, timers, key_log, client=True)
        self._connections: dict[bytes, QuicPeer] = {}
        self._pending: set[QuicPeer] = set()
        self._retry = QuicRetryTokenHandler()
        self._socket: Carrier | None = None
        self.accepting = True
        self.may_accept: Callable[[Multiaddr], bool] = lambda _: True
        self.on_connection: Callable[[QuicPeer], None] = _refuse

    @classmethod
    async def bind(
        cls,
        identity: PrivateKey,
        address: Multiaddr,
        timers: QuicTimers | None = None,
        key_log: Callable[[str], None] | None = None,
    ) -> "QuicEndpoint":
        """Open the socket.  Raises OSError, AddressError."""
        if address.transport != "quic-v1":
            raise AddressError(f"{address} is not a QUIC address")
        host, port = address.socket_address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, port))
        except OSError:
            sock.close()
            raise
        endpoint = cls(identity, timers or QuicTimers(), key_log)
        endpoint.carried_by(await open_carrier(sock, endpoint.receive))
        return endpoint

    def carried_by(self, carrier: Carrier) -> None:
        """Send by this, which gives what it gets to `receive`."""
        self._socket = carrier

    @property
    def local(self) -> Multiaddr:
        """The bound address; its IP may be the wildcard."""
        if self._socket is None:
            raise AddressError("the endpoint is closed")
        name = self._socket.name
        return Multiaddr.from_socket(name[0], name[1], "quic-v1")

    @property
    def handshakes(self) -> int:
        """Inbound ones that are under way."""
        return len(self._pending)

    async def dial(
        self,
        address: Multiaddr,
        peer: PeerId | None,
        timeout: float,
        answered: Callable[[], None] | None = None,
    ) -> QuicPeer:
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
        connection.on_answer = answered
        self._register(connection, engine.host_cid)
        try:
            async with asyncio.timeout(timeout):
                connection.connect(target)
                await asyncio.shield(connection.handshake)
        except TimeoutError as error:
            reason = f"no handshake in {timeout:g} s"
            raise DialTimeoutError(address, reason) from error
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

    async def punch(
        self, address: Multiaddr, interval: tuple[float, float], may: Callable[[], bool]
    ) -> None:
        """Send random datagrams at random intervals (DCUtR, QUIC side B).

        Until cancelled, or `may` allows no more.
        """
        target = _target(address)
        while may():
            self._send(os.urandom(_PUNCH_BYTES), target)
            await asyncio.sleep(random.uniform(*interval))

    def close(self) -> None:
        """Close every connection and the socket."""
        for connection in set(self._connections.values()):
            connection.abort("the node closes")
        self._connections.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def receive(self, batch: Datagrams) -> None:
        """Datagrams that came together: each connection answers all of its own at once."""
        touched: dict[QuicPeer, None] = {}
        now = asyncio.get_running_loop().time()
        for data, addr in batch:
            connection = self._connections.get(_connection_id(data))
            if connection is None:
                self._meet(data, addr)
            else:
                connection.receive(data, addr, now)
                touched[connection] = None
        for connection in touched:
            connection.settle()

    def _meet(self, data: bytes, addr: Any) -> None:
        """Of no connection that we have."""
        try:
            header = pull_quic_header(Buffer(data=data), CONNECTION_ID_LENGTH)
        except ValueError:
            return  # noise, a punch for instance
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
        if not self.may_accept(remote):
            return
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
        connection.receive(data, addr, loop.time())
        connection.settle()

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
        if self._socket is not None:
            self._socket.sendto(data, addr)


def _connection_id(data: bytes) -> bytes:
    """The destination's (RFC 9000 section 17); of a short header it is as long as ours are."""
    if not data:
        return b""
    if data[0] & 0x80:
        return data[6 : 6 + data[5]] if len(data) > 6 else b""
    return data[1 : 1 + CONNECTION_ID_LENGTH]


def _target(address: Multiaddr) -> tuple[Any, ...]:
    """As `recvfrom` gives it, since the engine compares the two."""
    host, port = address.socket_address
    return (host, port, 0, 0) if ":" in host else (host, port)


def _refuse(connection: QuicPeer) -> None:
    connection.abort("not accepting")
