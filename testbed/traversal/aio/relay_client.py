"""Circuit relay v2, the client: reserve, refresh, dial through, be dialed through."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from .. import relay
from ..errors import (
    AddressError,
    ConnectionClosedError,
    DialError,
    DialFailure,
    DialTimeoutError,
    ProtocolError,
    RelayRefusedError,
    SecurityRefusedError,
    TraversalError,
)
from ..events import ReservationLost, Reserved
from ..multiaddr import Multiaddr, decode_all
from ..peer_id import PeerId
from .connection import Connection, Direction
from .host import Host
from .stream import BytePipe, Stream
from .upgrade import upgrade

_TIMEOUT = 15.0
_RETRY = (1.0, 60.0)

Circuit = tuple[BytePipe, relay.Limit | None]
Connect = Callable[[Connection, PeerId], Awaitable[Circuit]]


@dataclass(frozen=True)
class Held:
    """A reservation: the relay, its end in UNIX seconds, and our addresses through it."""

    relay: PeerId
    expire: int
    addresses: tuple[Multiaddr, ...]


class RelayClient:
    """`held` are the reservations that are valid now."""

    def __init__(self, host: Host) -> None:
        self.held: dict[PeerId, Held] = {}
        self.changed_hooks: list[Callable[[], None]] = []
        self._host = host
        self._keepers: dict[PeerId, asyncio.Task[None]] = {}
        host.set_handler(relay.STOP_PROTOCOL, self._on_stop)
        host.closed_hooks.append(self._on_closed)

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        """Our circuit addresses."""
        return tuple(a for held in self.held.values() for a in held.addresses)

    async def reserve(self, connection: Connection, address: Multiaddr | None = None) -> Held:
        """Reserve once and keep it refreshed, and sought again when lost.

        Raises RelayRefusedError, ProtocolError (a bad voucher), DeadlineError.
        """
        held = await self._reserve_once(connection, refreshed=False)
        if connection.peer not in self._keepers:
            back = (address or connection.remote).with_peer(connection.peer)
            self._keepers[connection.peer] = self._host.spawn(self._keep(connection.peer, back))
        return held

    def release(self, peer: PeerId) -> None:
        """Stop keeping a reservation; it runs out by itself."""
        self._host.kept.discard(peer)
        keeper = self._keepers.pop(peer, None)
        if keeper is not None:
            keeper.cancel()
        if self.held.pop(peer, None) is not None:
            self._changed()

    async def dial(
        self, through: Connection, target: PeerId, timeout: float, connect: Connect | None = None
    ) -> Connection:
        """A relayed connection to `target`; `connect` asks for the circuit.  Raises DialError."""
        connect = connect or self._connect
        remote = through.remote.with_peer(through.peer).circuit()
        address = remote.with_peer(target)
        if not self._host.gater.may_dial(address, target):
            raise DialError(address, DialFailure.DENIED, "the gater does not let us")
        try:
            async with asyncio.timeout(timeout):
                try:
                    connection = await self._circuit(through, target, timeout, connect)
                except SecurityRefusedError:  # that is noted: another protocol comes first now
                    connection = await self._circuit(through, target, timeout, connect)
        except RelayRefusedError as error:
            raise DialError(address, DialFailure.RELAY_REFUSED, str(error)) from error
        except TimeoutError as error:
            reason = str(error) or f"no circuit in {timeout:g} s"
            raise DialTimeoutError(address, reason) from error
        except TraversalError as error:
            raise DialError(address, DialFailure.HANDSHAKE, str(error)) from error
        self._host.adopt(connection)
        if connection.closed:
            raise DialError(address, DialFailure.LIMIT, connection.close_reason or "refused")
        return connection

    # Private.

    async def _circuit(
        self, through: Connection, target: PeerId, timeout: float, connect: Connect
    ) -> Connection:
        pipe, limit = await connect(through, target)
        connection = await upgrade(
            pipe, self._host.security, client=True, expected=target,
            local=through.local.circuit(), remote=through.remote.with_peer(through.peer).circuit(),
            direction=Direction.OUTBOUND, limits=self._host.limits.streams, timeout=timeout,
        )  # fmt: skip
        connection.limit = limit
        return connection

    async def _ask(self, connection: Connection, request: relay.HopMessage) -> "_Answered":
        return await ask(self._host, connection, relay.HOP_PROTOCOL, request.encode())

    async def _connect(self, through: Connection, target: PeerId) -> Circuit:
        request = relay.HopMessage(relay.HopType.CONNECT, peer=relay.Peer(target.multihash))
        stream, answer = await self._ask(through, request)
        return stream, answer.limit or None

    async def _reserve_once(self, connection: Connection, *, refreshed: bool) -> Held:
        peer = connection.peer
        async with asyncio.timeout(_TIMEOUT):
            stream, answer = await self._ask(connection, relay.HopMessage(relay.HopType.RESERVE))
            await stream.close()
        reservation = answer.reservation
        if reservation is None or not reservation.expire or reservation.expire <= time.time():
            raise ProtocolError("relay", "accepted without a reservation that lies ahead")
        if reservation.voucher is not None:
            relay.check_voucher(reservation.voucher, peer, self._host.peer, reservation.expire)
        direct = [
            a.with_peer(peer)
            for a in decode_all(reservation.addrs)
            if not a.is_relayed and a.peer_id in (None, peer)
        ]
        circuits = [a.circuit() for a in direct or [connection.remote.with_peer(peer)]]
        held = Held(peer, reservation.expire, tuple(c.with_peer(self._host.peer) for c in circuits))
        if connection.closed:
            raise ConnectionClosedError("the relay's connection closed while reserving")
        self.held[peer] = held
        self._host.kept.add(peer)
        self._host.emit(Reserved(peer, held.expire, held.addresses, refreshed))
        self._changed()
        return held

    async def _keep(self, peer: PeerId, address: Multiaddr) -> None:
        """Refresh at half of what is left; after a loss, reconnect with growing pauses."""
        pause = _RETRY[0]
        while True:
            held = self.held.get(peer)
            left = held.expire - time.time() if held else 0.0
            await asyncio.sleep(max(left / 2, 0.5) if held else pause)
            try:
                direct = self._host.connections_to(peer, relayed=False)
                connection = direct[0] if direct else await self._host.dial_direct(
                    address.without_peer(), peer, _TIMEOUT
                )  # fmt: skip
                await self._reserve_once(connection, refreshed=peer in self.held)
                pause = _RETRY[0]
            except (TraversalError, TimeoutError) as error:
                pause = min(pause * 2, _RETRY[1])
                held = self.held.get(peer)
                if held is None or held.expire <= time.time() + 1:
                    self._lose(peer, str(error) or type(error).__name__)

    def _on_closed(self, connection: Connection) -> None:
        if not self._host.connections_to(connection.peer, relayed=False):
            self._lose(connection.peer, "the connection to the relay closed")
            keeper = self._keepers.pop(connection.peer, None)
            if keeper is not None and not self._host.closing:
                keeper.cancel()
                back = connection.remote.with_peer(connection.peer)
                self._keepers[connection.peer] = self._host.spawn(self._keep(connection.peer, back))

    def _lose(self, peer: PeerId, reason: str) -> None:
        if self.held.pop(peer, None) is not None:
            self._host.emit(ReservationLost(peer, reason))
            self._changed()

    def _changed(self) -> None:
        for hook in self.changed_hooks:
            hook()

    async def _on_stop(self, stream: Stream, connection: Connection) -> None:
        """A relay brings a circuit: accept it only where we hold a reservation."""
        async with asyncio.timeout(_TIMEOUT):
            message = relay.StopMessage.decode(await stream.read_frame(relay.MAX_MESSAGE))
            status = self._judge(message, connection)
            answer = relay.StopMessage(relay.StopType.STATUS, status=status)
            await stream.write_frame(answer.encode())
        if status is relay.Status.OK and message.peer is not None:
            source = PeerId(message.peer.id or b"")
            await self.accept(stream, connection, source, message.limit or None)

    async def accept(
        self, pipe: BytePipe, connection: Connection, source: PeerId, limit: relay.Limit | None
    ) -> None:
        """Serve a circuit that the relay brought from `source`, until it is closed."""
        circuit = await upgrade(
            pipe, self._host.security, client=False, expected=source,
            local=connection.local.circuit(),
            remote=connection.remote.with_peer(connection.peer).circuit(),
            direction=Direction.INBOUND, limits=self._host.limits.streams,
        )  # fmt: skip
        circuit.limit = limit
        self._host.adopt(circuit)
        await circuit.wait_closed()

    def _judge(self, message: relay.StopMessage, connection: Connection) -> relay.Status:
        if message.type != relay.StopType.CONNECT or message.peer is None:
            return relay.Status.UNEXPECTED_MESSAGE
        try:
            source = PeerId(message.peer.id or b"")
        except AddressError:
            return relay.Status.MALFORMED_MESSAGE
        return self.may_bring(connection, source)

    def may_bring(self, connection: Connection, source: PeerId) -> relay.Status:
        """May the relay on this connection bring a circuit from `source`?"""
        remote = connection.remote.with_peer(connection.peer).circuit().with_peer(source)
        ours = connection.peer in self.held and not connection.relayed
        if not ours or not self._host.gater.may_accept(remote):
            return relay.Status.PERMISSION_DENIED
        return relay.Status.OK


async def ask(host: Host, connection: Connection, protocol: str, request: bytes) -> "_Answered":
    """Ask a relay on a hop stream.  Raises RelayRefusedError, ProtocolError."""
    # No relay is asked that does not serve this: its answer need not be waited for.
    stream = await host.open_lazily(connection, protocol)
    try:
        await stream.write_frame(request)
        answer = relay.HopMessage.decode(await stream.read_frame(relay.MAX_MESSAGE))
        if answer.type != relay.HopType.STATUS:
            raise ProtocolError("relay", f"answered with type {answer.type}")
        if answer.status != relay.Status.OK:
            status = answer.status or 0
            raise RelayRefusedError(status, relay.status_name(status))
    except BaseException:
        stream.abort()
        raise
    return stream, answer


_Answered = tuple[Stream, relay.HopMessage]
