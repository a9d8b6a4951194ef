"""The gateway's ports for our sockets, as addresses that others can dial."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from ..events import Event
from ..multiaddr import Multiaddr
from ..portmap.mapping import Mapping, PortMapError, Transport
from ..portmap.options import PortMapOptions

if TYPE_CHECKING:
    from .portmap import PortMapper

_OF = {"tcp": Transport.TCP, "quic-v1": Transport.UDP}
_NAMES = {transport: name for name, transport in _OF.items()}


class MappedPorts:
    """Asks for each socket, and keeps what it got until `close`.

    Without options nothing is asked.  `changed` is called whenever `addresses` may differ.
    """

    def __init__(
        self,
        options: PortMapOptions | None,
        emit: Callable[[Event], None],
        changed: Callable[[], None],
    ) -> None:
        self._options, self._emit, self._changed = options, emit, changed
        self._mapper: PortMapper | None = None
        self._stack = AsyncExitStack()
        self._asking: dict[Multiaddr, asyncio.Task[Mapping]] = {}

    @property
    def mappings(self) -> tuple[Mapping, ...]:
        """All that the gateway granted, the useless ones included."""
        return self._mapper.mappings if self._mapper else ()

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        """Where strangers may reach us: a useless mapping gives none."""
        return tuple(
            Multiaddr.from_socket(str(m.external.address), m.external.port, _NAMES[m.transport])
            for m in self.mappings
            if m.useless is None
        )

    async def map(self, sockets: Iterable[Multiaddr], patience: float) -> list[str]:
        """Ask for a port for each socket; says in words where there is none of use.

        An answer after `patience` seconds is taken, too, and told as an event.
        """
        if self._options is None:
            return []
        if self._mapper is None:
            from .portmap import PortMapper  # a tenth of what importing a node costs

            self._mapper = PortMapper(self._options, emit=self._heard)
            await self._stack.enter_async_context(self._mapper)
        asked = {(one.transport, one.port) for one in self._asking}
        for address in sockets:
            # Of a wildcard on several interfaces there is one socket, and one port.
            if address.transport in _OF and (address.transport, address.port) not in asked:
                asked.add((address.transport, address.port))
                wish = self._mapper.map(_OF[address.transport], address.socket_address[1])
                self._asking[address] = asyncio.create_task(wish)
        if self._asking:
            await asyncio.wait(self._asking.values(), timeout=patience)
        said = (_trouble(task, patience) for task in self._asking.values())
        return [f"{a}: {why}" for a, why in zip(self._asking, said, strict=True) if why]

    async def close(self) -> None:
        """Give everything back to the gateway."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
        await self._stack.aclose()

    def _heard(self, event: Event) -> None:
        self._emit(event)
        asyncio.get_running_loop().call_soon(self._changed)  # the mapper has yet to note it


def _trouble(asked: asyncio.Task[Mapping], patience: float) -> str | None:
    """Why this is of no use to others; None where it is."""
    if not asked.done():
        return f"the gateway has not answered within {patience:g} s"
    try:
        useless = asked.result().useless
    except PortMapError as error:
        return f"no mapping: {error}"
    return f"the mapping is useless: {useless}" if useless else None
