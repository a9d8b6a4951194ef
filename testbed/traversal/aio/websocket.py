"""WebSocket as a byte pipe (RFC 6455), plain or within TLS: what browsers can open.

The frames are those of `websockets`, without its input and output.  TLS is the web's here, with
names and authorities; the peer is proved within, by Noise or libp2p's TLS as on every pipe.
"""

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ConnectionClosedError, HandshakeError, ProtocolError
from ..multiaddr import Multiaddr
from .stream import BytePipe

if TYPE_CHECKING:
    from websockets.client import ClientProtocol
    from websockets.protocol import Event
    from websockets.server import ServerProtocol

_MAX_MESSAGE = 1 << 20  # bytes of one that is taken; what we send is shorter
_MAX_HEAD = 16 * 1024  # bytes of a request or an answer
_BLANK = b"\r\n\r\n"


@dataclass(frozen=True)
class WebSocketOptions:
    """TLS of `/tls/ws`: `server` has the certificate of listeners, `client` the authorities.

    Without a `client` those of the system are trusted.
    """

    server: ssl.SSLContext | None = None
    client: ssl.SSLContext | None = None

    def trusting(self) -> ssl.SSLContext:
        """For dials."""
        return self.client or ssl.create_default_context()


def missing() -> str | None:
    """What lacks for WebSockets, in words; None where they can be used."""
    try:
        import websockets  # noqa: F401
    except ImportError:
        return "WebSockets take the package websockets (testbed-traversal[websocket])"
    return None


class WebSocketPipe:
    """Binary messages over another pipe, whose borders mean nothing."""

    def __init__(self, pipe: BytePipe, protocol: "ClientProtocol | ServerProtocol") -> None:
        self._pipe, self._protocol = pipe, protocol

    async def read(self) -> bytes:
        """Raises ProtocolError where a frame breaks the rules."""
        while True:
            data, over = self._taken()
            if data:
                return data
            if over or not (wire := await self._pipe.read()):
                return b""
            self._protocol.receive_data(wire)
            await self._flush()  # the answer to a ping, or to a close

    async def write(self, data: bytes) -> None:
        if self._protocol.close_sent is not None:
            raise ConnectionClosedError("the WebSocket is closed")
        for start in range(0, len(data), _MAX_MESSAGE // 2):
            self._protocol.send_binary(data[start : start + _MAX_MESSAGE // 2])
        await self._flush()

    async def end(self) -> None:
        """A close frame: the remote answers with its own once it has read what came before."""
        if self._protocol.close_sent is None:
            self._protocol.send_close(1000)
            await self._flush()

    def abort(self) -> None:
        self._pipe.abort()

    @property
    def undelivered(self) -> int:
        return self._pipe.undelivered

    def silent_for(self) -> float | None:
        return self._pipe.silent_for()

    async def _flush(self) -> None:
        if wire := b"".join(self._protocol.data_to_send()):
            await self._pipe.write(wire)

    def _taken(self) -> tuple[bytes, bool]:
        """The bytes of the messages so far, and whether the remote has closed."""
        from websockets.frames import Frame, Opcode

        out = bytearray()
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode in (Opcode.BINARY, Opcode.CONT):
                out += event.data
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                raise ProtocolError("websocket", "a message of text")
        if (error := self._protocol.parser_exc) is not None and not out:
            raise ProtocolError("websocket", str(error))
        return bytes(out), self._protocol.close_rcvd is not None


async def connect(pipe: BytePipe, address: Multiaddr) -> WebSocketPipe:
    """The client's opening handshake.  Raises HandshakeError."""
    from websockets.client import ClientProtocol
    from websockets.uri import WebSocketURI

    host, port = address.server_name or str(address.ip), address.port or 0
    uri = WebSocketURI(address.transport == "wss", host, port, "", "")
    protocol = ClientProtocol(uri, max_size=_MAX_MESSAGE)
    protocol.send_request(protocol.connect())
    await pipe.write(b"".join(protocol.data_to_send()))
    _, rest = await _head(pipe, protocol)
    return await _opened(pipe, protocol, rest)


async def accept(pipe: BytePipe) -> WebSocketPipe:
    """The server's opening handshake, whatever the path and the origin.  Raises HandshakeError."""
    from websockets.http11 import Request
    from websockets.server import ServerProtocol

    protocol = ServerProtocol(max_size=_MAX_MESSAGE)
    request, rest = await _head(pipe, protocol)
    if isinstance(request, Request):
        protocol.send_response(protocol.accept(request))
    return await _opened(pipe, protocol, rest)


async def _opened(
    pipe: BytePipe, protocol: "ClientProtocol | ServerProtocol", rest: bytes
) -> WebSocketPipe:
    if wire := b"".join(protocol.data_to_send()):
        await pipe.write(wire)
    if protocol.handshake_exc is not None:
        raise HandshakeError("websocket", str(protocol.handshake_exc))
    protocol.receive_data(rest)
    return WebSocketPipe(pipe, protocol)


async def _head(
    pipe: BytePipe, protocol: "ClientProtocol | ServerProtocol"
) -> "tuple[Event | None, bytes]":
    """The request or the answer, None where it is none of them; and the bytes behind it.

    Those wait: a frame is taken for none of the handshake's before that is over.
    """
    head = bytearray()
    while protocol.handshake_exc is None:
        data = await pipe.read()
        if not data:
            raise HandshakeError("websocket", "the remote closed during the opening handshake")
        before = len(head)
        head += data
        end = head.find(_BLANK, max(0, before - len(_BLANK) + 1))
        end = len(head) if end < 0 else end + len(_BLANK)
        if end > _MAX_HEAD:
            raise HandshakeError("websocket", f"more than {_MAX_HEAD} bytes of HTTP")
        protocol.receive_data(data[: end - before])
        if events := protocol.events_received():
            return events[0], bytes(head[end:])
    return None, b""
