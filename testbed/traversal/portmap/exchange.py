"""Requests that wait for an answer: when to send them again, and when to give up."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from .mapping import PortMapError

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Answered(Generic[Key]):
    """The gateway answered this request; each protocol adds what it said."""

    request: Key


@dataclass(frozen=True)
class Failed(Generic[Key]):
    """This request is over, without success."""

    request: Key
    error: PortMapError


@dataclass(frozen=True)
class Restarted:
    """The gateway's epoch says that it forgot all mappings."""


@dataclass
class _Waiting:
    datagram: bytes
    intervals: Iterator[float]
    due: float


class Outbox(Generic[Key]):
    """Datagrams under way, by request.  Times are seconds of one monotonic clock.

    `intervals` yields how long to wait after each transmission; when it ends, so does the request.
    """

    def __init__(self) -> None:
        self._waiting: dict[Key, _Waiting] = {}
        self._ready: list[bytes] = []

    def __iter__(self) -> Iterator[Key]:
        return iter(tuple(self._waiting))

    def add(self, key: Key, datagram: bytes, intervals: Iterable[float], now: float) -> None:
        """Send now, and again until `take`; the same key replaces the older request."""
        self._waiting[key] = _Waiting(datagram, iter(intervals), now)
        self._transmit(key, now)

    def take(self, key: Key) -> bool:
        """Whether somebody waits for this; no longer, from now on."""
        return self._waiting.pop(key, None) is not None

    def take_if(self, fits: Callable[[Key], bool]) -> list[Key]:
        """Take all that fit."""
        return [key for key in self if fits(key) and self.take(key)]

    def tick(self, now: float) -> list[Key]:
        """Queue what is due again; gives the requests whose time is over."""
        due = [key for key, entry in self._waiting.items() if entry.due <= now]
        return [key for key in due if not self._transmit(key, now)]

    def _transmit(self, key: Key, now: float) -> bool:
        entry = self._waiting[key]
        interval = next(entry.intervals, None)
        if interval is None:
            del self._waiting[key]
            return False
        self._ready.append(entry.datagram)
        entry.due = now + interval
        return True

    def datagrams_to_send(self) -> list[bytes]:
        """What is to be sent now; each only once."""
        ready, self._ready = self._ready, []
        return ready

    @property
    def next_timer(self) -> float | None:
        """When to call `tick`; None while nothing waits."""
        return min((entry.due for entry in self._waiting.values()), default=None)
