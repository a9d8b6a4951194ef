"""Mappings on the gateway that live as long as the program wants them."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Any, Self

from ..events import Event, PortMapFailed, PortMapLost, PortMapped
from ..portmap.lease import renewals
from ..portmap.mapping import (
    ANY,
    AddressMismatchError,
    Endpoint,
    Mapping,
    NetworkFailureError,
    NoGatewayError,
    NoServiceError,
    PortMapError,
    RefusedError,
    Transport,
    UnsupportedVersionError,
    Wanted,
)
from ..portmap.options import PortMapOptions
from .gateway import uplink, watch
from .portmap_agents import Agent, Grant
from .portmap_session import Session


@dataclass(eq=False)
class _Lease:
    """A mapping that somebody wants, and what there is of it.

    `stirred` is set when it must be asked for anew before its time, for `reason`, after
    `pause` seconds.
    """

    wanted: Wanted
    agent: Agent | None = None
    grant: Grant | None = None
    mapping: Mapping | None = None
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = ""
    pause: float = 0.0
    keeper: asyncio.Task[None] | None = None


class PortMapper:
    """Asks the gateway for ports, renews them, and gives them back at the end.

    `gateway` None means the default route's.  `emit` is given each event as it happens.
    """

    def __init__(
        self,
        options: PortMapOptions | None = None,
        *,
        gateway: IPv4Address | None = None,
        emit: Callable[[Event], None] = lambda _: None,
    ) -> None:
        self._options = options or PortMapOptions()
        self._gateway = gateway
        self._emit = emit
        self._rng = random.Random()
        self._leases: dict[tuple[Transport, int], _Lease] = {}
        self._session: Session | None = None
        self._stack = contextlib.AsyncExitStack()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._stack.push_async_callback(self._close)
        self._stack.enter_context(watch(self._look_at_uplink))
        return self

    async def __aexit__(self, *details: object) -> None:
        await self._stack.aclose()

    @property
    def mappings(self) -> tuple[Mapping, ...]:
        """What there is now, the useless ones included."""
        return tuple(lease.mapping for lease in self._leases.values() if lease.mapping)

    async def map(
        self,
        transport: Transport,
        internal_port: int,
        *,
        external_port: int | None = None,
        lifetime: int | None = None,
    ) -> Mapping:
        """Map a port, from now until `unmap` or the end; look whether the result is `useless`.

        `external_port` is a wish (the default: the same as inside), `lifetime` in seconds.
        Raises PortMapError with the type of the most telling refusal, and gives up then.
        """
        wish = internal_port if external_port is None else external_port
        lease = _Lease(Wanted(transport, internal_port, wish, lifetime or self._options.lifetime))
        await self.unmap(transport, internal_port)
        self._leases[transport, internal_port] = lease
        try:
            mapping = await self._obtain(lease)
        except BaseException:  # also cancelled: the gateway may have made it already
            self._background(self._release(lease))
            if self._leases.get((transport, internal_port)) is lease:
                del self._leases[transport, internal_port]
            raise
        lease.keeper = asyncio.create_task(self._keep(lease))
        return mapping

    async def unmap(self, transport: Transport, internal_port: int) -> None:
        """End a mapping; none is as good."""
        lease = self._leases.pop((transport, internal_port), None)
        if lease is not None:
            await self._release(lease)

    async def _release(self, lease: _Lease) -> None:
        """Stop renewing, and ask the gateway to forget it."""
        if lease.keeper is not None:
            lease.keeper.cancel()
            await asyncio.gather(lease.keeper, return_exceptions=True)
        if lease.agent is None:
            return
        grant = lease.grant or Grant(Endpoint(ANY, lease.wanted.external_port), None)
        with contextlib.suppress(PortMapError):  # it ends by itself, later
            await lease.agent.unmap(lease.wanted, grant, self._options.close_timeout)

    async def _close(self) -> None:
        leases, self._leases = list(self._leases.values()), {}
        await asyncio.gather(*map(self._release, leases), *self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _open_session(self) -> Session:
        if self._session is None:
            self._session = Session(uplink(self._gateway), self._options, self._restarted)
        return self._session

    def _restarted(self) -> None:
        """The gateway forgot: ask again, but not with all its other hosts at one moment."""
        self._stir("the gateway started anew", self._rng.uniform(0, self._options.recovery))

    def _look_at_uplink(self) -> None:
        """The kernel's tables changed: do they name another gateway, or us differently?

        While they name none, the old mappings may still be good: the link may come back.
        """
        try:
            now = uplink(self._gateway)
        except NoGatewayError:
            return
        old = self._session
        if old is None or old.uplink != now:
            self._session = None
            if old is not None:
                self._background(old.close())
            self._stir(f"our address towards {now.gateway} is now {now.local}", 0.0)

    def _stir(self, reason: str, pause: float) -> None:
        for lease in self._leases.values():
            lease.reason, lease.pause = reason, pause
            lease.stirred.set()

    async def _obtain(self, lease: _Lease) -> Mapping:
        """From whichever service grants it.  PortMapError when none does."""
        session, refusals = self._open_session(), list[PortMapError]()
        async for agent in session.agents():
            lease.agent = agent
            try:
                return await self._ask(lease, agent, session)
            except PortMapError as error:
                refusals.append(error)
                self._failed(lease, error, agent.service)
            if isinstance(refusals[-1], AddressMismatchError):
                break  # another NAT is between: no service could reach us through it
        lease.agent = lease.agent if refusals and isinstance(refusals[-1], NoServiceError) else None
        blame = _most_telling(refusals + session.failures())
        if not refusals:
            self._failed(lease, blame)
            session.forget()
        raise blame

    async def _ask(self, lease: _Lease, agent: Agent, session: Session) -> Mapping:
        """One service, for the port that it gave before, if it gave one."""
        wanted, address = lease.wanted, ANY
        if lease.grant is not None:
            wanted = replace(wanted, external_port=lease.grant.external.port)
            address = lease.grant.external.address
        grant = await agent.map(wanted, address, self._options.request_timeout)
        before, lease.grant = lease.mapping, grant
        internal = Endpoint(session.uplink.local, wanted.internal_port)
        lease.mapping = Mapping(
            wanted.transport, internal, grant.external, grant.lifetime, agent.service,
            session.uplink.gateway,
        )  # fmt: skip
        if before and lease.stirred.is_set():  # this very answer told us that it started anew
            self._emit(PortMapLost(before, lease.reason))
            before = None
        lease.stirred.clear()
        same = before is not None and before.external == grant.external
        self._emit(PortMapped(lease.mapping, renewed=same))
        return lease.mapping

    def _failed(self, lease: _Lease, error: PortMapError, service: str = "") -> None:
        wanted = lease.wanted
        self._emit(PortMapFailed(wanted.transport, wanted.internal_port, service, str(error)))

    async def _keep(self, lease: _Lease) -> None:
        """Renew it for as long as that goes, then get it anew; for ever."""
        while True:
            reason = await self._renew(lease)
            if lease.mapping is not None:
                self._emit(PortMapLost(lease.mapping, reason))
            lease.mapping = lease.agent = None
            await asyncio.sleep(lease.pause)
            await self._recover(lease)

    async def _renew(self, lease: _Lease) -> str:
        """Returns when the mapping is lost, and why."""
        while await self._renew_once(lease):
            pass
        return lease.reason

    async def _renew_once(self, lease: _Lease) -> bool:
        """Whether it was renewed in time; else `reason` says why not."""
        assert lease.grant is not None
        assert lease.agent is not None
        start, session = asyncio.get_running_loop().time(), self._open_session()
        # one without an end is asked for again all the same: the gateway may have forgotten it
        lifetime = lease.grant.lifetime or self._options.lifetime
        for offset in renewals(lifetime, self._rng):
            if await _stirred_before(lease, start + offset):
                return False
            try:
                await self._ask(lease, lease.agent, session)
            except PortMapError as error:
                self._failed(lease, error, lease.agent.service)
            else:
                return True
        if not await _stirred_before(lease, start + lifetime):
            lease.reason, lease.pause = "it could not be renewed in time", 0.0
            session.forget()
        return False

    async def _recover(self, lease: _Lease) -> None:
        """Returns when there is a mapping again."""
        delay, loop = self._options.retry, asyncio.get_running_loop()
        while True:
            lease.stirred.clear()
            with contextlib.suppress(PortMapError):  # has been told as an event
                await self._obtain(lease)
                return
            if not await _stirred_before(lease, loop.time() + delay):
                delay = min(2 * delay, self._options.max_retry)


async def _stirred_before(lease: _Lease, when: float) -> bool:
    try:
        async with asyncio.timeout_at(when):
            await lease.stirred.wait()
    except TimeoutError:
        return False
    return True


def _most_telling(errors: list[PortMapError]) -> PortMapError:
    """A refusal says more than silence, and most if it is for want of a public address."""
    refusals = [error for error in errors if isinstance(error, RefusedError)]
    for telling in (NetworkFailureError, RefusedError):
        for error in refusals:
            if isinstance(error, telling) and not isinstance(error, UnsupportedVersionError):
                return error
    if refusals:
        return refusals[0]
    return NoServiceError("; ".join(map(str, errors)) or "no service was tried")
