"""Whom a peer must not heed: frames of another session or role, and an ACK from elsewhere."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address

from testbed.model.contract import ENDS, Configure
from testbed.stacks.wire import Frame, Kind, decode

_NUMBER = 4_000_000_000  # of frames that nobody of the session sends
_LIMIT = 2048  # bytes of a datagram that is read
_Address = tuple[str, int]


class Strangers:
    """Two sockets, each of which sends frames with one thing wrong: ``session`` or ``role``."""

    def __init__(self, ours: Configure, sockets: dict[str, socket.socket]) -> None:
        session = bytes.fromhex(ours.session)
        (theirs,) = (role for role in ENDS if role is not ours.role)
        self._sockets = sockets
        self._frames = {
            "session": [Frame(k, ours.role, bytes(16), _NUMBER, b) for k, b in _KINDS],
            "role": [Frame(k, theirs, session, _NUMBER, b) for k, b in _KINDS],
        }

    def call(self, target: _Address) -> None:
        """Send ``target`` what it must ignore."""
        for field, frames in self._frames.items():
            for frame in frames:
                self._sockets[field].sendto(frame.encode(), target)

    def answered(self) -> Iterator[str]:
        """What was wrong with the frames after which something came."""
        for field, stranger in self._sockets.items():
            with suppress(BlockingIOError):
                stranger.recvfrom(_LIMIT)
                yield field


_KINDS = ((Kind.PROBE, b""), (Kind.DATA, b"stranger"))


@contextmanager
def strangers(ours: Configure, address: IPv4Address) -> Iterator[Strangers]:
    """At free ports of ``address``; ``ours`` is what our own side of the session was told."""
    with _bound(address) as first, _bound(address) as second:
        yield Strangers(ours, {"session": first, "role": second})


class Elsewhere:
    """Answers probes from another address than the one that they were sent to."""

    def __init__(self, deaf: socket.socket, other: socket.socket, answering: Configure) -> None:
        self._deaf = deaf
        self._other = other
        self._session = bytes.fromhex(answering.session)
        self._role = answering.role
        self.answered = 0

    def look(self) -> None:
        """Take what has come, and answer each probe."""
        with suppress(BlockingIOError):
            while True:
                data, source = self._deaf.recvfrom(_LIMIT)
                frame = decode(data)
                if frame is not None and frame.kind is Kind.PROBE:
                    answer = Frame(Kind.ACK, self._role, self._session, frame.number)
                    self._other.sendto(answer.encode(), source)
                    self.answered += 1


@contextmanager
def elsewhere(
    deaf: socket.socket, address: IPv4Address, answering: Configure
) -> Iterator[Elsewhere]:
    """What comes to ``deaf`` is answered from ``address``, in the name of ``answering``."""
    loop = asyncio.get_running_loop()
    with _bound(address) as other:
        astray = Elsewhere(deaf, other, answering)
        loop.add_reader(deaf.fileno(), astray.look)
        try:
            yield astray
        finally:
            loop.remove_reader(deaf.fileno())


def _bound(address: IPv4Address) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.bind((str(address), 0))
    return made
