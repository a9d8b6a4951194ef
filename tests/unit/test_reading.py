"""Which files a command takes: those that its words name, and what these are run by."""

import sys
from pathlib import Path

from testbed.stacks.reading import program, seen_by_all


def test_files_that_words_name_are_shown_and_not_their_folders(tmp_path: Path) -> None:
    script = tmp_path / "peer.sh"
    script.write_text("#!/bin/sh\n")
    found = program(["sh", str(script), "--flag", str(tmp_path)])
    assert script in found
    assert tmp_path not in found


def test_a_words_text_may_be_a_whole_script() -> None:
    assert program(["sh", "-c", "x" * 5000, "a\0b"]) == ()


def test_a_link_is_shown_with_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("")
    (tmp_path / "link").symlink_to("real")
    assert {tmp_path / "link", tmp_path / "real"} <= set(program([str(tmp_path / "link")]))


def test_the_interpreter_of_a_script_and_its_venv_are_shown(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text("")
    python = venv / "bin" / "python"
    python.symlink_to(sys.executable)
    script = tmp_path / "peer"
    script.write_text(f"#!{python}\n")
    found = program([str(script)])
    assert venv in found
    assert Path(sys.executable).resolve() in found


def test_what_all_programs_see_needs_no_declaration() -> None:
    assert seen_by_all(Path("/usr/lib"))
    assert not seen_by_all(Path("/opt/lib"))
