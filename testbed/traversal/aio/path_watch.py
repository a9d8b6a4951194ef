"""Paths that died without a word: connections in use are asked when they fall silent.

The transports notice by themselves, after 30 to 45 seconds (QUIC's idle timeout, Yamux's
keepalive): too late for who waits for bytes.
"""

import asyncio
from dataclasses import dataclass

from ..errors import PathLostError
from .connection import Connection
from .host import Host

_TICK = 0.2
_REST = 1.0  # between looks at connections of which none is in use
_STALLED = 0.8  # a tick so late says that we were slow, and nothing of the paths


@dataclass(frozen=True)
class PathOptions:
    """Seconds of silence.

    A connection with streams of users is asked after `silence`, one that is kept for its peer
    (`Host.kept`: a relay that holds our reservation) after `idle_silence`, any other by its
    transport alone.  Nothing heard for `patience`, or four round trips if they are longer: the
    path is lost.  At 5% of loss one path in some 10,000 questions is given up though it lives.
    A circuit that has bytes under way gets `relayed_patience`, for its relay may be slow.
    """

    enabled: bool = True
    silence: float = 0.6
    idle_silence: float = 5.0
    patience: float = 2.6
    relayed_patience: float = 15.0


class PathWatch:
    """Ends connections with `PathLostError` on their streams."""

    def __init__(self, host: Host, options: PathOptions) -> None:
        self._host, self._options = host, options
        self._asked: dict[Connection, float] = {}  # since when it has owed us an answer
        self._running: asyncio.Task[None] | None = None
        if options.enabled:
            host.connected_hooks.append(self._on_connected)
            host.closed_hooks.append(self._on_closed)

    def _on_connected(self, connection: Connection) -> None:
        del connection
        if self._running is None:
            self._running = self._host.spawn(self._run())

    def _on_closed(self, connection: Connection) -> None:
        self._asked.pop(connection, None)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            busy = any(c.in_use for c in self._host.connections)
            pause = _TICK if busy else _REST
            due = loop.time() + pause
            await asyncio.sleep(pause)
            now = loop.time()
            if now > due + _STALLED:
                # What came in meanwhile has not been read yet: everyone gets a new term.
                self._asked = dict.fromkeys(self._asked, now)
                continue
            for connection in self._host.connections:
                self._look(connection, now)

    def _look(self, connection: Connection, now: float) -> None:
        options = self._options
        kept = connection.peer in self._host.kept
        if not (connection.in_use or kept):
            self._asked.pop(connection, None)
            return
        silent = now - connection.path_heard_at()
        if silent < (options.silence if connection.in_use else options.idle_silence):
            self._asked.pop(connection, None)
            return
        if connection not in self._asked:
            self._asked[connection] = now
            connection.ask_path()  # once: the transports repeat what is lost
        patience = options.patience
        if connection.relayed and connection.undelivered:
            patience = options.relayed_patience
        patience = max(patience, 4 * connection.round_trip) - options.silence
        if now - self._asked[connection] > patience and silent > patience:
            connection.end_error = PathLostError
            connection.abort(f"the path is lost: nothing heard for {silent:.1f} s")
