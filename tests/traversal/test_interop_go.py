"""The wire against go-libp2p, in both directions, over TCP (Noise, Yamux) and QUIC.

Needs the Go toolchain and the modules of interop/go (`go mod download` there, once).  The
first run builds the program, unless `tests.traversal.interop.build` did so before.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from testbed.traversal import RelayLimits
from testbed.traversal.errors import NegotiationError
from testbed.traversal.events import Upgraded
from testbed.traversal.options import AGENT

from .interop.build import GO
from .interop.peer import built_or_skipped, foreign
from .nodes import RENTS, address, nodes, rented, run, wait_event
from .test_nodes import STAY_RELAYED, echoed

BOTH = pytest.mark.parametrize("transport", ["tcp", "quic"])
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="session")
def binary() -> Path:
    return built_or_skipped(GO)


@BOTH
def test_we_dial_go_and_it_answers_identify_ping_and_echo(transport: str, binary: Path) -> None:
    async def work() -> None:
        async with foreign(binary, transport) as go, nodes(transport, {}) as (ours,):
            connection = await ours.dial(go.addresses[0])
            await ours.identify.wait(connection)
            known = ours.identify.peers[connection.peer]
            assert known.observed == ours.listening()[0]
            assert "/ipfs/ping/1.0.0" in known.protocols
            assert await ours.ping(connection.peer) < 1
            data = os.urandom(700_000)
            assert await echoed(ours, connection.peer, data) == data

    run(work, 60)


@BOTH
def test_go_refuses_a_protocol_behind_which_we_wrote_already(transport: str, binary: Path) -> None:
    async def work() -> None:
        async with foreign(binary, transport) as go, nodes(transport, {}) as (ours,):
            connection = await ours.dial(go.addresses[0])
            for size in (0, 1, 100, 100_000):
                for step in ("read", "close"):
                    stream = await ours.open_stream(connection.peer, ["/nobody/1"])
                    await stream.write(bytes(size))
                    with pytest.raises(NegotiationError):
                        await (stream.read() if step == "read" else stream.close())
            assert await echoed(ours, connection.peer, b"still here") == b"still here"

    run(work, 60)


@BOTH
def test_go_dials_us_and_gets_identify_ping_echo_and_a_reservation(
    transport: str, binary: Path
) -> None:
    async def work() -> None:
        options = {"relay": RelayLimits(duration=77, data=8888)}
        async with foreign(binary, transport) as go, nodes(transport, options) as (ours,):
            here = str(address(ours))
            told = await go.ask("connect", here)
            assert told["agent"] == AGENT
            assert set(told["protocols"]) == set(ours.host.handlers)
            assert (await go.ask("ping", here))["rtt_us"] > 0
            assert await go.ask("echo", here, bytes=700_000) == {"bytes": 700_000, "equal": True}
            reserved = await go.ask("reserve", here)
            assert reserved["voucher"]
            assert (reserved["duration_s"], reserved["data"]) == (77, 8888)
            assert reserved["addrs"] == [here]

    run(work, 60)


@BOTH
def test_we_reserve_with_a_go_relay_and_its_voucher_checks_out(
    transport: str, binary: Path
) -> None:
    async def work() -> None:
        async with foreign(binary, transport, "-relay") as go, nodes(transport, {}) as (ours,):
            held = await ours.reserve(go.addresses[0])
            assert [str(a) for a in held.addresses] == [
                f"{go.addresses[0]}/p2p-circuit/p2p/{ours.peer}"
            ]

    run(work, 60)


@BOTH
def test_two_of_us_meet_through_a_go_relay(transport: str, binary: Path) -> None:
    async def work() -> None:
        stay = {"upgrade": STAY_RELAYED}
        async with (
            foreign(binary, transport, "-relay") as go,
            nodes(transport, stay, stay) as (a, b),
        ):
            held = await b.reserve(go.addresses[0])
            assert (await a.dial(held.addresses[0])).relayed
            assert await echoed(a, b.peer, b"through go") == b"through go"

    run(work, 60)


@BOTH
def test_two_of_us_upgrade_from_a_go_relay_to_a_direct_connection(
    transport: str, binary: Path
) -> None:
    async def work() -> None:
        async with foreign(binary, transport, "-relay") as go, nodes(transport, {}, {}) as (a, b):
            await a.dial((await b.reserve(go.addresses[0])).addresses[0])
            await a.wait_direct(b.peer, 10)
            await wait_event(a, Upgraded)

    run(work, 60)


@BOTH
@RENTS
def test_go_reaches_us_through_our_relay(transport: str, rents: bool, binary: Path) -> None:
    async def work() -> None:
        stay: dict[str, Any] = {"upgrade": STAY_RELAYED}
        hub_words, our_words = rented(stay, rents)
        async with (
            foreign(binary, transport) as go,
            nodes(transport, hub_words, our_words) as (hub, ours),
        ):
            held = await ours.reserve(address(hub))
            told = await go.ask("connect", str(held.addresses[0]))
            assert "/p2p-circuit" in told["connections"][0]
            assert (await go.ask("echo", str(held.addresses[0]), bytes=1000))["equal"]

    run(work, 60)
