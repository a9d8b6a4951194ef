"""A TURN allocation (RFC 8656), over UDP or TCP: aioice's client, with the rest of the protocol.

aioice binds a channel for every peer it sends to; permissions and indications are added
here, and every refusal is a `TurnError` with its code.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from enum import IntEnum
from typing import Any, Literal

from aioice import stun, turn

from ..errors import ConnectionClosedError, DeadlineError, TraversalError

Address = tuple[str, int]
LIFETIME = 600  # seconds, RFC 8656 section 3.2
_QUEUED = 256  # datagrams that wait for a reader; more are dropped, as a socket does


class Refusal(IntEnum):
    """Error codes of RFC 8656 section 19 and RFC 8489 section 14.8."""

    TRY_ALTERNATE = 300
    BAD_REQUEST = 400
    UNAUTHENTICATED = 401
    FORBIDDEN = 403
    UNKNOWN_ATTRIBUTE = 420
    ALLOCATION_MISMATCH = 437
    STALE_NONCE = 438
    ADDRESS_FAMILY_NOT_SUPPORTED = 440
    WRONG_CREDENTIALS = 441
    UNSUPPORTED_TRANSPORT = 442
    PEER_ADDRESS_FAMILY_MISMATCH = 443
    ALLOCATION_QUOTA_REACHED = 486
    SERVER_ERROR = 500
    INSUFFICIENT_CAPACITY = 508


class TurnError(TraversalError):
    """The server refused.  ``refusal`` is None for a code that no RFC names.

    ``proven`` is False where the refusal came without MESSAGE-INTEGRITY though the request
    had one.  RFC 8489 section 9.2.5 has such an answer passed over, as anybody could have sent
    it; but coturn 4.6 answers 437 and others so, and when no better answer has come by the
    deadline the user is told what this one said.
    """

    def __init__(self, method: str, code: int, proven: bool = True) -> None:
        self.code = code
        self.proven = proven
        self.refusal = Refusal(code) if code in list(Refusal) else None
        word = self.refusal.name.lower() if self.refusal else "unknown"
        unproven = "" if proven else ", in an answer without authentication"
        super().__init__(f"turn: {method.lower()} refused: {code} {word}{unproven}")


class _Receiver(asyncio.DatagramProtocol):
    """What peers sent to the relayed address."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[tuple[bytes, Address] | None] = asyncio.Queue(_QUEUED)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if not self.arrived.full():
            self.arrived.put_nowait((data, addr))

    def connection_lost(self, _: Exception | None) -> None:
        if self.arrived.full():
            self.arrived.get_nowait()
        self.arrived.put_nowait(None)


class TurnAllocation:
    """One relayed transport address.  Made by `allocate`."""

    def __init__(self, client: turn.TurnClientProtocol, patience: float) -> None:
        self._client = client
        self._patience = patience
        self._receiver = _Receiver()
        self._channels: set[Address] = set()
        self.permitted: set[str] = set()  # IPs: permissions know no ports (section 3.3)
        self.unproven: int | None = None  # the last error code without MESSAGE-INTEGRITY
        self.relayed: Address = ("", 0)
        self.mapped: Address = ("", 0)

    async def open(self) -> None:
        """Ask for it; TurnError when refused, DeadlineError when not answered."""
        self.relayed = await self._within(self._client.connect(), "Allocate")
        assert self._client.mapped_address is not None  # connect() asked for it
        self.mapped = self._client.mapped_address
        self._client.receiver = self._receiver

    async def permit(self, ip: str) -> None:
        """CreatePermission (section 9): what ``ip`` sends is relayed to us, for five minutes."""
        request = stun.Message(stun.Method.CREATE_PERMISSION, stun.Class.REQUEST)
        request.attributes["XOR-PEER-ADDRESS"] = (ip, 0)
        await self._ask(request)
        self.permitted.add(ip)

    async def bind(self, peer: Address) -> None:
        """ChannelBind (section 11): what goes to and comes from ``peer`` has four bytes of header.

        It permits ``peer``'s IP, too.
        """
        await self._within(self._client.send_data(b"", peer), "ChannelBind")
        self._channels.add(peer)
        self.permitted.add(peer[0])

    async def send(self, data: bytes, peer: Address) -> None:
        """By the channel where one is bound, else as a Send indication (section 10).

        An indication has no answer: without a permission the server drops it in silence.
        """
        if peer in self._channels:
            await self._within(self._client.send_data(data, peer), "ChannelData")
            return
        message = stun.Message(stun.Method.SEND, stun.Class.INDICATION)
        message.attributes |= {"XOR-PEER-ADDRESS": peer, "DATA": data}
        self._client.send_stun(message, self._client.server)

    async def receive(self) -> tuple[bytes, Address]:
        """The next datagram and who sent it; ConnectionClosedError once the allocation is lost."""
        found = await self._receiver.arrived.get()
        if found is None:
            self._receiver.arrived.put_nowait(None)  # for the next reader, too
            raise ConnectionClosedError("turn: the allocation is gone")
        return found

    async def refresh(self, lifetime: int) -> int:
        """Refresh (section 7) by hand: seconds granted; 0 gives the allocation up."""
        request = stun.Message(stun.Method.REFRESH, stun.Class.REQUEST)
        request.attributes["LIFETIME"] = lifetime
        response = await self._ask(request)
        granted: int = response.attributes.get("LIFETIME", 0)
        return granted

    async def close(self) -> None:
        """Give the allocation up; the server is told if it answers."""
        if self.relayed[1]:
            with suppress(TimeoutError):  # a server that is gone frees it by its own timer
                async with asyncio.timeout(self._patience):
                    await self._client.delete()
        self._client.transport.close()

    async def _ask(self, request: stun.Message) -> stun.Message:
        name = request.message_method.name
        response: stun.Message
        response, _ = await self._within(self._client.request_with_retry(request), name)
        return response

    async def _within(self, work: Any, what: str) -> Any:
        self.unproven = None
        try:
            async with asyncio.timeout(self._patience):
                return await work
        except stun.TransactionFailed as error:
            raise TurnError(what, error.response.error_code or 0) from error
        except (TimeoutError, stun.TransactionTimeout) as error:
            if self.unproven is not None:
                raise TurnError(what, self.unproven, proven=False) from error
            host, port = self._client.server
            waited = f"turn: no answer to {what} from {host}:{port} in {self._patience:g} s"
            raise DeadlineError(waited) from error
        except ConnectionError as error:
            raise ConnectionClosedError(f"turn: {what}: {error}") from error


class _Permitting:
    """What aioice passes over: Data indications (section 10.4) of peers without a channel."""

    allocation: TurnAllocation

    def heard(self, data: bytes) -> bool:
        """Whether ``data`` was such an indication, and has been dealt with."""
        if len(data) < 20 or turn.is_channel_data(data):
            return False
        try:
            message = stun.parse_message(data)
        except ValueError:
            return False
        if message.message_class is stun.Class.ERROR:
            if "MESSAGE-INTEGRITY" not in message.attributes:
                self.allocation.unproven = message.error_code
            return False
        if message.message_method is not stun.Method.DATA:
            return False
        peer, payload = (message.attributes.get(k) for k in ("XOR-PEER-ADDRESS", "DATA"))
        if peer and payload is not None and peer[0] in self.allocation.permitted:
            self.allocation._receiver.datagram_received(payload, peer)
        return True


class _Udp(_Permitting, turn.TurnClientUdpProtocol):
    def datagram_received(self, data: bytes | str, addr: Address) -> None:
        if not (isinstance(data, bytes) and self.heard(data)):
            super().datagram_received(data, addr)


class _Tcp(_Permitting, turn.TurnClientTcpProtocol):
    def datagram_received(self, data: bytes | str, addr: Address) -> None:
        if not (isinstance(data, bytes) and self.heard(data)):
            super().datagram_received(data, addr)


@asynccontextmanager
async def allocate(
    server: Address,
    username: str,
    password: str,
    *,
    transport: Literal["udp", "tcp"] = "udp",
    lifetime: int = LIFETIME,
    patience: float = 5.0,
) -> AsyncIterator[TurnAllocation]:
    """An allocation at ``server``, given up on leaving.

    ``lifetime`` in seconds is asked for and renewed at 5/6 of what is granted; ``patience``
    in seconds bounds each exchange.  TurnError, DeadlineError, ConnectionClosedError.
    """
    client = await _connect(server, username, password, transport, lifetime, patience)
    allocation = client.allocation = TurnAllocation(client, patience)
    try:
        await allocation.open()
        yield allocation
    finally:
        await allocation.close()


async def _connect(
    server: Address, username: str, password: str, transport: str, lifetime: int, patience: float
) -> "_Udp | _Tcp":
    loop = asyncio.get_running_loop()
    arguments = (server, username, password, lifetime, turn.DEFAULT_CHANNEL_REFRESH_TIME)
    udp: Callable[[], _Udp] = lambda: _Udp(*arguments)  # noqa: E731 - mypy wants its type
    tcp: Callable[[], _Tcp] = lambda: _Tcp(*arguments)  # noqa: E731
    try:
        async with asyncio.timeout(patience):
            if transport == "tcp":
                return (await loop.create_connection(tcp, *server))[1]
            return (await loop.create_datagram_endpoint(udp, remote_addr=server))[1]
    except TimeoutError as error:
        waited = f"turn: no connection to {server[0]}:{server[1]} in {patience:g} s"
        raise DeadlineError(waited) from error
    except OSError as error:
        raise ConnectionClosedError(f"turn: {server[0]}:{server[1]}: {error.strerror}") from error
