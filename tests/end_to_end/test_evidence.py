"""From a cell to its evidence and back: nothing is added, and nothing made up where it is gone."""

import json
import shutil
from pathlib import Path

import pytest
from trying import ran

from testbed.errors import BackendError, UsageError
from testbed.evidence.account import WireAccount
from testbed.explain.explainer import explain
from testbed.model.explanation import Cause, Evidence, Explanation, Wrong
from testbed.model.fault import Broke
from testbed.model.verdict import Judgement
from testbed.nat.load import catalogue
from testbed.run import cell as runner
from testbed.run import explaining
from testbed.run.cell import Ran
from testbed.studies.kept import CRASH
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.evidence import load_evidence
from testbed.studies.punch.folder import RESULTS

CATALOGUE = catalogue()
CELL = Cell("punch-udp", ("symmetric", "full-cone"), skew_ms=30.0)
PARTS = {  # what is None in the evidence without the file
    "capture.pcapng": ("packets",),
    "events.jsonl": ("events",),
    "conntrack.jsonl": ("flows",),
    "drops.json": ("drops",),
    "run.json": ("clock_ns", "start_ns", "window"),
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evidence, Ran]:
    """A cell's folder, and the evidence as it was in memory."""
    folder, seen = tmp_path_factory.mktemp("cell"), []
    with pytest.MonkeyPatch.context() as patch:

        def spy(evidence: Evidence, account: WireAccount) -> Explanation:
            seen.append(evidence)
            return explain(evidence, account)

        patch.setattr(explaining, "explain", spy)
        result = ran(CELL, folder)
    return folder, seen[-1], result


@pytest.fixture
def folder(kept: tuple[Path, Evidence, Ran], tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept[0], tmp_path / "cell"))


def test_the_evidence_on_disk_is_what_was_in_memory(kept: tuple[Path, Evidence, Ran]) -> None:
    folder, evidence, _ = kept
    assert load_evidence(folder) == evidence
    assert None not in vars(evidence).values()
    assert evidence.packets


def test_a_row_has_the_short_form_of_the_explanation(kept: tuple[Path, Evidence, Ran]) -> None:
    folder, _, result = kept
    whole = json.loads((folder / "explanation.json").read_text())
    short = {key: whole[key] for key in ("cause", "node", "headline", "wrong")}
    assert result.result().to_json()["explanation"] == short
    assert json.loads((folder / "result.json").read_text())["explanation"] == short


@pytest.mark.parametrize("name", PARTS)
def test_a_file_that_is_gone_is_not_recorded_and_nothing_else_is_lost(
    name: str, kept: tuple[Path, Evidence, Ran], folder: Path
) -> None:
    (folder / name).unlink()
    known, left = vars(kept[1]), vars(load_evidence(folder))
    changed = {key for key in known if known[key] != left[key]}
    assert changed == set(PARTS[name])
    assert all(left[key] is None for key in changed)


def test_without_a_result_nothing_is_known_of_the_judgement(folder: Path) -> None:
    (folder / "result.json").unlink()
    evidence = load_evidence(folder)
    assert (evidence.judgement, evidence.measured) == (Judgement.INCONCLUSIVE, None)


@pytest.mark.parametrize("name", [*PARTS, "result.json"])
@pytest.mark.parametrize("damage", [b"[1]\n", b"7\n", b"\xff\n", b'{"a": {"b": "c"}}\n'])
def test_a_damaged_file_is_named(name: str, damage: bytes, folder: Path) -> None:
    (folder / name).write_bytes(damage)
    with pytest.raises(UsageError, match=name.replace(".", r"\.")):
        load_evidence(folder)


def test_a_connection_that_the_explainer_fails_on_is_no_pass(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A direct path that nobody can explain is not believed, and not denied."""

    def broken(*_: object) -> Explanation:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(explaining, "explain", broken)
    result = ran(CELL, tmp_path)
    assert result.verdict.judgement is Judgement.INCONCLUSIVE
    whole = json.loads((tmp_path / "explanation.json").read_text())
    assert whole["cause"] == "harness_fault"
    failed = "the explainer failed: ZeroDivisionError: on purpose"
    assert whole["headline"] == f"{failed} (its folder has the traceback in {CRASH})"
    assert "ZeroDivisionError: on purpose" in (tmp_path / CRASH).read_text()
    assert result.result().to_json()["explanation"]["headline"] == whole["headline"]


def test_a_run_that_broke_is_explained_from_what_it_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def breaks(*_: object) -> object:
        raise BackendError("a wire fell off", node="a")

    for name in RESULTS:
        (tmp_path / name).write_text("an earlier run's")
    monkeypatch.setattr(runner, "attempt", breaks)
    result = ran(CELL, tmp_path)
    assert result.verdict.judgement is Judgement.INCONCLUSIVE
    assert result.explanation is not None
    assert result.explanation.cause is Cause.HARNESS_FAULT
    assert result.explanation.wrong is Wrong.HARNESS
    evidence = load_evidence(tmp_path)
    assert evidence.faults == (Broke("lab", "a", "a wire fell off"),)
    assert evidence.packets == []  # recorded, and nobody sent any
    assert (evidence.events, evidence.drops) == (None, None)
