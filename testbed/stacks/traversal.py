"""Our own traversal stack as a peer: relayed first, then upgraded by reversal or DCUtR.

The listener reserves at a relay and offers its circuit address; the dialer dials that.
The listener leads the upgrade (libp2p relay/DCUtR.md: it is B, the dialer is A).
"""

import asyncio
import hashlib
import random
import time
from collections.abc import Awaitable
from dataclasses import replace
from typing import TypeVar

from testbed.model.contract import (
    NONCE_BYTES,
    Configure,
    Connected,
    Dial,
    Endpoint,
    Event,
    FailureClass,
    FailureDetail,
    Heard,
    How,
    Listening,
    Lost,
    Mode,
    Observed,
    Offer,
    Path,
    Reserved,
    Role,
    RungName,
    RungReached,
    Stayed,
    Step,
    StepName,
    Transport,
    Upgraded,
)
from testbed.stacks.echo import marked
from testbed.stacks.keeping import UPGRADE, KeptEcho, kept
from testbed.stacks.session import Emit, PeerFailure, Told, now, refuse_unsupported, sleep_until
from testbed.traversal import Multiaddr, Node, NodeOptions, PrivateKey, TraversalError
from testbed.traversal import events as said
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.host import HostLimits
from testbed.traversal.aio.path_watch import PathOptions
from testbed.traversal.aio.stream import Stream
from testbed.traversal.aio.upgrade_service import UpgradeOptions
from testbed.traversal.errors import RelayRefusedError
from testbed.traversal.relay import Status

ECHO = "/testbed/echo/1.0.0"
# Seconds, and longer where the ways are.  A failing pair usually ends within
# reversal + 3 x (punch + two round trips) = 8 s.
DIAL_DEADLINE = 3.0  # of one observer or relay
CIRCUIT_DEADLINE = 4.0  # from ``start_at`` to the relayed connection
ECHO_DEADLINE = 15.0  # TCP that loses a fifth of its segments takes 5 s and more
# A reversal's dial takes four round trips, and a lost SYN is sent again after 1 s.
UPGRADE_ONCE = UpgradeOptions(reversal_timeout=1.0, punch_timeout=2.0, relay_grace=2.0)

T = TypeVar("T")


def identity(*words: object) -> PrivateKey:
    """The key that belongs to ``words``: equal words, equal peer id."""
    return PrivateKey.from_seed(hashlib.sha256(repr(words).encode()).digest())


def listen_address(local: object, port: int, transport: Transport) -> str:
    """The multiaddr of a port: TCP, or QUIC where the transport is UDP."""
    kind = f"tcp/{port}" if transport is Transport.TCP else f"udp/{port}/quic-v1"
    return f"/ip4/{local}/{kind}"


class TraversalPeer:
    """One session; see `testbed.stacks.session.Stack`."""

    def __init__(self) -> None:
        self._node: Node | None = None
        self._watching: asyncio.Task[None] | None = None
        self._attempts = 0
        self._kept: KeptEcho | None = None  # of a connection that is to be kept
        self._offset = time.time_ns() - time.monotonic_ns()

    async def gather(self, configure: Configure, emit: Emit) -> Told:
        refuse_unsupported(configure, configure.transport, modes=(Mode.PUNCH,), relays=True)
        if not configure.relays:
            raise PeerFailure(FailureClass.UNSUPPORTED, "a relay is needed")
        self._configure, self._emit = configure, emit
        self._node = node = Node(self._options(configure))
        node.set_handler(ECHO, self._send_back)
        address = listen_address(configure.local_address, configure.port, configure.transport)
        emit(Listening(at=now(), local=_endpoint(await node.listen(address))))
        public = (*configure.relays, *configure.observers)
        await asyncio.gather(*(_gathered(self._connect(node, a)) for a in public))
        return Offer(addresses=(), ice=None, multiaddrs=await self._offered(node))

    def _options(self, configure: Configure) -> NodeOptions:
        upgrade = UPGRADE if configure.keep else UPGRADE_ONCE
        return NodeOptions(
            identity=identity(configure.session, configure.role),
            upgrade=replace(upgrade, enabled=not configure.options.relay_only),
            limits=kept(HostLimits(dial_timeout=self._longer(DIAL_DEADLINE)), configure.keep),
            paths=PathOptions(enabled=False),  # the timers are those that a study declares
            autonat_interval=0,  # nobody asks AutoNAT in a punch
        )

    def _longer(self, usual: float) -> float:
        return usual + self._configure.extra_time

    async def _connect(self, node: Node, address: str) -> None:
        """Meet a public node from the listening port, and learn how it sees us."""
        connection = await node.dial(address)
        await node.identify.wait(connection, self._longer(DIAL_DEADLINE))
        info = node.identify.peers.get(connection.peer)
        if info is None or info.observed is None:
            raise PeerFailure(FailureClass.GATHERING, f"{address} did not say how it sees us")
        seen, server = _endpoint(info.observed), _endpoint(connection.remote)
        self._emit(Observed(at=now(), address=seen, server=server))

    async def _offered(self, node: Node) -> tuple[str, ...]:
        """The listener's circuit addresses; of the dialer, its name."""
        if self._configure.role is Role.DIALER:
            return (f"/p2p/{node.peer}",)
        relay = Multiaddr.parse(self._configure.relays[0])
        held = await _gathered(node.reserve(relay))
        circuits = tuple(map(str, held.addresses))
        self._emit(Reserved(at=now(), relay=_endpoint(relay), circuit=circuits[0]))
        return circuits

    async def dial(self, dial: Dial) -> Event:
        node = self._ready()
        targets = [Multiaddr.parse(address) for address in dial.remote.multiaddrs]
        if targets[0].peer_id is None:
            raise PeerFailure(FailureClass.UNSUPPORTED, f"{targets[0]} names no peer")
        self._remote = targets[0].peer_id
        await sleep_until(dial.start_at)
        reaching = (
            node.dial(*targets, timeout=self._longer(CIRCUIT_DEADLINE))
            if self._configure.role is Role.DIALER
            else node.host.wait_connection(self._remote, self._longer(CIRCUIT_DEADLINE))
        )
        connection = await _or_fail(reaching, FailureClass.TIMEOUT)
        if self._configure.keep is not None:
            self._kept = KeptEcho(node, self._remote, targets, ECHO)
        # It begins when this task next waits, and so after ``connected`` was said.
        self._watching = asyncio.create_task(self._watch(node, connection.relayed))
        path = Path.RELAYED if connection.relayed else Path.DIRECT
        return _connected(connection, path)

    async def echo(self, count: int, nonce: bytes) -> int:
        """Over a stream on the best connection there is."""
        node = self._ready()
        data = marked(random.Random(self._configure.seed).randbytes(count), nonce)
        if self._kept is not None:
            return _equal(data, await self._kept.run(data))
        try:
            async with asyncio.timeout(self._longer(ECHO_DEADLINE)):
                stream = await node.open_stream(self._remote, [ECHO], allow_limited=True)
                writing = asyncio.create_task(stream.write(data))
                back = await stream.read_exactly(count)
                await writing
                await stream.close()
        except (TraversalError, TimeoutError) as error:
            await self._stop_watching()
            raise PeerFailure(FailureClass.LOST, f"echo: {error or 'deadline'}") from error
        return _equal(data, back)

    async def _send_back(self, stream: Stream, connection: Connection) -> None:
        """Send everything back, and tell what it begins with."""
        del connection
        first = b""
        while data := await stream.read():
            if len(first) < NONCE_BYTES:
                first += data[:NONCE_BYTES]
                if len(first) >= NONCE_BYTES and self._watching is not None:
                    self._emit(Heard(at=now(), nonce=first[:NONCE_BYTES].hex()))
            await stream.write(data)

    async def close(self) -> None:
        await self._stop_watching()
        if self._node is not None:
            await self._node.close()

    def _ready(self) -> Node:
        assert self._node is not None  # the contract: nothing before ``configure``
        return self._node

    # What the node tells of the upgrade.

    async def _watch(self, node: Node, relayed: bool) -> None:
        """Pass on what concerns the other peer; starts after ``connected`` was said."""
        if self._configure.options.relay_only:
            self._emit(Stayed(at=now(), reason="upgrades are off"))
        elif not relayed:
            self._emit(Stayed(at=now(), reason="the connection is direct"))
        async for event in node.events():
            if getattr(event, "peer", None) == self._remote:
                self._tell(node, event)

    def _tell(self, node: Node, event: said.Event) -> None:
        if isinstance(event, said.PunchStep):
            self._attempts = max(self._attempts, event.attempt)
            self._step(event, StepName(event.step), event.attempt)
        elif isinstance(event, said.ConnectionClosed):
            self._closed(event)
        elif isinstance(event, said.RungReached):
            at, rung = self._monotonic(event), RungName(event.rung)
            self._emit(RungReached(at=at, rung=rung, remote=_endpoint(event.remote)))
        elif isinstance(event, said.UpgradeFailed):
            self._emit(Stayed(at=self._monotonic(event), reason=event.reason[:1000]))
        elif isinstance(event, said.Upgraded):
            for connection in node.host.connections_to(self._remote, relayed=False)[:1]:
                self._emit(
                    Upgraded(
                        at=self._monotonic(event),
                        local=_endpoint(connection.local),
                        remote=_endpoint(connection.remote),
                        how=How(event.how),
                        attempts=0 if event.how == "reversed" else self._attempts,
                    )
                )

    def _closed(self, event: said.ConnectionClosed) -> None:
        if event.relayed:
            self._step(event, StepName.RELAY_LEFT, self._attempts)  # by whichever side
        if self._configure.keep is not None:
            path = Path.RELAYED if event.relayed else Path.DIRECT
            self._emit(Lost(at=self._monotonic(event), path=path, reason=event.reason[:1000]))

    def _step(self, event: said.Event, name: StepName, attempt: int) -> None:
        realtime = int(event.at * 1e9)
        self._emit(Step(at=self._monotonic(event), name=name, attempt=attempt, realtime=realtime))

    def _monotonic(self, event: said.Event) -> int:
        return max(0, int(event.at * 1e9) - self._offset)

    async def _stop_watching(self) -> None:
        if self._watching is not None:
            watching, self._watching = self._watching, None
            watching.cancel()
            await asyncio.wait({watching})
            if not watching.cancelled():
                watching.result()  # raises what made it end


def _equal(data: bytes, back: bytes) -> int:
    return sum(a == b for a, b in zip(data, back, strict=False))


def _connected(connection: Connection, path: Path) -> Connected:
    local, remote = _endpoint(connection.local), _endpoint(connection.remote)
    return Connected(at=now(), local=local, remote=remote, path=path)


def _endpoint(address: Multiaddr) -> Endpoint:
    """Of a circuit: the relay's."""
    return Endpoint.of(address.socket_address)


async def _gathered(work: Awaitable[T]) -> T:
    return await _or_fail(work, FailureClass.GATHERING)


async def _or_fail(work: Awaitable[T], failure: FailureClass) -> T:
    """What ``work`` gives; a PeerFailure where the stack says that it cannot."""
    try:
        return await work
    except (TraversalError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise PeerFailure(failure, reason, refusal(error)) from error


def refusal(error: BaseException | None) -> FailureDetail | None:
    """How a relay refused, if that is what ``error`` comes from."""
    while error is not None and not isinstance(error, RelayRefusedError):
        error = error.__cause__
    if error is None:
        return None
    unreserved = error.status == Status.NO_RESERVATION
    return FailureDetail.NO_RESERVATION if unreserved else FailureDetail.RELAY_REFUSED
