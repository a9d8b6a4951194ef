"""The ladder: its order and timers without a socket, then whole nodes on loopback."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from ipaddress import IPv4Address

import pytest

from testbed.traversal import DialError, Multiaddr, Node, NodeOptions, RelayLimits
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.mapped import MappedPorts
from testbed.traversal.aio.portmap import PortMapper
from testbed.traversal.aio.upgrade_service import UpgradeOptions
from testbed.traversal.errors import AddressError
from testbed.traversal.events import ConnectionOpened, RungReached, Upgraded
from testbed.traversal.ladder import AT_ONCE, Climb, LadderOptions, Rung, Step, Try
from testbed.traversal.peer_id import PeerId
from testbed.traversal.portmap.mapping import (
    Endpoint,
    Mapping,
    NetworkFailureError,
    Service,
    Transport,
)
from testbed.traversal.portmap.options import PortMapOptions

from .nodes import LISTEN, address, nodes, run, wait_event

pytestmark = pytest.mark.timeout(60)
BOTH = pytest.mark.parametrize("transport", ["tcp", "quic"])
ONE, OTHER, THIRD = (Multiaddr.parse(f"/ip4/29.0.0.{n}/tcp/4001") for n in (1, 2, 3))
CIRCUIT, SPARE = (Multiaddr.parse(f"/ip4/29.0.0.{n}/tcp/4001/p2p-circuit") for n in (8, 9))
EVERYTHING = (ONE, OTHER, CIRCUIT, SPARE)
DIRECT_ONE, DIRECT_OTHER = Try(Rung.DIRECT, ONE, True), Try(Rung.DIRECT, OTHER, True)
RELAYED, SPARED = Try(Rung.RELAYED, CIRCUIT), Try(Rung.RELAYED, SPARE)


# -- order and timers ---------------------------------------------------------


def test_by_default_a_circuit_is_dialed_when_no_direct_dial_is_left() -> None:
    climb = Climb(LadderOptions(), EVERYTHING, 0.0)
    assert climb.due(0.0) == [DIRECT_ONE]
    assert climb.wake() == 0.25
    assert climb.due(0.2) == []
    assert climb.due(0.25) == [DIRECT_OTHER]
    climb.failed(DIRECT_ONE, 0.3)
    assert climb.due(0.3) == []
    climb.failed(DIRECT_OTHER, 0.4)
    assert climb.wake() == 0.4
    assert climb.due(0.4) == [RELAYED]


def test_the_next_direct_dial_begins_at_once_where_none_is_under_way() -> None:
    climb = Climb(LadderOptions(), (ONE, OTHER, THIRD), 1.0)
    assert climb.due(1.0) == [Try(Rung.DIRECT, ONE)]
    climb.failed(Try(Rung.DIRECT, ONE), 1.1)
    assert climb.wake() == pytest.approx(1.1)
    assert climb.due(1.1) == [Try(Rung.DIRECT, OTHER)]
    assert climb.due(1.3) == []
    assert climb.due(1.36) == [Try(Rung.DIRECT, THIRD)]


def test_at_once_means_direct_and_circuit_in_one_moment() -> None:
    climb = Climb(LadderOptions(AT_ONCE, stagger=0.0), EVERYTHING, 5.0)
    assert climb.due(5.0) == [DIRECT_ONE, DIRECT_OTHER, RELAYED]


def test_a_head_start_ends_early_when_there_is_nobody_to_have_it() -> None:
    options = LadderOptions((Step(Rung.DIRECT), Step(Rung.RELAYED, 2.0)))
    assert Climb(options, (CIRCUIT,), 0.0).due(0.0) == [RELAYED]
    climb = Climb(options, (ONE, CIRCUIT), 0.0)
    assert climb.due(1.9) == [DIRECT_ONE]
    assert climb.wake() == 2.0
    assert climb.due(2.0) == [RELAYED]


def test_circuits_are_tried_one_after_another() -> None:
    climb = Climb(LadderOptions(AT_ONCE), (CIRCUIT, SPARE), 0.0)
    assert climb.due(9.0) == [RELAYED]
    climb.failed(RELAYED, 9.0)
    assert climb.due(9.0) == [SPARED]
    climb.failed(SPARED, 9.1)
    assert climb.over(9.1)
    assert climb.best is None


def test_the_order_can_be_turned_round_and_a_rung_left_out() -> None:
    relay_first = LadderOptions((Step(Rung.RELAYED), Step(Rung.DIRECT, 1.0)))
    climb = Climb(relay_first, EVERYTHING, 0.0)
    assert climb.due(0.5) == [RELAYED]
    assert climb.due(1.0) == [DIRECT_ONE]
    only_direct = Climb(LadderOptions((Step(Rung.DIRECT),)), EVERYTHING, 0.0)
    assert only_direct.due(9.0) == [DIRECT_ONE, DIRECT_OTHER]
    assert Climb(LadderOptions((Step(Rung.DIRECT),)), (CIRCUIT,), 0.0).over(0.0)


def test_a_direct_connection_is_the_end() -> None:
    climb = Climb(LadderOptions(AT_ONCE), EVERYTHING, 0.0)
    climb.due(0.0)
    climb.reached(DIRECT_ONE, 0.1)
    assert climb.over(0.1)


def test_when_a_circuit_is_there_direct_dials_linger() -> None:
    climb = Climb(LadderOptions(AT_ONCE, stagger=0.0, linger=1.0), EVERYTHING, 0.0)
    climb.due(0.0)
    climb.reached(RELAYED, 0.3)
    assert climb.due(0.3) == []  # no other circuit
    assert not climb.over(1.2)
    assert climb.wake() == climb.wake() == pytest.approx(1.3)
    climb.reached(DIRECT_OTHER, 1.2)
    assert climb.best is Rung.DIRECT
    assert climb.over(1.2)


def test_where_the_other_side_dials_back_direct_dials_end_with_the_circuit() -> None:
    climb = Climb(LadderOptions(AT_ONCE), EVERYTHING, 0.0, dialed_back=True)
    climb.due(0.0)
    climb.reached(RELAYED, 0.3)
    assert climb.over(0.3)
    assert climb.best is Rung.RELAYED


def test_a_dial_that_a_punch_may_follow_leaves_from_a_fresh_port_and_no_other() -> None:
    assert Climb(LadderOptions(), (ONE,), 0.0).due(0.0) == [Try(Rung.DIRECT, ONE)]
    assert Climb(LadderOptions(), (ONE, CIRCUIT), 0.0).due(0.0)[0].fresh
    assert Climb(LadderOptions(), (ONE,), 0.0, beside=True).due(0.0)[0].fresh


def test_rungs_are_ordered_by_what_they_cost() -> None:
    assert [rung.better(None) for rung in Rung] == [True] * 4
    assert all(not rung.better(rung) for rung in Rung)
    assert Rung.DIRECT.better(Rung.REVERSED)
    assert Rung.REVERSED.better(Rung.PUNCHED)
    assert Rung.PUNCHED.better(Rung.RELAYED)


# -- whole nodes --------------------------------------------------------------


@contextlib.asynccontextmanager
async def behind_a_relay(
    transport: str, a: NodeOptions, b: NodeOptions
) -> AsyncIterator[tuple[Node, Node, Multiaddr]]:
    """Dialer, listener, the listener's circuit address."""
    async with (
        nodes(transport, {"relay": RelayLimits()}) as (relay,),
        Node(a) as one,
        Node(b) as two,
    ):
        for node in (one, two):
            await node.listen(LISTEN[transport])
        (circuit,) = (await two.reserve(address(relay))).addresses
        await one.dial(address(relay))
        yield one, two, circuit


def options(**words: object) -> NodeOptions:
    plain = {"allow_private": True, "autonat_interval": 0, "advertise_unproven": False}
    return NodeOptions(**(plain | words))  # type: ignore[arg-type]


STAY = UpgradeOptions(enabled=False)
QUICK = LadderOptions(AT_ONCE, stagger=0.0)


@BOTH
def test_a_direct_dial_beats_the_circuit_that_began_with_it_and_leaves_none(transport: str) -> None:
    async def work() -> None:
        a = options(ladder=QUICK)
        async with behind_a_relay(transport, a, options(upgrade=STAY)) as (one, two, circuit):
            connection = await one.dial(address(two), circuit)
            assert not connection.relayed
            await wait_event(one, RungReached, lambda e: e.peer == two.peer)
            await one.ping(two.peer)
            assert [c.relayed for c in one.host.connections_to(two.peer)] == [False]
            async with asyncio.timeout(5):
                while any(c.relayed for c in two.host.connections_to(one.peer)):
                    await asyncio.sleep(0.01)

    run(work)


def test_a_circuit_carries_until_a_slower_direct_dial_takes_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody dials back: on loopback every address counts as one that others may dial."""
    monkeypatch.setattr(Node, "_public_addresses", lambda _: ())

    async def work() -> None:
        relay_first = LadderOptions((Step(Rung.RELAYED), Step(Rung.DIRECT, 0.5)), linger=3.0)
        a = options(ladder=relay_first)
        async with behind_a_relay("tcp", a, options(upgrade=STAY)) as (one, two, circuit):
            connection = await one.dial(address(two), circuit)
            assert connection.relayed
            direct = await one.wait_direct(two.peer, 5)
            told = await wait_event(one, Upgraded)
            assert (told.how, told.remote) == ("direct", direct.remote)
            assert await rungs_of(one, two) == ["relayed", "direct"]
            assert (await wait_event(two, Upgraded)).how == "direct"

    run(work)


async def rungs_of(one: Node, two: Node) -> list[str]:
    reached = []
    async for event in one.events():
        if isinstance(event, RungReached) and event.peer == two.peer:
            reached.append(event.rung.value)
            if event.rung is not Rung.RELAYED:
                break
    return reached


def test_the_listener_reverses_to_an_address_that_the_dialer_advertises() -> None:
    async def work() -> None:
        a, b = options(ladder=QUICK), options()
        async with behind_a_relay("quic", a, b) as (one, two, circuit):
            assert (await one.dial(circuit)).relayed
            assert await rungs_of(one, two) == ["relayed", "reversed"]

    run(work)


@BOTH
def test_a_dial_that_gets_in_only_after_the_upgrade_is_no_rung_of_its_own(transport: str) -> None:
    """It is retransmitted into the hole that the other side has opened meanwhile."""

    async def work() -> None:
        a, b = options(ladder=LadderOptions(AT_ONCE, stagger=0.0, linger=5.0)), options()
        async with behind_a_relay(transport, a, b) as (one, two, circuit):
            ladder, told = one.ladder, asyncio.Event()
            got_in, dials = asyncio.Event(), dict(ladder._dials)

            async def late(attempt: Try, peer: PeerId | None, timeout: float) -> Connection:
                await told.wait()
                connection = await dials[Rung.DIRECT](attempt, peer, timeout)
                got_in.set()
                return connection

            ladder._dials = dials | {Rung.DIRECT: late}
            ladder._dialed_back = lambda: False  # or the dial would not go on
            await one.dial(address(two), circuit)
            assert await rungs_of(one, two) == ["relayed", "reversed"]
            async with asyncio.timeout(5):
                while one.host.connections_to(two.peer, relayed=True):
                    await asyncio.sleep(0.01)
            told.set()
            await got_in.wait()
            await one.ping(two.peer)
            direct = (two.peer, Rung.DIRECT)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await wait_event(one, RungReached, lambda e: (e.peer, e.rung) == direct)

    run(work)


def test_the_last_error_of_a_dial_in_vain_is_raised_and_nothing_to_dial_is_said() -> None:
    async def work() -> None:
        async with nodes("tcp", {"ladder": QUICK}, {}) as (a, b):
            gone = address(b)
            await b.close()
            with pytest.raises(DialError):
                await a.dial(gone)
            with pytest.raises(AddressError, match="nothing to dial"):
                await a.ladder.dial((), None, 1.0)
            with pytest.raises(AddressError, match="does not say which peer"):
                await a.dial(Multiaddr.parse("/ip4/127.0.0.1/tcp/1/p2p-circuit"))

    run(work)


def test_a_dial_that_is_given_up_leaves_no_task() -> None:
    async def work() -> None:
        async with nodes("tcp", {"ladder": QUICK}) as (a,):
            before = len(asyncio.all_tasks())
            with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await a.dial(f"/ip4/127.0.0.1/tcp/{mute.getsockname()[1]}")
            await asyncio.sleep(0.05)
            assert len(asyncio.all_tasks()) <= before

    run(work)


# -- preparation --------------------------------------------------------------


def granting(
    monkeypatch: pytest.MonkeyPatch, external: str | Exception, delay: float = 0.0
) -> None:
    """A gateway that maps every port to this address, or refuses."""

    async def grant(_self: PortMapper, transport: Transport, port: int, **_: object) -> Mapping:
        await asyncio.sleep(delay)
        if isinstance(external, Exception):
            raise external
        inside, outside = (
            Endpoint(IPv4Address("10.0.0.2"), port),
            Endpoint(IPv4Address(external), port),
        )
        mapping = Mapping(transport, inside, outside, 600, Service.PCP, IPv4Address("10.0.0.1"))
        given.append(mapping)
        return mapping

    given: list[Mapping] = []
    monkeypatch.setattr(PortMapper, "map", grant)
    monkeypatch.setattr(PortMapper, "mappings", property(lambda _: tuple(given)))


@BOTH
def test_a_mapped_address_is_advertised_once_it_is_there(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    granting(monkeypatch, "29.0.0.7")

    async def work() -> None:
        words = {"port_mapping": PortMapOptions(), "allow_private": False}
        async with nodes(transport, words) as (node,):
            assert (await node.prepare()).troubles == ()
            (mapped,) = node.ports.addresses
            assert (str(mapped.ip), mapped.port) == ("29.0.0.7", node.listening()[0].port)
            assert mapped in node.direct_addresses()
            assert mapped in node.punch_addresses()
            assert (await node.prepare()).addresses == (mapped,)

    run(work)


@pytest.mark.parametrize(
    ("external", "why"), [("100.64.0.9", "carrier"), ("192.168.1.4", "another NAT")]
)
def test_a_useless_mapping_is_told_and_not_advertised(
    external: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    granting(monkeypatch, external)

    async def work() -> None:
        words = {"port_mapping": PortMapOptions(), "allow_private": False}
        async with nodes("tcp", words) as (node,):
            found = await node.prepare()
            assert [str(m.external.address) for m in found.mapped] == [external]
            assert found.addresses == ()
            assert why in found.troubles[0]

    run(work)


def test_a_refusal_is_among_the_troubles_and_a_late_grant_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refused() -> None:
        granting(monkeypatch, NetworkFailureError("pcp", 7, "NETWORK_FAILURE"))
        async with nodes("tcp", {"port_mapping": PortMapOptions()}) as (node,):
            found = await node.prepare("/ip4/127.0.0.1/tcp/1")
            assert "NETWORK_FAILURE" in found.troubles[0]
            assert "no reservation" in found.troubles[1]

    async def late() -> None:
        granting(monkeypatch, "29.0.0.7", delay=0.3)
        ladder = LadderOptions(map_patience=0.05)
        async with nodes("tcp", {"port_mapping": PortMapOptions(), "ladder": ladder}) as (node,):
            assert "has not answered" in (await node.prepare()).troubles[0]
            async with asyncio.timeout(5):
                while not node.ports.addresses:
                    await asyncio.sleep(0.02)

    run(refused)
    run(late)


def test_without_options_no_gateway_is_asked() -> None:
    async def work() -> None:
        ports = MappedPorts(None, lambda _: None, lambda: None)
        assert await ports.map([ONE], 1.0) == []
        await ports.close()
        async with nodes("tcp", {}) as (node,):
            assert (await node.prepare()).mapped == ()

    run(work)


def test_the_proof_ends_as_soon_as_there_is_a_verdict_on_every_address() -> None:
    async def work() -> None:
        servers = [{"autonat_server": True}, {}]
        async with nodes("quic", *servers) as (server, node):
            await node.dial(address(server))
            loop = asyncio.get_running_loop()
            started = loop.time()
            await node.prepare()
            assert loop.time() - started < node.options.ladder.proof_patience
            assert not [e for e in await opened(node) if e.relayed]

    run(work)


async def opened(node: Node) -> list[ConnectionOpened]:
    await node.close()
    return [e async for e in node.events() if isinstance(e, ConnectionOpened)]
