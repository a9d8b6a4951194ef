"""The plain TCP puncher: listens and dials on one port, so that crossed SYNs meet.

The STUN connection, the listener and every attempt share the local address and port
(SO_REUSEADDR and SO_REUSEPORT, bind before connect); the kernel's simultaneous open
(RFC 9293 section 3.5, RFC 5382 REQ-2) and its SYN retransmissions do the rest.  A
connection counts when both sides have said the session's number on it; of several,
the dialer selects one and says so.
"""

import asyncio
import contextlib
import socket
from collections.abc import Coroutine
from dataclasses import dataclass, field

from testbed.model.contract import (
    Configure,
    Connected,
    Dial,
    Endpoint,
    Event,
    FailureClass,
    Listening,
    Mode,
    Observed,
    Offer,
    Path,
    Role,
    Transport,
)
from testbed.stacks import stun
from testbed.stacks.echo import chunks
from testbed.stacks.session import Emit, PeerFailure, now, refuse_unsupported, serve, sleep_until
from testbed.stacks.wire import Frame, FrameReader, Kind, NotAFrame, Speaker

DEADLINE = 4.0  # seconds from ``start_at``, where it is told none
ROUND = 1_000_000_000  # nanoseconds between attempts, where one was refused
STUN_DEADLINE = 4.0  # seconds: two retransmissions of a SYN (at 1 and 3 s) fit in
ECHO_DEADLINE = 10.0  # seconds
READ_SIZE = 65536  # bytes

HELLO = 0  # the number of a PROBE, said once by each side
SELECTION = 1  # the number of a SELECT and of the ACK that answers it


def shared_socket(address: str, port: int) -> socket.socket:
    """A non-blocking socket bound to an address that others may be bound to."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.bind((address, port))
    return sock


@dataclass(eq=False)
class _Connection:
    """An established connection, whoever dialed it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    verified: bool = False
    back: dict[int, bytes] = field(default_factory=dict)  # what was sent back to us
    progress: asyncio.Event = field(default_factory=asyncio.Event)
    lost: bool = False

    @property
    def local(self) -> Endpoint:
        return Endpoint.of(self.writer.get_extra_info("sockname"))

    @property
    def remote(self) -> Endpoint:
        return Endpoint.of(self.writer.get_extra_info("peername"))


class Selection:
    """Which of the verified connections is used: a protocol without sockets.

    The dialer proposes the first verified one (SELECT) and has it when the listener
    agrees (ACK); if that one is lost before, it proposes the next.
    """

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._verified: list[_Connection] = []
        self._proposed: _Connection | None = None
        self.agreed: _Connection | None = None

    def received(self, connection: _Connection, frame: Frame) -> None:
        """Take one frame of the handshake, and write the answer to it."""
        if frame.kind is Kind.PROBE and not connection.verified:
            connection.verified = True
            self._verified.append(connection)
            self._propose()
        elif not connection.verified or self.agreed is not None:
            return
        elif frame.kind is Kind.SELECT and self._speaker.role is Role.LISTENER:
            connection.writer.write(self._speaker.say(Kind.ACK, SELECTION))
            self.agreed = connection
        elif frame.kind is Kind.ACK and connection is self._proposed:
            self.agreed = connection

    def lost(self, connection: _Connection) -> None:
        if connection in self._verified:
            self._verified.remove(connection)
        if connection is self._proposed and self.agreed is None:
            self._proposed = None
            self._propose()

    def _propose(self) -> None:
        if self._speaker.role is Role.DIALER and self._proposed is None and self._verified:
            self._proposed = self._verified[0]
            self._proposed.writer.write(self._speaker.say(Kind.SELECT, SELECTION))


class TcpPuncher:
    """One session; see `testbed.stacks.session.Stack`."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []  # listener, and the connection to the STUN server
        self._tasks: set[asyncio.Task[None]] = set()
        self._agreed = asyncio.Event()

    async def gather(self, configure: Configure, emit: Emit) -> Offer:
        refuse_unsupported(configure, Transport.TCP, modes=tuple(Mode), relays=False)
        if configure.stun is None:
            raise PeerFailure(FailureClass.UNSUPPORTED, "a STUN server is needed")
        self._configure = configure
        self._speaker = Speaker.of(configure)
        self._selection = Selection(self._speaker)
        self._listener = self._open(configure.port)
        self._listener.listen()
        emit(Listening(at=now(), local=Endpoint.of(self._listener.getsockname())))
        mapped = Endpoint.of(await self._observe(configure.stun))
        emit(Observed(at=now(), address=mapped, server=configure.stun))
        return Offer(addresses=(mapped,), ice=None)

    def _open(self, port: int) -> socket.socket:
        sock = shared_socket(str(self._configure.local_address), port)
        self._sockets.append(sock)
        return sock

    async def _observe(self, server: Endpoint) -> tuple[str, int]:
        """One Binding over TCP (RFC 8489 section 6.2.2); the connection stays open."""
        loop = asyncio.get_running_loop()
        sock = self._open(self._configure.port)
        request = stun.binding_request()
        answer = b""
        try:
            async with asyncio.timeout(STUN_DEADLINE):
                await loop.sock_connect(sock, server.pair)
                await loop.sock_sendall(sock, request)
                while len(answer) < stun.HEADER_LENGTH or len(answer) < stun.message_length(answer):
                    data = await loop.sock_recv(sock, READ_SIZE)
                    if not data:
                        raise ConnectionError("closed by the server")
                    answer += data
        except OSError as error:
            why = f"STUN server {server} over TCP: {str(error) or 'no answer'}"
            raise PeerFailure(FailureClass.GATHERING, why) from None
        mapped = stun.mapped_address(answer, stun.transaction_of(request))
        if mapped is None:
            raise PeerFailure(FailureClass.GATHERING, f"STUN server {server}: no mapped address")
        return mapped

    async def dial(self, dial: Dial) -> Event:
        mode = self._configure.options.mode
        if mode is Mode.SILENT:
            raise PeerFailure(FailureClass.NOT_ATTEMPTED, "hole punching is off")
        await sleep_until(dial.start_at)
        self._start(self._accept())
        if mode is Mode.PUNCH or self._configure.role is Role.DIALER:
            port = self._configure.port if mode is Mode.PUNCH else 0
            for target in dial.remote.addresses:
                self._start(self._attempt(port, target, dial.start_at))
        within = self._configure.patience or DEADLINE
        try:
            async with asyncio.timeout(within):
                await self._agreed.wait()
        except TimeoutError:
            await self._stop_tasks()
            why = f"no verified connection within {within:g} s"
            raise PeerFailure(FailureClass.TIMEOUT, why) from None
        agreed = self._connection()
        return Connected(at=now(), local=agreed.local, remote=agreed.remote, path=Path.DIRECT)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(self._listener)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._start(self._converse(sock))

    async def _attempt(self, port: int, target: Endpoint, start: int) -> None:
        """Connect at ``start``, and again at each full round after a failure."""
        loop = asyncio.get_running_loop()
        while not self._agreed.is_set():
            sock = shared_socket(str(self._configure.local_address), port)
            try:
                await loop.sock_connect(sock, target.pair)
                await self._converse(sock)
            except OSError:
                pass  # refused, unreachable, or the very connection was accepted meanwhile
            finally:
                sock.close()
            await sleep_until(start + ((now() - start) // ROUND + 1) * ROUND)

    async def _converse(self, sock: socket.socket) -> None:
        """Say hello, then heed the other side until the connection ends or is not chosen."""
        connection = _Connection(*await asyncio.open_connection(sock=sock))
        reader = self._frames()
        connection.writer.write(self._speaker.say(Kind.PROBE, HELLO))
        try:
            while data := await connection.reader.read(READ_SIZE):
                for frame in reader.feed(data):
                    self._take(connection, frame)
                if self._agreed.is_set() and self._selection.agreed is not connection:
                    break
                await connection.writer.drain()
        except (NotAFrame, OSError):
            pass  # a stranger, or a reset: this one is of no use
        finally:
            connection.lost = True
            connection.progress.set()
            self._selection.lost(connection)
            connection.writer.close()

    def _frames(self) -> FrameReader:
        return FrameReader()

    def _take(self, connection: _Connection, frame: Frame) -> None:
        if not self._speaker.heeds(frame):
            return
        self._selection.received(connection, frame)
        if self._selection.agreed is not None:
            self._agreed.set()
        if connection is not self._selection.agreed:
            return
        if frame.kind is Kind.DATA:
            connection.writer.write(self._speaker.say(Kind.BACK, frame.number, frame.payload))
        elif frame.kind is Kind.BACK:
            connection.back[frame.number] = frame.payload
            connection.progress.set()

    def _connection(self) -> _Connection:
        if self._selection.agreed is None or self._selection.agreed.lost:
            raise PeerFailure(FailureClass.LOST, "the connection was closed or reset")
        return self._selection.agreed

    async def echo(self, count: int, nonce: bytes) -> int:
        connection = self._connection()
        connection.back.clear()
        sent = dict(enumerate(chunks(count, self._configure.seed, nonce)))
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(ECHO_DEADLINE):
                for number, payload in sent.items():
                    connection.writer.write(self._speaker.say(Kind.DATA, number, payload))
                    await connection.writer.drain()
                while len(connection.back) < len(sent) and not connection.lost:
                    connection.progress.clear()
                    await connection.progress.wait()
        return sum(len(part) for n, part in sent.items() if connection.back.get(n) == part)

    async def close(self) -> None:
        await self._stop_tasks()
        for sock in self._sockets:
            sock.close()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stop_tasks(self) -> None:
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def main() -> int:
    """The puncher as a peer process."""
    return serve(TcpPuncher)
