"""AutoNAT v1 and v2, the serving side."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .. import autonat_v1, autonat_v2, multistream
from ..errors import AddressError, DialError, ProtocolError, TraversalError
from ..ip_scope import IpAddress
from ..multiaddr import Multiaddr
from .connection import Connection
from .fresh_dial import fresh_dial
from .host import Host
from .net import is_own
from .stream import Stream, run_machine

_REQUEST_TIMEOUT = 15.0


@dataclass(frozen=True)
class AutonatOptions:
    """Seconds and rates; `dial_data_wait` is the longest random pause before a foreign IP."""

    dial_timeout: float = 10.0
    v1_rates: autonat_v1.RateLimits = field(default_factory=autonat_v1.RateLimits)
    v2_rates: autonat_v1.RateLimits = field(
        default_factory=lambda: autonat_v1.RateLimits(overall=60, per_peer=12)
    )
    dial_data_wait: float = 3.0
    allow_private: bool = False


class AutonatServer:
    """Serves both versions on a host; `advertised` are our own addresses, as others see them."""

    def __init__(
        self, host: Host, options: AutonatOptions, advertised: Callable[[], Iterable[Multiaddr]]
    ) -> None:
        self._host, self._options, self._advertised = host, options, advertised
        self._v1 = autonat_v1.RateLimiter(options.v1_rates)
        self._v2 = autonat_v1.RateLimiter(options.v2_rates)
        self._random = random.Random()
        host.set_handler(autonat_v1.PROTOCOL, self._on_v1)
        host.set_handler(autonat_v2.REQUEST_PROTOCOL, self._on_v2)

    # Version 1.

    async def _on_v1(self, stream: Stream, connection: Connection) -> None:
        async with asyncio.timeout(_REQUEST_TIMEOUT):
            frame = await stream.read_frame(autonat_v1.MAX_MESSAGE)
        try:
            asked = autonat_v1.decode_request(frame, connection.peer)
        except (ProtocolError, AddressError) as error:
            answer = autonat_v1.Answer(autonat_v1.Status.BAD_REQUEST, text=str(error))
        else:
            answer = await self._judge(asked, connection)
        await stream.write_frame(autonat_v1.encode_answer(answer))

    async def _judge(
        self, asked: tuple[Multiaddr, ...], connection: Connection
    ) -> autonat_v1.Answer:
        refused = autonat_v1.Status.DIAL_REFUSED
        if connection.relayed:
            return autonat_v1.Answer(refused, text="not for a relayed peer")
        targets = autonat_v1.addresses_to_dial(
            asked, connection.remote, allow_private=self._options.allow_private
        )
        if not targets:
            return autonat_v1.Answer(refused, text="no address on the observed IP")
        if not self._admit(self._v1, connection):
            return autonat_v1.Answer(refused, text="too many requests")
        dials = [self._host.spawn(self._reach(a, connection)) for a in targets]
        try:
            for finished in asyncio.as_completed(dials):
                if (reached := await finished) is not None:
                    return autonat_v1.Answer(autonat_v1.Status.OK, reached)
        finally:
            for dial in dials:
                dial.cancel()
        return autonat_v1.Answer(autonat_v1.Status.DIAL_ERROR, text="all dials failed")

    async def _reach(self, address: Multiaddr, client: Connection) -> Multiaddr | None:
        try:
            timeout, gater = self._options.dial_timeout, self._host.gater
            async with fresh_dial(address, client.peer, timeout, gater):
                return address
        except DialError:
            return None

    # Version 2.

    async def _on_v2(self, stream: Stream, connection: Connection) -> None:
        async with asyncio.timeout(_REQUEST_TIMEOUT):
            frame = await stream.read_frame(autonat_v2.MAX_MESSAGE)
            request = autonat_v2.Message.decode(frame).request
        if request is None or request.nonce is None:
            raise ProtocolError("autonat2", "not a dial request")
        status = autonat_v2.ResponseStatus
        if not self._admit(self._v2, connection):
            await _respond(stream, autonat_v2.DialResponse(status.REQUEST_REJECTED))
            return
        choice = None
        if not connection.relayed:
            choice = autonat_v2.choose(
                request.addrs, connection.remote, frozenset({"tcp", "quic-v1"}), self._random,
                own=self._own, allow_private=self._options.allow_private,
            )  # fmt: skip
        if choice is None:
            await _respond(stream, autonat_v2.DialResponse(status.DIAL_REFUSED))
            return
        if choice.dial_data:
            await self._collect(stream, choice)
        dialed = await self._dial_back(choice.address, connection, request.nonce)
        await _respond(stream, autonat_v2.DialResponse(status.OK, choice.index, dialed))

    @staticmethod
    def _admit(limiter: autonat_v1.RateLimiter, client: Connection) -> bool:
        now = asyncio.get_running_loop().time()
        return limiter.admit(client.peer, now, "" if client.relayed else client.remote.party)

    def _own(self, ip: IpAddress) -> bool:
        if any(a.ip == ip for a in self._advertised() if not a.is_relayed):
            return True
        # In tests on one machine every address is its own.
        return is_own(ip) and not (self._options.allow_private and ip.is_loopback)

    async def _collect(self, stream: Stream, choice: autonat_v2.Choice) -> None:
        """The client pays for a dial to an IP that is not its own."""
        due = autonat_v2.DialDataRequest(choice.index, choice.dial_data)
        await stream.write_frame(autonat_v2.Message(data_request=due).encode())
        meter = autonat_v2.DialDataMeter(choice.dial_data)
        async with asyncio.timeout(_REQUEST_TIMEOUT):
            while not meter.paid:
                meter.receive(await stream.read_frame(autonat_v2.MAX_MESSAGE))
        await asyncio.sleep(self._random.uniform(0, self._options.dial_data_wait))

    async def _dial_back(
        self, address: Multiaddr, client: Connection, nonce: int
    ) -> autonat_v2.DialStatus:
        timeout = self._options.dial_timeout
        try:
            gater = self._host.gater
            async with fresh_dial(address, client.peer, timeout, gater) as connection:
                try:
                    async with asyncio.timeout(timeout):
                        await _send_nonce(connection, nonce)
                except (TraversalError, TimeoutError):
                    return autonat_v2.DialStatus.DIAL_BACK_ERROR
                return autonat_v2.DialStatus.OK
        except DialError:
            return autonat_v2.DialStatus.DIAL_ERROR


async def _send_nonce(connection: Connection, nonce: int) -> None:
    stream = await connection.open_raw_stream()
    machine = multistream.Dialer([autonat_v2.DIAL_BACK_PROTOCOL])
    stream.unread(await run_machine(machine, stream, "multistream"))
    await stream.write_frame(autonat_v2.DialBack(nonce).encode())
    stream.close_write()
    with contextlib.suppress(TraversalError):  # the answer only lets us close in good order
        await stream.read_frame(autonat_v2.MAX_MESSAGE)


async def _respond(stream: Stream, response: autonat_v2.DialResponse) -> None:
    await stream.write_frame(autonat_v2.Message(response=response).encode())
