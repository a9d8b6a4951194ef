"""The sockets under NAT-PMP and PCP: one connected to the gateway, one for its announcements."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Hashable, Iterator, Sequence
from ipaddress import IPv4Address
from typing import Any, Generic, Protocol, TypeVar

from ..portmap import natpmp
from ..portmap.exchange import Answered, Failed, Restarted
from ..portmap.mapping import Endpoint, NoServiceError
from .gateway import Uplink
from .net import share_port

MAX_DATAGRAM = 2048

Request = TypeVar("Request", bound=Hashable)
Asked = TypeVar("Asked", contravariant=True)


class Client(Protocol[Asked]):
    """What both protocols' cores have."""

    def request(self, request: Asked, now: float) -> None: ...
    def withdraw(self, request: Asked) -> None: ...
    def receive_datagram(self, data: bytes, source: Endpoint, now: float) -> Sequence[Any]: ...
    def unreachable(self) -> Sequence[Any]: ...
    def tick(self, now: float) -> Sequence[Any]: ...
    def datagrams_to_send(self) -> list[bytes]: ...
    @property
    def next_timer(self) -> float | None: ...


class Channel(asyncio.DatagramProtocol, Generic[Request]):
    """A core with its socket and its timer.

    The socket is connected: the kernel drops what strangers send, and tells when the
    gateway answers that nobody listens there.
    """

    def __init__(self, client: Client[Request], restarted: Callable[[], None]) -> None:
        self._client = client
        self._restarted = restarted
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[Request, asyncio.Future[Any]] = {}

    async def open(self, uplink: Uplink) -> None:
        """Make the socket, once.  NoServiceError when there is no way to the gateway."""
        if self._transport is not None:
            return
        server = (str(uplink.gateway), natpmp.SERVER_PORT)
        try:
            self._transport, _ = await self._loop.create_datagram_endpoint(
                lambda: self, local_addr=(str(uplink.local), 0), remote_addr=server
            )
        except OSError as error:
            raise NoServiceError(f"no socket to {server[0]}: {error}") from error

    def close(self) -> None:
        """Whoever still waits gets a NoServiceError."""
        if self._timer:
            self._timer.cancel()
        if self._transport:
            self._transport.abort()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(NoServiceError("the port mapper was closed"))

    async def ask(self, request: Request, timeout: float) -> Any:
        """The answer, an event of the core.  PortMapError, also after `timeout` seconds."""
        future = self._waiting[request] = self._loop.create_future()
        self._client.request(request, self._loop.time())
        self._flush()
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError as error:
            name = type(request).__name__
            raise NoServiceError(f"no answer to {name} within {timeout:g} s") from error
        finally:
            self._client.withdraw(request)
            if self._waiting.get(request) is future:
                del self._waiting[request]

    def hear(self, data: bytes, source: Endpoint) -> None:
        """A datagram from `source`, by whichever socket it came."""
        self._apply(self._client.receive_datagram(data, source, self._loop.time()))

    def _apply(self, events: Sequence[Any]) -> None:
        for event in events:
            if isinstance(event, Restarted):
                self._restarted()
                continue
            future = self._waiting.get(event.request)
            if future is None or future.done():
                continue
            if isinstance(event, Failed):
                future.set_exception(event.error)
            elif isinstance(event, Answered):
                future.set_result(event)
        self._flush()

    def _flush(self) -> None:
        """Send what is due, and set the timer anew."""
        for datagram in self._client.datagrams_to_send():
            if self._transport and not self._transport.is_closing():
                self._transport.sendto(datagram)
        if self._timer:
            self._timer.cancel()
        due = self._client.next_timer
        self._timer = None if due is None else self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._apply(self._client.tick(self._loop.time()))

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """From asyncio."""
        self.hear(data[:MAX_DATAGRAM], Endpoint(IPv4Address(addr[0]), addr[1]))

    def error_received(self, exc: Exception) -> None:
        """From asyncio: an ICMP error reached the connected socket."""
        if isinstance(exc, ConnectionRefusedError):
            self._apply(self._client.unreachable())


@contextlib.contextmanager
def multicast(
    local: IPv4Address, group: Endpoint, hear: Callable[[bytes, Endpoint], None]
) -> Iterator[None]:
    """Give `hear` whatever comes to a group on the interface of `local`, while the context lasts.

    The port is shared with other programs (RFC 6886 section 3.2.1).  Where it cannot be had
    nothing is heard: a restart is then noticed only when a mapping is renewed.
    """
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        share_port(sock, True)
        try:
            sock.bind((str(group.address), group.port))
            member = group.address.packed + local.packed
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        except OSError:
            yield
            return

        def read() -> None:
            with contextlib.suppress(OSError):
                data, (host, port) = sock.recvfrom(MAX_DATAGRAM)
                hear(data, Endpoint(IPv4Address(host), port))

        loop.add_reader(sock, read)
        stack.callback(loop.remove_reader, sock)
        yield
