"""The command line: bad input gives a message, a remedy and the right code, never a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from forked_command import said

from testbed.files import require_writable

TESTBED = ["env", "-u", "TESTBED_SANDBOX", sys.executable, "-m", "testbed"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("plan", "xyzzy"), 2, "see `testbed world list`"),
        (("plan", "-a", "full-con"), 2, "did you mean full-cone"),
        (("plan", "--number", "256"), 2, "0 to 255"),
        (("plan", "same-lan", "-a", "pf", "-b", "pf"), 2, "-b has no effect: same-lan"),
        (("run", "--peer", "nobody"), 2, "one of: ice, punch-udp"),
        (("run", "--mode", "sideways"), 2, "one of: punch, relay_only"),
        (("run", "--replay", "/nonexistent"), 2, "cell.json"),
        (("run", "--skew", "nan"), 2, "skew_ms must be a number from 0 to 10000"),
        (("run", "--skew", "inf"), 2, "skew_ms must be a number from 0 to 10000"),
        (("run", "--skew", "-500"), 2, "skew_ms must be a number from 0 to 10000"),
        (("run", "--seed", "-1"), 2, "--seed"),
        (("run", "-o", "/proc/version/x"), 2, "/proc/version/x"),
        (("matrix", "--seed", "-1"), 2, "--seed"),
        (("matrix", "-o", "/proc/version/x"), 2, "/proc/version/x"),
        (("matrix", "--svg", "/proc/nowhere/x.svg"), 2, "/proc/nowhere/x.svg"),
        (("matrix", "--junit", "/proc/version/x.xml"), 2, "/proc/version/x.xml"),
        (("nat", "certify", "pf", "--markdown", "/proc/nowhere/x"), 2, "/proc/nowhere/x"),
        (("matrix", "--profiles", "nonesuch"), 2, "unknown profile"),
        (("matrix", "--profiles", ","), 2, "has an empty name in it"),
        (("matrix", "--select", "no/such/*"), 2, "matches no cell"),
        (("nat", "certify"), 2, "name profiles, or say --all"),
        (("study", "nosuch"), 2, "name a Python file with a STUDY in it"),
        (("study", "nosuch.py"), 2, "nosuch.py: no such file"),
        (("nat", "show", "nonesuch"), 2, "unknown profile"),
        (("nat", "probe", "--rules", "/nonexistent.nft"), 2, "No such file"),
        (("nat", "probe", "--rules", "/etc/hosts"), 2, "neither a table of iptables-save"),
        (("exec", "--lab", "1", "a", "true"), 2, "testbed up"),
        (("matrix", "--no-such-option"), 2, "No such option"),
        (("sing",), 2, "No such command"),
        (("explain",), 2, "no cell is named, and there is no matrix in out/matrix"),
        (("peer", "check", "punch-udp", "--scene", "dialr"), 2, "did you mean dialer?"),
        (("matrix", "--pairs", "interopp"), 2, "did you mean interop?"),
        (("run", "--backend", "dock"), 2, "did you mean docker?"),
        (("run", "--jobs", "x"), 2, "No such option"),
        (("matrix", "--jobs", "x"), 2, "integer"),
        (("run", "--peer", "mine"), 2, "--stack mine=./program --mechanism punch_udp"),
        (("run", "--peer", "ice+mine"), 2, "--stack mine=./program --mechanism punch_udp"),
        (("matrix", "--peers", "mine"), 2, "--stack mine=./program --mechanism punch_udp"),
    ],
)
def test_wrong_words_are_answered_with_the_right_ones(
    words: tuple[str, ...], code: int, message: str, tmp_path: Path
) -> None:
    done = said(*words, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("plan", "carrier"), ("nat", "list"), ("exec", "a", "true")])
def test_a_command_in_a_fork_says_what_a_process_says(words: tuple[str, ...]) -> None:
    """Else all that is asked of forks here would be no claim about the command."""
    alone = subprocess.run([*TESTBED, *words], capture_output=True, text=True, timeout=60)
    forked = said(*words)
    assert (forked.returncode, forked.stdout, forked.stderr) == (
        *(alone.returncode, alone.stdout, alone.stderr),
    )


def test_without_nft_the_remedy_is_its_package(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("env", "iptables-restore"):
        (tools / name).symlink_to(f"/usr/{'bin' if name == 'env' else 'sbin'}/{name}")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            _WITHOUT_SBIN,
            "run",
            "-a",
            "full-cone",
            "-o",
            str(tmp_path / "out"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": str(tools), "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 4, done.stdout + done.stderr
    assert "apt-get install nftables" in done.stdout + done.stderr


# The sandbox adds /sbin to PATH, as Debian needs it: here the tool must be really absent.
_WITHOUT_SBIN = """
import os
from testbed.lab import sandbox
enter = sandbox.enter
def entered(*kept):
    path = os.environ["PATH"]
    enter(*kept)
    os.environ["PATH"] = path
sandbox.enter = entered
from testbed.cli import main
main()
"""


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = said("run", "-o", str(blocked))
    assert done.returncode in (2, 3)
    assert str(blocked) in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_matrix_writes_json_junit_and_a_picture_that_agree(tmp_path: Path) -> None:
    done = said(
        *("matrix", "--profiles", "full-cone,symmetric", "--peers", "punch-udp", "--json"),
        *("--no-certify", "--junit", str(tmp_path / "junit.xml"), "--svg", str(tmp_path / "m.svg")),
        *("-o", str(tmp_path / "out")),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "out" / "results.json").read_text())
    assert report["summary"]["total"] == len(report["results"]) == 4 + 4
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert int(suite.attrib["tests"]) == report["summary"]["total"]
    assert suite.attrib["failures"] == "0"
    assert (tmp_path / "m.svg").read_text().startswith("<svg")
    for cell in report["results"]:
        assert (Path(cell["folder"]) / "capture.pcapng").exists()


def test_what_is_checked_before_a_run_is_left_as_it_was(tmp_path: Path) -> None:
    kept = tmp_path / "kept.xml"
    kept.write_text("of last time")
    require_writable(kept, tmp_path / "new" / "one.svg", None)
    assert kept.read_text() == "of last time"
    assert list((tmp_path / "new").iterdir()) == []


def test_remedies_are_printed_whole_on_a_narrow_terminal() -> None:
    program = """
from testbed.fitness import doctor
from testbed.fitness.trials import Check
doctor.checks = lambda: [Check("sandbox", False, "refused", "--cap-add SYS_ADMIN " * 9, "labs")]
from testbed.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "doctor"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"COLUMNS": "80"},
    )
    assert done.returncode == 4
    assert "--cap-add SYS_ADMIN " * 9 in done.stdout


def test_a_difference_from_the_prediction_exits_with_1(tmp_path: Path) -> None:
    """A profile that claims more than its rules keep: the cell is red, not the message."""
    done = subprocess.run(
        [
            *(sys.executable, "-c", _WRONG_ORACLE, "run", "--peer", "punch-udp"),
            *("-a", "symmetric", "-b", "symmetric", "-o", str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={k: v for k, v in os.environ.items() if k != "TESTBED_SANDBOX"},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "measured none, predicted direct" in done.stdout


_WRONG_ORACLE = """
from testbed.studies.punch import expectation
from testbed.run import judging
from testbed.model.outcome import Outcome
from testbed.model.reason import UpgradesOff
from testbed.model.prediction import Prediction
judging.LATE_MS = judging.TOO_LATE_MS = 1e9  # however busy this machine is
expectation.predict = lambda *a, **k: Prediction(Outcome.DIRECT, UpgradesOff(), ())
from testbed.cli import main
main()
"""


def test_the_doctor_lists_what_is_there_for_machines_and_people() -> None:
    done = said("doctor", "--json")
    assert done.returncode in (0, 4)
    assert {"nft", "turnserver"} <= {check["name"] for check in json.loads(done.stdout)}


def test_a_plan_touches_nothing_and_needs_no_privilege() -> None:
    done = said("plan", "carrier", "-a", "pf", "-b", "openwrt")
    assert done.returncode == 0
    for word in ("node       cgn", "rules      nat-b", "blackhole  core: 0.0.0.0/0"):
        assert word in done.stdout


def test_an_unknown_nat_given_as_rules_is_measured(tmp_path: Path) -> None:
    rules = tmp_path / "mine.nft"
    rules.write_text(
        "table ip mine {\n"
        "  chain post { type nat hook postrouting priority srcnat;\n"
        '    oifname "wan" masquerade random\n  }\n'
        "  chain input { type filter hook input priority filter;\n"
        '    iifname "wan" ct state new drop\n  }\n}\n'
    )
    done = said("nat", "probe", "--rules", str(rules), "--json")
    assert done.returncode == 0, done.stderr
    axes = json.loads(done.stdout)["axes"]
    assert axes["udp.mapping"]["value"] == "address_and_port_dependent"
    assert axes["tcp.filtering"]["value"] == "address_and_port_dependent"
