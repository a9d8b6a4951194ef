"""What documents and project files say is true of the tree they are in."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOP = {path.name for path in ROOT.iterdir()}
MADE = (".venv", "out")  # by `make` and by runs: no part of a clone

# What an installation reads: no host may be named there, clients know their own.
INSTALLING = ("Makefile", "pyproject.toml", "requirements.lock", ".ci/", ".github/")
MACHINE_PATH = re.compile(r"(?<![\w.*~-])/(?:root|home|Users|work)/\w")
HOST_OPTION = re.compile(r"--(?:extra-)?index-url\s|--find-links|https?://")


def tracked() -> list[str]:
    """The files of the repository, whoever owns the clone."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    names = [name for name in done.stdout.decode().split("\0") if name]
    return [name for name in names if (ROOT / name).is_file() and name.split("/")[0] not in MADE]


def documents() -> list[str]:
    return [name for name in tracked() if name.endswith(".md")]


def named_paths(text: str) -> Iterator[str]:
    """What is written as code, or linked to, and begins with a name of the top level."""
    words = re.findall(r"`([^`\s]+)`", text) + re.findall(r"\]\(([^)\s#]+)", text)
    for word in words:
        first = word.split("/")[0]
        looks_like_one = "/" in word or "." in word.strip(".")
        if looks_like_one and first in TOP and first not in MADE and "NAME" not in word:
            yield word.rstrip("/")


def missing_paths(text: str) -> list[str]:
    return [path for path in named_paths(text) if not any(ROOT.glob(path))]


def missing_targets(text: str, makefile: str) -> list[str]:
    known = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    return sorted(set(re.findall(r"`make ([a-z]+)", text)) - known)


def test_a_path_that_does_not_exist_is_caught() -> None:
    text = "See `testbed/warp.py` and [that](tests/nowhere.md), not `aioice/ice.py` or `make`."
    assert missing_paths(text) == ["testbed/warp.py", "tests/nowhere.md"]


def test_a_target_that_does_not_exist_is_caught() -> None:
    assert missing_targets("`make coffee` and `make test`", "test: x\n") == ["coffee"]


@pytest.mark.parametrize("name", documents())
def test_every_path_named_in_a_document_exists(name: str) -> None:
    assert missing_paths((ROOT / name).read_text()) == []


@pytest.mark.parametrize("name", documents())
def test_every_make_target_named_in_a_document_exists(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert missing_targets((ROOT / name).read_text(), makefile) == []


def test_a_machine_path_is_caught() -> None:
    here = "/".join(["", "home", "someone", "testbed"])
    assert MACHINE_PATH.search(f"cd {here}")
    assert not MACHINE_PATH.search("tests/home/page, ~/work/x")


def test_no_tracked_file_holds_a_path_of_somebodys_machine() -> None:
    guilty = []
    for name in tracked():
        text = (ROOT / name).read_bytes().decode(errors="replace")
        guilty += [f"{name}: {found[0]}" for found in MACHINE_PATH.finditer(text)]
    assert guilty == []


def test_what_installs_names_no_host() -> None:
    guilty = []
    for name in tracked():
        if name.startswith(INSTALLING) and not name.endswith(".svg"):  # its URLs are names
            text = (ROOT / name).read_text()
            guilty += [f"{name}: {found[0]}" for found in HOST_OPTION.finditer(text)]
    assert guilty == []


def test_every_locked_package_has_a_hash() -> None:
    blocks = re.split(r"\n(?=[a-z0-9])", (ROOT / "requirements.lock").read_text())
    pinned = [block for block in blocks if re.match(r"[a-z0-9.\[\]-]+==", block)]
    assert len(pinned) > 20
    assert [block.split()[0] for block in pinned if "--hash=sha256:" not in block] == []


def test_make_alone_explains_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    done = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)
    explained = set(re.findall(r"^  make ([a-z-]+) +\S", done.stdout, re.MULTILINE))
    assert explained == targets - {"force"}
