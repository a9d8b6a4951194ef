"""One gateway's services: which of them answer, the preferred first."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from ..portmap import natpmp, ssdp
from ..portmap.mapping import Endpoint, PortMapError, Service
from ..portmap.options import PortMapOptions
from .gateway import Uplink
from .portmap_agents import Agent, NatPmpAgent, PcpAgent
from .portmap_datagram import multicast
from .portmap_upnp import UpnpAgent


class Session:
    """The services behind one uplink; `restarted` is called when one has forgotten all."""

    def __init__(
        self, uplink: Uplink, options: PortMapOptions, restarted: Callable[[], None]
    ) -> None:
        self.uplink = uplink
        self._options = options
        self._agents = [_agent(p.service, uplink, options, restarted) for p in options.probes]
        self._probes: dict[Agent, asyncio.Task[None]] = {}
        self._stack = contextlib.ExitStack()
        for agent in self._agents:
            self._stack.callback(agent.close)
        for group in (natpmp.ANNOUNCEMENTS, ssdp.GROUP):
            self._stack.enter_context(multicast(uplink.local, group, self._hear))

    def _hear(self, data: bytes, source: Endpoint) -> None:
        for agent in self._agents:  # each knows its own
            agent.hear(data, source)

    async def close(self) -> None:
        """End all probes, free all sockets."""
        for probe in self._probes.values():
            probe.cancel()
        self._stack.close()
        await asyncio.gather(*self._probes.values(), return_exceptions=True)

    async def agents(self) -> AsyncIterator[Agent]:
        """Those that answer, as they are wanted: an early end spares the probes of the rest."""
        left = list(self._agents)
        while (agent := await self._best(left)) is not None:
            yield agent
            left.remove(agent)

    def failures(self) -> list[PortMapError]:
        """Why the others do not, as far as that is known."""
        ended = [p for p in self._probes.values() if p.done() and not p.cancelled()]
        return [e for p in ended if isinstance(e := p.exception(), PortMapError)]

    def forget(self) -> None:
        """Ask all anew, next time: what they said no longer holds."""
        for agent in [agent for agent, probe in self._probes.items() if probe.done()]:
            del self._probes[agent]

    async def _best(self, left: list[Agent]) -> Agent | None:
        """The preferred one of `left`, of those that answer soonest; None if none does."""
        while not (ready := [a for a in left if self._state(a) is True]):
            running = [self._probes[a] for a in left if self._state(a) is None]
            fresh = [a for a in left if a not in self._probes]
            if fresh and not running:
                self._start(fresh[0])
            elif running:
                wait = self._head_start(fresh[0]) if fresh else None
                if not await _first(running, wait) and fresh:
                    self._start(fresh[0])
            else:
                return None
        better = left[: left.index(ready[0])]
        running = [self._probes[a] for a in better if self._state(a) is None]
        if running:
            await asyncio.wait(running, timeout=self._options.patience)
        return next(a for a in left if self._state(a) is True)

    def _state(self, agent: Agent) -> bool | None:
        """Whether it answered; None while that is not known, or not asked."""
        probe = self._probes.get(agent)
        if probe is None:
            return False
        if not probe.done():
            return None
        return not probe.cancelled() and probe.exception() is None

    def _start(self, agent: Agent) -> None:
        if agent not in self._probes:  # somebody else may have, meanwhile
            probe = agent.probe(self._options.probe_timeout)
            self._probes[agent] = asyncio.create_task(probe)

    def _head_start(self, agent: Agent) -> float:
        return self._options.probes[self._agents.index(agent)].head_start


async def _first(tasks: list[asyncio.Task[None]], timeout: float | None) -> bool:
    done, _ = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


def _agent(
    service: Service, uplink: Uplink, options: PortMapOptions, restarted: Callable[[], None]
) -> Agent:
    if service is Service.PCP:
        return PcpAgent(uplink, restarted)
    if service is Service.NAT_PMP:
        return NatPmpAgent(uplink, restarted)
    return UpnpAgent(uplink, restarted, options.description, options.ports)
