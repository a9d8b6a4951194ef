"""`testbed build peers`: from a clone, and from a wheel whose sources nobody may write to."""

import shutil
from pathlib import Path

import pytest

from testbed import places
from testbed.cli.commands.build import peers
from testbed.errors import UnfitError, UsageError
from testbed.stacks.programs import VARIABLE, Program

RECIPE = """
OUT ?= nowhere
peer:
	@test -z "$(OLDER)" || touch $(OUT)-old
	@printf '#!/bin/sh\\necho "%s"\\n' "$(PYTHON)" >$(OUT)/made && chmod +x $(OUT)/made
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with one peer, in a folder with a space."""
    monkeypatch.delenv(VARIABLE, raising=False)
    source = tmp_path / "a clone" / "images" / "made"
    source.mkdir(parents=True)
    (source / "peer.mk").write_text(RECIPE)
    monkeypatch.setattr(places, "clone", lambda: tmp_path / "a clone")
    return tmp_path / "a clone"


def test_a_clone_builds_where_its_sources_are_into_out(root: Path) -> None:
    assert peers([], older=True) == 0
    assert Program("made", "make").path == root / "out" / "peers" / "made" / "made"
    assert (root / "out" / "peers" / "made-old").exists()
    assert not (root / "out" / "peers" / ".sources").exists()


def test_a_wheel_builds_a_copy_in_the_users_folder(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(root / "images", tmp_path / "images")
    monkeypatch.setattr(places, "clone", lambda: None)
    monkeypatch.setattr(places, "_CARRIED", tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "my data"))
    before = sorted(tmp_path.glob("images/made/*"))
    assert peers(["made"], older=False) == 0
    built = tmp_path / "my data" / "nat-testbed" / "peers"
    assert Program("made", "make").path == built / "made" / "made"
    assert not (built / "made-old").exists()
    assert sorted(tmp_path.glob("images/made/*")) == before


def test_a_folder_that_is_named_is_built_into(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "my peers"))
    assert peers([], older=False) == 0
    assert Program("made", "make").path == tmp_path / "my peers" / "made" / "made"
    assert not (root / "out").exists()


def test_a_peer_that_nobody_knows_is_refused_before_anything_is_built(root: Path) -> None:
    with pytest.raises(UsageError, match="no peer 'maid'"):
        peers(["made", "maid"], older=False)
    assert not (root / "out").exists()


def test_a_peer_that_was_named_and_left_out_is_an_error(root: Path) -> None:
    (root / "images" / "made" / "peer.mk").write_text("peer:\n\t@echo made: left out\n")
    assert peers([], older=False) == 0
    with pytest.raises(UnfitError, match="made was not built"):
        peers(["made"], older=False)


def test_a_build_that_breaks_is_an_error(root: Path) -> None:
    (root / "images" / "made" / "peer.mk").write_text("peer:\n\t@false\n")
    with pytest.raises(UnfitError, match="building made failed"):
        peers([], older=False)
