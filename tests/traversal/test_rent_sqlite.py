"""The files outlive what kills their process, and are changed whole or not at all."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from testbed.traversal.errors import ProtocolError
from testbed.traversal.rent.contract import Deal
from testbed.traversal.rent.ledger import LedgerRefusedError
from testbed.traversal.rent.sqlite import Book, SqliteLedger
from testbed.traversal.rent.statements import Entry, Redemption

from . import rented
from .rented import KIB, PAYER, RELAY, deal, receipt

_HOLDS = """
import sys
from tests.traversal import rented
from testbed.traversal.rent.sqlite import Book, SqliteLedger
ledger, book = SqliteLedger(sys.argv[1]), Book(sys.argv[2])
for serial in range(1, 10_000):
    deal = rented.deal(serial=serial, budget=7)
    ledger.hold(deal, rented.START)
    book.open_deal(deal)
    book.store(rented.receipt(deal, 1, 5, up=2**20), 1)
    print(serial, flush=True)
"""


def ask(of: Deal, up: int, seq: int = 1) -> bytes:
    paid = receipt(of, seq, 5, up=up, offered=up)
    return Redemption(rented.START, Entry(of.data, paid.data)).seal(rented.RELAY_KEY).data


@pytest.mark.parametrize("after", [1, 7, 30])
def test_what_was_acknowledged_outlives_a_kill_and_money_is_conserved(
    after: int, tmp_path: Path
) -> None:
    ledger, book = tmp_path / "ledger", tmp_path / "book"
    SqliteLedger(ledger).fund(PAYER, 100_000)
    command = [sys.executable, "-c", _HOLDS, str(ledger), str(book)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        done = [int(process.stdout.readline()) for _ in range(after)][-1]
        os.kill(process.pid, signal.SIGKILL)
        done += sum(1 for _ in process.stdout)
    again = SqliteLedger(ledger)
    assert again.total() == 100_000
    held = (100_000 - again.balance(PAYER)) // 7
    assert done <= held <= done + 1
    assert done <= len(Book(book).redeemable()) <= done + 1
    assert again.release(rented.START + 2 * rented.DAY) == 7 * held
    assert again.balance(PAYER) == 100_000


def test_a_receipt_is_paid_once_and_a_later_one_pays_the_difference() -> None:
    ledger, one = SqliteLedger(":memory:"), deal()
    ledger.fund(PAYER, 200_000)
    ledger.hold(one, rented.START)
    ledger.hold(one, rented.START)  # the same again
    assert ledger.balance(PAYER) == 100_000
    paid = [
        ledger.redeem(ask(one, up, n), rented.START).amount
        for n, up in enumerate((2**20, 2**20, 2**19, 3 * 2**20), 1)
    ]
    assert paid == [1000, 0, 0, 2000]
    assert ledger.balance(RELAY) == 3000
    assert ledger.total() == 200_000


def test_redeemers_at_once_are_paid_once(tmp_path: Path) -> None:
    path, one = tmp_path / "ledger", deal()
    ledger = SqliteLedger(path)
    ledger.fund(PAYER, 100_000)
    ledger.hold(one, rented.START)
    data, amounts = ask(one, 2**20), []

    def redeem() -> None:
        amounts.append(SqliteLedger(path).redeem(data, rented.START).amount)

    threads = [threading.Thread(target=redeem) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(amounts) == [0] * 7 + [1000]


def test_what_is_not_held_or_has_run_out_or_is_anothers_is_not_paid() -> None:
    ledger, one = SqliteLedger(":memory:"), deal()
    ledger.fund(PAYER, 100_000)
    with pytest.raises(LedgerRefusedError, match="no money is held"):
        ledger.redeem(ask(one, KIB), rented.START)
    ledger.hold(one, rented.START)
    with pytest.raises(LedgerRefusedError, match="run out"):
        ledger.redeem(ask(one, KIB), rented.START + rented.DAY)
    paid = receipt(one, 1, 5, up=KIB)
    thief = Redemption(rented.START, Entry(one.data, paid.data)).seal(rented.OTHER_KEY)
    with pytest.raises(LedgerRefusedError, match="only the contract's relay"):
        ledger.redeem(thief.data, rented.START)
    assert ledger.release(rented.START + rented.DAY) == 100_000
    with pytest.raises(LedgerRefusedError, match="run out"):
        ledger.redeem(ask(one, KIB), rented.START)


def test_a_step_that_fails_leaves_no_half_of_it() -> None:
    """The money is taken, and then the hold cannot be written."""
    ledger, one = SqliteLedger(":memory:"), deal()
    ledger.fund(PAYER, 100_000)
    ledger._db.execute(
        "CREATE TRIGGER full BEFORE INSERT ON holds BEGIN SELECT raise(FAIL, 'disk'); END"
    )
    with pytest.raises(sqlite3.Error, match="disk"):
        ledger.hold(one, rented.START)
    assert ledger.balance(PAYER) == 100_000


def test_a_book_takes_a_contract_once_and_keeps_the_receipt_that_is_worth_most() -> None:
    book, one = Book(":memory:"), deal()
    book.open_deal(one)
    with pytest.raises(ProtocolError, match="had a circuit"):
        book.open_deal(one)
    more, less = receipt(one, 2, 5, up=9), receipt(one, 1, 5, up=4)
    book.store(more, 9)
    book.store(less, 4)
    assert book.redeemable() == [(one.data, more.data)]
