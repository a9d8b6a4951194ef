"""Rented circuits between nodes: offer, contract, receipts, redemption, audit."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from testbed.traversal import Node, PeerId, PrivateKey, RelayLimits
from testbed.traversal.aio.rent_client import Rent
from testbed.traversal.aio.rent_server import RentOut
from testbed.traversal.aio.upgrade_service import UpgradeOptions
from testbed.traversal.events import RentSettled
from testbed.traversal.rent.cheats import Cheat
from testbed.traversal.rent.contract import terms
from testbed.traversal.rent.dossier import Dossier
from testbed.traversal.rent.ledger import LedgerRefusedError
from testbed.traversal.rent.sqlite import Book, SqliteLedger
from testbed.traversal.rent.statements import Entry, Redemption

from . import rented
from .nodes import address, nodes, run, wait_event
from .test_closing import GIVE, takes

pytestmark = pytest.mark.timeout(60)
BOTH = pytest.mark.parametrize("transport", ["tcp", "quic"])
QUICK: dict[str, Any] = {"every": 32 * 1024, "credit": 128 * 1024, "patience": 1000}
PAYS = {"upgrade": UpgradeOptions(enabled=False), "rent": Rent(budget=10_000)}
COUNTS = {"upgrade": UpgradeOptions(enabled=False), "rent": Rent()}


def hub_options(book: Book, ledger: SqliteLedger | None = None, **asked: Any) -> dict[str, Any]:
    out = RentOut(terms(**(QUICK | asked)), book, ledger)
    return {"relay": RelayLimits(), "rent_out": out}


async def give(a: Node, b: Node, data: bytes) -> None:
    taken = takes(b)
    stream = await a.open_stream(b.peer, [GIVE])
    await stream.write(data)
    await stream.close()
    assert await taken == data


@BOTH
def test_a_megabyte_that_is_paid_for_passes_a_relay_of_128_kib(transport: str) -> None:
    async def work() -> None:
        book, data = Book(":memory:"), os.urandom(2**20)
        async with nodes(transport, hub_options(book), PAYS, COUNTS) as (hub, a, b):
            held = await b.reserve(address(hub))
            connection = await a.dial(held.addresses[0])
            assert connection.relayed
            assert connection.limit is None
            await give(a, b, data)
            await connection.close()
            settled = await wait_event(hub, RentSettled)
            paid = await wait_event(a, RentSettled)
        assert settled.cheat == paid.cheat == ""
        assert settled.up > len(data)
        assert (settled.up, settled.down) == (paid.up, paid.down)
        assert settled.cost == paid.cost == terms(**QUICK).cost(paid.up + paid.down, 0)
        dossier = Dossier.of(book.statements())
        assert dossier.payable() == {hub.peer: settled.cost}
        assert not dossier.findings()
        assert not dossier.worthless

    run(work)


def test_receipts_become_money_once_and_are_audited_by_commands(tmp_path: Path) -> None:
    """Offer, circuit, receipts, redemption and audit: from files, by the command line."""
    ledger, book, seed = tmp_path / "ledger", tmp_path / "book", "07" * 32
    hub_key = PrivateKey.from_seed(bytes.fromhex(seed))
    payer_key = PrivateKey.from_seed(bytes([8]) * 32)
    payer = PeerId.from_public_key(payer_key.public)
    assert command("fund", ledger, payer, 25_000) == (0, [{"peer": str(payer), "balance": 25_000}])

    async def work() -> None:
        words = hub_options(Book(book), SqliteLedger(ledger)) | {"identity": hub_key}
        async with nodes("tcp", words, PAYS | {"identity": payer_key}, COUNTS) as (hub, a, b):
            held = await b.reserve(address(hub))
            connection = await a.dial(held.addresses[0])
            await give(a, b, bytes(2**20))
            await connection.close()
            await wait_event(hub, RentSettled)

    run(work)
    code, told = command("redeem", ledger, book, "--seed", seed)
    cost = told[0]["paid"]
    assert (code, cost >= 100, told[1]["balance"]) == (0, True, cost)
    code, told = command("redeem", ledger, book, "--seed", seed)
    assert (code, told[0]["paid"], told[1]["balance"]) == (0, 0, cost)
    lines = raw_command("export", book)[1]
    dossier = tmp_path / "dossier"
    dossier.write_text(lines)
    code, told = command("verify", dossier)
    assert (code, told[0]["cost"], told[-1]["payable"]) == (0, cost, cost)
    dossier.write_text(lines.replace("receipt CiQI", "receipt DiQI"))
    code, told = command("verify", dossier)
    assert code == 1
    assert "worthless" in told[1]


def test_what_a_ledger_refused_is_shown_to_anybody_by_commands(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger, one, two = SqliteLedger(path), rented.deal(serial=1), rented.deal(serial=2)
    ledger.fund(rented.PAYER, 1_000_000)
    for deal in (one, two):
        ledger.hold(deal, rented.START)
    assert raw_command("convict", path) == (0, "")
    paid = rented.receipt(one, 1, 5, up=9).data
    for _ in range(2):
        ask = Redemption(rented.START, Entry(two.data, paid)).seal(rented.RELAY_KEY)
        with pytest.raises(LedgerRefusedError):
            ledger.redeem(ask.data, rented.START)
    dossier = tmp_path / "dossier"
    dossier.write_text(raw_command("convict", path)[1])
    code, told = command("verify", dossier)
    assert code == 1
    (found,) = [line for line in told if "cheat" in line]
    assert (found["cheat"], found["accused"]) == (Cheat.REPLAYS, str(rented.RELAY))
    assert found["contract"] == two.id.hex()


def raw_command(*words: object) -> tuple[int, str]:
    run = subprocess.run(
        [sys.executable, "-m", "testbed.traversal", "rent", *map(str, words)],
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    return run.returncode, run.stdout


def command(*words: object) -> tuple[int, list[dict[str, Any]]]:
    code, out = raw_command(*words)
    return code, [json.loads(line) for line in out.splitlines()]
