"""Circuit relay v2, the relay: reservations and circuits with limits on both."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import Any

from .. import relay
from ..errors import AddressError, ProtocolError, StreamResetError, TraversalError
from ..gater import RelayAcl
from ..multiaddr import Multiaddr
from ..peer_id import PeerId
from .connection import PATIENCE, Connection
from .host import Host
from .stream import Stream

_TIMEOUT = 15.0
_CHUNK = 65536  # bytes: as much as comes in one batch of datagrams, written with one pump


class RelayServer:
    """`addresses` says where peers reach this relay directly."""

    def __init__(
        self,
        host: Host,
        limits: relay.RelayLimits,
        addresses: Callable[[], tuple[Multiaddr, ...]],
        acl: RelayAcl | None = None,
    ) -> None:
        self.ledger = relay.Ledger(limits)
        self._acl = acl or RelayAcl()
        self._host, self._limits, self._addresses = host, limits, addresses
        host.set_handler(relay.HOP_PROTOCOL, self._on_hop)
        host.closed_hooks.append(self._on_closed)

    def _on_closed(self, connection: Connection) -> None:
        if not self._host.connections_to(connection.peer, relayed=False):
            self.ledger.disconnected(connection.peer)
            self._host.kept.discard(connection.peer)

    async def _on_hop(self, stream: Stream, connection: Connection) -> None:
        async with asyncio.timeout(_TIMEOUT):
            frame = await stream.read_frame(relay.MAX_MESSAGE)
            try:
                message = relay.HopMessage.decode(frame)
            except ProtocolError:
                await answer(stream, relay.Status.MALFORMED_MESSAGE)
                return
            if connection.relayed:
                await answer(stream, relay.Status.PERMISSION_DENIED)
                return
        if message.type == relay.HopType.RESERVE:
            await self._reserve(stream, connection)
        elif message.type == relay.HopType.CONNECT:
            await self._connect(stream, connection, message)
        else:
            await answer(stream, relay.Status.UNEXPECTED_MESSAGE)

    async def _reserve(self, stream: Stream, connection: Connection) -> None:
        peer = connection.peer
        if not self._acl.may_reserve(peer, connection.remote):
            await answer(stream, relay.Status.PERMISSION_DENIED)
            return
        status, expire = self.ledger.reserve(peer, connection.remote.party, time.time())
        if status is not relay.Status.OK:
            await answer(stream, status)
            return
        host = self._host
        host.kept.add(peer)
        reservation = relay.Reservation(
            expire,
            tuple(a.with_peer(host.peer).encode() for a in self._addresses()),
            relay.seal_voucher(host.identity, host.peer, peer, expire),
        )
        granted = relay.HopMessage(
            relay.HopType.STATUS,
            reservation=reservation,
            limit=self._limits.message,
            status=relay.Status.OK,
        )
        await stream.write_frame(granted.encode())

    async def _connect(
        self, stream: Stream, connection: Connection, message: relay.HopMessage
    ) -> None:
        try:
            target = PeerId((message.peer and message.peer.id) or b"")
        except AddressError:
            await answer(stream, relay.Status.MALFORMED_MESSAGE)
            return
        source = connection.peer
        status = self.admit(connection, target)
        if status is not relay.Status.OK:
            await answer(stream, status)
            return
        try:
            await self._bridge(stream, source, target)
        finally:
            self.ledger.close(source, target)

    def admit(self, connection: Connection, target: PeerId) -> relay.Status:
        """May the peer have a circuit now?  OK books it: `ledger.close` ends that."""
        if not self._acl.may_connect(connection.peer, connection.remote, target):
            return relay.Status.PERMISSION_DENIED
        return self.ledger.connect(connection.peer, target, time.time())

    async def _bridge(self, stream: Stream, source: PeerId, target: PeerId) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT):
                request = relay.StopMessage(
                    relay.StopType.CONNECT, relay.Peer(source.multihash), self._limits.message
                )
                other = await self.open_stop(target, relay.STOP_PROTOCOL, request.encode())
        except (TraversalError, TimeoutError):
            await answer(stream, relay.Status.CONNECTION_FAILED)
            return
        try:
            await answer(stream, relay.Status.OK, self._limits.message)
        except BaseException:
            other.abort()
            raise
        data = self._limits.data
        forward = _carry(stream, other, relay.Allowance(data))
        back = _carry(other, stream, relay.Allowance(data))
        await splice(stream, other, forward, back, self._limits.duration)

    async def open_stop(self, target: PeerId, protocol: str, request: bytes) -> Stream:
        """A stream to a holder of a reservation, who has accepted what is asked.

        Raises StreamResetError when it did not, or what streams raise.
        """
        direct = self._host.connections_to(target, relayed=False)
        if not direct:
            raise StreamResetError("the target has left")
        # Who holds a reservation serves this.
        stream = await self._host.open_lazily(direct[0], protocol)
        try:
            await stream.write_frame(request)
            said = relay.StopMessage.decode(await stream.read_frame(relay.MAX_MESSAGE))
            if said.type != relay.StopType.STATUS or said.status != relay.Status.OK:
                raise StreamResetError(f"the target answered {said.status}")
        except BaseException:
            stream.abort()
            raise
        return stream


async def splice(
    one: Stream,
    two: Stream,
    forward: Coroutine[Any, Any, None],
    back: Coroutine[Any, Any, None],
    duration: float,
) -> None:
    """Carry bytes both ways until both ends are closed.

    When one of the two raises, or after `duration` seconds (0 is no limit), both streams are
    reset.  Raises StreamResetError saying why.
    """
    pair = (one, two)
    try:
        async with asyncio.timeout(duration or None):
            async with asyncio.TaskGroup() as group:
                group.create_task(forward)
                group.create_task(back)
    except TimeoutError as error:
        _reset(*pair)
        raise StreamResetError(f"circuit is older than {duration:g} s") from error
    except BaseExceptionGroup as group_error:
        _reset(*pair)
        raise StreamResetError(str(group_error.exceptions[0])) from group_error
    except BaseException:
        _reset(*pair)
        raise


async def _carry(source: Stream, sink: Stream, allowance: relay.Allowance) -> None:
    while data := await source.read(_CHUNK):
        passed = allowance.take(len(data))
        try:
            await sink.write(data[:passed])
        except TraversalError:  # nobody reads this direction any more: the other may go on
            source.close_read()
            return
        if passed < len(data):
            with contextlib.suppress(TraversalError, TimeoutError):  # else the reset drops it
                async with asyncio.timeout(PATIENCE):
                    await sink.wait_closed()
            raise StreamResetError("circuit carried all the data it may")
    sink.close_write()


def _reset(*streams: Stream) -> None:
    for stream in streams:
        stream.abort()


async def answer(stream: Stream, status: relay.Status, limit: relay.Limit | None = None) -> None:
    """What a hop stream is told."""
    message = relay.HopMessage(relay.HopType.STATUS, limit=limit, status=status)
    await stream.write_frame(message.encode())
