"""More peers that cheat, each in one way: these lie in small things, or only look as if they tried.

As in `cheats`, each is a change that both ends of a stack make before they start.
"""

import asyncio
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import instead
from cheats import (
    STRANGER,
    Change,
    dials,
    gathers,
    honest_dial,
    honest_echo,
    honest_gather,
    probe,
    sends,
)

from testbed.model.contract import (
    Configure,
    Connected,
    Dial,
    Endpoint,
    Event,
    How,
    Offer,
    Role,
    Stayed,
    Upgraded,
)
from testbed.stacks import session, stun
from testbed.stacks.ice import IcePeer
from testbed.stacks.punch_udp import UdpPuncher
from testbed.stacks.roles import RolePeer
from testbed.stacks.session import now, sleep_until
from testbed.stacks.wire import Kind
from testbed.traversal import Multiaddr, PeerId, identify
from testbed.traversal.aio import relay_server
from testbed.traversal.aio.upgrade_service import UpgradeService
from testbed.traversal.keys import PublicKey
from testbed.traversal.punch_budget import Attempt

# -- who only looks as if it tried ----------------------------------------------------


def offers_of_its_own(stack: Any, lie: Callable[[Endpoint], Endpoint]) -> Change:
    """The listener offers another address than it was told."""
    honest = stack.gather

    async def gather(self: Any, configure: Configure, emit: Any) -> Offer:
        offer = await honest(self, configure, emit)
        if configure.role is Role.DIALER:
            return offer  # type: ignore[no-any-return]
        told = tuple(map(lie, offer.addresses))
        return offer.model_copy(update={"addresses": told})  # type: ignore[no-any-return]

    def change() -> None:
        stack.gather = gather

    return change


def a_strangers(_own: Endpoint) -> Endpoint:
    return Endpoint.of(STRANGER)


def the_next_port(own: Endpoint) -> Endpoint:
    return Endpoint(address=own.address, port=own.port + 1)


def with_a_ttl_of_one() -> None:
    """No probe gets further than the first router."""

    async def dial(self: Any, told: Dial) -> Event:
        sock = self._transports[0].get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
        return await sends(probe, 60)(self, told)

    instead.dials(UdpPuncher, dial)


def checks_that_nobody_would_answer() -> None:
    """Requests without a password to all direct candidates; the agent itself sees relayed ones."""
    honest = IcePeer.dial

    async def dial(self: Any, told: Dial) -> Event:
        assert told.remote.ice is not None
        relays = [one for one in told.remote.ice.candidates if "typ relay" in one]
        ice = told.remote.ice.model_copy(update={"candidates": tuple(relays)})
        remote = told.remote.model_copy(update={"ice": ice})
        await sleep_until(told.start_at)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for one in set(told.remote.ice.candidates) - set(relays):
                for _ in range(3):
                    sock.sendto(stun.binding_request(), (one.split()[4], int(one.split()[5])))
        return await honest(self, told.model_copy(update={"remote": remote}))

    instead.dials(IcePeer, dial)


def sends_noise_for_dials() -> None:
    """libp2p peers go through DCUtR, and send to each other what opens no connection."""

    async def noise(
        self: Any, address: Multiaddr, peer: PeerId, client: bool, round_: Attempt
    ) -> None:
        del self, peer, client, round_
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _number in range(8):
                sock.sendto(os.urandom(64), address.socket_address[:2])
                await asyncio.sleep(0.2)

    UpgradeService._punch_one = noise  # type: ignore[method-assign]


def stops_after_one_attempt() -> None:
    """In words, they go through all three."""
    honest, began = UpgradeService._punch_one, list[float]()

    async def once(
        self: Any, address: Multiaddr, peer: PeerId, client: bool, round_: Attempt
    ) -> None:
        began.append(time.monotonic())
        if began[-1] - began[0] < 1.0:
            await honest(self, address, peer, client, round_)

    UpgradeService._punch_one = once  # type: ignore[method-assign]


# -- who says what is not so ----------------------------------------------------------


def connected_otherwise(lie: Callable[[Connected, Dial], dict[str, Any]]) -> Change:
    """The two connect as they should, and say otherwise when, from where or to whom."""

    async def dial(self: Any, told: Dial) -> Event:
        event = await honest_dial(self, told)
        assert isinstance(event, Connected)
        return event.model_copy(update=lie(event, told))

    return dials(dial)


def too_soon(_event: Connected, told: Dial) -> dict[str, Any]:
    """A millisecond after the start, long before anything can have come."""
    return {"at": told.start_at + 1_000_000}


def to_a_stranger(_event: Connected, _told: Dial) -> dict[str, Any]:
    return {"remote": Endpoint.of(STRANGER)}


def echoes_a_tenth() -> None:
    """The listener sends back one frame of ten; the dialer says that all came."""
    honest = UdpPuncher.datagram_received

    def received(self: Any, data: bytes, addr: Any) -> None:
        listens = self._configure.role is Role.LISTENER
        if listens and data[4:5] == bytes([Kind.DATA]) and data[-1] % 10:
            return
        honest(self, data, addr)

    async def echo(self: Any, count: int, nonce: bytes) -> int:
        await honest_echo(self, count, nonce)
        return count

    UdpPuncher.datagram_received = received  # type: ignore[method-assign]
    UdpPuncher.echo = echo  # type: ignore[method-assign]


def upgrades_in_words() -> None:
    """libp2p peers stay relayed, and say that they went direct."""
    said = session._Session.emit

    def emit(self: session._Session, event: Event) -> None:
        if isinstance(event, Stayed | Upgraded):
            return
        said(self, event)
        if isinstance(event, Connected):
            there = Endpoint.of(("29.0.0.9", 4001))
            how = How.PUNCHED
            said(self, Upgraded(at=now(), local=there, remote=there, how=how, attempts=1))

    session._Session.emit = emit  # type: ignore[method-assign]


# -- public nodes that cheat ----------------------------------------------------------


def tampers_with_circuits() -> None:
    """The relay changes a byte of all that it carries."""

    async def carry(source: Any, sink: Any, allowance: Any) -> None:
        while data := await source.read(4096):
            passed = allowance.take(len(data))
            await sink.write(bytes([data[0] ^ 1]) + data[1:passed])
        sink.close_write()

    relay_server._carry = carry


def tells_wrong_addresses() -> None:
    """The relay and the observers tell of the port beside the one that they see."""
    honest, encode = RolePeer.gather, identify.encode

    def lied(info: identify.PeerInfo, key: PublicKey, record: bytes | None = None) -> bytes:
        if info.observed is None:
            return encode(info, key, record)
        host, port = info.observed.socket_address[:2]
        moved = Multiaddr.parse(str(info.observed).replace(f"/{port}", f"/{port ^ 1}", 1))
        assert host == moved.socket_address[0]
        return encode(replace(info, observed=moved), key, record)

    async def gather(self: Any, configure: Configure, emit: Any) -> Any:
        if configure.role in (Role.RELAY, Role.AUTONAT_SERVER):
            identify.encode = lied
        return await honest(self, configure, emit)

    RolePeer.gather = gather  # type: ignore[method-assign]


# -- who breaks the conversation ------------------------------------------------------


def a_time_of_many_digits() -> bytes:
    return b'{"event": "connected", "at": ' + b"9" * 4000 + b"}\n"


def a_deep_line() -> bytes:
    return b'{"event": ' + b"[" * 20_000 + b"\n"


def right_events_without_end() -> bytes:
    one = {"event": "step", "at": now(), "name": "punching", "attempt": 1, "realtime": 1}
    return (json.dumps(one) + "\n").encode() * 150_000


def reads_nothing_more() -> None:
    """It hears no command after the first, and goes on running."""

    async def gather(self: Any, configure: Configure, emit: Any) -> Offer:
        offer = await honest_gather(self, configure, emit)
        os.close(0)
        return offer

    gathers(gather)()
