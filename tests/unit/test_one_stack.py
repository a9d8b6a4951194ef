"""A stack is one folder, whose manifest is read strictly."""

import subprocess
import sys
from pathlib import Path

import pytest

from testbed import places
from testbed.errors import UsageError
from testbed.places import PACKAGE
from testbed.stacks import folders
from testbed.stacks.registry import ADAPTERS

MANIFEST = """
title = "a toy"
toolchain = "a shell"
needs = ["stun"]

[agent]
checks = [0.0]
gives_up = 1.0
pace = 0.02
nomination = "first"

[[stack]]
name = "toy"
mechanism = "punch_udp"
transport = "udp"
"""
PEER_MK = """
OUT ?= ../../out/peers/toy
peer:
\t@mkdir -p $(OUT) && printf '#!/bin/sh\\necho toy 1.0\\n' >$(OUT)/toy && chmod +x $(OUT)/toy
"""
DEVIATIONS = """
[[deviation]]
name = "it plays"
order = 9
versions = ["1.0"]
outcome = "none"
cause = "it is a toy"
link = "https://example.org/"
date = "2026-11-29"
when = [{ dialer = ["toy"] }]
"""
USE = """
from testbed.cli.commands.build import peers
from testbed.predict.deviations import DEVIATIONS
from testbed.studies.punch.selection import Selection
from testbed.stacks.registry import adapter
from testbed.stacks.versions import facts
peers(["toy"], older=False)
cells = Selection(["symmetric"], ["symmetric"], ["toy"]).cells()
print([cell.name for cell in cells], facts()["toy"], adapter("toy").command()[0][-14:])
print([one.name for one in DEVIATIONS if one.stack == "toy"], len(DEVIATIONS))
"""


def test_a_stack_is_added_by_one_folder(tmp_path: Path) -> None:
    (tmp_path / "testbed").symlink_to(PACKAGE)
    (tmp_path / "images").mkdir()
    for name in ("punch", "traversal"):
        (tmp_path / "images" / name).symlink_to(places.shared("images") / name)
    (tmp_path / "nat-profiles").symlink_to(places.shared("nat-profiles"))
    toy = tmp_path / "images/toy"
    toy.mkdir()
    for file, text in (
        ("stack.toml", MANIFEST),
        ("peer.mk", PEER_MK),
        ("deviations.toml", DEVIATIONS),
    ):
        (toy / file).write_text(text, encoding="utf-8")
    command = [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, '.')\n{USE}"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    *_, cells, deviations = done.stdout.splitlines() or ["", done.stderr]
    assert cells == (
        "['toy/symmetric--symmetric/0', 'toy/symmetric--symmetric.plain_dial/0', "
        "'toy/symmetric--symmetric.silent/0'] toy 1.0 /peers/toy/toy"
    ), done.stderr
    assert deviations == "['it plays'] 1"


@pytest.mark.parametrize(
    ("old", "new", "line", "key"),
    [
        ('title = "a toy"\n', "", 1, "title"),
        ('needs = ["stun"]', 'needs = ["stunt"]', 4, "needs.0"),
        ("pace =", "pacing =", 6, "agent"),
        ('nomination = "first"', 'nomination = "last"', 10, "agent.nomination"),
        ('transport = "udp"', 'transport = "sctp"', 15, "stack.0.transport"),
        ('name = "toy"', 'name = "a toy"', 13, "stack.0.name"),
        ('toolchain = "a shell"\n', "", 1, "toy is a program: toolchain must say what it takes"),
        ("[[stack]]", "[stack", 12, ""),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_by_file_line_and_key(
    tmp_path: Path, old: str, new: str, line: int, key: str
) -> None:
    path = tmp_path / "toy/stack.toml"
    path.parent.mkdir()
    path.write_text(MANIFEST.replace(old, new), encoding="utf-8")
    assert old in MANIFEST
    with pytest.raises(UsageError) as refused:
        folders.adapters(tmp_path)
    assert f"toy/stack.toml:{line}: " in str(refused.value)
    assert key in str(refused.value)


@pytest.mark.parametrize("name", folders.SCHEMAS)
def test_the_schema_is_that_of_the_code(name: str) -> None:
    stored = (places.shared("images") / name).read_text(encoding="utf-8")
    assert stored == folders.schema(name), "python -m testbed.stacks.folders"


def test_every_program_has_what_builds_it() -> None:
    built = {path.parent.name for path in places.shared("images").glob("*/peer.mk")}
    described = {path.parent.name for path in places.shared("images").glob("*/stack.toml")}
    assert built <= described
    assert ADAPTERS
