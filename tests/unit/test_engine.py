"""The engine: each case once, late ones again, crashes told, and what has ended kept."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from made_results import document, result

from testbed.errors import BackendError, UnfitError, UsageError
from testbed.lab.namespaces import Namespaces
from testbed.model.details import PunchDetails
from testbed.model.result import SCHEMA, Result, schema
from testbed.model.verdict import Judgement
from testbed.run.crash import LONGEST
from testbed.run.engine import run_study
from testbed.run.store import JOURNAL, RESULTS, Journal, load
from testbed.studies.base import Site, Study, Together
from testbed.studies.kept import CRASH

Run = Callable[["Toy", Site], Result]


@dataclass(frozen=True)
class Toy:
    """A case that needs no lab."""

    name: str
    repeat: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    profiles: tuple[str, ...] = ("pf",)

    @property
    def group(self) -> str:
        return self.name


def ended(case: Toy, site: Site, **more: object) -> Result:
    return result(case.name, folder=str(site.folder)).model_copy(update={"name": case.name, **more})


def done(run: Run, *names: str, out: Path, deadline_s: float = 20.0, **more: Any) -> list[Result]:
    study = Study("punch", run, PunchDetails, deadline_s)
    cases = [Toy(name) for name in names]
    told: list[str] = []
    found = run_study(
        study, cases, Namespaces(), out, jobs=2, progress=lambda r, *_: told.append(r.name), **more
    )
    assert sorted(told) == sorted(set(names) - set(more.get("done", ())))
    return found


def test_results_come_in_the_order_of_the_cases_whichever_ends_first(tmp_path: Path) -> None:
    def run(case: Toy, site: Site) -> Result:
        if case.name == "t/slow":
            time.sleep(0.2)
        return ended(case, site)

    assert [one.name for one in done(run, "t/slow", "t/b", "t/c", out=tmp_path)] == [
        "t/slow", "t/b", "t/c",
    ]  # fmt: skip


def test_a_crash_and_a_worker_that_dies_are_inconclusive_and_name_what_is_known(
    tmp_path: Path,
) -> None:
    def run(case: Toy, _site: Site) -> Result:
        if case.name == "t/dies":
            os._exit(7)
        raise RuntimeError("the lab fell over")

    crashed, died = done(run, "t/crashes", "t/dies", out=tmp_path)
    assert {crashed.judgement, died.judgement} == {Judgement.INCONCLUSIVE}
    assert crashed.reason.startswith("RuntimeError: the lab fell over")
    assert died.reason.startswith("the worker ended without a result")


def test_a_crash_leaves_its_traceback_in_the_folder_of_its_case_and_says_so(
    tmp_path: Path,
) -> None:
    def run(case: Toy, _site: Site) -> Result:
        if case.name == "t/long":
            raise RuntimeError("\x1b[2J" + "x" * 1_000_000)
        raise KeyError("what nobody foresaw")

    short, long = done(run, "t/short", "t/long", out=tmp_path)
    for one in (short, long):
        kept = tmp_path / "cells" / one.name / CRASH
        assert CRASH in one.reason
        words = kept.read_text()
        assert len(words) <= LONGEST
        assert "\x1b" not in words
    kept = tmp_path / "cells/t/short" / CRASH
    assert kept.read_text().startswith("Traceback (most recent call last):\n")
    assert __file__ in kept.read_text()


def test_an_error_that_is_foreseen_leaves_no_traceback(tmp_path: Path) -> None:
    def run(_case: Toy, _site: Site) -> Result:
        raise BackendError("a wire fell off")

    (broke,) = done(run, "t/broke", out=tmp_path)
    assert "a wire fell off" in broke.reason
    assert not (tmp_path / "cells/t/broke" / CRASH).exists()


def test_a_case_that_hangs_is_ended_by_the_deadline_of_its_study(tmp_path: Path) -> None:
    def run(case: Toy, site: Site) -> Result:
        time.sleep(60)
        return ended(case, site)

    (hung,) = done(run, "t/hangs", out=tmp_path, deadline_s=0.3)
    assert hung.judgement is Judgement.INCONCLUSIVE


def test_a_late_case_is_tried_again_in_another_folder_and_says_so(tmp_path: Path) -> None:
    def run(case: Toy, site: Site) -> Result:
        first = site.folder.name != "try-2"
        judgement = Judgement.INCONCLUSIVE if first else Judgement.PASS
        return ended(case, site, late=first, judgement=judgement, reason="too busy")

    (found,) = done(run, "t/late", out=tmp_path)
    assert (found.judgement, found.late) == (Judgement.PASS, False)
    assert found.folder == str(tmp_path / "cells/t/late/try-2")
    assert [tried.folder for tried in found.earlier_tries] == [str(tmp_path / "cells/t/late")]


def test_a_case_that_stays_late_is_inconclusive_after_the_last_try(tmp_path: Path) -> None:
    def run(case: Toy, site: Site) -> Result:
        return ended(case, site, late=True, judgement=Judgement.INCONCLUSIVE)

    (found,) = done(run, "t/late", out=tmp_path)
    assert (found.judgement, len(found.earlier_tries)) == (Judgement.INCONCLUSIVE, 2)


def sharing(run: Callable[[Sequence[Toy], Site, Sequence[Path]], list[Result]]) -> Study[Toy]:
    """A study whose cases share a lab where they have the first letter in common."""

    def alone(case: Toy, site: Site) -> Result:
        return ended(case, site, reason="alone")

    together = Together[Toy](lambda case: f"t/lab-{case.name[2]}", run)
    return Study("punch", alone, PunchDetails, 20.0, together=together)


def toys(*names: str) -> list[Toy]:
    return [Toy(name) for name in names]


def all_together(study: Study[Toy], cases: Sequence[Toy], out: Path) -> list[Result]:
    return run_study(study, cases, Namespaces(), out, jobs=2, progress=lambda *_: None)


def test_cases_that_share_a_lab_are_run_in_one_and_each_has_its_result(tmp_path: Path) -> None:
    def run(cases: Sequence[Toy], site: Site, folders: Sequence[Path]) -> list[Result]:
        assert folders == [tmp_path / "cells" / case.name for case in cases]
        lab = f"{site.folder.relative_to(tmp_path)} of {len(cases)}"
        return [ended(case, site, reason=lab) for case in cases]

    cases = toys("t/a1", "t/b1", "t/a2", "t/b2", "t/c1")
    found = all_together(sharing(run), cases, tmp_path)
    assert [(one.name, one.reason) for one in found] == [
        ("t/a1", "cells/t/lab-a of 2"),
        ("t/b1", "cells/t/lab-b of 2"),
        ("t/a2", "cells/t/lab-a of 2"),
        ("t/b2", "cells/t/lab-b of 2"),
        ("t/c1", "alone"),
    ]


def test_of_a_lab_only_the_late_cases_are_tried_again_and_fewer_at_once(tmp_path: Path) -> None:
    def run(cases: Sequence[Toy], site: Site, folders: Sequence[Path]) -> list[Result]:
        again = all(folder.name == "try-2" for folder in folders)
        where = f"{site.folder.relative_to(tmp_path)} of {len(cases)}"
        return [
            ended(case, site, late=not again and case.name != "t/a1", reason=where)
            for case in cases
        ]

    cases = toys("t/a1", "t/a2", "t/a3", "t/a4", "t/a5")
    found = all_together(sharing(run), cases, tmp_path)
    first, second = "cells/t/lab-a/try-2 of 2", "cells/t/lab-a.2/try-2 of 2"
    assert [one.reason for one in found] == ["cells/t/lab-a of 5", first, second, first, second]
    assert [len(one.earlier_tries) for one in found] == [0, 1, 1, 1, 1]


def test_a_lab_that_breaks_makes_all_its_cases_inconclusive(tmp_path: Path) -> None:
    def run(cases: Sequence[Toy], site: Site, folders: Sequence[Path]) -> list[Result]:
        if "t/a1" in [case.name for case in cases]:
            raise RuntimeError(f"{len(folders)} had no lab")
        return [ended(case, site) for case in cases]

    found = all_together(sharing(run), toys("t/a1", "t/a2", "t/b1", "t/b2"), tmp_path)
    assert [one.judgement is Judgement.INCONCLUSIVE for one in found] == [True, True, False, False]
    assert "2 had no lab" in found[1].reason


def test_a_machine_that_lacks_something_ends_the_run(tmp_path: Path) -> None:
    def run(_case: Toy, _site: Site) -> Result:
        raise UnfitError("no nft", remedy="apt install nftables")

    with pytest.raises(UnfitError, match="no nft") as caught:
        done(run, "t/a", out=tmp_path)
    assert caught.value.remedy == "apt install nftables"


def test_a_case_that_has_ended_before_is_not_run_again(tmp_path: Path) -> None:
    def run(case: Toy, site: Site) -> Result:
        assert case.name == "t/b"
        return ended(case, site)

    before = result("t/a").model_copy(update={"name": "t/a", "reason": "kept"})
    found = done(run, "t/a", "t/b", out=tmp_path, done={"t/a": before})
    assert [one.reason for one in found] == ["kept", "because"]


def test_the_schema_beside_the_model_is_the_models() -> None:
    assert SCHEMA.read_text() == schema(), "write it anew: python -m testbed.model.result"


ONE, TWO = result(repeat=0), result(repeat=1)


def test_what_has_ended_is_read_back_though_the_last_line_is_torn(tmp_path: Path) -> None:
    head = document([]).model_copy(update={"asked": 3})
    journal = Journal(tmp_path, head)
    journal.append(ONE)
    journal.append(TWO)
    with (tmp_path / JOURNAL).open("a") as file:
        file.write(result(repeat=2).model_dump_json()[:50])
    found = load(tmp_path)
    assert (found.results, found.asked, found.summary.passed) == ((ONE, TWO), 3, 2)


def test_the_whole_document_takes_the_place_of_the_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path, document([]))
    journal.append(ONE)
    journal.finish(document([ONE]))
    assert not (tmp_path / JOURNAL).exists()
    assert load(tmp_path).results == (ONE,)
    assert load(tmp_path / RESULTS).results == (ONE,)


def test_a_run_that_is_taken_up_keeps_the_lines_of_the_first(tmp_path: Path) -> None:
    Journal(tmp_path, document([])).append(ONE)
    again = Journal(tmp_path, load(tmp_path))
    assert again.count == 1
    again.append(TWO)
    assert load(tmp_path).results == (ONE, TWO)


def test_a_damaged_line_is_named_by_its_file_and_field(tmp_path: Path) -> None:
    Journal(tmp_path, document([])).append(ONE)
    file = tmp_path / JOURNAL
    file.write_text(file.read_text().replace('"pass"', '"fine"'))
    with pytest.raises(UsageError, match=r"results\.jsonl: judgement: .*not 'fine'"):
        load(tmp_path)
