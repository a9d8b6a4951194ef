"""What an application does with the connection of two peers: one echo after the other."""

import time

from testbed.model.contract import Echo, Echoed, Event, Failed, Lost, Path, Upgraded
from testbed.predict.life import TICK
from testbed.stacks.client import Kinds, PeerClient, hear

SIZE = 1000  # bytes of one echo: like nothing else that the stacks say (see `wire.SHAPE`)
BROKEN = 0.4  # seconds without an echo: the run of echoes is broken
_KINDS: Kinds = (Echoed, Failed)


class Application:
    """At the dialer, whose connection is direct when it begins.

    ``keepalive``: seconds after which it says a word in a silence, where no stack does; None
    for never.  It ends for good when a peer fails, which is no error here.
    """

    def __init__(
        self, dialer: PeerClient, listener: PeerClient, keepalive: float | None = None
    ) -> None:
        self._dialer, self._both = dialer, (dialer, listener)
        self._keepalive = keepalive
        self._silent = False
        self._asked = 0  # bytes that are under way
        self._next = time.monotonic()
        self._heard = len(dialer.arrivals)
        self._direct = True
        self._since = self._last = 0.0  # of the run of direct echoes that goes on
        self.ended = False

    def go_on(self, seconds: float) -> None:
        """Use the connection for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._turn(until)

    def be_silent(self, seconds: float) -> None:
        """Say nothing for so long but keepalives."""
        self._silent = True
        self._next = self._after_silence()
        self.go_on(seconds)
        self._silent = False
        self._next = time.monotonic()

    def until_steady(self, seconds: float, limit: float) -> bool:
        """Go on until echoes have been direct for ``seconds`` in a row.

        False if that is not so before ``limit`` is over, or the application has ended.
        """
        began = time.monotonic()
        while not self.ended and (now := time.monotonic()) < began + limit:
            if now - self._last < BROKEN and now - max(self._since, began) >= seconds:
                return True
            self._turn(min(now + TICK, began + limit))
        return False

    def _turn(self, until: float) -> None:
        """Ask for an echo if one is due, and take in what is said until ``until``, or the next."""
        now = time.monotonic()
        if not (self._asked or self.ended) and now >= self._next:
            self._asked = 1 if self._silent else SIZE
            self._dialer.send(Echo(bytes=self._asked))
            self._next = self._after_silence() if self._silent else now + TICK
        waits = bool(self._asked) or self.ended
        hear(self._both, _KINDS, until if waits else min(until, self._next))
        for arrival in self._dialer.arrivals[self._heard :]:
            self._heed(arrival.event)
        self._heard = len(self._dialer.arrivals)
        self.ended = self.ended or any(client.take((Failed,)) for client in self._both)

    def _heed(self, event: Event) -> None:
        if isinstance(event, Lost) and event.path is Path.DIRECT:
            self._direct = False
        elif isinstance(event, Upgraded):
            self._direct = True
        elif isinstance(event, Echoed):
            if self._asked == SIZE and event.bytes == SIZE:
                self._echoed()
            self._asked = 0

    def _echoed(self) -> None:
        now = time.monotonic()
        if not self._direct or now - self._last > BROKEN:
            self._since = now
        self._last = now

    def _after_silence(self) -> float:
        return float("inf") if self._keepalive is None else time.monotonic() + self._keepalive
