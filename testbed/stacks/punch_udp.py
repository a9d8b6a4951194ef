"""The plain UDP puncher: one socket, a STUN-learnt address, probes from both sides at once.

`Punch` is the protocol, without a socket or a clock; `UdpPuncher` puts it on one.
"""

import asyncio
from typing import Any

from testbed.model.contract import (
    Configure,
    Connected,
    Dial,
    Endpoint,
    Event,
    FailureClass,
    Listening,
    Mode,
    Observed,
    Offer,
    Path,
    Role,
    Transport,
)
from testbed.stacks import stun
from testbed.stacks.echo import DatagramEcho
from testbed.stacks.session import Emit, PeerFailure, now, refuse_unsupported, serve, sleep_until
from testbed.stacks.wire import Kind, Speaker, decode

PROBE_INTERVAL = 0.05  # seconds
DEADLINE = 3.0  # seconds from ``start_at``, where it is told none

Address = tuple[str, int]


class Punch:
    """Who is probed, and who has answered.

    A path counts when the ACK of a probe comes from the very address that the probe
    went to (as RFC 8445 section 7.2.5.2.1 has it), so both directions work.
    """

    def __init__(self, speaker: Speaker, targets: tuple[Address, ...] = ()) -> None:
        self._speaker = speaker
        self._targets = list(targets)
        self._probes: dict[int, Address] = {}
        self.remote: Address | None = None

    def probes(self) -> list[tuple[bytes, Address]]:
        """The datagrams that are due now, one to each target."""
        due = []
        for target in self._targets:
            number = len(self._probes)
            self._probes[number] = target
            due.append((self._speaker.say(Kind.PROBE, number), target))
        return due

    def received(self, data: bytes, source: Address) -> list[tuple[bytes, Address]]:
        """The datagrams that answer ``data``; may set `remote`."""
        frame = decode(data)
        if frame is None or not self._speaker.heeds(frame):
            return []
        if frame.kind is Kind.PROBE:
            if source not in self._targets:
                self._targets.append(source)
            return [(self._speaker.say(Kind.ACK, frame.number), source)]
        if (
            frame.kind is Kind.ACK
            and self.remote is None
            and self._probes.get(frame.number) == source
        ):
            self.remote = source
        return []


class UdpPuncher(asyncio.DatagramProtocol):
    """One session; see `testbed.stacks.session.Stack`."""

    def __init__(self) -> None:
        self._transports: list[asyncio.DatagramTransport] = []
        self._stun_answer: asyncio.Future[Address] | None = None
        self._transaction = b""
        self._connected = asyncio.Event()
        self._punch: Punch | None = None  # from ``start_at`` on; until then we are deaf

    async def gather(self, configure: Configure, emit: Emit) -> Offer:
        refuse_unsupported(configure, Transport.UDP, modes=tuple(Mode), relays=False)
        if configure.stun is None:
            raise PeerFailure(FailureClass.UNSUPPORTED, "a STUN server is needed")
        self._configure = configure
        self._speaker = Speaker.of(configure)
        self._echo = DatagramEcho(self._speaker, self._send_to_remote)
        await self._bind(configure.port)
        emit(Listening(at=now(), local=self._local()))
        mapped = Endpoint.of(await self._observe(configure.stun))
        emit(Observed(at=now(), address=mapped, server=configure.stun))
        return Offer(addresses=(mapped,), ice=None)

    async def _bind(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=(str(self._configure.local_address), port)
        )
        self._transports.append(transport)

    def _local(self) -> Endpoint:
        return Endpoint.of(self._transports[-1].get_extra_info("sockname"))

    async def _observe(self, server: Endpoint) -> Address:
        """RFC 8489 section 6.2.1: one transaction, retransmitted."""
        request = stun.binding_request()
        self._transaction = stun.transaction_of(request)
        self._stun_answer = asyncio.get_running_loop().create_future()
        for wait in stun.retransmission_waits():
            self._transports[0].sendto(request, server.pair)
            try:
                async with asyncio.timeout(wait):
                    return await asyncio.shield(self._stun_answer)
            except TimeoutError:
                continue
        raise PeerFailure(FailureClass.GATHERING, f"no answer from the STUN server {server}")

    async def dial(self, dial: Dial) -> Event:
        mode = self._configure.options.mode
        if mode is Mode.SILENT:
            raise PeerFailure(FailureClass.NOT_ATTEMPTED, "hole punching is off")
        calls = mode is Mode.PUNCH or self._configure.role is Role.DIALER
        if mode is Mode.PLAIN_DIAL and calls:
            await self._bind(0)
        await sleep_until(dial.start_at)
        targets = tuple(endpoint.pair for endpoint in dial.remote.addresses) if calls else ()
        self._punch = Punch(self._speaker, targets)
        within = self._configure.patience or DEADLINE
        try:
            async with asyncio.timeout(within):
                remote = await self._probe(self._punch)
        except TimeoutError:
            why = f"no answer to a probe within {within:g} s"
            raise PeerFailure(FailureClass.TIMEOUT, why) from None
        return Connected(
            at=now(), local=self._local(), remote=Endpoint.of(remote), path=Path.DIRECT
        )

    async def _probe(self, punch: Punch) -> Address:
        while punch.remote is None:
            for data, target in punch.probes():
                self._transports[-1].sendto(data, target)
            try:
                async with asyncio.timeout(PROBE_INTERVAL):
                    await self._connected.wait()
            except TimeoutError:
                continue
        return punch.remote

    async def echo(self, count: int, nonce: bytes) -> int:
        return await self._echo.run(count, self._configure.seed, nonce)

    async def close(self) -> None:
        for transport in self._transports:
            transport.close()

    async def _send_to_remote(self, data: bytes) -> None:
        assert self._punch is not None  # the contract: no echo before a dial
        self._transports[-1].sendto(data, self._punch.remote)

    # asyncio.DatagramProtocol

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        source = (str(addr[0]), int(addr[1]))
        mapped = stun.mapped_address(data, self._transaction)
        if mapped is not None and self._stun_answer is not None:
            if not self._stun_answer.done():
                self._stun_answer.set_result(mapped)
            return
        if self._punch is None:
            return
        transport = self._transports[-1]
        for answer, target in self._punch.received(data, source):
            transport.sendto(answer, target)
        if self._punch.remote is not None:
            self._connected.set()
        frame = decode(data)
        if frame is not None and self._speaker.heeds(frame):
            back = self._echo.received(frame)
            if back is not None:
                transport.sendto(back, source)


def main() -> int:
    """The puncher as a peer process."""
    return serve(UdpPuncher)
