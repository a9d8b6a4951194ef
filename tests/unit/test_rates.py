"""Repetitions by chance are held to the predicted rate, and every report shows it."""

import io
import json
from dataclasses import replace
from pathlib import Path

from made_results import document, result
from rich.console import Console

from testbed.errors import Exit
from testbed.model.chances import Chances
from testbed.model.details import PunchDetails
from testbed.model.outcome import Outcome
from testbed.model.result import Document, Result, Try, rates, summarize
from testbed.model.verdict import Judgement
from testbed.report import grid, html, markdown
from testbed.report.rates import sentence

LIKELY = Chances(500, 460, 0, 40)  # 0.92 direct
GROUP = "punch-udp/pf--pf.loss-0.1"


def repetitions(direct: int, none: int, chances: Chances | None = LIKELY) -> list[Result]:
    ends = [Outcome.DIRECT] * direct + [Outcome.NONE] * none
    return [
        result(GROUP, repeat, measured=outcome, predicted=outcome).model_copy(
            update={"details": PunchDetails(chances=chances)}
        )
        for repeat, outcome in enumerate(ends)
    ]


def test_a_rate_within_the_interval_agrees() -> None:
    rows = repetitions(187, 13)
    assert [seen.agrees for seen in rates(rows)] == [True, True]
    assert summarize(rows).exit_code is Exit.AGREED


def test_a_stack_that_does_not_repeat_is_found_by_its_rate() -> None:
    """One request that gets through with 0.9^4 at both ends: 86 of 200, each of them possible."""
    rows = repetitions(86, 114)
    assert summarize(rows).failed == 0
    assert summarize(rows).rates_differ == (GROUP,)
    assert summarize(rows).exit_code is Exit.DIFFERS


def test_a_model_that_does_not_repeat_is_found_by_the_rate() -> None:
    rows = repetitions(184, 16, Chances(500, 215, 0, 285))
    assert summarize(rows).exit_code is Exit.DIFFERS


def test_an_end_that_no_run_had_is_not_foreseen_often() -> None:
    rows = repetitions(180, 20, Chances(500, 500, 0, 0))
    assert summarize(rows).exit_code is Exit.DIFFERS


def test_a_stack_with_times_of_its_own_is_held_to_the_ends_and_to_no_rate() -> None:
    borrowed = replace(LIKELY, borrowed=True)
    assert summarize(repetitions(86, 114, borrowed)).exit_code is Exit.AGREED
    assert rates(repetitions(86, 114, borrowed)) == ()
    surely = replace(borrowed, direct=500, none=0)
    assert summarize(repetitions(180, 20, surely)).rates_differ == (GROUP,)


def test_a_deviation_turns_an_end_into_another_that_chance_may_prevent() -> None:
    deviating = LIKELY.deviating(Outcome.DIRECT, Outcome.RELAYED)
    assert deviating == Chances(500, 1, 459, 40, borrowed=True)
    assert deviating.likeliest is Outcome.RELAYED


def test_where_nothing_is_by_chance_different_ends_stay_mixed() -> None:
    rows = repetitions(187, 13, None)
    assert rates(rows) == ()
    assert summarize(rows).mixed == (GROUP,)
    assert summarize(repetitions(187, 13)).mixed == ()


def test_of_one_repetition_no_rate_is_told() -> None:
    assert rates(repetitions(0, 1)) == ()


def test_what_could_not_be_judged_does_not_count() -> None:
    rows = repetitions(50, 4)
    lost = rows[0].model_copy(update={"judgement": Judgement.INCONCLUSIVE, "measured": None})
    assert {seen.tries for seen in rates([lost, *rows[1:]])} == {53}


def thrown(rows: list[Result], count: int) -> list[Result]:
    """The first of ``rows`` as if each had been tried before, when the machine was too busy."""
    tried = Try(measured=None, reason="late", folder="cells/x")
    late = [row.model_copy(update={"earlier_tries": (tried,)}) for row in rows[:count]]
    return [*late, *rows[count:]]


def test_what_a_busy_machine_leaves_of_the_tries_is_no_sample() -> None:
    """Long tries are late more often: of 40 first ones 17 were none, of those that were left 23."""
    rows = repetitions(24, 16)
    assert summarize(thrown(rows, 10)).rates_differ == (GROUP,)
    unsure = summarize(thrown(rows, 11))
    assert (unsure.rates_differ, unsure.rates_unsure) == ((), (GROUP,))
    assert unsure.exit_code is Exit.INCONCLUSIVE
    [direct, _] = rates(thrown(rows, 11))
    assert sentence(direct).endswith("no rate, 11 tries were thrown away on a busy machine")


def test_a_case_that_stayed_late_was_thrown_away_too() -> None:
    rows = repetitions(20, 20)
    gone = {"judgement": Judgement.INCONCLUSIVE, "measured": None, "late": True}
    late = [row.model_copy(update=gone) for row in rows[:10]]
    assert summarize([*late, *rows[10:]]).rates_unsure == (GROUP,)


def test_a_rate_is_told_with_its_interval() -> None:
    [direct, _] = rates(repetitions(187, 13))
    assert sentence(direct) == f"{GROUP}: 187 of 200 direct, predicted 0.92 (0.84 to 0.97)"
    [direct, _] = rates(repetitions(86, 114))
    assert sentence(direct).endswith("the rate disagrees")


def test_every_report_shows_the_rate(tmp_path: Path) -> None:
    value = document(repetitions(86, 114))
    file = io.StringIO()
    console = Console(width=100, file=file)
    console.print(grid.grid(value, 1.0, 100))
    page = tmp_path / "report.html"
    html.write_html(page, value)
    texts = [file.getvalue(), markdown.summary(value), page.read_text(encoding="utf-8")]
    for text in texts:
        assert "86 of 200 direct" in text
        assert "the rate disagrees" in text
    told = json.loads(value.model_dump_json())
    assert told["rates"][0]["hits"] == 86
    assert told["summary"]["rates_differ"] == [GROUP]
    assert Document.model_validate_json(value.model_dump_json()) == value
