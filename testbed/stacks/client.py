"""The harness's side of the contract: commands to a peer process, events from it.

Synchronous, without threads, because it lives in a process that forks.  Every wait
has a deadline, an instant of `time.monotonic`, and what goes wrong names the peer,
what was waited for, and the peer's last words.
"""

import os
import select
import time
from collections.abc import Sequence

from testbed import foreign
from testbed.errors import ContractError, PeerError, StarvedError
from testbed.lab.waits import ProcessorTime
from testbed.model.contract import LINE_LIMIT, Close, Closed, Command, Event, Failed
from testbed.model.contract_lines import decode_event, encode
from testbed.model.frozen import FrozenValue
from testbed.model.lab import Process
from testbed.stacks.lookout import Lookout
from testbed.stacks.order import State, name_of, step
from testbed.stacks.remarks import Remarks

MOST_EVENTS = 100_000  # of one peer: a life of an hour has fewer
_REST = 64  # reads of what is left on stderr: a pipe holds no more
EXIT_DEADLINE = 2.0  # seconds from ``closed``, or the end of stdout, to the exit

Kinds = tuple[type[Event], ...]


class Arrival(FrozenValue):
    """An event and when the harness had it (nanoseconds, CLOCK_MONOTONIC)."""

    event: Event
    arrived: int


class PeerClient:
    """One peer.  ``arrivals`` holds every event in order, waited for or not."""

    def __init__(self, process: Process, name: str) -> None:
        self.process = process
        self.name = name
        self.arrivals: list[Arrival] = []
        self.remarks = Remarks()
        self.lookout: Lookout | None = None  # of the harness, while it waits for this peer
        self._processor = ProcessorTime(process)
        self._state = State.START
        self._taken = 0  # arrivals before this one were given out or passed over
        self._line = b""
        self._open = {process.stdout.fileno(), process.stderr.fileno()}
        for fd in (process.stdin.fileno(), *self._open):
            os.set_blocking(fd, False)

    @property
    def events(self) -> list[Event]:
        return [arrival.event for arrival in self.arrivals]

    def send(self, command: Command) -> None:
        """Say ``command``; PeerError if it is out of order or the peer takes nothing."""
        try:
            self._state = step(self._state, command)
        except PeerError as error:
            raise self._error(error.message) from None
        line = encode(command)
        try:
            taken = os.write(self.process.stdin.fileno(), line)
        except (BrokenPipeError, BlockingIOError):
            taken = 0
        if taken < len(line):
            self._read_rest()
            raise self._error(f"does not take the command {name_of(command)!r}")

    def wait(self, kinds: Kinds, deadline: float) -> Event:
        """The next event of one of ``kinds``; others before it are passed over.

        PeerError at the deadline, at the end of the peer, when it breaks the contract,
        and when it reports a failure that is not waited for (except on the way to `Closed`).
        """
        return wait_any([self], kinds, deadline)[1]

    def close(self, deadline: float) -> int:
        """Say ``close`` and give the exit code; PeerError if the peer does not end well."""
        self.send(Close())
        self.wait((Closed,), deadline)
        self.require_end()
        return 0

    def require_end(self) -> None:
        """Once it has said ``closed``; PeerError if it does not end well."""
        code = self._exit_code()
        if code != 0:
            raise self._error(f"ended with {'nothing' if code is None else code} after 'closed'")

    # for `wait_any`, which looks at several clients

    def take(self, kinds: Kinds) -> Event | None:
        """The next event of ``kinds`` that has arrived; PeerError at another failure."""
        for number in range(self._taken, len(self.arrivals)):
            event = self.arrivals[number].event
            if isinstance(event, kinds):
                self._taken = number + 1
                return event
            if isinstance(event, Failed) and Closed not in kinds:
                self._taken = number + 1  # it is told once
                raise self._error(f"failed ({event.failure}: {event.reason}){_waiting(kinds)}")
        return None

    def descriptors(self) -> set[int]:
        """Those that may have something to read."""
        return self._open

    def read(self, fd: int, kinds: Kinds) -> None:
        """Take in what ``fd`` has; PeerError if that ends or breaks the conversation."""
        try:
            data = os.read(fd, LINE_LIMIT)
        except BlockingIOError:
            return
        if not data:
            self._open.discard(fd)
        if fd == self.process.stderr.fileno():
            self.remarks.take(data)
        elif not data and self._state is not State.CLOSED:
            self._read_rest()
            raise self._error(f"ended with {self._exit_code()}{_waiting(kinds)}")
        else:
            self._take_lines(data)

    def missed(self, kinds: Kinds) -> PeerError:
        """The error for a deadline that passed."""
        self._read_rest()
        words = f"deadline passed in state {self._state.value!r}{_waiting(kinds)}"
        if (seconds := self._processor.starved_s()) is None:
            return self._error(words)
        starved = f"{words}, after {seconds:.1f} s without a processor: this machine is too busy"
        return self._error(starved, StarvedError)

    def _take_lines(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        for line in [*lines, self._line] if len(self._line) > LINE_LIMIT else lines:
            try:
                event = decode_event(line)
                self._state = step(self._state, event)
            except ContractError as error:
                self._read_rest()
                raise self._error(error.message, ContractError) from None
            self.arrivals.append(Arrival(event, time.monotonic_ns()))
            if len(self.arrivals) > MOST_EVENTS:
                raise self._error(f"said more than {MOST_EVENTS} events", ContractError)

    def _read_rest(self) -> None:
        """Take in what stderr holds, without waiting."""
        fd = self.process.stderr.fileno()
        for _ in range(_REST):
            if fd not in self._open or not select.select([fd], [], [], 0)[0]:
                break
            self.read(fd, ())

    def _exit_code(self) -> int | None:
        try:
            return self.process.wait(EXIT_DEADLINE)
        except TimeoutError:
            return None

    def _error(self, what: str, kind: type[PeerError] = PeerError) -> PeerError:
        words = str(self.remarks)
        return kind(foreign.words(f"{what}\n{words}" if words else what), node=self.name)


def wait_any(
    clients: Sequence[PeerClient], kinds: Kinds, deadline: float
) -> tuple[PeerClient, Event]:
    """The first event of ``kinds`` that any of ``clients`` has; errors as `PeerClient.wait`."""
    while True:
        late = time.monotonic() >= deadline  # whoever goes on talking does not put it off
        if late:  # but what was said in time counts, however late this process came to hear it
            hear(clients, kinds, deadline)
        for client in clients:
            event = client.take(kinds)
            if event is not None:
                return client, event
        if late:
            raise clients[0].missed(kinds)
        hear(clients, kinds, deadline)


def hear(clients: Sequence[PeerClient], kinds: Kinds, deadline: float) -> None:
    """Take in what any of ``clients`` says next, if that is anything until ``deadline``.

    PeerError when a conversation ends or is broken while ``kinds`` are waited for.
    """
    owners = {fd: client for client in clients for fd in client.descriptors()}
    poll = select.poll()
    for fd in owners:
        poll.register(fd, select.POLLIN)
    lookout = next((client.lookout for client in clients if client.lookout), None)
    until = deadline if lookout is None or lookout.due is None else min(deadline, lookout.due)
    ready = poll.poll(max(0.0, until - time.monotonic()) * 1000)
    if lookout is not None:
        lookout.awake(bool(ready))
    for fd, _ in ready:
        owners[fd].read(fd, kinds)


def wait_all(clients: Sequence[PeerClient], kinds: Kinds, deadline: float) -> list[Event]:
    """One event of ``kinds`` of each of ``clients``, in their order."""
    had: dict[PeerClient, Event] = {}
    while len(had) < len(clients):
        client, event = wait_any([c for c in clients if c not in had], kinds, deadline)
        had[client] = event
    return [had[client] for client in clients]


def _waiting(kinds: Kinds) -> str:
    words = " or ".join(repr(kind.model_fields["event"].default) for kind in kinds)
    return f" while {words} was waited for" if words else ""
