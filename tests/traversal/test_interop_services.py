"""What other stacks and ours tell each other beyond handshakes: pushes, records, AutoNAT, relays.

Each in both directions, as far as the stack has it; what it lacks is said where it is left out.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from testbed.traversal import Multiaddr, PublicKey, RelayLimits, autonat_v1, identify, relay
from testbed.traversal.aio import identify_service
from testbed.traversal.aio.autonat_server import AutonatOptions
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.stream import Stream
from testbed.traversal.autonat_v1 import Reachability
from testbed.traversal.envelope import PeerRecord
from testbed.traversal.errors import TraversalError
from testbed.traversal.events import Identified
from testbed.traversal.peer_id import PeerId
from testbed.traversal.relay import Limit

from .interop.build import GO, JS, RUST
from .interop.peer import Foreign, built_or_skipped, foreign
from .nodes import address, nodes, run, wait_event
from .test_nodes import STAY_RELAYED, echoed

pytestmark = pytest.mark.timeout(900)
STACKS = {"go": GO, "js": JS, "rust": RUST}
NEW, NEWER, NEWEST = "/new/1", "/newer/1", "/newest/1"
SERVER = {"autonat_server": True, "autonat": AutonatOptions(dial_data_wait=0)}


@dataclass(frozen=True)
class Case:
    """A stack, over one of our transports; the js program speaks no QUIC."""

    stack: str
    transport: str

    def program(self) -> Path:
        return built_or_skipped(STACKS[self.stack])


ALL = (
    Case("go", "tcp"), Case("go", "quic"), Case("rust", "tcp"), Case("rust", "quic"),
    Case("js", "tcp"),
)  # fmt: skip


def with_(*stacks: str) -> pytest.MarkDecorator:
    """The cases of these stacks, or of all."""
    some = [case for case in ALL if not stacks or case.stack in stacks]
    return pytest.mark.parametrize("case", some, ids=lambda c: f"{c.stack}-{c.transport}")


async def nothing(stream: Stream, connection: Connection) -> None:
    del stream, connection


async def until(other: Foreign, cmd: str, addr: str, key: str, wanted: object) -> dict[str, object]:
    """Ask until the answer has this value, or one that holds it."""
    async with asyncio.timeout(10):
        while True:
            told = await other.ask(cmd, addr)
            if told[key] == wanted or (isinstance(told[key], list) and wanted in told[key]):
                return told
            await asyncio.sleep(0.05)


# identify/push


@with_()
def test_their_push_brings_us_their_new_protocol(case: Case) -> None:
    async def work() -> None:
        async with (
            foreign(case.program(), case.transport) as other,
            nodes(case.transport, {}) as (ours,),
        ):
            connection = await ours.dial(other.addresses[0])
            await ours.identify.wait(connection)
            assert NEW not in ours.identify.peers[connection.peer].protocols
            await other.ask("handle", other.addresses[0], proto=NEW)
            await wait_event(ours, Identified, lambda e: NEW in e.protocols)

    run(work, 60)


@with_()
def test_our_push_brings_them_our_new_protocol(case: Case) -> None:
    async def work() -> None:
        async with (
            foreign(case.program(), case.transport) as other,
            nodes(case.transport, {}) as (ours,),
        ):
            here = str(address(ours))
            assert NEW not in (await other.ask("connect", here))["protocols"]
            for connection in ours.host.connections:
                await ours.identify.wait(connection)
            ours.set_handler(NEW, nothing)
            await ours.identify.push()
            await until(other, "identify", here, "protocols", NEW)

    run(work, 60)


# Signed peer records.  Those of rust, and what it makes of ours, are in test_interop_rust.


@pytest.fixture
def only_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our addresses are in the record alone: they are known only if it was opened."""
    encode = identify.encode

    def sealed_only(info: identify.PeerInfo, key: PublicKey, record: bytes | None = None) -> bytes:
        return encode(replace(info, addresses=()), key, record)

    monkeypatch.setattr(identify, "encode", sealed_only)


def place(transport: str, port: int) -> str:
    return f"/ip4/127.0.0.1/{ {'tcp': f'tcp/{port}', 'quic': f'udp/{port}/quic-v1'}[transport] }"


@with_("go", "js")
@pytest.mark.usefixtures("only_sealed")
def test_each_takes_the_addresses_of_the_others_signed_record(case: Case) -> None:
    async def work() -> None:
        announced = place(case.transport, 7777)
        async with (
            foreign(case.program(), case.transport) as other,
            nodes(case.transport, {"announce": (announced,)}) as (ours,),
        ):
            here = str(address(ours))
            assert announced in (await other.ask("connect", here))["addrs"]
            [connection] = ours.host.connections
            await ours.identify.wait(connection)
            theirs = ours.identify.peers[connection.peer]
            assert theirs.sequence > 0
            assert [str(a.with_peer(theirs.peer)) for a in theirs.addresses] == other.addresses

    run(work, 60)


def recording(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], None]:
    """Have our next records say this sequence number and this address."""
    said: list[tuple[int, str]] = []

    def record(peer: PeerId, seq: int, addresses: tuple[Multiaddr, ...]) -> PeerRecord:
        del seq, addresses
        number, only = said[-1]
        return PeerRecord(peer, number, (Multiaddr.parse(only),))

    monkeypatch.setattr(identify_service, "PeerRecord", record)
    return lambda number, only: said.append((number, only))


@with_("go", "js")
@pytest.mark.usefixtures("only_sealed")
def test_a_record_with_a_lower_sequence_number_changes_nothing_for_them(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not so for go, which compares none (images/go-libp2p/FINDINGS.md)."""
    say = recording(monkeypatch)
    first, older, newer = (place(case.transport, port) for port in (7001, 7002, 7003))

    async def work() -> None:
        say(1000, first)
        async with (
            foreign(case.program(), case.transport) as other,
            nodes(case.transport, {}) as (ours,),
        ):
            here = str(address(ours))
            assert first in (await other.ask("connect", here))["addrs"]
            for connection in ours.host.connections:
                await ours.identify.wait(connection)
            seen = []
            for number, where, protocol in ((999, older, NEWER), (1001, newer, NEWEST)):
                say(number, where)
                ours.set_handler(protocol, nothing)
                await ours.identify.push()
                told = await until(other, "identify", here, "protocols", protocol)
                assert isinstance(told["addrs"], list)
                seen.append([port for port in (first, older, newer) if port in told["addrs"]])
            assert seen == [[older] if case.stack == "go" else [first], [newer]]

    run(work, 60)


# AutoNAT.  The js node asks nobody about private addresses, and serves nobody who has one.


@with_("go", "rust")
def test_they_are_dialed_back_by_our_autonat_v1(case: Case) -> None:
    async def work() -> None:
        flags = ("-autonat", "client") if case.stack == "rust" else ()
        async with (
            foreign(case.program(), case.transport, *flags) as other,
            nodes(case.transport, SERVER) as (ours,),
        ):
            here = str(address(ours))
            await other.ask("connect", here)
            told = await other.ask("autonat1", here)
            assert told["reached"], told["text"]

    run(work, 60)


@with_("rust")
def test_we_are_dialed_back_by_their_autonat_v1(case: Case) -> None:
    async def work() -> None:
        async with (
            foreign(case.program(), case.transport, "-autonat", "server") as other,
            nodes(case.transport, {}) as (ours,),
        ):
            connection = await ours.dial(other.addresses[0])
            await ours.identify.wait(connection)
            answer = await ours.autonat.ask_v1(connection)
            assert answer.status is autonat_v1.Status.OK
            assert answer.address is not None
            assert answer.address.without_peer() in ours.listening()

    run(work, 60)


@with_("go", "js")
def test_we_read_their_refusal_of_autonat_v1_for_a_private_address(case: Case) -> None:
    """Their dials are looked at in labs (`testbed autonat`)."""

    async def work() -> None:
        async with (
            foreign(case.program(), case.transport) as other,
            nodes(case.transport, {}) as (ours,),
        ):
            connection = await ours.dial(other.addresses[0])
            await ours.identify.wait(connection)
            if not ours.identify.supports(connection.peer, autonat_v1.PROTOCOL):
                assert case.stack == "go"
                pytest.skip("go does not serve version 1 before it knows that it is public")
            answer = await ours.autonat.ask_v1(connection)
            assert answer.status in (
                autonat_v1.Status.DIAL_REFUSED, autonat_v1.Status.DIAL_ERROR
            )  # fmt: skip

    run(work, 60)


@with_("go", "rust")
def test_they_prove_their_address_by_our_autonat_v2(case: Case) -> None:
    async def work() -> None:
        flags = {"go": ("-private",), "rust": ("-autonat", "client")}[case.stack]
        async with (
            foreign(case.program(), case.transport, *flags) as other,
            nodes(case.transport, SERVER) as (ours,),
        ):
            here = str(address(ours))
            await other.ask("connect", here)
            for connection in ours.host.connections:
                await ours.identify.wait(connection)
            told: dict[str, object] = {}
            async with asyncio.timeout(20):
                while not told:
                    with contextlib.suppress(AssertionError):  # it has not noted that we serve it
                        told = await other.ask("autonat2", here)
                    await asyncio.sleep(0.1)
            assert told.get("reachability") == "Public" or told.get("reached"), told

    run(work, 60)


@with_("go", "rust")
def test_we_prove_our_address_by_their_autonat_v2(case: Case) -> None:
    async def work() -> None:
        once = {"v2_threshold": 1}
        flags = {"go": ("-private",), "rust": ("-autonat", "server")}[case.stack]
        async with (
            foreign(case.program(), case.transport, *flags) as other,
            nodes(case.transport, once) as (ours,),
        ):
            connection = await ours.dial(other.addresses[0])
            await ours.identify.wait(connection)
            answer = await ours.autonat.ask_v2(connection, ours.listening())
            assert answer is not None
            assert (answer.address, answer.reachable) == (ours.listening()[0], True)
            assert ours.autonat.address_verdicts[answer.address] is Reachability.PUBLIC

    run(work, 60)


@with_("js")
def test_their_autonat_v2_gives_no_verdict_on_a_private_address(case: Case) -> None:
    async def work() -> None:
        async with (
            foreign(case.program(), case.transport) as other,
            nodes(case.transport, {"v2_threshold": 1}) as (ours,),
        ):
            connection = await ours.dial(other.addresses[0])
            await ours.identify.wait(connection)
            with contextlib.suppress(TraversalError):  # it ends the stream without a word
                assert await ours.autonat.ask_v2(connection, ours.listening()) is None
            assert not ours.autonat.address_verdicts

    run(work, 60)


# Relays: limits and vouchers.


@with_()
def test_the_voucher_of_their_reservation_is_checked(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[PeerId] = []
    check = relay.check_voucher

    def spy(data: bytes, by: PeerId, peer: PeerId, expire: int) -> None:
        check(data, by, peer, expire)
        checked.append(by)

    monkeypatch.setattr(relay, "check_voucher", spy)

    async def work() -> None:
        async with (
            foreign(case.program(), case.transport, "-relay") as other,
            nodes(case.transport, {}) as (ours,),
        ):
            held = await ours.reserve(other.addresses[0])
            assert [str(a) for a in held.addresses] == [
                f"{other.addresses[0]}/p2p-circuit/p2p/{ours.peer}"
            ]
            # Rust's relay issues none (test_interop_rust).
            assert checked == ([] if case.stack == "rust" else [held.relay])

    run(work, 60)


@with_()
def test_the_limit_of_their_relay_is_read_and_its_bytes_hold(case: Case) -> None:
    async def work() -> None:
        stay = {"upgrade": STAY_RELAYED}
        flags = ("-relay", "-duration", "77s", "-data", "88888")
        async with (
            foreign(case.program(), case.transport, *flags) as other,
            nodes(case.transport, stay, stay) as (a, b),
        ):
            held = await b.reserve(other.addresses[0])
            connection = await a.dial(held.addresses[0])
            there = await b.host.wait_connection(a.peer, 5)
            seconds = 77_000 if case.stack == "js" else 77  # images/js-libp2p/FINDINGS.md
            assert connection.limit == there.limit == Limit(seconds, 88888)
            assert len(await echoed(a, b.peer, bytes(20_000))) == 20_000
            with pytest.raises(TraversalError):
                await echoed(a, b.peer, bytes(150_000))
            await connection.wait_closed()

    run(work, 60)


@with_()
def test_the_seconds_of_their_relay_hold(case: Case) -> None:
    async def work() -> None:
        stay = {"upgrade": STAY_RELAYED}
        flags = ("-relay", "-duration", "2s", "-data", "88888")
        async with (
            foreign(case.program(), case.transport, *flags) as other,
            nodes(case.transport, stay, stay) as (a, b),
        ):
            held = await b.reserve(other.addresses[0])
            connection = await a.dial(held.addresses[0])
            began = asyncio.get_running_loop().time()
            async with asyncio.timeout(8):
                await connection.wait_closed()
            assert asyncio.get_running_loop().time() - began > 1

    run(work, 60)


@with_()
def test_they_are_cut_at_the_bytes_of_our_relay(case: Case) -> None:
    async def work() -> None:
        stay = {"upgrade": STAY_RELAYED}
        limited = stay | {"relay": RelayLimits(duration=66, data=55_555)}
        async with (
            foreign(case.program(), case.transport) as other,
            nodes(case.transport, limited, stay) as (hub, ours),
        ):
            held = await ours.reserve(address(hub))
            circuit = str(held.addresses[0])
            told = await other.ask("connect", circuit)
            if case.stack == "js":  # it counts down, from identify on
                assert told["limits"][0]["seconds"] == 66
                assert 45_000 < told["limits"][0]["bytes"] <= 55_555
            assert (await other.ask("echo", circuit, bytes=10_000))["equal"]
            answer = await other.answer("echo", circuit, bytes=100_000)
            assert "error" in answer or not answer["equal"]  # rust sees an end, no reset

    run(work, 60)


@with_()
def test_they_are_cut_after_the_seconds_of_our_relay(case: Case) -> None:
    async def work() -> None:
        stay = {"upgrade": STAY_RELAYED}
        limited = stay | {"relay": RelayLimits(duration=2, data=0)}
        async with (
            foreign(case.program(), case.transport) as other,
            nodes(case.transport, limited, stay) as (hub, ours),
        ):
            held = await ours.reserve(address(hub))
            circuit = str(held.addresses[0])
            await other.ask("connect", circuit)
            told = await until(other, "identify", circuit, "connections", [])
            assert told["agent"]

    run(work, 60)
