"""A payer that knows several offers takes the best, and one that broke its word no more."""

from testbed.traversal.rent.choice import Bounds, Choice
from testbed.traversal.rent.contract import MIB, Terms, terms

from . import rented
from .rented import OTHER, OTHER_KEY, RELAY, RELAY_KEY, START

HOUR = 3600_000


def knows(one: Terms, two: Terms, round_trips: tuple[float, float] = (0.05, 0.05)) -> Choice:
    choice = Choice(Bounds(size=MIB, second=1000))
    for key, asked, seconds in zip((RELAY_KEY, OTHER_KEY), (one, two), round_trips, strict=True):
        choice.learn(rented.offer(asked, key), seconds)
    return choice


def best(choice: Choice, now: int = START) -> object:
    return min((RELAY, OTHER), key=lambda relay: choice.rank(relay, now))


def test_the_cheaper_one_is_taken() -> None:
    assert best(knows(terms(100), terms(90))) == OTHER


def test_the_nearer_one_is_taken_where_it_is_worth_its_price() -> None:
    assert best(knows(terms(150), terms(100), (0.02, 0.2))) == RELAY
    assert best(knows(terms(400), terms(100), (0.02, 0.2))) == OTHER


def test_one_that_broke_its_word_is_shunned_then_dearer_until_it_made_up_for_it() -> None:
    choice = knows(terms(90), terms(100))
    choice.ended(RELAY, START, kept=False)
    asked = terms(90)
    assert not choice.accepts(RELAY, asked, START + HOUR - 1)
    assert choice.accepts(RELAY, asked, START + HOUR)
    assert best(choice) == best(choice, START + HOUR) == OTHER
    for _ in range(200):
        choice.ended(RELAY, START, kept=True)
    assert best(choice, START + HOUR) == RELAY


def test_what_is_too_dear_comes_after_what_is_unknown() -> None:
    choice = Choice(Bounds(price_mib=50))
    choice.learn(rented.offer(terms(100)), 0.0)
    assert best(choice) == OTHER
    assert not choice.accepts(RELAY, terms(100), START)
    assert not choice.accepts(RELAY, terms(10, 10_000), START)


def test_an_offer_is_forgotten_when_it_has_run_out() -> None:
    choice = knows(terms(100), terms(100))
    assert choice.offer(RELAY, START) is not None
    assert choice.offer(RELAY, START + rented.DAY) is None
    assert choice.offer(rented.TARGET, START) is None
