"""The wire against rust-libp2p, in both directions, over TCP (Noise, Yamux) and QUIC.

Needs cargo and the crates of interop/rust.  The first run builds the program, for minutes, unless
`tests.traversal.interop.build` did so before.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from testbed.traversal import RelayLimits, relay
from testbed.traversal.errors import NegotiationError, ProtocolError
from testbed.traversal.events import Upgraded
from testbed.traversal.multiaddr import Multiaddr
from testbed.traversal.options import AGENT

from .interop.build import RUST
from .interop.peer import built_or_skipped, foreign
from .nodes import RENTS, address, nodes, rented, run, wait_event
from .test_nodes import STAY_RELAYED, echoed

BOTH = pytest.mark.parametrize("transport", ["tcp", "quic"])
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="session")
def binary() -> Path:
    return built_or_skipped(RUST)


def bare(address: str) -> str:
    return address.partition("/p2p/")[0]


@BOTH
def test_we_dial_rust_and_it_answers_identify_ping_and_echo(transport: str, binary: Path) -> None:
    async def work() -> None:
        async with foreign(binary, transport) as rust, nodes(transport, {}) as (ours,):
            connection = await ours.dial(rust.addresses[0])
            await ours.identify.wait(connection)
            known = ours.identify.peers[connection.peer]
            assert known.agent.startswith("rust-libp2p/")
            assert known.observed == ours.listening()[0]
            assert Multiaddr.parse(bare(rust.addresses[0])) in known.addresses
            assert "/ipfs/ping/1.0.0" in known.protocols
            assert await ours.ping(connection.peer) < 1
            data = os.urandom(700_000)
            assert await echoed(ours, connection.peer, data) == data

    run(work, 60)


@BOTH
def test_rust_refuses_a_protocol_behind_which_we_wrote_already(
    transport: str, binary: Path
) -> None:
    async def work() -> None:
        async with foreign(binary, transport) as rust, nodes(transport, {}) as (ours,):
            connection = await ours.dial(rust.addresses[0])
            for size in (0, 1, 100, 100_000):
                for step in ("read", "close"):
                    stream = await ours.open_stream(connection.peer, ["/nobody/1"])
                    await stream.write(bytes(size))
                    with pytest.raises(NegotiationError):
                        await (stream.read() if step == "read" else stream.close())
            assert await echoed(ours, connection.peer, b"still here") == b"still here"

    run(work, 60)


@BOTH
def test_rust_dials_us_and_gets_identify_ping_echo_and_a_reservation(
    transport: str, binary: Path
) -> None:
    async def work() -> None:
        options = {"relay": RelayLimits(duration=77, data=8888)}
        async with foreign(binary, transport) as rust, nodes(transport, options) as (ours,):
            here = str(address(ours))
            told = await rust.ask("connect", here)
            assert told["agent"] == AGENT
            assert set(told["protocols"]) == set(ours.host.handlers)
            assert told["observed"] == bare(rust.addresses[0])
            assert (await rust.ask("ping", here))["rtt_us"] > 0
            assert await rust.ask("echo", here, bytes=700_000) == {"bytes": 700_000, "equal": True}
            reserved = await rust.ask("reserve", here)
            assert (reserved["duration_s"], reserved["data"]) == (77, 8888)
            me = rust.addresses[0].partition("/p2p/")[2]
            assert f"{here}/p2p-circuit/p2p/{me}" in reserved["addrs"]

    run(work, 60)


@BOTH
def test_a_record_that_rust_seals_the_old_way_costs_only_itself(
    transport: str, binary: Path
) -> None:
    """libp2p-core 0.44 seals identify's record as before the standard (peer_record.rs)."""

    async def work() -> None:
        async with (
            foreign(binary, transport, "-signed-records") as rust,
            nodes(transport, {}) as (ours,),
        ):
            connection = await ours.dial(rust.addresses[0])
            await ours.identify.wait(connection)
            known = ours.identify.peers[connection.peer]
            assert Multiaddr.parse(bare(rust.addresses[0])) in known.addresses

    run(work, 60)


@BOTH
def test_rusts_envelope_code_finds_our_peer_record_sound(transport: str, binary: Path) -> None:
    """Read by hand: rust-libp2p's identify passes over records of the standard's form."""

    async def work() -> None:
        async with foreign(binary, transport) as rust, nodes(transport, {}) as (ours,):
            here = str(address(ours))
            await rust.ask("connect", here)
            told = await rust.ask("record", here)
            assert told["peer"] == str(ours.peer)
            assert set(told["addrs"]) == {str(a) for a in ours.addresses()}

    run(work, 60)


@BOTH
def test_rusts_envelope_code_finds_our_voucher_sound(transport: str, binary: Path) -> None:
    """Asked for by hand: rust-libp2p's relay client does not look at vouchers."""

    async def work() -> None:
        options = {"relay": RelayLimits()}
        async with foreign(binary, transport) as rust, nodes(transport, options) as (ours,):
            here = str(address(ours))
            await rust.ask("connect", here)
            told = await rust.ask("voucher", here)
            assert told["expire"] == told["voucher_expiration"]

    run(work, 60)


@BOTH
def test_a_voucher_sealed_by_rust_is_accepted_and_one_of_another_key_is_not(
    transport: str, binary: Path
) -> None:
    async def work() -> None:
        async with (
            foreign(binary, transport, "-sign-vouchers", "own") as honest,
            foreign(binary, transport, "-sign-vouchers", "foreign") as forger,
            nodes(transport, {}) as (ours,),
        ):
            held = await ours.reserve(honest.addresses[0])
            assert [str(a) for a in held.addresses] == [
                f"{honest.addresses[0]}/p2p-circuit/p2p/{ours.peer}"
            ]
            with pytest.raises(ProtocolError, match="not issued by this relay"):
                await ours.reserve(forger.addresses[0])

    run(work, 60)


@BOTH
def test_we_reserve_with_a_rust_relay_though_it_issues_no_voucher(
    transport: str, binary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "check_voucher", lambda *_: pytest.fail("there is a voucher now"))

    async def work() -> None:
        async with foreign(binary, transport, "-relay") as rust, nodes(transport, {}) as (ours,):
            held = await ours.reserve(rust.addresses[0])
            assert [str(a) for a in held.addresses] == [
                f"{rust.addresses[0]}/p2p-circuit/p2p/{ours.peer}"
            ]

    run(work, 60)


@BOTH
def test_two_of_us_meet_through_a_rust_relay(transport: str, binary: Path) -> None:
    async def work() -> None:
        stay = {"upgrade": STAY_RELAYED}
        async with (
            foreign(binary, transport, "-relay") as rust,
            nodes(transport, stay, stay) as (a, b),
        ):
            held = await b.reserve(rust.addresses[0])
            assert (await a.dial(held.addresses[0])).relayed
            assert await echoed(a, b.peer, b"through rust") == b"through rust"

    run(work, 60)


@BOTH
def test_two_of_us_upgrade_from_a_rust_relay_to_a_direct_connection(
    transport: str, binary: Path
) -> None:
    async def work() -> None:
        async with foreign(binary, transport, "-relay") as rust, nodes(transport, {}, {}) as (a, b):
            await a.dial((await b.reserve(rust.addresses[0])).addresses[0])
            await a.wait_direct(b.peer, 10)
            await wait_event(a, Upgraded)

    run(work, 60)


@BOTH
@RENTS
def test_rust_reaches_us_through_our_relay(transport: str, rents: bool, binary: Path) -> None:
    async def work() -> None:
        stay: dict[str, Any] = {"upgrade": STAY_RELAYED}
        hub_words, our_words = rented(stay, rents)
        async with (
            foreign(binary, transport) as rust,
            nodes(transport, hub_words, our_words) as (hub, ours),
        ):
            held = await ours.reserve(address(hub))
            told = await rust.ask("connect", str(held.addresses[0]))
            assert "/p2p-circuit" in told["connections"][0]
            assert (await rust.ask("echo", str(held.addresses[0]), bytes=1000))["equal"]

    run(work, 60)


@BOTH
@RENTS
def test_we_reach_rust_through_our_relay(transport: str, rents: bool, binary: Path) -> None:
    async def work() -> None:
        stay: dict[str, Any] = {"upgrade": STAY_RELAYED}
        hub_words, our_words = rented(stay, rents)
        async with (
            foreign(binary, transport) as rust,
            nodes(transport, hub_words, our_words) as (hub, ours),
        ):
            await rust.ask("connect", str(address(hub)))
            reserved = await rust.ask("reserve", str(address(hub)))
            (circuit,) = {a for a in reserved["addrs"] if "/p2p-circuit" in a}
            connection = await ours.dial(circuit)
            assert connection.relayed
            assert await echoed(ours, connection.peer, b"to rust") == b"to rust"

    run(work, 60)
