"""An nft that refuses the rules: said once, with its version and a remedy, and no cell is run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTBED = ["env", "-u", "TESTBED_SANDBOX", sys.executable, "-m", "testbed"]
REAL = shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
COMPLAINT = "/dev/stdin:7:19-70: Error: datatype mismatch"
# Refuses what has a number in the mark, as some release may one day.
REFUSING = f"""#!/bin/sh
case $* in *--version*) echo "nftables v9.9.9 (Testing)"; exit ;; esac
text=$(cat)
case $text in *"meta mark set"*) echo "{COMPLAINT}" >&2; exit 1 ;; esac
printf '%s\\n' "$text" | {REAL} "$@"
"""
# Fails to load, but finds no fault when it is asked to check.
FALTERING = f"""#!/bin/sh
case $* in *-c*) exec {REAL} "$@" ;; esac
echo "Error: Could not process rule: No buffer space available" >&2
exit 1
"""


def said(*words: str, nft: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = folder / "bin" / "nft"
    program.parent.mkdir()
    program.write_text(nft, encoding="utf-8")
    program.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(folder),
    }
    return subprocess.run(
        [*TESTBED, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
        cwd=folder,
    )


@pytest.mark.parametrize(
    "words",
    [
        ("nat", "certify", "symmetric", "sequential"),
        ("nat", "certify", "--all"),
        ("matrix", "--profiles", "classic"),
        ("matrix", "--profiles", "classic", "--no-certify"),
        ("run", "-a", "symmetric", "-b", "symmetric"),
    ],
    ids=" ".join,
)
def test_rules_that_nft_refuses_are_told_once(words: tuple[str, ...], tmp_path: Path) -> None:
    done = said(*words, nft=REFUSING, folder=tmp_path)
    told = done.stdout + done.stderr
    assert done.returncode == 4, told
    assert told.count("nftables v9.9.9 (Testing) refuses the rules of profile") == 1
    assert told.count(COMPLAINT) == 1
    assert "remedy: the rules are tested with nft 1.0.6 to" in told
    assert "not what" not in told


def test_the_doctor_tries_the_very_rules_of_the_profiles(tmp_path: Path) -> None:
    done = said("doctor", "--json", nft=REFUSING, folder=tmp_path)
    assert done.returncode == 4
    (check,) = [one for one in json.loads(done.stdout) if one["name"] == "nftables rules"]
    assert check["ok"] is False
    assert "symmetric" in check["found"]
    assert "sequential" in check["found"]
    assert COMPLAINT in check["found"]


def test_a_load_that_fails_at_one_moment_is_no_fault_of_the_machine(tmp_path: Path) -> None:
    done = said("nat", "certify", "symmetric", "--json", nft=FALTERING, folder=tmp_path)
    assert done.returncode == 3
    (certificate,) = json.loads(done.stdout)
    assert certificate["verdict"] == "INCONCLUSIVE"
    assert "No buffer space available" in certificate["reason"]


def test_rules_of_ones_own_that_are_refused_are_an_error_of_usage(tmp_path: Path) -> None:
    rules = tmp_path / "mine.nft"
    rules.write_text(
        "table ip mine {\nchain c {\nudp sport set yesterday\n}\n}\n", encoding="utf-8"
    )
    done = said(
        "nat", "probe", "--rules", str(rules), nft=f'#!/bin/sh\nexec {REAL} "$@"\n', folder=tmp_path
    )
    assert done.returncode == 2
    assert f"{rules}: nftables v" in done.stderr
    assert "Could not resolve service" in done.stderr
