"""UPnP IGD over the LAN: search, fetch, call; every step bounded in time and bytes."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address

from ..errors import ProtocolError
from ..portmap import http, igd, ssdp
from ..portmap.igd import Action, Connection
from ..portmap.mapping import (
    ActionFailedError,
    Address,
    ConflictError,
    Endpoint,
    NetworkFailureError,
    NoServiceError,
    NoSuchMappingError,
    PermanentOnlyError,
    PortMapError,
    Service,
    UnsupportedRequestError,
    Wanted,
    why_useless,
)
from .gateway import Uplink
from .portmap_agents import Grant

SEARCHES = (0.0, 0.3, 0.9)  # seconds: datagrams get lost
MAX_LOCATIONS = 8
CONFLICT_TRIES = 4
MULTICAST_HOPS = 2  # UDA 1.1 section 1.3.2
_READ = 4096


class UpnpAgent:
    """The gateway's best connection, found by `probe`."""

    def __init__(
        self, uplink: Uplink, restarted: Callable[[], None], description: str, ports: range
    ) -> None:
        self._uplink = uplink
        self._restarted = restarted
        self._description = description
        self._ports = ports
        self._rng = random.SystemRandom()
        self._connection: Connection | None = None
        self._presence: ssdp.Presence | None = None

    @property
    def service(self) -> Service:
        """See Agent; version 1 until `probe` has found out."""
        return self._connection.service if self._connection else Service.UPNP_V1

    def close(self) -> None:
        """Each call has a socket of its own: nothing is open."""

    def hear(self, data: bytes, source: Endpoint) -> None:
        """See Agent: a notice of the gateway."""
        if source.address != self._uplink.gateway or self._presence is None:
            return
        with contextlib.suppress(ProtocolError):
            notice = ssdp.decode(data)
            if not isinstance(notice, ssdp.Notice) or notice.target not in ssdp.GATEWAYS:
                return
            if self._presence.restarted(notice):
                self._restarted()

    async def probe(self, timeout: float) -> None:
        """See Agent."""
        reasons = ["nothing on it answered the search"]
        try:
            async with asyncio.timeout(timeout), _search(self._uplink) as answers:
                async for found in answers:
                    try:
                        await self._settle(found)
                    except (ProtocolError, OSError, PortMapError) as error:
                        reasons.append(str(error))
                    else:
                        return
        except TimeoutError:
            pass
        reason = f"no UPnP gateway at {self._uplink.gateway} within {timeout:g} s: {reasons[-1]}"
        raise NoServiceError(reason)

    async def _settle(self, found: ssdp.Found) -> None:
        """Take the first connection that has an external address, else the first of all."""
        location = ssdp.check_location(found.location, self._uplink.gateway)
        response = await self._exchange("GET", location, {}, b"")
        if response.status != 200:
            raise ProtocolError("igd", f"no description: status {response.status}")
        connections = igd.connections(response.body, location)
        self._connection = connections[0]
        self._presence = ssdp.Presence(found.boot_id)
        for connection in connections[1:] and connections:
            with contextlib.suppress(PortMapError, ProtocolError, OSError):
                if int(await self._address(connection)):
                    self._connection = connection
                    return

    async def map(self, wanted: Wanted, external: Address, timeout: float) -> Grant:
        """See Agent."""
        del external  # the protocol cannot suggest one
        async with self._deadline("port mapping", timeout) as connection:
            try:
                port, lifetime = await self._add(connection, wanted)
            except ActionFailedError as error:
                raise await self._explain(connection, error) from error
            made = replace(wanted, external_port=port)
            address = await self._address(connection)
            lifetime = await self._verify(connection, made, lifetime)
            return Grant(Endpoint(address, port), lifetime)

    async def _address(self, connection: Connection) -> IPv4Address:
        return igd.external_address(await self._call(connection, Action.GET_ADDRESS, {}))

    async def _explain(self, connection: Connection, error: ActionFailedError) -> PortMapError:
        """A gateway that has no public address itself may say no more than that it failed."""
        useless = why_useless(await self._address(connection))
        if useless is None:
            return error
        return NetworkFailureError(error.service, error.code, f"that it failed; {useless}")

    async def unmap(self, wanted: Wanted, grant: Grant, timeout: float) -> None:
        """See Agent; what is gone already is as good."""
        async with self._deadline("removal", timeout) as connection:
            arguments = igd.key(wanted.transport, grant.external.port)
            with contextlib.suppress(NoSuchMappingError):
                await self._call(connection, Action.DELETE, arguments)

    @asynccontextmanager
    async def _deadline(self, what: str, timeout: float) -> AsyncIterator[Connection]:
        """Whatever goes wrong between us and the gateway becomes a PortMapError."""
        assert self._connection is not None, "probe first"
        try:
            async with asyncio.timeout(timeout):
                yield self._connection
        except TimeoutError as error:
            raise NoServiceError(f"no answer to the {what} within {timeout:g} s") from error
        except (OSError, ProtocolError) as error:
            raise NoServiceError(f"{what}: {error}") from error

    async def _add(self, connection: Connection, wanted: Wanted) -> tuple[int, int | None]:
        """Port and lifetime; other ports if the wanted is taken, for ever if it must be."""
        lifetime: int | None = wanted.lifetime
        for port in self._candidates(wanted):
            ask = replace(wanted, external_port=port, lifetime=lifetime or 0)
            try:
                return await self._add_one(connection, ask), lifetime
            except PermanentOnlyError:
                lifetime = None
                with contextlib.suppress(ConflictError):
                    return await self._add_one(connection, replace(ask, lifetime=0)), None
            except ConflictError:
                continue
        raise igd.refusal(718)

    def _candidates(self, wanted: Wanted) -> Iterator[int]:
        yield wanted.external_port or wanted.internal_port
        for _ in range(CONFLICT_TRIES - 1):
            yield self._rng.choice(self._ports)

    async def _add_one(self, connection: Connection, wanted: Wanted) -> int:
        arguments = igd.addition(wanted, self._uplink.local, self._description)
        if connection.service is Service.UPNP_V2:
            with contextlib.suppress(UnsupportedRequestError):
                return igd.reserved_port(await self._call(connection, Action.ADD_ANY, arguments))
        await self._call(connection, Action.ADD, arguments)
        return wanted.external_port

    async def _verify(
        self, connection: Connection, wanted: Wanted, lifetime: int | None
    ) -> int | None:
        """Look whether the mapping is there, and ours; gives its lifetime.

        NoSuchMappingError when the gateway said yes and did nothing.
        """
        arguments = igd.key(wanted.transport, wanted.external_port)
        try:
            values = await self._call(connection, Action.GET, arguments)
        except UnsupportedRequestError:
            return lifetime
        entry = igd.entry(values)
        ours = (self._uplink.local, wanted.internal_port)
        if (entry.internal_address, entry.internal_port) != ours:
            raise igd.refusal(718)
        return entry.lifetime

    async def _call(
        self, connection: Connection, action: Action, arguments: dict[str, str]
    ) -> dict[str, str]:
        body = igd.encode(connection, action, arguments)
        headers = igd.headers(connection, action)
        response = await self._exchange("POST", connection.control, headers, body)
        return igd.decode(response, action)

    async def _exchange(
        self, method: str, location: ssdp.Location, headers: dict[str, str], body: bytes
    ) -> http.Response:
        """One request on a connection of its own, from the address that the gateway knows."""
        server = location.server
        reader, writer = await asyncio.open_connection(
            str(server.address), server.port, local_addr=(str(self._uplink.local), 0), limit=_READ
        )
        try:
            writer.write(http.request(method, server, location.path, headers, body))
            answer = http.ResponseReader()
            while answer.response is None:
                data = await reader.read(_READ)
                answer.feed(data) if data else answer.close()
            return answer.response
        finally:
            writer.transport.abort()


@asynccontextmanager
async def _search(uplink: Uplink) -> AsyncIterator[AsyncIterator[ssdp.Found]]:
    """Search, some times; yields the gateway's distinct answers, at most `MAX_LOCATIONS`."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((str(uplink.local), 0))
        interface = uplink.local.packed
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, MULTICAST_HOPS)
        for delay in SEARCHES:
            loop.call_later(delay, _send_search, sock, uplink.gateway)
        yield _answers(sock, uplink.gateway)


def _send_search(sock: socket.socket, gateway: IPv4Address) -> None:
    """To the group as the standard wants it, and to the gateway, where multicast is filtered."""
    for target in ssdp.GATEWAYS:
        for host in (ssdp.GROUP, Endpoint(gateway, ssdp.PORT)):
            with contextlib.suppress(OSError):  # closed meanwhile, or refused
                sock.sendto(ssdp.search(target, host), (str(host.address), host.port))


async def _answers(sock: socket.socket, gateway: IPv4Address) -> AsyncIterator[ssdp.Found]:
    loop = asyncio.get_running_loop()
    seen: set[str] = set()
    while len(seen) < MAX_LOCATIONS:
        data, (host, _) = await loop.sock_recvfrom(sock, ssdp.MAX_SIZE)
        if host != str(gateway):
            continue
        with contextlib.suppress(ProtocolError):
            found = ssdp.decode(data)
            if isinstance(found, ssdp.Found) and found.location not in seen:
                seen.add(found.location)
                yield found
