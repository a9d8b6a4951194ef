"""A NAT profile is one file; its rules, its claims and its predictions follow from that."""

import os
import subprocess
import sys
from pathlib import Path

from testbed.places import shared

PROFILE = """
title = "a toy"
met = "nowhere"
source = "none: it is a toy"
engine = "nftables"

[both]
mapping = "endpoint_independent"
filtering = "endpoint_independent"
allocation = "sequential"

[timeouts]
udp = 45
udp_stream = 45
"""


def said(folder: Path, *words: str) -> str:
    """What the command prints, with the profiles of ``folder``."""
    done = subprocess.run(
        [sys.executable, "-m", "testbed", *words],
        env=os.environ | {"TESTBED_PROFILES": str(folder)},
        capture_output=True, encoding="utf-8", timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_profile_is_added_by_one_file(tmp_path: Path) -> None:
    """As the page for contributors says; a matrix and `nat certify` take it by its name."""
    (tmp_path / "toy.toml").write_text(PROFILE, encoding="utf-8")
    assert "toy" in said(tmp_path, "nat", "list").split()
    shown = said(tmp_path, "nat", "show", "toy")
    assert "table ip" in shown
    assert "45" in shown
    plans = [said(tmp_path, "plan", "two-homes", "-a", name) for name in ("toy", "symmetric")]
    assert plans[0] != plans[1]


def test_the_profile_to_start_from_says_all_that_the_page_asks_for() -> None:
    text = (shared("nat-profiles") / "linux-home.toml").read_text(encoding="utf-8")
    for key in ("title", "met", "source"):
        assert f"\n{key} = " in f"\n{text}"
