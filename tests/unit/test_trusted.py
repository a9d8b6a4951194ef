"""NATs are measured beside their cells: no result is told before its NATs are known."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack

import pytest
from made_results import result

from testbed.certify.beside import Certifying
from testbed.certify.certificates import Certificate, Verdict
from testbed.errors import UnfitError
from testbed.model.profile import Profile
from testbed.model.result import Result
from testbed.model.verdict import Judgement
from testbed.nat.load import named
from testbed.run.trusted import Held
from testbed.studies.punch.cell import Cell

NAMES = ("full-cone", "symmetric")
PROFILES = {profile.name: profile for profile in named(NAMES)}
CELLS = [Cell("punch-udp", (one, one)) for one in NAMES]
OUTER = os.getpid()  # who measures in it is alone

Verdicts = Callable[[bool, str], Verdict]  # is it measured beside others, and of which NAT


class Bench:
    """What is measured once ``go`` is called, by rules of the test's own."""

    def __init__(self, verdicts: Verdicts) -> None:
        self._verdicts = verdicts
        self._reader, self._writer = os.pipe()
        self.alone: list[str] = []
        self.said: list[str] = []

    def measure(self, profiles: Sequence[Profile]) -> Mapping[str, Certificate]:
        beside = os.getpid() != OUTER
        names = [profile.name for profile in profiles]
        if beside:
            os.read(self._reader, 1)
        else:
            self.alone += names
        return {one: Certificate(one, (), self._verdicts(beside, one), 0.1) for one in names}

    def go(self) -> None:
        os.write(self._writer, b"g")


@pytest.fixture
def started() -> Iterator[Callable[[Verdicts], tuple[Bench, Certifying, Held, list[Result]]]]:
    with ExitStack() as stack:

        def start(verdicts: Verdicts) -> tuple[Bench, Certifying, Held, list[Result]]:
            bench, told = Bench(verdicts), list[Result]()
            certifying = Certifying(PROFILES, bench.measure, bench.said.append)
            stack.enter_context(certifying)
            held = Held(CELLS, PROFILES, certifying, lambda row, *_: told.append(row))
            return bench, certifying, held, told

        yield start


Start = Callable[[Verdicts], tuple[Bench, Certifying, Held, list[Result]]]


def of(cell: Cell) -> Result:
    return result(cell.group, name=cell.name)


def test_a_result_waits_for_the_certificates_and_is_told_once(started: Start) -> None:
    bench, certifying, held, told = started(lambda _beside, _name: Verdict.PASS)
    held.take(of(CELLS[0]), 1, 2)
    assert told == []
    bench.go()
    assert certifying.unproven(wait=True) == []
    held.take(of(CELLS[1]), 2, 2)
    assert [row.name for row in told] == [cell.name for cell in CELLS]
    assert held.all(told) == told
    assert len(told) == 2
    assert bench.alone == []
    assert bench.said == ["certifying 2 NATs", "2 of 2 NATs certified"]


def test_who_does_not_pass_beside_others_is_measured_again_alone(started: Start) -> None:
    def crowded(beside: bool, name: str) -> Verdict:
        return Verdict.INCONCLUSIVE if beside and name == "symmetric" else Verdict.PASS

    bench, certifying, held, told = started(crowded)
    bench.go()
    certifying.unproven(wait=True)
    for number, cell in enumerate(CELLS, 1):
        held.take(of(cell), number, 2)
    assert [row.name for row in told] == [CELLS[0].name], "the other's NAT is not known yet"
    rows = held.all([of(cell) for cell in CELLS])
    assert bench.alone == ["symmetric"]
    assert [row.judgement for row in rows] == [Judgement.PASS, Judgement.PASS]
    assert rows == told


def test_a_nat_that_is_not_what_it_declares_proves_nothing(started: Start) -> None:
    bench, _, held, told = started(
        lambda _beside, name: Verdict.FAIL if name == "symmetric" else Verdict.PASS
    )
    for number, cell in enumerate(CELLS, 1):
        held.take(of(cell), number, 2)
    bench.go()
    sound, spoiled = held.all([of(cell) for cell in CELLS])
    assert sound.judgement is Judgement.PASS
    assert spoiled.judgement is Judgement.INCONCLUSIVE
    assert "symmetric" in spoiled.reason
    assert told == [sound, spoiled], "what is told is what is kept"
    assert bench.said[-1] == (
        "symmetric is not what it declares: see `testbed nat certify symmetric`"
    )


def test_a_measurement_that_crashes_is_made_again(
    started: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    def crash(beside: bool, _name: str) -> Verdict:
        if beside:
            raise ValueError("a reason")
        return Verdict.PASS

    bench, certifying, held, _ = started(crash)
    bench.go()
    assert certifying.unproven(wait=True) == list(NAMES)
    assert [row.judgement for row in held.all([of(CELLS[0])])] == [Judgement.PASS]
    assert bench.alone == list(NAMES)
    assert "a reason" in capfd.readouterr().err


def test_a_machine_that_lacks_a_tool_ends_the_run(started: Start) -> None:
    def unfit(_beside: bool, _name: str) -> Verdict:
        raise UnfitError("'nft' is not installed", node="nat-a", remedy="apt-get install it")

    bench, certifying, _, _ = started(unfit)
    bench.go()
    with pytest.raises(UnfitError, match="nft") as caught:
        certifying.unproven(wait=True)
    assert caught.value.remedy == "apt-get install it"


def test_what_an_earlier_run_has_told_is_not_told_again(started: Start) -> None:
    bench, _, held, told = started(lambda _beside, _name: Verdict.PASS)
    bench.go()
    earlier = result("punch-udp/full-cone--symmetric")
    held.take(of(CELLS[0]), 2, 3)
    held.take(of(CELLS[1]), 3, 3)
    assert held.all([earlier, *(of(cell) for cell in CELLS)])[0] is earlier
    assert [row.name for row in told] == [cell.name for cell in CELLS]
