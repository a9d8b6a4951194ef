"""AutoNAT v1 and v2, the asking side: verdicts on the node and on single addresses."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from .. import autonat_v1, autonat_v2
from ..autonat_v1 import Reachability
from ..errors import ProtocolError, TraversalError
from ..events import ReachabilityChanged
from ..multiaddr import Multiaddr
from .connection import Connection
from .host import Host
from .identify_service import IdentifyService
from .stream import Stream

_TIMEOUT = 45.0
_MAX_NONCES = 64


@dataclass(frozen=True)
class AddressAnswer:
    """What one v2 server said of one address."""

    address: Multiaddr
    reachable: bool


class AutonatClient:
    """`node_verdict` (v1) and `address_verdicts` (v2) are the last words."""

    def __init__(
        self,
        host: Host,
        identify: IdentifyService,
        candidates: Callable[[], tuple[Multiaddr, ...]],
        *,
        v1_threshold: int,
        v2_threshold: int,
    ) -> None:
        self._host, self._identify, self._candidates = host, identify, candidates
        self._v1_votes = autonat_v1.Votes(v1_threshold)
        self._v2_threshold = v2_threshold
        self._v2_votes: dict[Multiaddr, autonat_v1.Votes] = {}
        self._nonces: dict[int, Connection | None] = {}
        self.node_verdict = Reachability.UNKNOWN
        self.address_verdicts: dict[Multiaddr, Reachability] = {}
        self.changed_hooks: list[Callable[[], None]] = []
        host.set_handler(autonat_v2.DIAL_BACK_PROTOCOL, self._on_dial_back)

    async def probe(self) -> None:
        """Ask every connected server once, both versions, each about all candidates."""
        asked = [c for c in self._host.connections if not c.relayed]
        servers = {c.peer: c for c in reversed(asked)}.values()
        work = []
        for server in servers:
            if self._identify.supports(server.peer, autonat_v1.PROTOCOL):
                work.append(self._quietly(self.ask_v1(server)))
            if self._identify.supports(server.peer, autonat_v2.REQUEST_PROTOCOL):
                work += self._asking(server, self._candidates())
        await asyncio.gather(*work)

    async def prove(self, patience: float) -> None:
        """Ask every connected v2 server about each candidate, once, for `patience` seconds at most.

        It ends earlier when all have answered, or there is a verdict on each candidate.
        """
        wanted = self._candidates()
        asked = {c.peer: c for c in reversed(self._host.connections) if not c.relayed}
        work = {
            asyncio.create_task(ask)
            for server in asked.values()
            if self._identify.supports(server.peer, autonat_v2.REQUEST_PROTOCOL)
            for ask in self._asking(server, wanted)
        }
        try:
            async with asyncio.timeout(patience):
                while work and any(self._undecided(a) for a in wanted):
                    _, work = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            return
        finally:
            for task in work:
                task.cancel()

    def _undecided(self, address: Multiaddr) -> bool:
        return self.address_verdicts.get(address, Reachability.UNKNOWN) is Reachability.UNKNOWN

    async def run(self, boot_delay: float, interval: float) -> None:
        """Probe again and again."""
        await asyncio.sleep(boot_delay)
        while True:
            await self.probe()
            await asyncio.sleep(interval)

    async def ask_v1(self, server: Connection) -> autonat_v1.Answer:
        """One v1 request.  Raises TraversalError, TimeoutError."""
        async with (
            asyncio.timeout(_TIMEOUT),
            self._host.exchange(server, autonat_v1.PROTOCOL) as stream,
        ):
            request = autonat_v1.encode_request(self._host.peer, self._candidates())
            await stream.write_frame(request)
            frame = await stream.read_frame(autonat_v1.MAX_MESSAGE)
        answer = autonat_v1.decode_answer(frame)
        if server.remote.ip is not None:
            self._v1_votes.add(server.remote.ip, answer.status)
        if self._v1_votes.verdict is not self.node_verdict:
            self.node_verdict = self._v1_votes.verdict
            self._host.emit(ReachabilityChanged(self.node_verdict, 1))
            self._changed()
        return answer

    async def ask_v2(
        self, server: Connection, addresses: tuple[Multiaddr, ...]
    ) -> AddressAnswer | None:
        """One v2 request; None when the server said nothing that counts.

        A success without our nonce is no success.  Raises TraversalError, TimeoutError.
        """
        nonce = random.SystemRandom().getrandbits(64)
        if len(self._nonces) >= _MAX_NONCES:
            raise ProtocolError("autonat2", "too many requests are under way")
        self._nonces[nonce] = None
        try:
            async with asyncio.timeout(_TIMEOUT):
                response = await self._request(server, addresses, nonce)
            came_on = self._nonces[nonce]
        finally:
            del self._nonces[nonce]
        return self._count(server, addresses, response, came_on)

    # Private.

    def _asking(
        self, server: Connection, addresses: tuple[Multiaddr, ...]
    ) -> list[Coroutine[object, object, None]]:
        """v2 requests for single addresses, one after the other.

        go-libp2p's server has two of a peer under way at most, and one that it has answered is
        for a moment still among them.
        """
        turn = asyncio.Lock()

        async def ask(address: Multiaddr) -> None:
            async with turn:
                await self.ask_v2(server, (address,))

        return [self._quietly(ask(address)) for address in addresses]

    async def _request(
        self, server: Connection, addresses: tuple[Multiaddr, ...], nonce: int
    ) -> autonat_v2.DialResponse:
        async with self._host.exchange(server, autonat_v2.REQUEST_PROTOCOL) as stream:
            request = autonat_v2.DialRequest(tuple(a.encode() for a in addresses), nonce)
            await stream.write_frame(autonat_v2.Message(request=request).encode())
            message = await self._receive(stream)
            if (due := message.data_request) is not None:
                frame, times = autonat_v2.dial_data_frames(due.num_bytes or 0)
                for _ in range(times):
                    await stream.write_frame(frame)
                message = await self._receive(stream)
        if message.response is None:
            raise ProtocolError("autonat2", "not a dial response")
        return message.response

    @staticmethod
    async def _receive(stream: Stream) -> autonat_v2.Message:
        return autonat_v2.Message.decode(await stream.read_frame(autonat_v2.MAX_MESSAGE))

    def _count(
        self,
        server: Connection,
        addresses: tuple[Multiaddr, ...],
        response: autonat_v2.DialResponse,
        came_on: Connection | None,
    ) -> AddressAnswer | None:
        index = response.address_index or 0
        if response.status != autonat_v2.ResponseStatus.OK or index >= len(addresses):
            return None
        address = addresses[index]
        outcome = response.dial_status
        if outcome == autonat_v2.DialStatus.OK:
            if came_on is None or came_on.transport != address.transport:
                return None
        elif outcome != autonat_v2.DialStatus.DIAL_ERROR:
            return None
        reachable = outcome == autonat_v2.DialStatus.OK
        votes = self._v2_votes.setdefault(address, autonat_v1.Votes(self._v2_threshold))
        if server.remote.ip is not None:
            status = autonat_v1.Status.OK if reachable else autonat_v1.Status.DIAL_ERROR
            votes.add(server.remote.ip, status)
        if self.address_verdicts.get(address, Reachability.UNKNOWN) is not votes.verdict:
            self.address_verdicts[address] = votes.verdict
            self._host.emit(ReachabilityChanged(votes.verdict, 2, address))
            self._changed()
        return AddressAnswer(address, reachable)

    async def _on_dial_back(self, stream: Stream, connection: Connection) -> None:
        async with asyncio.timeout(_TIMEOUT):
            message = autonat_v2.DialBack.decode(await stream.read_frame(autonat_v2.MAX_MESSAGE))
        nonce = message.nonce or 0
        if nonce not in self._nonces or connection.relayed:
            raise ProtocolError("autonat2", "dial-back with an unknown nonce")
        self._nonces[nonce] = connection
        await stream.write_frame(autonat_v2.DialBackResponse(0).encode())

    async def _quietly(self, work: Coroutine[object, object, object]) -> None:
        try:
            await work
        except (TraversalError, TimeoutError):
            return  # a server that fails casts no vote

    def _changed(self) -> None:
        for hook in self.changed_hooks:
            hook()
