"""Connection reversal: B dials the addresses that A advertises, while DCUtR's signals travel."""

import asyncio
from collections.abc import Iterable

from ..errors import DialError
from ..events import DialFailed, DialStarted
from ..multiaddr import Multiaddr
from ..peer_id import PeerId
from .host import Host


class Reversal:
    """Dials to one peer, all at once, each once.  `timeout` (seconds) 0 makes none."""

    def __init__(self, host: Host, peer: PeerId, timeout: float) -> None:
        self._host, self._peer, self._timeout = host, peer, timeout
        self._dials: dict[asyncio.Task[bool], Multiaddr] = {}
        self._answered: set[Multiaddr] = set()

    def start(self, addresses: Iterable[Multiaddr]) -> None:
        """Dial."""
        for address in addresses if self._timeout else ():
            self._dials[self._host.spawn(self._dial(address))] = address

    async def leads_somewhere(self) -> bool:
        """Whether one that somebody has answered by now gives a connection: that is waited for."""
        answered = [task for task, address in self._dials.items() if address in self._answered]
        return await _any(answered)

    async def succeeded(self) -> bool:
        """Whether any gives a connection."""
        return await _any(list(self._dials))

    async def stop(self) -> None:
        """End those that are under way: their ports are free again when this returns."""
        dials = list(self._dials)
        self._dials.clear()
        for task in dials:
            task.cancel()
        if dials:
            await asyncio.wait(dials)

    async def _dial(self, address: Multiaddr) -> bool:
        self._host.emit(DialStarted(address, "reversed"))
        try:
            await self._host.dial_direct(
                address.without_peer(), self._peer, self._timeout,
                answered=lambda: self._answered.add(address),
            )  # fmt: skip
        except DialError as error:
            self._host.emit(DialFailed(address, "reversed", error.failure, error.reason))
            return False
        return True


async def _any(dials: list[asyncio.Task[bool]]) -> bool:
    waiting = set(dials)
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if any(task.result() for task in done if not task.cancelled()):
            return True
    return False
