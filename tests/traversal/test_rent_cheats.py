"""Every cheat of a relay and of a payer: caught, named, and proven to whoever has the signatures.

What the cheated side keeps is written as text, read back, and audited with nothing else.
"""

from dataclasses import replace
from typing import Any

import pytest

from testbed.traversal.errors import ProtocolError
from testbed.traversal.rent.cheats import Cheat, CheatError, Finding, Grade
from testbed.traversal.rent.contract import terms
from testbed.traversal.rent.dossier import KINDS, Dossier, lines
from testbed.traversal.rent.ledger import LedgerRefusedError
from testbed.traversal.rent.meter import RelayMeter, Tab
from testbed.traversal.rent.signed import Signed
from testbed.traversal.rent.sqlite import SqliteLedger
from testbed.traversal.rent.statements import Entry, Redemption

from . import rented
from .rent_model import Conduct, World
from .rented import KIB, PAYER, RELAY, claim, contract, deal, receipt

PATIENCE = rented.TERMS.patience


def audited(*statements: Signed[Any]) -> list[Finding]:
    """What a stranger finds in the text."""
    dossier = Dossier.parse("\n".join(lines(statements)))
    assert not dossier.worthless
    return dossier.findings()


def kept(world: World) -> list[Signed[Any]]:
    case = world.payer.case
    return [case.contract, *case.claims, *case.receipts]


def test_honest_parties_prove_nothing_against_each_other() -> None:
    world = World(deal())
    world.wants, world.answers = 20 * KIB, 5 * KIB
    world.run(20_000)
    assert (world.caught, world.accused) == (None, None)
    assert world.relay.total > 5 * 2**20
    relay = world.relay.case
    assert audited(*kept(world), *relay.counts, *relay.claims) == []


RELAYS = {
    Cheat.DROPS: Conduct(drops_after=100 * KIB),
    Cheat.DELAYS: Conduct(delay=PATIENCE + 500),
    Cheat.THROTTLES: Conduct(rate=10_000),
    Cheat.INFLATES: Conduct(inflates=600 * KIB),
    Cheat.FORWARDS_TWICE: Conduct(copies=2),
    Cheat.FORWARDS_ELSEWHERE: Conduct(reaches=rented.OTHER_KEY),
}


@pytest.mark.parametrize("cheat", RELAYS)
@pytest.mark.parametrize("down", [False, True], ids=["up", "down"])
def test_a_relay_that_cheats_is_left_in_time_named_and_proven(cheat: Cheat, down: bool) -> None:
    world = World(deal(), RELAYS[cheat])
    world.wants, world.answers = (1, 20 * KIB) if down else (20 * KIB, 0)
    world.run(120_000)
    assert world.caught == cheat
    cheated_since = 0 if cheat is not Cheat.DROPS else 300
    assert world.now - world.began - cheated_since <= 3 * PATIENCE + 100
    assert world.overpaid() == 0
    world.end()
    world.now += 2 * PATIENCE
    found = {f.cheat: f for f in audited(*kept(world))}
    assert found[cheat].accused == RELAY
    assert found[cheat].grade is (
        Grade.OWN_WORD if cheat is Cheat.FORWARDS_ELSEWHERE else Grade.WITNESSED
    )
    again = {f.cheat for f in audited(*found[cheat].exhibits)}
    assert again == {cheat}  # what is shown is enough


def test_a_relay_that_keeps_the_other_ends_word_back_is_left_without_proof() -> None:
    world = World(deal())
    world.wants = KIB
    world.counts = lambda **_: None  # type: ignore[method-assign]
    world.run(60_000)
    assert world.caught == Cheat.SILENT
    assert world.now - world.began <= 3 * PATIENCE + 100
    assert world.payer.last is None or world.payer.last.total == 0
    assert audited(*kept(world)) == []


def test_a_relay_that_redeems_another_circuits_receipt_signs_its_own_verdict() -> None:
    one, two = deal(serial=1), deal(serial=2)
    paid = receipt(one, 1, 5, up=90 * KIB, offered=90 * KIB)
    ask = Redemption(rented.START, Entry(two.data, paid.data)).seal(rented.RELAY_KEY)
    ledger = funded(one, two)
    before = ledger.total()
    with pytest.raises(LedgerRefusedError, match="another circuit"):
        ledger.redeem(ask.data, rented.START)
    assert ledger.total() == before
    assert ledger.balance(RELAY) == 0
    (found,) = convicted(ledger)
    assert (found.cheat, found.accused) == (Cheat.REPLAYS, RELAY)
    assert found.grade is Grade.OWN_WORD


def test_a_relay_that_forges_a_receipt_signs_its_own_verdict() -> None:
    one = deal()
    forged = receipt(one, 1, 5, up=2**20, key=rented.RELAY_KEY)
    ask = Redemption(rented.START, Entry(one.data, forged.data)).seal(rented.RELAY_KEY)
    ledger = funded(one)
    with pytest.raises(LedgerRefusedError, match="forges"):
        ledger.redeem(ask.data, rented.START)
    (found,) = convicted(ledger)
    assert (found.cheat, found.accused, found.grade) == (Cheat.FORGES, RELAY, Grade.OWN_WORD)


def test_a_relay_that_claims_two_things_under_one_number_contradicts_itself() -> None:
    one = deal()
    (found,) = audited(contract(), claim(one, 3, 50, 10), claim(one, 3, 50, 20))
    assert (found.cheat, found.accused) == (Cheat.CONTRADICTS, RELAY)


# Payers


def test_a_payer_that_does_not_pay_is_cut_off_named_and_shown_until_it_answers() -> None:
    world = World(deal())
    world.wants, world.pays = 2 * KIB, False
    world.run(60_000)
    assert world.accused == Cheat.DOES_NOT_PAY
    assert world.lost_by_relay() <= world.deal.terms.most_at_risk
    shown: list[Signed[Any]] = [contract(), *world.relay.case.claims]
    (found,) = audited(*shown)
    assert (found.cheat, found.accused) == (Cheat.DOES_NOT_PAY, PAYER)
    assert found.grade is Grade.UNANSWERED
    assert {f.cheat for f in audited(*found.exhibits)} == {Cheat.DOES_NOT_PAY}
    rescued = world.receipt(final=True)
    assert rescued is not None
    assert audited(*shown, rescued) == []  # the answer


def test_a_payer_that_goes_on_without_paying_gets_no_byte_beyond_its_credit() -> None:
    world = World(deal())
    world.wants, world.pays = 60 * KIB, False
    world.run(60_000)
    assert world.accused == Cheat.BEYOND_CREDIT
    assert world.relay.total == world.target.received == world.deal.terms.credit
    (found,) = audited(contract(), *world.relay.case.claims)
    assert (found.cheat, found.accused) == (Cheat.BEYOND_CREDIT, PAYER)


def test_a_payer_gets_its_credit_once_however_many_circuits_it_opens() -> None:
    tab = Tab()
    worlds = [World(deal(serial=n), tab=tab) for n in range(4)]
    for world in worlds:
        world.wants, world.pays = 60 * KIB, False
        world.run(900)
    assert sum(w.relay.total for w in worlds) == rented.TERMS.credit


def test_a_receipt_beyond_the_budget_is_refused_and_convicts_its_signer() -> None:
    one = deal(budget=10)
    much = receipt(one, 1, 5, up=2**20, offered=2**20)
    meter = RelayMeter(one, Tab(), rented.START)
    with pytest.raises(CheatError) as error:
        meter.check_receipt(much.data)
    assert error.value.cheat is Cheat.BEYOND_CREDIT
    (found,) = audited(contract(budget=10), much)
    assert (found.cheat, found.accused) == (Cheat.BEYOND_CREDIT, PAYER)
    assert Dossier.parse("\n".join(lines([contract(budget=10), much]))).payable() == {RELAY: 10}


def test_a_payer_that_gives_one_receipt_twice_is_refused_and_gets_no_credit() -> None:
    one, two = deal(serial=1), deal(serial=2)
    paid = receipt(one, 1, 5, up=50 * KIB, offered=50 * KIB)
    meter, other = (RelayMeter(d, Tab(), rented.START) for d in (one, two))
    meter.passed(up=60 * KIB)
    other.passed(up=60 * KIB)
    meter.credit(meter.check_receipt(paid.data))
    for relay in (meter, other):
        owed = relay.unpaid
        with pytest.raises(CheatError) as error:
            relay.check_receipt(paid.data)
        assert error.value.cheat is Cheat.PAYS_TWICE
        assert relay.unpaid == owed


def test_who_gives_the_receipts_of_another_contract_is_shown_to_owe_on_this_one() -> None:
    one, two = deal(serial=1), deal(serial=2)
    old = receipt(one, 1, 5, up=90 * KIB, offered=90 * KIB)
    world = World(two)
    world.wants, world.pays = 2 * KIB, False
    world.run(60_000)
    with pytest.raises(CheatError):
        world.relay.check_receipt(old.data)
    (found,) = audited(contract(serial=1), contract(serial=2), old, *world.relay.case.claims)
    assert (found.cheat, found.accused) == (Cheat.DOES_NOT_PAY, PAYER)
    assert found.contract == two.id
    shown = "\n".join(lines([contract(serial=1), contract(serial=2), old, old]))
    assert Dossier.parse(shown).payable() == {RELAY: rented.TERMS.cost(90 * KIB, 0)}  # once


def test_a_contract_is_refused_by_whoever_has_another_time_than_the_payer() -> None:
    """Its statements would look like a cheat's: a target's counts as if bytes came late."""
    one = deal()
    for apart in (-PATIENCE, 0, PATIENCE):
        one.check_open(rented.START + apart)
    for apart in (-PATIENCE - 1, PATIENCE + 1):
        with pytest.raises(ProtocolError, match="not of this time"):
            one.check_open(rented.START + apart)


def test_a_clock_that_is_believed_accuses_nobody() -> None:
    """The target's is ahead, or behind, by a patience, and everybody else is honest."""
    for apart in (-PATIENCE + 100, PATIENCE - 100):
        world = World(deal())
        world.wants = world.answers = 10 * KIB
        honest = world.target.count
        world.target.last = replace(world.target.last, at=rented.START + min(apart, 0))

        def count(now: int, *, final: bool = False, by: int = apart, true: Any = honest) -> Any:
            return true(now + by, final=final)

        world.target.count = count  # type: ignore[method-assign]
        world.run(20_000)
        assert (world.caught, world.accused) == (None, None)
        assert audited(*kept(world), *world.relay.case.counts) == []


def test_a_payer_that_promises_one_serials_money_to_two_relays_convicts_itself() -> None:
    one = contract(serial=5)
    elsewhere = contract(serial=5, relay_key=rented.OTHER_KEY)
    ledger = SqliteLedger(":memory:")
    ledger.fund(PAYER, 1_000_000)
    ledger.hold(deal(serial=5), rented.START)
    with pytest.raises(LedgerRefusedError, match="serial"):
        ledger.hold(deal(serial=5, relay_key=rented.OTHER_KEY), rented.START)
    assert {c for _, c in ledger.statements()} == {one.data, elsewhere.data}
    (found,) = convicted(ledger)
    assert (found.cheat, found.accused) == (Cheat.PAYS_TWICE, PAYER)
    assert found.grade is Grade.OWN_WORD


def test_a_payer_that_promises_more_than_it_has_is_refused() -> None:
    ledger = SqliteLedger(":memory:")
    ledger.fund(PAYER, 150_000)
    ledger.hold(deal(serial=1), rented.START)
    with pytest.raises(LedgerRefusedError, match="not as much"):
        ledger.hold(deal(serial=2), rented.START)
    assert ledger.balance(PAYER) == 50_000


def test_a_forged_receipt_is_refused_and_convicts_whoever_signed_it() -> None:
    one = deal()
    strangers = receipt(one, 1, 5, up=9, key=rented.OTHER_KEY)
    true = receipt(one, 1, 5, up=9).data
    altered = true[:-1] + bytes([true[-1] ^ 1])
    meter = RelayMeter(one, Tab(), rented.START)
    for data in (strangers.data, altered, b""):
        with pytest.raises(CheatError) as error:
            meter.check_receipt(data)
        assert error.value.cheat is Cheat.FORGES
    (found,) = audited(contract(), strangers)
    assert (found.cheat, found.accused) == (Cheat.FORGES, rented.OTHER)
    dossier = Dossier.of([("contract", one.data), ("receipt", altered)])
    assert len(dossier.worthless) == 1  # nobody can be blamed for what nobody signed
    assert dossier.payable() == {}


def test_a_payer_that_takes_back_what_it_paid_is_refused_and_convicted() -> None:
    one = deal()
    more, less = receipt(one, 1, 5, up=9), receipt(one, 2, 6, up=8)
    meter = RelayMeter(one, Tab(), rented.START)
    meter.credit(meter.check_receipt(more.data))
    with pytest.raises(CheatError) as error:
        meter.check_receipt(less.data)
    assert error.value.cheat is Cheat.CONTRADICTS
    assert [f.cheat for f in audited(contract(), more, less)] == [Cheat.CONTRADICTS]


# What is not caught


def test_a_payer_and_a_target_that_collude_are_not_caught_and_cost_at_most_the_credit() -> None:
    """The target counts less than it had: the payer need not pay, and nobody can show it."""
    world = World(deal())
    world.wants = 60 * KIB
    honest = world.target.count

    def understated(now: int, *, final: bool = False) -> Any:
        value = honest(now, final=final)
        return None if value is None else replace(value, received=value.received // 10)

    world.target.count = understated  # type: ignore[method-assign]
    world.payer.judge = list  # type: ignore[method-assign]
    world.run(60_000)
    assert world.accused == Cheat.BEYOND_CREDIT  # it is cut off for want of a receipt
    assert 0 < world.lost_by_relay() <= world.deal.terms.most_at_risk
    case = world.relay.case
    found = audited(contract(), *case.claims, *case.counts, *case.receipts)
    assert PAYER not in {f.accused for f in found}
    # The two even blame the relay, by their own word alone: which is why a grade says whose.
    assert {f.grade for f in found if f.accused == RELAY} <= {Grade.WITNESSED}


def test_a_relay_and_a_target_that_collude_are_paid_for_what_the_payer_offered_at_most() -> None:
    world = World(deal(), Conduct(drops_after=0))
    world.wants = 10 * KIB
    arrive = world.arrive

    def confirmed() -> None:
        arrive()
        world.target.received = world.relay.up  # of which nothing came

    world.arrive = confirmed  # type: ignore[method-assign]
    world.run(10_000)
    assert world.caught is None
    assert world.payer.last is not None
    assert 0 < world.payer.last.total <= world.payer.offered


def convicted(ledger: SqliteLedger) -> list[Finding]:
    """What a stranger finds in the lines that the ledger keeps."""
    kept = [KINDS[kind].open(data) for kind, data in ledger.statements()]
    return audited(*kept)


def funded(*deals: Any) -> SqliteLedger:
    ledger = SqliteLedger(":memory:")
    ledger.fund(PAYER, 1_000_000)
    for one in deals:
        ledger.hold(one, rented.START)
    return ledger


def test_terms_that_cannot_be_kept_are_refused() -> None:
    for words in ({"credit": 10}, {"every": 0}, {"every": 2**22}, {"patience": 1}):
        with pytest.raises(ProtocolError, match="terms"):
            terms(**words)
