"""Receipts beside packets: what agrees is let pass, what does not is told, and by what."""

from dataclasses import replace

import pytest

from testbed.errors import UsageError
from testbed.evidence.rent import Rented
from testbed.model.breach import CheatProven, ReceiptDisputed, WorthlessStatements
from testbed.model.fault import Late, Tardy
from testbed.model.judgement import WireReading
from testbed.model.outcome import Outcome, Rung
from testbed.model.path import PassedThrough, Traffic
from testbed.model.prediction import Prediction
from testbed.model.reason import UpgradesOff
from testbed.model.rent import Carriage, Proven
from testbed.model.statement import relays
from testbed.model.verdict import Judgement
from testbed.model.window import Window
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.sound import require_able
from testbed.verdict.judge import judge
from testbed.verdict.rent import check_rent, paid_rung
from testbed.words import sentence

WINDOW = Window(0, 10, 4000)
PAID = Carriage("c0ffee00c0ffee", "12D3", 5000, 4500, 7, 5000, 4500, packets=40, size=13_000)
UNREAD = replace(PAID, seen_up=None, seen_down=None)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(PAID, up=5001),
        replace(PAID, down=4499),
        replace(PAID, seen_up=4999),
        replace(PAID, seen_down=9000),
        UNREAD,
    ],
)
def test_a_receipt_that_is_a_byte_beside_what_passed_is_disputed(wrong: Carriage) -> None:
    assert check_rent(Rented((PAID,)), "a") == []
    assert check_rent(Rented((PAID, wrong)), "a") == [ReceiptDisputed(wrong)]


def test_proven_cheats_and_worthless_statements_are_breaches() -> None:
    proven = Proven("inflates its count", "12D3", PAID.contract)
    found = check_rent(Rented((), (proven,), worthless=2), "a")
    assert found == [CheatProven(proven), WorthlessStatements("a", 2)]
    assert sentence(found[0]) == ("12D3 inflates its count, as is proven of contract c0ffee00c0ff")


def test_the_rung_is_paid_where_a_contract_has_room_for_the_echo_both_ways() -> None:
    short = replace(PAID, seen_down=3999)
    assert paid_rung(Rented((short, PAID)), Outcome.RELAYED, WINDOW) is Rung.RENTED
    for found in (None, Rented(()), Rented((short,)), Rented((UNREAD,))):
        assert paid_rung(found, Outcome.RELAYED, WINDOW) is None
    assert paid_rung(Rented((PAID,)), Outcome.DIRECT, WINDOW) is None
    assert paid_rung(Rented((PAID,)), Outcome.RELAYED, None) is None


def test_the_story_tells_the_contract_the_price_and_the_overhead() -> None:
    told = sentence(relays.Rented("server", PAID))
    for word in (PAID.contract, "5000 bytes up and 4500 down for 7 units", "as the packets show"):
        assert word in told
    assert "13000 bytes in 40 packets, 3500 more than the circuit" in told
    assert "no packet could be opened" in sentence(relays.Rented("server", UNREAD))
    assert "packets show 5000 up" in sentence(relays.Rented("server", replace(PAID, up=1)))


def test_a_relay_that_sells_nothing_is_refused() -> None:
    cell = Cell("rented-tcp", ("symmetric", "symmetric"), "libp2p")
    require_able(cell)
    with pytest.raises(UsageError, match="has not what rented-tcp needs of a relay: rent") as told:
        require_able(replace(cell, relay="go"))
    assert told.value.remedy == "--relay traversal"


def test_a_busy_machine_excuses_a_receipt_for_less_and_none_for_more() -> None:
    reading = WireReading(Outcome.RELAYED, PassedThrough(Traffic.ECHO, ("server",)))
    foreseen = Prediction(Outcome.RELAYED, UpgradesOff(), ())
    late = [Late(Tardy.FRAME, None, 12.0)]
    for wrong, due in (
        (replace(PAID, up=4000), Judgement.INCONCLUSIVE),  # the last receipt may not have come
        (UNREAD, Judgement.INCONCLUSIVE),
        (replace(PAID, up=5001), Judgement.FAIL),
        (replace(PAID, up=1, down=4501), Judgement.FAIL),
    ):
        found = [ReceiptDisputed(wrong)]
        assert judge(reading, foreseen, [], doubts=late, violations=found).judgement is due
        assert judge(reading, foreseen, [], violations=found).judgement is Judgement.FAIL
