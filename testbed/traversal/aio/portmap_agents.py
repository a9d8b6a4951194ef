"""PCP and NAT-PMP behind one interface, which `portmap_upnp` has too."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

from ..portmap import natpmp, pcp, pcp_client
from ..portmap.mapping import (
    Address,
    Endpoint,
    Service,
    Transport,
    Wanted,
)
from .gateway import Uplink
from .portmap_datagram import Channel


@dataclass(frozen=True)
class Grant:
    """What a service answered.  `lifetime` in seconds, None without an end."""

    external: Endpoint
    lifetime: int | None


class Agent(Protocol):
    """One service of one gateway.

    All waits end by `timeout` seconds; all errors are PortMapErrors.
    """

    @property
    def service(self) -> Service:
        """Which it is."""

    async def probe(self, timeout: float) -> None:
        """Returns when the service has answered."""

    async def map(self, wanted: Wanted, external: Address, timeout: float) -> Grant:
        """Make or renew a mapping; `external` is the address to keep, where there was one."""

    async def unmap(self, wanted: Wanted, grant: Grant, timeout: float) -> None:
        """End a mapping."""

    def hear(self, data: bytes, source: Endpoint) -> None:
        """An announcement may have come."""

    def close(self) -> None:
        """Free the sockets."""


class PcpAgent:
    """PCP: the nonce of each mapping is kept for as long as the agent lives."""

    service = Service.PCP

    def __init__(self, uplink: Uplink, restarted: Callable[[], None]) -> None:
        self._uplink = uplink
        self._rng = random.SystemRandom()
        client = pcp_client.Client(uplink.gateway, uplink.local, self._rng)
        self._channel: Channel[pcp.Request] = Channel(client, restarted)
        self._nonces: dict[tuple[Transport, int], bytes] = {}
        self.hear, self.close = self._channel.hear, self._channel.close

    async def probe(self, timeout: float) -> None:
        """See Agent."""
        await self._channel.open(self._uplink)
        await self._channel.ask(pcp.Announce(), timeout)

    async def map(self, wanted: Wanted, external: Address, timeout: float) -> Grant:
        """See Agent."""
        answer = await self._ask(wanted, external, timeout)
        return Grant(answer.external, answer.lifetime)

    async def unmap(self, wanted: Wanted, grant: Grant, timeout: float) -> None:
        """See Agent."""
        end = Wanted(wanted.transport, wanted.internal_port, grant.external.port, 0)
        await self._ask(end, grant.external.address, timeout)

    async def _ask(self, wanted: Wanted, external: Address, timeout: float) -> pcp_client.Mapped:
        key = (wanted.transport, wanted.internal_port)
        nonce = self._nonces.setdefault(key, pcp_client.new_nonce(self._rng))
        answer = await self._channel.ask(pcp.Map(nonce, wanted, external), timeout)
        assert isinstance(answer, pcp_client.Mapped)
        return answer


class NatPmpAgent:
    """NAT-PMP: the address is asked for beside each mapping, whose answer lacks it."""

    service = Service.NAT_PMP

    def __init__(self, uplink: Uplink, restarted: Callable[[], None]) -> None:
        self._uplink = uplink
        client = natpmp.Client(uplink.gateway)
        self._channel: Channel[natpmp.Request] = Channel(client, restarted)
        self._one_query = asyncio.Lock()
        self.hear, self.close = self._channel.hear, self._channel.close

    async def probe(self, timeout: float) -> None:
        """See Agent.  A gateway without an address of its own is no use, and says so here."""
        await self._channel.open(self._uplink)
        await self._address(timeout)

    async def _address(self, timeout: float) -> IPv4Address:
        async with self._one_query:
            answer = await self._channel.ask(natpmp.AddressQuery(), timeout)
        assert isinstance(answer, natpmp.AddressLearned)
        return answer.address

    async def map(self, wanted: Wanted, external: Address, timeout: float) -> Grant:
        """See Agent."""
        del external  # the protocol cannot suggest one
        answer = await self._channel.ask(wanted, timeout)
        assert isinstance(answer, natpmp.Mapped)
        address = await self._address(timeout)
        return Grant(Endpoint(address, answer.external_port), answer.lifetime)

    async def unmap(self, wanted: Wanted, grant: Grant, timeout: float) -> None:
        """See Agent."""
        end = Wanted(wanted.transport, wanted.internal_port, grant.external.port, 0)
        await self._channel.ask(end, timeout)
