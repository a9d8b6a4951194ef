"""One store for the peers of a cell, served on a socket inside each one's own node.

Nothing joins the nodes: the harness, which made the sockets, answers on all of them.
So no packet of one peer can reach another by this way; what a peer could hand to another
is the values that it sets, and those are counted.
"""

import contextlib
import select
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from testbed.model.lab import Lab
from testbed.stacks.unified import REDIS
from testbed.stacks.unified_store import (
    TIMED_OUT,
    NotRedis,
    Store,
    Words,
    hello,
    in_resp3,
    requests,
)

_AT_ONCE = 1 << 16  # bytes read
_WRITES = {b"SET", b"RPUSH", b"LPUSH"}


@dataclass
class _Client:
    """A connection of a peer; ``waiting`` is a BLPOP that has no element yet."""

    node: str
    socket: socket.socket
    buffer: bytearray = field(default_factory=bytearray)
    waiting: Words | None = None
    until: float = float("inf")  # of time.monotonic
    protocol: int = 2

    def reply(self, words: bytes) -> None:
        self.socket.sendall(in_resp3(words) if self.protocol == 3 else words)


class Redis:
    """A server without threads: whoever holds it calls `serve` while it waits."""

    def __init__(self, store: Store, seen: Callable[[str, Words], None] | None = None) -> None:
        """``seen`` is told each request, with its node, before it is answered."""
        self.store = store
        self.carried: dict[str, int] = {}  # node -> bytes of values that it set
        self._seen = seen
        self._listening: dict[int, tuple[str, socket.socket]] = {}
        self._clients: dict[int, _Client] = {}

    def open(self, lab: Lab, node: str) -> None:
        """Serve inside ``node``, on its loopback."""
        listener = lab.socket(node, socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind(REDIS)
        listener.listen()
        self._listening[listener.fileno()] = (node, listener)

    def close(self) -> None:
        for client in self._clients.values():
            client.socket.close()
        for _, listener in self._listening.values():
            listener.close()
        self._clients.clear()
        self._listening.clear()

    def serve(self, others: Mapping[int, Callable[[], None]], timeout: float) -> None:
        """Answer what there is, for at most ``timeout`` seconds; back after the first wake-up.

        ``others`` are descriptors of the caller's, and what to do when one can be read.
        """
        poll = select.poll()
        for fd in (*self._listening, *self._clients, *others):
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(max(0.0, timeout) * 1000):
            if fd in self._listening:
                self._accept(*self._listening[fd])
            elif fd in self._clients:
                self._read(self._clients[fd])
            else:
                others[fd]()
        self._wake()

    def _accept(self, node: str, listener: socket.socket) -> None:
        try:
            accepted, _ = listener.accept()
        except OSError:  # gone again
            return
        accepted.setblocking(False)
        self._clients[accepted.fileno()] = _Client(node, accepted)

    def _read(self, client: _Client) -> None:
        try:
            data = client.socket.recv(_AT_ONCE)
            client.buffer += data
            for words in requests(client.buffer):
                self._answer(client, words)
            if not data:
                self._drop(client)
        except BlockingIOError:
            return
        except NotRedis as error:
            with contextlib.suppress(OSError):
                client.reply(b"-ERR Protocol error: %s\r\n" % str(error).encode())
            self._drop(client)
        except OSError:
            self._drop(client)

    def _answer(self, client: _Client, words: Words) -> None:
        if self._seen is not None:
            self._seen(client.node, words)
        if words[0].upper() == b"HELLO":
            protocol, answer = hello(words)
            client.protocol = protocol or client.protocol
            client.reply(answer)
            return
        if words[0].upper() in _WRITES:
            size = sum(map(len, words[1:]))
            self.carried[client.node] = self.carried.get(client.node, 0) + size
        reply = self.store.answer(words)
        if reply is None:
            client.waiting, client.until = words, _until(words[-1])
            return
        client.reply(reply)

    def _wake(self) -> None:
        """Those that wait for an element: is it there, or their time over?"""
        for client in list(self._clients.values()):
            if client.waiting is None:
                continue
            reply = self.store.answer(client.waiting)
            if reply is None and time.monotonic() >= client.until:
                reply = TIMED_OUT
            if reply is not None:
                client.waiting = None
                try:
                    client.reply(reply)
                except OSError:
                    self._drop(client)

    def _drop(self, client: _Client) -> None:
        self._clients.pop(client.socket.fileno(), None)
        client.socket.close()


def _until(seconds: bytes) -> float:
    """A timeout of 0, or one that is no number, is none."""
    try:
        wanted = float(seconds)
    except ValueError:
        wanted = 0.0
    return time.monotonic() + wanted if wanted > 0 else float("inf")
