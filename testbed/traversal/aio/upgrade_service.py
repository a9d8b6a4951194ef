"""From relayed to direct: connection reversal beside DCUtR's signals, then leaving the relay.

B, who received the relayed connection, leads: it dials A's public addresses, and meanwhile runs
the first of up to three rounds of CONNECT / CONNECT / SYNC.  SYNC waits for a dial that has been
answered by then, and is not sent once one has succeeded; those that nobody has answered end
before it.  Both sides count a direct connection only once a ping has gone over it, and close the
relayed one after that.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from .. import dcutr
from ..errors import DialError, ProtocolError, StreamResetError, TraversalError
from ..events import (
    DialFailed,
    PunchStep,
    RelayLeft,
    Upgraded,
    UpgradeFailed,
)
from ..multiaddr import Multiaddr
from ..peer_id import PeerId
from ..punch_budget import Attempt, PunchBudget, PunchLimits
from .connection import Connection, Direction
from .host import Host
from .identify_service import IdentifyService
from .ping import ping
from .reversal import Reversal
from .stream import Stream

_SIGNAL_TIMEOUT = 10.0
_PROOFS = 3  # pings that a direct connection may take to answer one
_REDIAL = (0.1, 0.8)  # seconds between TCP dials of one round that were refused


@dataclass(frozen=True)
class UpgradeOptions:
    """Seconds and counts.

    `reversal_timeout` is for direct dials that are answered before the punch; 0 makes none (as
    rust-libp2p does).
    `relay_grace` is how long streams may finish on the relayed connection; those
    of ping and identify push are not waited for.  `proof_timeout` is how long a direct
    connection may take to answer, when its peer comes over a relay all the same.
    `punch` bounds what is sent to addresses that are a stranger's word.
    """

    enabled: bool = True
    attempts: int = dcutr.ATTEMPTS
    punch_timeout: float = 5.0
    reversal_timeout: float = 3.0
    relay_grace: float = 10.0
    proof_timeout: float = 3.0
    punch: PunchLimits = field(default_factory=PunchLimits)
    allow_private: bool = False


class UpgradeService:
    """`own` gives the addresses that CONNECT carries."""

    def __init__(
        self,
        host: Host,
        identify: IdentifyService,
        options: UpgradeOptions,
        own: Callable[[], tuple[Multiaddr, ...]],
    ) -> None:
        self._host, self._identify, self._options, self._own = host, identify, options, own
        self._budget = PunchBudget(options.punch)
        self._rounds: dict[PeerId, int] = {}  # of A: how many CONNECTs came
        self._punching: set[PeerId] = set()  # SYNC went or came
        self._settling: set[PeerId] = set()
        self.upgraded_hooks: list[Callable[[Upgraded], None]] = []
        host.connected_hooks.append(self._on_connected)
        host.closed_hooks.append(self._on_closed)
        if options.enabled:
            host.set_handler(dcutr.PROTOCOL, self._respond)

    def _on_connected(self, connection: Connection) -> None:
        peer = connection.peer
        if connection.relayed:
            if connection.direction is Direction.INBOUND and self._options.enabled:
                self._host.spawn(self._lead(connection))
        elif relayed := self._host.connections_to(peer, relayed=True):
            self._host.spawn(self._settle(relayed[0], connection))

    def _on_closed(self, connection: Connection) -> None:
        if connection.relayed and not self._host.connections_to(connection.peer, relayed=True):
            self._rounds.pop(connection.peer, None)
            self._punching.discard(connection.peer)

    # B's part.

    async def _lead(self, relayed: Connection) -> None:
        peer = relayed.peer
        await asyncio.gather(self._identify.wait(relayed), self._prove(peer))
        if self._has_direct(peer):
            return
        reversal = Reversal(self._host, peer, self._options.reversal_timeout)
        try:
            reversal.start(self._advertised(peer))
            reason = await self._rounds_of(relayed, reversal)
        finally:
            await reversal.stop()
        if reason:
            self._host.emit(UpgradeFailed(peer, reason))

    async def _rounds_of(self, relayed: Connection, reversal: Reversal) -> str:
        """Why there is no direct connection; empty where there is one, or none is wanted."""
        peer = relayed.peer
        if not self._identify.supports(peer, dcutr.PROTOCOL):
            reached = await reversal.succeeded()
            return "" if reached else "the peer does not speak DCUtR"
        reason = "no attempts allowed"
        for attempt in range(1, self._options.attempts + 1):
            if self._has_direct(peer):
                return ""
            if relayed.closed:
                reason = "the relayed connection has ended"
                break
            try:
                await self._initiate(relayed, attempt, reversal)
                return ""
            except (TraversalError, TimeoutError) as error:
                reason = str(error) or type(error).__name__
                self._step(peer, "initiator", attempt, "failed", reason=reason)
        return "" if await reversal.succeeded() else reason

    async def _prove(self, peer: PeerId) -> None:
        """Close what we believe to be direct connections, and the peer may have lost."""

        async def answer(direct: Connection) -> None:
            try:
                await ping(self._host, direct, self._options.proof_timeout)
            except TraversalError:
                direct.abort("the peer is back over a relay, and this does not answer")

        await asyncio.gather(*map(answer, self._host.connections_to(peer, relayed=False)))

    def _advertised(self, peer: PeerId) -> list[Multiaddr]:
        """The addresses that A advertises as public, as far as the budget goes."""
        known = self._identify.peers.get(peer)
        named = known.addresses if known else ()
        attempt = self._budget.attempt(a for a in named if self._usable(a))
        now = asyncio.get_running_loop().time()
        return [a for a in attempt.targets if attempt.take(a, now)]

    async def _initiate(self, relayed: Connection, attempt: int, reversal: Reversal) -> None:
        """One round as B.  Returns when a direct connection is there."""
        loop, peer = asyncio.get_running_loop(), relayed.peer
        side = dcutr.Initiator(self._own())
        if not side.own:
            raise ProtocolError("dcutr", "no address of our own to offer")
        async with (
            asyncio.timeout(_SIGNAL_TIMEOUT),
            self._host.exchange(relayed, dcutr.PROTOCOL) as stream,
        ):
            await stream.write_frame(side.start(loop.time()))
            self._step(peer, "initiator", attempt, "connect_sent", addresses=side.own)
            answer = await stream.read_frame(dcutr.MAX_MESSAGE)
            came = loop.time()
            sync = side.receive(answer, came)
            self._step(
                peer, "initiator", attempt, "connect_received",
                rtt=side.rtt, addresses=side.remote,
            )  # fmt: skip
            if await reversal.leads_somewhere() or self._has_direct(peer):
                return
            # Before SYNC: what is still sent for these dials would get in beside A's own.
            await reversal.stop()
            waited = loop.time() - came
            # A may be through before our half round trip ends.
            self._punching.add(peer)
            await stream.write_frame(sync)
            self._step(peer, "initiator", attempt, "sync_sent")
        await asyncio.sleep(max(0.0, side.punch_at + waited - loop.time()))
        await self._punch(peer, "initiator", attempt, side.remote)

    # A's part.

    async def _respond(self, stream: Stream, connection: Connection) -> None:
        """One round as A."""
        loop, peer = asyncio.get_running_loop(), connection.peer
        if not connection.relayed:
            raise ProtocolError("dcutr", "only over a relayed connection")
        if connection.direction is Direction.INBOUND:
            raise ProtocolError("dcutr", "the side that dialed the relay does not lead")
        attempt = self._rounds.get(peer, 0) + 1
        if attempt > 2 * dcutr.ATTEMPTS:
            raise ProtocolError("dcutr", f"attempt {attempt}: we dial no more for this peer")
        self._rounds[peer] = attempt
        side = dcutr.Responder(self._own())
        async with asyncio.timeout(_SIGNAL_TIMEOUT):
            answer = side.receive(await stream.read_frame(dcutr.MAX_MESSAGE), loop.time())
            self._step(peer, "responder", attempt, "connect_received", addresses=side.remote)
            await stream.write_frame(answer)
            self._step(peer, "responder", attempt, "connect_sent", addresses=side.own)
            try:
                sync = await stream.read_frame(dcutr.MAX_MESSAGE)
            except StreamResetError:  # B has reached us meanwhile, and needs no punch
                patience = self._options.reversal_timeout
                await self._host.wait_connection(peer, patience, direct=True)
                return
            side.receive(sync, loop.time())
        self._punching.add(peer)
        self._step(peer, "responder", attempt, "sync_received")
        self._host.spawn(self._follow(peer, attempt, side.remote))

    async def _follow(self, peer: PeerId, attempt: int, remote: tuple[Multiaddr, ...]) -> None:
        try:
            await self._punch(peer, "responder", attempt, remote)
        except TraversalError as error:
            self._step(peer, "responder", attempt, "failed", reason=str(error))

    # Both.

    async def _punch(
        self, peer: PeerId, role: str, attempt: int, remote: tuple[Multiaddr, ...]
    ) -> None:
        """Dial or send towards every usable address until one direct connection is there.

        B waits without any, too: A has B's addresses, and its dial may get in by itself.
        """
        round_ = self._budget.attempt(a for a in remote if self._usable(a))
        targets = round_.targets
        client, timeout = role == "responder", self._options.punch_timeout
        if client and not targets:
            raise ProtocolError("dcutr", "the peer offered no address that we can reach")
        self._step(peer, role, attempt, "punching", addresses=targets)
        expecting = self._host.transports.client_towards(targets if client else ())
        work = [self._host.spawn(self._punch_one(a, peer, client, round_)) for a in targets]
        try:
            with expecting:
                await self._host.wait_connection(peer, timeout, direct=True)
        finally:
            for task in work:
                task.cancel()

    async def _punch_one(
        self, address: Multiaddr, peer: PeerId, client: bool, round_: Attempt
    ) -> None:
        loop, timeout = asyncio.get_running_loop(), self._options.punch_timeout

        def may() -> bool:
            return round_.take(address, loop.time())

        if address.transport == "quic-v1" and not client:
            async with asyncio.timeout(timeout):
                with contextlib.suppress(TimeoutError):
                    await self._host.transports.punch(address, dcutr.PUNCH_INTERVAL, may)
            return
        deadline, pause = loop.time() + timeout, _REDIAL[0]
        while (left := deadline - loop.time()) > 0 and not self._has_direct(peer) and may():
            try:
                await self._host.dial_direct(address, peer, left, client=client)
                return
            except DialError as error:
                self._host.emit(DialFailed(address, "punched", error.failure, error.reason))
            await asyncio.sleep(pause)
            pause = min(pause * 2, _REDIAL[1])

    async def _settle(self, relayed: Connection, direct: Connection) -> None:
        """Prove the direct connection, then leave the relayed one."""
        peer = direct.peer
        if peer in self._settling:
            return
        self._settling.add(peer)
        how = "reversed"
        if peer in self._punching:
            how = "punched"
        elif direct.direction is relayed.direction:
            how = "direct"  # the one who dialed the relay got through by itself
        try:
            try:
                direct, rtt = await self._proven(direct)
            except TraversalError as error:
                self._host.emit(UpgradeFailed(peer, f"no direct connection answers: {error}"))
                return
            seconds = asyncio.get_running_loop().time() - relayed.opened_at
            event = Upgraded(peer, how, direct.remote, seconds, rtt)
            self._host.emit(event)
            for hook in self.upgraded_hooks:
                hook(event)
            await self._leave(peer)
        finally:
            self._settling.discard(peer)

    async def _proven(self, direct: Connection) -> tuple[Connection, float]:
        """A direct connection, and the round trip of a ping over it.

        A way that loses packets may take longer than a ping's patience; and of two connections
        that were opened at once, the other one may be kept.  Raises what the last ping said, with
        all connections aborted that did not answer.
        """
        for left in reversed(range(_PROOFS)):
            try:
                return direct, await ping(self._host, direct)
            except TraversalError:
                others = self._host.connections_to(direct.peer, relayed=False)
                if not left or not others:
                    direct.abort("it answers no ping")
                    raise
                direct = others[0]
        raise AssertionError("the last ping is answered or raises")

    async def _leave(self, peer: PeerId) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._options.relay_grace
        for relayed in self._host.connections_to(peer, relayed=True):
            while relayed.in_use and not relayed.closed and loop.time() < deadline:
                await asyncio.sleep(0.05)
            forced = relayed.in_use
            await relayed.close("a direct connection took over")
            self._host.emit(RelayLeft(peer, forced))

    def _usable(self, address: Multiaddr) -> bool:
        if address.is_relayed or not self._host.transports.supports(address):
            return False
        return self._options.allow_private or address.is_public

    def _has_direct(self, peer: PeerId) -> bool:
        return bool(self._host.connections_to(peer, relayed=False))

    def _step(
        self,
        peer: PeerId,
        role: str,
        attempt: int,
        step: str,
        *,
        rtt: float | None = None,
        addresses: tuple[Multiaddr, ...] = (),
        reason: str = "",
    ) -> None:
        self._host.emit(PunchStep(peer, role, attempt, step, rtt, addresses, reason))
