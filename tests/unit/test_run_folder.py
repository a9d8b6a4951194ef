"""A folder belongs to one run: no other is mixed in, and nothing of the user's is lost."""

import json
from pathlib import Path

import pytest
from made_results import document, result

from testbed.cli.commands.explain import explain_cell, find
from testbed.errors import UsageError
from testbed.model.record import RunRecord
from testbed.run.folder import RECORD, Files, RunFolder, left_in

RUN = RunRecord("matrix", "testbed matrix", "2026-11-29T07:40:58+00:00", 7, "0.2.0")
OWN = [
    Files((".",), ("results.json",)),
    Files(("cells/x/a--b/0", "cells/x/a--b/0/try-2"), ("cell.json", "profiles/a.toml")),
]


def made(out: Path, own: list[Files] = OWN, *, ended: bool = True) -> None:
    """A run that wrote every file of its own."""
    folder = RunFolder(out, RUN, own)
    folder.begin()
    for file in (out / file for files in own for file in files):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
    if ended:
        folder.end()
    else:
        (out / "results.json").unlink()
        folder.release()


def files(out: Path) -> set[str]:
    return {str(p.relative_to(out)) for p in out.rglob("*") if not p.is_dir()} - {RECORD}


def test_a_second_run_takes_away_the_first_ones_files_and_says_so(tmp_path: Path) -> None:
    made(tmp_path)
    folder = RunFolder(tmp_path, RUN, OWN[:1])
    assert files(tmp_path)  # nothing is gone before it begins
    words = folder.begin()
    assert words == f"{tmp_path}: replaces the matrix of 2026-11-29 07:40:58 UTC"
    assert files(tmp_path) == set()
    assert not (tmp_path / "cells").exists()


def test_what_the_user_put_there_is_kept_in_every_folder(tmp_path: Path) -> None:
    made(tmp_path)
    notes = {"notes.txt", "cells/x/a--b/0/notes.txt", "cells/x/a--b/0/profiles/mine.toml"}
    for note in notes:
        (tmp_path / note).write_text("mine")
    RunFolder(tmp_path, RUN, OWN).begin()
    assert files(tmp_path) == notes


def test_a_file_that_no_run_has_recorded_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("mine")
    with pytest.raises(UsageError, match=r"results\.json is there already"):
        RunFolder(tmp_path, RUN, OWN)
    assert (tmp_path / "results.json").read_text() == "mine"
    RunFolder(tmp_path, RUN, OWN[1:]).release()  # which has no such file, and is let in


def test_two_runs_at_once_are_refused_and_one_after_the_other_are_not(tmp_path: Path) -> None:
    first = RunFolder(tmp_path, RUN, OWN)
    with pytest.raises(UsageError, match="another run writes there"):
        RunFolder(tmp_path, RUN, OWN)
    first.release()
    RunFolder(tmp_path, RUN, OWN).release()


def test_another_studys_results_are_not_replaced(tmp_path: Path) -> None:
    made(tmp_path)
    life = RunRecord("life", "testbed life", RUN.started, None, "0.2.0")
    with pytest.raises(UsageError, match="another study: the matrix of 2026"):
        RunFolder(tmp_path, life, OWN)
    assert "results.json" in files(tmp_path)


def test_a_record_that_leads_out_of_the_folder_removes_nothing_there(tmp_path: Path) -> None:
    out, outside = tmp_path / "out", tmp_path / "mine"
    outside.mkdir()
    (outside / "cell.json").write_text("mine")
    made(out, OWN[:1])
    record = json.loads((out / RECORD).read_text())
    record["own"].append({"folders": ["../mine", "linked"], "names": ["cell.json"]})
    (out / RECORD).write_text(json.dumps(record))
    (out / "linked").symlink_to(outside)
    RunFolder(out, RUN, OWN[:1]).begin()
    assert (outside / "cell.json").read_text() == "mine"


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', "\0"])
def test_a_damaged_record_is_named_and_nothing_is_removed(text: str, tmp_path: Path) -> None:
    made(tmp_path)
    before = files(tmp_path)
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(UsageError, match=RECORD):
        RunFolder(tmp_path, RUN, OWN)
    assert files(tmp_path) == before


def test_a_run_says_whether_it_came_to_its_end(tmp_path: Path) -> None:
    assert left_in(tmp_path) is None
    made(tmp_path, ended=False)
    left = left_in(tmp_path)
    assert left is not None
    assert (left.run, left.ended) == (RUN, False)
    words = RunFolder(tmp_path, RUN, OWN).begin()
    assert words is not None
    assert words.endswith("which did not come to its end")


MORE = [OWN[0], Files((*OWN[1].folders, "cells/y/a--b/0"), OWN[1].names)]


def test_cells_that_would_not_be_run_again_are_not_lost_unasked(tmp_path: Path) -> None:
    made(tmp_path, MORE)
    before = files(tmp_path)
    with pytest.raises(UsageError, match=r"not make 1 of its folders again, as cells/y/a--b/0"):
        RunFolder(tmp_path, RUN, OWN, replace=False)
    assert files(tmp_path) == before
    folder = RunFolder(tmp_path, RUN, OWN, replace=True)
    folder.begin()
    assert files(tmp_path) == set()


def test_a_run_of_the_same_cells_or_more_replaces_the_last_one(tmp_path: Path) -> None:
    for own in (OWN, OWN, MORE):
        RunFolder(tmp_path, RUN, own, replace=False).release()
        made(tmp_path, own)


def test_cells_of_which_nothing_is_left_are_not_missed(tmp_path: Path) -> None:
    made(tmp_path, MORE)
    for name in OWN[1].names:
        (tmp_path / "cells/y/a--b/0" / name).unlink()
    RunFolder(tmp_path, RUN, OWN, replace=False).release()


# -- explain ------------------------------------------------------------------------


def test_only_cells_that_the_results_name_are_explained(tmp_path: Path) -> None:
    made(tmp_path)
    folder = tmp_path / "cells/x/a--b/0"
    row = result("x/a--b", folder=str(folder))
    (tmp_path / "results.json").write_text(document([row]).model_dump_json())
    old = tmp_path / "cells/x/old--old/0"
    old.mkdir(parents=True)
    (old / "cell.json").write_text("{}")
    assert find("x/a--b", tmp_path) == folder
    with pytest.raises(UsageError, match="there is no cell"):
        find("x/old--old", tmp_path)
    (tmp_path / "results.json").unlink()
    (tmp_path / RECORD).unlink()
    with pytest.raises(UsageError, match="there is no matrix"):
        find("x/a--b", tmp_path)


def test_the_last_try_counts_in_results_that_have_moved(tmp_path: Path) -> None:
    made(tmp_path)
    row = result("x/a--b", folder="/elsewhere/cells/x/a--b/0/try-2")
    (tmp_path / "results.json").write_text(document([row]).model_dump_json())
    assert find("x/a--b", tmp_path) == tmp_path / "cells/x/a--b/0/try-2"


def test_the_cells_of_an_interrupted_matrix_are_explained_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, ended=False)
    assert find("x/a--b", tmp_path) == tmp_path / "cells/x/a--b/0/try-2"
    assert "has not come to its end" in capsys.readouterr().err


def test_where_no_cell_is_named_those_are_told_that_can_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, ended=False)
    with pytest.raises(UsageError, match=r"no cell is named; in .* are\n    x/a--b$"):
        explain_cell(None, tmp_path, packets=False, as_json=False)
    assert "has not come to its end" in capsys.readouterr().err
    with pytest.raises(UsageError):  # its cell.json is none
        explain_cell("x/a--b", tmp_path, packets=False, as_json=False)
    assert "the run of this cell was interrupted before it ended" in capsys.readouterr().err
