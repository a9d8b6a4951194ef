"""The other side of a conversation: a stack of ours that also notes what comes to it."""

import select
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

from testbed.model.contract import Configure
from testbed.model.frozen import FrozenValue
from testbed.stacks.ice import IcePeer
from testbed.stacks.punch_tcp import TcpPuncher, _Connection
from testbed.stacks.punch_udp import UdpPuncher
from testbed.stacks.roles import RolePeer
from testbed.stacks.session import Stack
from testbed.stacks.wire import Frame, FrameReader, Kind, NotAFrame, decode
from testbed.traversal import NodeOptions


class Sight(FrozenValue):
    """What came: a frame, or bytes that are none; from where and when, where that is known."""

    at: int
    frame: Frame | None
    data: bytes = b""
    source: tuple[str, int] | None = None


class Loss:
    """One frame of an echo is lost, as some are on a real way: the first that comes."""

    def __init__(self) -> None:
        self.lost: int | None = None
        self.resent = False

    def takes(self, frame: Frame | None) -> bool:
        """Whether this is the frame that is lost."""
        if frame is None or frame.kind is not Kind.DATA:
            return False
        if self.lost is None:
            self.lost = frame.number
            return True
        self.resent |= frame.number == self.lost
        return False


class Partner(Stack, Protocol):
    """A stack that is asked what it has seen."""

    seen: list[Sight]

    @property
    def loss(self) -> Loss | None:
        """What it loses of an echo; None where a transport below would not let it."""

    def touched(self) -> bool:
        """Whether the peer under test has sent it anything."""


class UdpPartner(UdpPuncher):
    """Every datagram but the STUN server's is noted."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Sight] = []
        self.loss = Loss()

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        source = (str(addr[0]), int(addr[1]))
        server = self._configure.stun
        if server is None or source != server.pair:
            frame = decode(data)
            self.seen.append(Sight(time.monotonic_ns(), frame, data, source))
            if self.loss.takes(frame):
                return
        super().datagram_received(data, addr)

    def touched(self) -> bool:
        return bool(self.seen)


class _Noting(FrameReader):
    def __init__(self, seen: list[Sight]) -> None:
        super().__init__()
        self._seen = seen

    def feed(self, data: bytes) -> Iterator[Frame]:
        try:
            yield from super().feed(data)
        except NotAFrame:
            self._seen.append(Sight(time.monotonic_ns(), None, data))
            raise


class TcpPartner(TcpPuncher):
    """Every frame of a stream is noted; a caller waits in the backlog until the start."""

    loss = None  # the kernel sees to that

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Sight] = []

    def _frames(self) -> FrameReader:
        return _Noting(self.seen)

    def _take(self, connection: _Connection, frame: Frame) -> None:
        self.seen.append(Sight(time.monotonic_ns(), frame, source=connection.remote.pair))
        super()._take(connection, frame)

    def touched(self) -> bool:
        return bool(self.seen) or bool(select.select([self._listener], [], [], 0)[0])


class IcePartner(IcePeer):
    """Every datagram that is no STUN message is noted, and checks that come before the start."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Sight] = []
        self.loss = Loss()

    async def _take(self, data: bytes) -> None:
        frame = decode(data)
        self.seen.append(Sight(time.monotonic_ns(), frame, data))
        if not self.loss.takes(frame):
            await super()._take(data)

    def touched(self) -> bool:
        return bool(self._connection._early_checks)  # aioice keeps them for the start


class Libp2pPartner(RolePeer):
    """Our libp2p stack, which uses loopback addresses like public ones."""

    loss = None

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Sight] = []

    def _options(self, configure: Configure) -> NodeOptions:
        return replace(super()._options(configure), allow_private=True)

    def touched(self) -> bool:
        """Beyond the public nodes, which it has called itself."""
        public = {*self._configure.relays, *self._configure.observers}
        return len(self._ready().host.connections) > len(public)
