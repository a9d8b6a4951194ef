"""The ladder at work: dials as a `Climb` says, and tells which rung carries each connection."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from ..errors import AddressError, TraversalError
from ..events import RungReached, Upgraded
from ..ladder import Climb, LadderOptions, Rung, Try
from ..multiaddr import Multiaddr
from ..peer_id import PeerId
from .connection import Connection
from .host import Host
from .identify_service import IdentifyService

Dial = Callable[[Try, PeerId | None, float], Awaitable[Connection]]
_Work = asyncio.Task[Connection | TraversalError]


class Ladder:
    """Dials peers by every way at the times that the options name.

    `dials` has the two ways of a dialer; they raise DialError.  `dialed_back` says whether we
    advertise addresses that the other side of a circuit will dial.
    """

    def __init__(
        self,
        host: Host,
        identify: IdentifyService,
        options: LadderOptions,
        dials: Mapping[Rung, Dial],
        dialed_back: Callable[[], bool],
    ) -> None:
        self._host, self._identify, self._options = host, identify, options
        self._dials, self._dialed_back = dials, dialed_back
        self._reports: dict[PeerId, _Report] = {}
        host.closed_hooks.append(self._on_closed)

    async def dial(
        self,
        addresses: Sequence[Multiaddr],
        peer: PeerId | None,
        timeout: float,
        *,
        beside: bool = False,
    ) -> Connection:
        """The first connection; a better one may still come.  `timeout` is each address's.

        `beside`: there is a relayed connection already.
        Raises DialError (of the last address that failed), AddressError.
        """
        loop = asyncio.get_running_loop()
        now, first = loop.time(), loop.create_future()
        climb = Climb(self._options, addresses, now, dialed_back=self._dialed_back(), beside=beside)
        climbing = self._host.spawn(self._climb(climb, peer, timeout, first))
        climbing.add_done_callback(lambda _: first.cancel())
        try:
            connection: Connection = await first
        except BaseException:
            climbing.cancel()
            raise
        return connection

    async def _climb(
        self, climb: Climb, peer: PeerId | None, timeout: float, first: asyncio.Future[Connection]
    ) -> None:
        """Until nothing better is to be had; `first` gets the first connection, or the error."""
        loop, started = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        work: dict[_Work, Try] = {}
        failure: TraversalError = AddressError("nothing to dial")
        try:
            while not climb.over(now := loop.time()):
                for attempt in climb.due(now):
                    work[self._host.spawn(self._try(attempt, peer, timeout))] = attempt
                for task in await _finished(work, climb.wake() - loop.time()):
                    attempt, outcome = work.pop(task), task.result()
                    if isinstance(outcome, TraversalError):
                        failure = outcome
                        climb.failed(attempt, loop.time())
                        continue
                    climb.reached(attempt, loop.time())
                    self._took(attempt.rung, outcome, started)
                    if not first.done():
                        first.set_result(outcome)
            if not first.done():
                first.set_exception(failure)
        finally:
            for task in work:
                task.cancel()
        if climb.best is not None and not first.result().relayed:
            self._spare(first.result().peer, started)

    async def _try(
        self, attempt: Try, peer: PeerId | None, timeout: float
    ) -> Connection | TraversalError:
        try:
            return await self._dials[attempt.rung](attempt, peer, timeout)
        except TraversalError as error:
            return error

    def _spare(self, peer: PeerId, started: float) -> None:
        """Close a circuit of this dial that was a moment too late: nobody was given it."""
        for relayed in self._host.connections_to(peer, relayed=True):
            if relayed.opened_at >= started:
                self._host.spawn(relayed.close("a direct connection was there first"))

    # Reports.

    def _took(self, rung: Rung, connection: Connection, started: float) -> None:
        peer = connection.peer
        report = self._reports.setdefault(peer, _Report(started))
        relayed = self._host.connections_to(peer, relayed=True)
        if rung is Rung.DIRECT and any(c.opened_at < connection.opened_at for c in relayed):
            return  # how that came about is for the upgrade service to say: `upgraded`
        if report.rung in (Rung.REVERSED, Rung.PUNCHED):
            return  # a dial from before that gets in by the hole that is open now
        self._host.spawn(self._tell(rung, connection))

    async def _tell(self, rung: Rung, connection: Connection) -> None:
        """Once bytes have come back over it: those of identify."""
        await self._identify.wait(connection)
        if not connection.closed:
            self._report(rung, connection.peer, connection.remote)

    def upgraded(self, event: Upgraded) -> None:
        """A relayed connection went direct."""
        self._report(Rung(event.how), event.peer, event.remote)

    def _report(self, rung: Rung, peer: PeerId, remote: Multiaddr) -> None:
        report = self._reports.get(peer)
        if report is not None and rung.better(report.rung):
            report.rung = rung
            seconds = asyncio.get_running_loop().time() - report.started
            self._host.emit(RungReached(peer, rung, remote, seconds))

    def _on_closed(self, connection: Connection) -> None:
        if not self._host.connections_to(connection.peer):
            self._reports.pop(connection.peer, None)


class _Report:
    """When a dial began, and the best rung told since."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.rung: Rung | None = None


async def _finished(work: dict[_Work, Try], timeout: float) -> set[_Work]:
    """The tasks that are done, of which there may be none at the end of `timeout` seconds."""
    if not work:
        await asyncio.sleep(max(0.0, timeout))
        return set()
    limit = None if timeout == float("inf") else max(0.0, timeout)
    done, _ = await asyncio.wait(work, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
    return done
