"""Relays and payers that cheat on real streams, and peers that know nothing of rent."""

import asyncio
import contextlib
import os
from typing import Any

import pytest

from testbed.traversal import Multiaddr, Node, PeerId, PrivateKey, RelayLimits, Rent, relay
from testbed.traversal.aio import rent_client, rent_server
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.rent_circuit import RentedCircuit
from testbed.traversal.aio.rent_pipe import now
from testbed.traversal.aio.rent_server import RentOut
from testbed.traversal.aio.stream import Stream
from testbed.traversal.aio.upgrade_service import UpgradeOptions
from testbed.traversal.errors import DialError, TraversalError
from testbed.traversal.events import RelayBroke, RentSettled
from testbed.traversal.rent import ACCOUNT_PROTOCOL, HOP_PROTOCOL
from testbed.traversal.rent.cheats import Cheat
from testbed.traversal.rent.contract import terms
from testbed.traversal.rent.dossier import KINDS, Dossier, lines
from testbed.traversal.rent.meter import RelayMeter, Tab
from testbed.traversal.rent.sqlite import Book
from testbed.traversal.rent.statements import Claim

from .nodes import address, nodes, run, wait_event
from .test_closing import GIVE
from .test_rent import COUNTS, PAYS, give, hub_options

pytestmark = pytest.mark.timeout(90)
PATIENCE = 1.0
_honest = RentedCircuit.carry


async def _drops(self: RentedCircuit, source: Stream, sink: Stream, *, up: bool) -> None:
    """From 64 KiB on it only says that it forwards."""
    while data := await source.read(16384):
        while room := await self._room():
            part, data = data[:room], data[room:]
            self.meter.passed(**{"up" if up else "down": len(part)})
            if self.meter.total < 65536:
                await sink.write(part)
            if not data:
                break


async def _delays(self: RentedCircuit, source: Stream, sink: Stream, *, up: bool) -> None:
    """It says at once that it forwards, and does so most of two patiences later."""
    if not up:
        await _honest(self, source, sink, up=up)
        return
    loop = asyncio.get_running_loop()
    while data := await source.read(min(16384, await self._room())):
        self.meter.passed(up=len(data))
        slow = 1.75 * PATIENCE if self.meter.total > 30_000 else 0.0
        loop.call_later(slow, lambda d=data: asyncio.ensure_future(sink.write(d)))  # type: ignore[misc]


async def _twice(self: RentedCircuit, source: Stream, sink: Stream, *, up: bool) -> None:
    """Once the circuit stands, each byte goes out two times."""
    while data := await source.read(min(16384, await self._room())):
        self.meter.passed(**{"up" if up else "down": len(data)})
        await sink.write(data * (2 if up and self.meter.total > 30_000 else 1))


def _inflates(self: RelayMeter, at: int, up: int = 0, down: int = 0) -> Claim:
    said = _true_claim(self, at, up, down)
    return Claim(said.contract, said.seq, said.at, said.up + 2**20, said.down, said.count)


async def swallow(stream: Stream, connection: Connection) -> None:
    """Whatever comes, as long as it comes."""
    del connection
    with contextlib.suppress(TraversalError):
        while await stream.read():
            pass


async def _throttles(self: RentedCircuit, source: Stream, sink: Stream, *, up: bool) -> None:
    """It promised 50 kB a second."""
    while data := await source.read(min(2048, await self._room())):
        self.meter.passed(**{"up" if up else "down": len(data)})
        await sink.write(data)
        if self.meter.total > 30_000:
            await asyncio.sleep(0.2)


_true_claim = RelayMeter.claim
LIES: dict[Cheat, tuple[type, str, Any]] = {
    Cheat.DROPS: (RentedCircuit, "carry", _drops),
    Cheat.DELAYS: (RentedCircuit, "carry", _delays),
    Cheat.FORWARDS_TWICE: (RentedCircuit, "carry", _twice),
    Cheat.THROTTLES: (RentedCircuit, "carry", _throttles),
    Cheat.INFLATES: (RelayMeter, "claim", _inflates),
}


@pytest.mark.parametrize("cheat", LIES)
def test_a_relay_that_cheats_is_left_shunned_and_the_proof_read_by_a_stranger(
    cheat: Cheat, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, name, lie = LIES[cheat]
    monkeypatch.setattr(kind, name, lie)

    async def work() -> None:
        payers = Book(":memory:")
        pays = PAYS | {"rent": Rent(10_000, book=payers)}
        promises = hub_options(Book(":memory:"), rate=50_000)
        async with nodes("tcp", promises, pays, COUNTS) as (hub, a, b):
            held = await b.reserve(address(hub))
            connection = await a.dial(held.addresses[0])
            began = asyncio.get_running_loop().time()
            b.set_handler(GIVE, swallow)
            stream = await a.open_stream(b.peer, [GIVE])
            # Bytes that come twice show where fewer are under way than came.
            size = 40_000 if cheat is Cheat.FORWARDS_TWICE else 400_000
            writing = asyncio.ensure_future(stream.write(os.urandom(size)))
            broke = await wait_event(a, RelayBroke)
            assert broke.cheat == cheat
            assert asyncio.get_running_loop().time() - began < 5 * PATIENCE
            await asyncio.gather(writing, return_exceptions=True)
            await asyncio.sleep(0)
            assert connection.closed
            assert a.renting is not None
            signed = [KINDS[kind].open(data) for kind, data in payers.statements()]
            text = "\n".join(lines(signed))
            found = {f.cheat: f for f in Dossier.parse(text).findings()}
            assert found[cheat].accused == hub.peer
            assert Dossier.parse(text).worthless == []
            offer = a.renting.choice.offer(hub.peer, now())
            assert offer is not None
            assert not a.renting.choice.accepts(hub.peer, offer.value.terms, now())

    run(work, 60)


def test_a_payer_that_stops_paying_is_cut_off_at_its_credit_and_gets_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def nothing(self: object, stream: Stream, *, final: bool = False) -> None:
        del self, stream, final

    monkeypatch.setattr(rent_client._Account, "_pay", nothing)

    async def work() -> None:
        book = Book(":memory:")
        async with nodes("quic", hub_options(book), PAYS, COUNTS) as (hub, a, b):
            held = await b.reserve(address(hub))
            await a.dial(held.addresses[0])
            b.set_handler(GIVE, swallow)
            stream = await a.open_stream(b.peer, [GIVE])
            writing = asyncio.ensure_future(stream.write(bytes(2**20)))
            settled = await wait_event(hub, RentSettled)
            assert settled.cheat == Cheat.BEYOND_CREDIT
            assert settled.up + settled.down == 128 * 1024
            assert settled.cost == 0
            await asyncio.gather(writing, return_exceptions=True)
            found = {f.cheat: f for f in Dossier.of(book.statements()).findings()}
            assert found[Cheat.BEYOND_CREDIT].accused == a.peer
            again = await a.dial(held.addresses[0])  # what everybody gets for nothing
            assert again.limit == relay.Limit(120, 128 * 1024)

    run(work, 40)


@pytest.mark.parametrize("who", ["payer", "target", "both"])
def test_peers_without_rent_see_the_plain_relay(who: str) -> None:
    async def work() -> None:
        plain = {"upgrade": UpgradeOptions(enabled=False)}
        payer = plain if who in ("payer", "both") else PAYS
        target = plain if who in ("target", "both") else COUNTS
        async with nodes("tcp", hub_options(Book(":memory:")), payer, target) as (hub, a, b):
            held = await b.reserve(address(hub))
            connection = await a.dial(held.addresses[0])
            assert connection.limit == relay.Limit(120, 128 * 1024)
            stream = await a.open_stream(b.peer, ["/testbed/echo/1.0.0"], allow_limited=True)
            await stream.write(b"hello")
            assert await stream.read_exactly(5) == b"hello"

    run(work)


def test_statements_are_less_than_a_percent_of_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the library's default terms; all three parties' together."""
    sizes: list[int] = []
    write = Stream.write

    async def counted(self: Stream, data: bytes) -> None:
        if self.protocol == ACCOUNT_PROTOCOL:
            sizes.append(len(data))
        await write(self, data)

    async def work() -> None:
        hub_words = {"relay": RelayLimits(), "rent_out": RentOut(terms())}
        async with nodes("tcp", hub_words, PAYS, COUNTS) as (hub, a, b):
            held = await b.reserve(address(hub))
            connection = await a.dial(held.addresses[0])
            await give(a, b, bytes(8 * 2**20))
            await connection.close()
            settled = await wait_event(hub, RentSettled)
        total = settled.up + settled.down
        assert settled.cost == terms().cost(total, 0)
        print(f"{sum(sizes)} bytes of statements on {total}: {sum(sizes) / total:.2%}")
        assert len(sizes) > 30
        assert sum(sizes) < total / 100

    monkeypatch.setattr(Stream, "write", counted)
    run(work, 40)


def test_of_two_relays_the_cheaper_is_paid_and_the_other_when_it_broke_its_word() -> None:
    async def work() -> None:
        dear, cheap = (hub_options(Book(":memory:"), price_mib=p) for p in (300, 100))
        async with nodes("tcp", dear, cheap, PAYS, COUNTS) as (one, two, a, b):
            circuits: list[Multiaddr] = []
            for hub in (one, two):
                circuits += (await b.reserve(address(hub))).addresses
                await a.dial(address(hub))
            assert await relay_of(a, circuits) == two.peer
            assert a.renting is not None
            a.renting.choice.ended(two.peer, now(), kept=False)
            assert await relay_of(a, circuits) == one.peer

    async def relay_of(a: Node, circuits: list[Multiaddr]) -> object:
        connection = await a.dial(*circuits)
        assert connection.limit is None  # it is paid
        await connection.close()
        return connection.remote.without_peer().relay().peer_id

    run(work)


def test_a_relay_that_breaks_its_word_is_left_in_three_patiences_for_the_next_offer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two, the cheaper begins to drop: the payer finds it out by itself, and goes on."""
    dropping: set[PeerId] = set()

    async def carry(self: RentedCircuit, source: Stream, sink: Stream, *, up: bool) -> None:
        lie = _drops if self.meter.deal.relay in dropping else _honest
        await lie(self, source, sink, up=up)

    monkeypatch.setattr(RentedCircuit, "carry", carry)

    async def work() -> None:
        dear, cheap = (hub_options(Book(":memory:"), price_mib=p) for p in (300, 100))
        async with nodes("tcp", dear, cheap, PAYS, COUNTS) as (one, two, a, b):
            circuits: list[Multiaddr] = []
            for hub in (one, two):
                circuits += (await b.reserve(address(hub))).addresses
                await a.dial(address(hub))
            b.set_handler(GIVE, swallow)
            loop = asyncio.get_running_loop()
            dropping.add(two.peer)
            first = await a.dial(*circuits)
            assert over(first) == two.peer
            stream = await a.open_stream(b.peer, [GIVE])
            began = loop.time()
            writing = asyncio.ensure_future(stream.write(os.urandom(400_000)))
            broke = await wait_event(a, RelayBroke)
            left = loop.time() - began
            assert (broke.relay, broke.cheat) == (two.peer, Cheat.DROPS)
            assert left < 3 * PATIENCE + 2  # as RENT.md says, and what a busy machine adds
            await asyncio.gather(writing, return_exceptions=True)
            second = await a.dial(*circuits)
            assert over(second) == one.peer
            assert second.limit is None  # it is paid, too
            await give(a, b, bytes(300_000))

    def over(connection: Connection) -> PeerId | None:
        return connection.remote.without_peer().relay().peer_id

    run(work, 40)


def test_a_rented_circuit_costs_no_round_trip_more_than_a_plain_one() -> None:
    """Once the offer is known, the hop stream carries one message each way before the circuit."""

    async def work() -> None:
        async with nodes("tcp", hub_options(Book(":memory:")), PAYS, COUNTS) as (hub, a, b):
            held = await b.reserve(address(hub))
            through = await a.dial(address(hub))
            assert a.renting is not None
            offer = await a.renting.offer(through)
            assert offer is not None
            asked: list[str] = []
            open_lazily = a.host.open_lazily

            async def noted(connection: Any, protocol: str) -> Stream:
                asked.append(protocol)
                return await open_lazily(connection, protocol)

            a.host.open_lazily = noted  # type: ignore[method-assign]
            await a.renting.dial(through, b.peer, 5)
            on_relay = [p for p in asked if "rent" in p]
            assert on_relay[0].endswith("/hop")
            assert set(on_relay[1:]) <= {ACCOUNT_PROTOCOL}
            del held

    run(work)


def test_debts_are_remembered_of_those_alone_who_have_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger who asks for circuits in vain takes no memory, and old debtors give way."""
    monkeypatch.setattr(rent_server, "_DEBTORS", 3)

    async def work() -> None:
        async with nodes("tcp", hub_options(Book(":memory:")), PAYS, COUNTS) as (hub, a, b):
            server = hub.host.handlers[HOP_PROTOCOL].__self__  # type: ignore[attr-defined]
            through = await a.dial(address(hub))
            assert a.renting is not None
            with pytest.raises(DialError):
                await a.renting.dial(through, b.peer, 5)  # it holds no reservation
            assert server._tabs == {}
            old = [PeerId.from_public_key(PrivateKey.generate().public) for _ in range(5)]
            server._tabs = {debtor: Tab(7) for debtor in old}
            held = await b.reserve(address(hub))
            connection = await a.dial(held.addresses[0])
            assert connection.limit is None
            assert set(server._tabs) == {*old[2:], a.peer}

    run(work)
