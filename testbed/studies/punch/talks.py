"""Conversations with many pairs of peers at once, in one thread.

A conversation is a generator.  It yields what it waits for and is given what came; many of them
are led side by side, and one that fails ends alone.
"""

import select
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from testbed.errors import PeerError
from testbed.model.contract import Event
from testbed.model.frozen import FrozenValue
from testbed.stacks.client import Kinds, PeerClient
from testbed.stacks.lookout import Lookout

START_MARGIN_NS = 60_000_000  # from the command to the common start: both have read it by then
MARGIN_EACH_NS = 5_000_000  # more for each further conversation that is to begin then

R = TypeVar("R")


class Wait(FrozenValue):
    """One event of ``kinds`` of each of ``clients`` is waited for; it gives them in their order."""

    clients: Sequence[PeerClient]
    kinds: Kinds
    deadline: float  # by `time.monotonic`


class Start(FrozenValue):
    """The others are waited for, until each of them is here or has ended; it gives a `Moment`."""


class Moment(FrozenValue):
    """The common start, by both clocks."""

    monotonic_ns: int
    realtime_ns: int


Talk = Generator[Wait | Start, Any, R]


@dataclass(frozen=True)
class Ended(Generic[R]):
    """How a conversation ended, and how long after all of them had begun."""

    result: R | PeerError
    seconds: float


@dataclass(eq=False)
class _Led(Generic[R]):
    """A conversation under way: what it waits for, and what of that has come."""

    talk: Talk[R]
    asked: Wait | Start | None = None  # None: it has ended
    had: dict[PeerClient, Event] = field(default_factory=dict)
    result: R | PeerError | None = None
    ended: float = 0.0

    def go_on(self, given: Any) -> None:
        """Give it what it waited for, or the error that it meets in its place."""
        self.had = {}
        try:
            wrong = isinstance(given, PeerError)
            self.asked = self.talk.throw(given) if wrong else self.talk.send(given)
        except StopIteration as stop:
            self._end(stop.value)
        except PeerError as error:
            self._end(error)

    def _end(self, result: R | PeerError) -> None:
        self.asked, self.result, self.ended = None, result, time.monotonic()

    @property
    def missing(self) -> Sequence[PeerClient]:
        """Whose event is still waited for."""
        if not isinstance(self.asked, Wait):
            return ()
        return [client for client in self.asked.clients if client not in self.had]

    @property
    def lookout(self) -> Lookout | None:
        """Of the harness, while it waits."""
        clients = self.asked.clients if isinstance(self.asked, Wait) else ()
        return next((client.lookout for client in clients if client.lookout), None)

    @property
    def due(self) -> Sequence[float]:
        """The instants at which something is to be done for it, whoever says nothing."""
        if not isinstance(self.asked, Wait):
            return ()
        look = self.lookout.due if self.lookout else None
        return (self.asked.deadline,) if look is None else (self.asked.deadline, look)

    def take(self) -> None:
        """Go on as far as what has arrived allows."""
        while isinstance(asked := self.asked, Wait):
            try:
                for client in self.missing:
                    if (event := client.take(asked.kinds)) is not None:
                        self.had[client] = event
            except PeerError as error:
                self.go_on(error)
                continue
            if self.missing:
                return
            self.go_on([self.had[client] for client in asked.clients])

    def read(self, client: PeerClient, fd: int) -> None:
        """Take in what a peer says."""
        assert isinstance(self.asked, Wait)  # else it would not be listened to
        try:
            client.read(fd, self.asked.kinds)
        except PeerError as error:
            self.go_on(error)

    def expire(self) -> None:
        """Tell it that its deadline has passed, if it has and what was said is not enough."""
        self.take()
        if isinstance(self.asked, Wait) and time.monotonic() >= self.asked.deadline:
            self.go_on(self.missing[0].missed(self.asked.kinds))


def converse(talks: Sequence[Talk[R]]) -> list[Ended[R]]:
    """Lead all ``talks`` to their ends, side by side; how each ended, in their order.

    Those that say `Start` begin at one moment.  What a conversation raises besides a PeerError
    ends them all.
    """
    began = time.monotonic()
    led = [_Led(talk) for talk in talks]
    try:
        for one in led:
            one.go_on(None)
        while any(one.asked for one in led):
            for one in led:
                one.take()
            if not _start(led):
                _hear(led)
    finally:
        for one in led:
            one.talk.close()
    found = []
    for one in led:
        assert one.result is not None  # all have ended
        found.append(Ended(one.result, one.ended - began))
    return found


def _start(led: Sequence[_Led[R]]) -> bool:
    """Begin together, if all that have not ended are here to begin."""
    under_way = [one for one in led if one.asked]
    if not under_way or not all(isinstance(one.asked, Start) for one in under_way):
        return False
    margin = START_MARGIN_NS + MARGIN_EACH_NS * (len(under_way) - 1)
    moment = Moment(time.monotonic_ns() + margin, time.time_ns() + margin)
    for one in under_way:
        one.go_on(moment)
    return True


def _hear(led: Sequence[_Led[R]]) -> None:
    """Take in what any peer that is waited for says next, until the first deadline or lookout."""
    poll = select.poll()
    owners: dict[int, tuple[_Led[R], PeerClient]] = {}
    until: list[float] = []
    for one in led:
        until += one.due
        for client in one.missing:
            for fd in client.descriptors():
                owners[fd] = one, client
                poll.register(fd, select.POLLIN)
    if not until:
        return
    ready = poll.poll(max(0.0, min(until) - time.monotonic()) * 1000)
    stirred = {owners[fd][0] for fd, _ in ready}
    for one in led:
        if one.lookout is not None:
            one.lookout.awake(one in stirred)
    for fd, _ in ready:
        one, client = owners[fd]
        if client in one.missing:  # an error of its partner may have ended the wait
            one.read(client, fd)
    for one in led:
        one.expire()
