"""What a commit says of its version: the package, the changelog and the tags agree."""

import re
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

import testbed
import testbed.traversal

ROOT = Path(__file__).resolve().parents[2]
VERSION = r"(\d+\.\d+\.\d+)"
SECTION = re.compile(rf"^## \[(?:{VERSION}\] - (\d{{4}}-\d\d-\d\d)|Unreleased\])$", re.MULTILINE)


def git(*words: str) -> str:
    command = ["git", "-c", "safe.directory=*", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def faults(
    version: str, changelog: str, tags: Sequence[str], tags_here: Sequence[str]
) -> list[str]:
    """What is wrong in a tree of this ``version``; ``tags_here``: those of its commit."""
    found = []
    heads = re.findall(r"^## .*$", changelog, re.MULTILINE)
    sections = [match.groups() for match in SECTION.finditer(changelog)]
    if len(sections) != len(heads):
        found.append("a section is neither [Unreleased] nor [X.Y.Z] - YYYY-MM-DD")
    numbers = [tuple(map(int, number.split("."))) for number, _ in sections if number]
    if numbers != sorted(set(numbers), reverse=True):
        found.append("the sections are not in order, the newest first")
    known = [number for number, _ in sections]
    top = known[0] if known else ""
    if re.fullmatch(rf"{VERSION}\.dev\d+", version):
        if top is not None:
            found.append("a version that is being made has no section [Unreleased]")
    elif top != version:
        found.append(f"the version is {version}, the changelog's first section is of {top}")
    elif f"v{version}" in tags and f"v{version}" not in tags_here:
        found.append(f"{version} is released: the next version is made as X.Y.Z.dev0")
    found += [f"tag {tag} is of no section" for tag in tags if tag[1:] not in known]
    found += [f"tag {tag} is of another version" for tag in tags_here if tag != f"v{version}"]
    return found


def test_version_changelog_and_tags_of_this_commit_agree() -> None:
    tags, here = (
        git("tag", *words, "--list", "v*").split() for words in ([], ["--points-at=HEAD"])
    )
    assert faults(testbed.__version__, (ROOT / "CHANGELOG.md").read_text(), tags, here) == []


def test_the_library_has_the_version_of_its_commit() -> None:
    assert testbed.traversal.__version__ == testbed.__version__


OLD = "## [0.1.0] - 2026-01-01\n"
NEW = "## [0.2.0] - 2026-02-01\n" + OLD
NEXT = "## [Unreleased]\n" + NEW


@pytest.mark.parametrize(
    ("version", "changelog", "tags", "here"),
    [
        ("0.2.0", NEW, [], []),
        ("0.2.0", NEW, ["v0.1.0", "v0.2.0"], ["v0.2.0"]),
        ("0.3.0.dev0", NEXT, ["v0.1.0", "v0.2.0"], []),
    ],
)
def test_what_agrees_has_no_fault(
    version: str, changelog: str, tags: list[str], here: list[str]
) -> None:
    assert faults(version, changelog, tags, here) == []


@pytest.mark.parametrize(
    ("version", "changelog", "tags", "here", "words"),
    [
        ("0.3.0", NEW, [], [], "first section is of 0.2.0"),
        ("0.2.0", NEXT, [], [], "first section is of None"),
        ("0.3.0.dev0", NEW, [], [], "no section"),
        ("0.2.0", NEW, ["v0.2.0"], [], "is released"),
        ("0.2.0", NEW, ["v0.3.0"], [], "v0.3.0 is of no section"),
        ("0.2.0", NEW, ["v0.1.0"], ["v0.1.0"], "another version"),
        ("0.2.0", NEW + "## [0.0.9]\n", [], [], "neither"),
        ("0.1.0", OLD + NEW, [], [], "not in order"),
    ],
)
def test_what_disagrees_is_told(
    version: str, changelog: str, tags: list[str], here: list[str], words: str
) -> None:
    assert any(words in fault for fault in faults(version, changelog, tags, here))


def test_every_python_that_is_served_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [c.rpartition(" ")[2] for c in project["classifiers"] if " :: 3." in c]
    assert declared == ["3.11", "3.12", "3.13", "3.14"]
    assert project["requires-python"] == f">={declared[0]}"
