"""Targets: what lies between a socket and the muxer beside Noise."""

from collections.abc import Coroutine
from typing import Any, TypeVar, cast

from testbed.traversal import Multiaddr, tls
from testbed.traversal.aio import websocket
from testbed.traversal.security import MUXERS

from .registry import KEY, modes, prefixed, target

T = TypeVar("T")
_TLS = tls.Settings(KEY, MUXERS)
_GOAL = Multiaddr.parse("/ip4/127.0.0.1/tcp/80/ws")


def _flights() -> tuple[bytes, bytes, bytes]:
    """What a client says first, what a server answers, and what the client says then."""
    client, server = _TLS.handshake(initiator=True), _TLS.handshake(initiator=False)
    first = client.data_to_send()
    server.receive_data(first)
    second = server.data_to_send()
    client.receive_data(second)
    return first, second, client.data_to_send()


_FIRST, _SECOND, _THIRD = _flights()


@target(
    *prefixed(0, _FIRST, _FIRST[:9]),
    *prefixed(1, _SECOND, _SECOND[:200], b"\x15\x03\x03\x00\x02\x02\x28"),
    *prefixed(2, _THIRD, b"\x17\x03\x03\x00\x20" + bytes(32), b""),
)
def tls_handshakes(data: bytes) -> None:
    """Bytes from a stranger, in the handshake and after it: nobody is proved by them."""
    mode, data = modes(data, 3)
    if mode < 2:
        raw = _TLS.handshake(initiator=mode == 1)
        raw.receive_data(data)
        assert not raw.done
        return
    client, server = _TLS.handshake(initiator=True), _TLS.handshake(initiator=False)
    for _ in range(2):
        server.receive_data(client.data_to_send())
        client.receive_data(server.data_to_send())
    assert server.channel is not None
    assert server.channel.open(data) == b""  # nobody can seal without the key


class _Wire:
    """A pipe that has this to read, and then ends."""

    undelivered = 0

    def __init__(self, data: bytes) -> None:
        self._pieces = [piece for piece in (data[:7], data[7:], b"") if piece] + [b""]
        self.written = 0

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    async def write(self, data: bytes) -> None:
        self.written += len(data)

    async def end(self) -> None: ...

    def abort(self) -> None: ...

    def silent_for(self) -> None:
        return None


def _frames(mask: bool) -> bytes:
    """One of each kind (RFC 6455 section 5.2), with a mask of zeros where there is one."""
    out = bytearray()
    for head, data in (
        (0x82, b"hello"), (0x02, b"a" * 90), (0x89, b"?"), (0x80, b"b"), (0x88, b"\x03\xe8")
    ):  # fmt: skip
        out += bytes([head, mask << 7 | len(data)]) + bytes(4 * mask) + data
    return bytes(out)


_REQUEST = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


@target(
    *prefixed(0, _REQUEST, _REQUEST + _frames(mask=True), b"GET / HTTP/1.1\r\n\r\n"),
    *prefixed(1, _ANSWER, b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n"),
    *prefixed(2, _frames(mask=True), _frames(mask=True)[:11]),
    *prefixed(3, _frames(mask=False), b"\x82\x7f" + b"\xff" * 8, b"\x81\x01x"),
)
def websockets(data: bytes) -> None:
    """Opening handshakes, then frames to either side: no more comes out than went in."""
    from websockets.protocol import Protocol, Side
    from websockets.server import ServerProtocol

    mode, data = modes(data, 4)
    wire = _Wire(data)
    if mode == 0:
        pipe = _at_once(websocket.accept(wire))
    elif mode == 1:
        pipe = _at_once(websocket.connect(wire, _GOAL))
    else:
        protocol = Protocol(Side.SERVER if mode == 2 else Side.CLIENT, max_size=1 << 20)
        pipe = websocket.WebSocketPipe(wire, cast(ServerProtocol, protocol))
    read = 0
    while piece := _at_once(pipe.read()):
        read += len(piece)
    assert read <= len(data)
    assert wire.written <= len(data) + 1000


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """Of what waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    raise AssertionError("it waits for something")
