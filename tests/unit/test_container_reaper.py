"""The reaper takes what finished runs left, and nothing else."""

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.cli.commands import lab
from testbed.errors import UnfitError
from testbed.lab.containers import reaper
from testbed.lab.containers.crew import FOLDER, LOCK, RUN, USER, alone
from testbed.lab.containers.engine import require_images
from testbed.lab.containers.images import BASE, COTURN, MARK, PEER, ROUTER, mark


class Engine:
    """Of the SDK's client what the reaper uses."""

    def __init__(self, labels: Mapping[str, str] | None) -> None:
        self._labels = labels
        self.removed: list[str] = []

    def containers(self, **_: object) -> list[dict[str, object]]:
        return [{"Id": "c", "Names": ["/c"], "Labels": self._labels}]

    def networks(self, **_: object) -> list[dict[str, object]]:
        return [{"Id": "n", "Name": "n", "Labels": self._labels}]

    def volumes(self, **_: object) -> dict[str, object]:
        return {"Volumes": [{"Name": "v", "Labels": self._labels}]}

    def remove_container(self, name: str, **_: object) -> None:
        self.removed.append(name)

    remove_network = remove_volume = remove_container


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def labels(folder: Path, user: int | None = None) -> dict[str, str]:
    return {RUN: "r", FOLDER: str(folder), USER: str(os.getuid() if user is None else user)}


@contextmanager
def running(folder: Path) -> Iterator[None]:
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def folder() -> Path:
    with alone() as place:
        made = place / "run"
        made.mkdir()
    return made


def test_what_a_killed_run_left_is_removed_with_its_folder(folder: Path) -> None:
    with running(folder):
        pass
    engine = Engine(labels(folder))
    assert reaper.reap(engine) == ["container c", "network n", "volume v"]
    assert engine.removed == ["c", "n", "v"]
    assert not folder.exists()


def test_what_a_run_needs_that_goes_on_stays(folder: Path) -> None:
    engine = Engine(labels(folder))
    with running(folder):
        assert reaper.reap(engine) == []
        assert folder.exists()


def test_a_run_whose_folder_is_gone_is_over(folder: Path) -> None:
    engine = Engine(labels(folder / "gone"))
    assert len(reaper.reap(engine)) == 3


@pytest.mark.parametrize("lacking", [RUN, USER, FOLDER])
def test_what_lacks_one_of_our_labels_is_somebody_elses(lacking: str, folder: Path) -> None:
    some = {key: value for key, value in labels(folder).items() if key != lacking}
    for engine in (Engine(some), Engine({}), Engine(None)):
        assert reaper.reap(engine) == []


def test_another_users_is_left_unless_everybodys_is_asked_for(folder: Path) -> None:
    engine = Engine(labels(folder / "gone", os.getuid() + 1))
    assert reaper.reap(engine) == []
    assert len(reaper.reap(engine, everybody=True)) == 3


class Images:
    """Of the SDK's client what looks for images."""

    def __init__(self, marked: str) -> None:
        self._marked = marked

    def inspect_image(self, name: str) -> dict[str, object]:
        assert name in (BASE, ROUTER, PEER, COTURN)
        return {"Config": {"Labels": {MARK: self._marked}}}


def test_images_of_other_sources_are_refused_with_the_remedy() -> None:
    require_images(Images(mark()))
    with pytest.raises(UnfitError, match=r"of other sources\n.*testbed build images"):
        require_images(Images("old"))


def test_who_may_not_ask_the_engine_has_nothing_to_wipe_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        with pytest.raises(UnfitError, match="no Docker engine answers"):
            lab._reap(False)
        monkeypatch.setattr("testbed.cli.commands.lab.os.access", lambda *_: False)
        assert lab._reap(False) == []
