"""An ICE peer on aioice: host, server-reflexive and relayed candidates (RFC 8445, RFC 8656).

Only the host addresses that it is given are used, without mDNS and IPv6.  aioice binds
ports of its own choice; ``listening`` says which.
"""

import asyncio
import contextlib

import aioice.stun
from aioice import Candidate, Connection, TransportPolicy
from aioice.ice import CandidatePair

from testbed.model.contract import (
    Configure,
    Connected,
    Dial,
    Endpoint,
    Event,
    FailureClass,
    IceParameters,
    Listening,
    Mode,
    Observed,
    Offer,
    Path,
    Reserved,
    Role,
    Transport,
)
from testbed.stacks.echo import DatagramEcho
from testbed.stacks.session import Emit, PeerFailure, now, refuse_unsupported, serve, sleep_until
from testbed.stacks.wire import Speaker, decode

# Seconds from ``start_at`` before relayed pairs are checked.  Pion checks a pair for 1.4 s and then
# never again: it must hear of ours before.
RELAY_WAIT = 1.0
DEADLINE = 6.0  # seconds from ``start_at``
GATHER_DEADLINE = 2  # seconds: STUN requests at 0, 0.5 and 1.5 s
CHECK_RETRANSMISSIONS = 3  # requests at 0, 0.5, 1.5 and 3.5 s: beyond that the deadline rules


class PatientConnection(Connection):
    """An aioice Connection that gives direct pairs a head start over relayed ones.

    aioice nominates aggressively: the first pair that answers wins, and a relayed one
    may, because its path needs no hole.  So a relayed pair counts as in progress, but
    its check is sent only after `RELAY_WAIT`; both sides do so.
    """

    def __init__(self, configure: Configure) -> None:
        turn = configure.turn
        relay_only = configure.options.relay_only
        super().__init__(
            ice_controlling=configure.role is Role.DIALER,
            stun_server=configure.stun.pair if configure.stun else None,
            turn_server=turn.server.pair if turn else None,
            turn_username=turn.username if turn else None,
            turn_password=turn.password if turn else None,
            turn_transport=turn.transport.value if turn else "udp",
            use_ipv6=False,
            transport_policy=TransportPolicy.RELAY if relay_only else TransportPolicy.ALL,
        )
        self._hosts = [str(one) for one in (configure.local_address, *configure.also)]
        self.relays_from = 0  # monotonic nanoseconds

    async def get_component_candidates(
        self, component: int, addresses: list[str], timeout: int = GATHER_DEADLINE
    ) -> list[Candidate]:
        """Gather, with the host's addresses that we were told in place of all that it has.

        They count also where one is loopback's, and the machine has no other.
        """
        del addresses
        hosts = [] if self._transport_policy is TransportPolicy.RELAY else self._hosts
        return await super().get_component_candidates(component, hosts, timeout)

    async def check_start(self, pair: CandidatePair) -> None:
        if self.is_relayed(pair):
            self.check_state(pair, CandidatePair.State.IN_PROGRESS)
            await sleep_until(self.relays_from)
        await super().check_start(pair)

    def is_relayed(self, pair: CandidatePair) -> bool:
        """Whether ``pair`` goes through a relay, ours or theirs.

        A NAT may rewrite the source port of what their relay sends (Linux does, where
        two flows would clash): a peer-reflexive candidate then, at the relay's address.
        Where they have that address themselves, as one whose relay is at home has, the
        relay's own port alone tells them apart.
        """
        theirs, remote = self.remote_candidates, pair.remote_candidate
        relays = [c for c in theirs if c.type == "relay"]
        own = {c.host for c in theirs if c.type in ("host", "srflx")}
        return (
            pair.local_candidate.type == "relay"
            or any((c.host, c.port) == (remote.host, remote.port) for c in relays)
            or remote.host in {c.host for c in relays} - own
        )

    @property
    def selected(self) -> CandidatePair:
        """The pair in use, once connected; aioice keeps it to itself."""
        return self._nominated[1]


class IcePeer:
    """One session; see `testbed.stacks.session.Stack`."""

    def __init__(self) -> None:
        aioice.stun.RETRY_MAX = CHECK_RETRANSMISSIONS
        self._cleanup = contextlib.AsyncExitStack()

    async def gather(self, configure: Configure, emit: Emit) -> Offer:
        refuse_unsupported(configure, Transport.UDP, modes=(Mode.PUNCH,), relays=True)
        self._configure = configure
        self._speaker = Speaker.of(configure)
        self._connection = PatientConnection(configure)
        self._cleanup.push_async_callback(self._connection.close)
        self._echo = DatagramEcho(self._speaker, self._connection.send)
        await self._connection.gather_candidates()
        candidates = self._connection.local_candidates
        if not candidates:
            raise PeerFailure(FailureClass.GATHERING, "not one candidate")
        for candidate in candidates:
            self._report(candidate, emit)
        ice = IceParameters(
            ufrag=self._connection.local_username,
            pwd=self._connection.local_password,
            candidates=tuple(candidate.to_sdp() for candidate in candidates),
        )
        reflexive = [_endpoint(c) for c in candidates if c.type == "srflx"]
        return Offer(addresses=tuple(reflexive), ice=ice)

    def _report(self, candidate: Candidate, emit: Emit) -> None:
        address = _endpoint(candidate)
        if candidate.type == "host":
            emit(Listening(at=now(), local=address))
        elif candidate.type == "relay":
            emit(Reserved(at=now(), relay=address, circuit=None))
        elif self._configure.stun is not None:
            emit(Observed(at=now(), address=address, server=self._configure.stun))

    async def dial(self, dial: Dial) -> Event:
        if dial.remote.ice is None:
            raise PeerFailure(FailureClass.UNSUPPORTED, "the other side's offer is not for ICE")
        relay_only = self._configure.options.relay_only
        wait = 0 if relay_only else int(RELAY_WAIT * 1e9)
        self._connection.relays_from = dial.start_at + wait
        self._connection.remote_username = dial.remote.ice.ufrag
        self._connection.remote_password = dial.remote.ice.pwd
        await sleep_until(dial.start_at)
        for line in dial.remote.ice.candidates:
            candidate = Candidate.from_sdp(line)
            if candidate.type == "relay" or not relay_only:
                await self._connection.add_remote_candidate(candidate)
        await self._connection.add_remote_candidate(None)
        try:
            async with asyncio.timeout(DEADLINE):
                await self._connection.connect()
        except TimeoutError:
            why = f"no candidate pair within {DEADLINE} s"
            raise PeerFailure(FailureClass.TIMEOUT, why) from None
        except ConnectionError as error:
            raise PeerFailure(FailureClass.CHECKS, str(error)) from None
        receiver = asyncio.create_task(self._receive())
        self._cleanup.callback(receiver.cancel)
        return self._connected()

    def _connected(self) -> Connected:
        pair = self._connection.selected
        return Connected(
            at=now(),
            local=Endpoint.of(pair.local_addr),
            remote=Endpoint.of(pair.remote_addr),
            path=Path.RELAYED if self._connection.is_relayed(pair) else Path.DIRECT,
        )

    async def _receive(self) -> None:
        with contextlib.suppress(ConnectionError):  # lost: `echo` finds out
            while True:
                await self._take(await self._connection.recv())

    async def _take(self, data: bytes) -> None:
        frame = decode(data)
        if frame is None or not self._speaker.heeds(frame):
            return
        back = self._echo.received(frame)
        if back is not None:
            await self._connection.send(back)

    async def echo(self, count: int, nonce: bytes) -> int:
        try:
            return await self._echo.run(count, self._configure.seed, nonce)
        except ConnectionError as error:
            raise PeerFailure(FailureClass.LOST, str(error)) from None

    async def close(self) -> None:
        await self._cleanup.aclose()


def _endpoint(candidate: Candidate) -> Endpoint:
    return Endpoint.of((candidate.host, candidate.port))


def main() -> int:
    """aioice as a peer process."""
    return serve(IcePeer)
