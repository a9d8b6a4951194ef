"""The plugin in a suite of a user's: tests/example, run as its user would."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest
from engine import require_engine
from made_results import result
from ordinary import (
    ROOT,
    copy_for_everybody,
    is_one_already,
    ordinary_user,
    readable_python,
)

from testbed.errors import ProfileError
from testbed.pytest_plugin.bench import Session
from testbed.pytest_plugin.verdicts import InconclusiveError, Verdict

EXAMPLE = ROOT / "tests" / "example"
# Without this suite's own mark and options: a user's pytest makes its own sandbox.
OUTSIDE = ["env", "-u", "TESTBED_SANDBOX", "-u", "PYTEST_ADDOPTS"]
PYTEST = [*OUTSIDE, sys.executable, "-m", "pytest"]
OPTIONS = ["-p", "no:cacheprovider", "-W", "error"]
LIAR = """
    import json, socket, sys, time

    def say(event, **fields):
        print(json.dumps({"event": event, "at": time.monotonic_ns(), **fields}), flush=True)

    somewhere = {"address": "192.0.2.1", "port": 4001}
    for line in sys.stdin:
        command = json.loads(line)
        match command["command"]:
            case "configure":
                say("offer", offer={"addresses": [somewhere], "ice": None})
            case "dial":
                if "probe" in sys.argv:
                    remote = command["remote"]["addresses"][0]
                    time.sleep(max(0, command["start_at"] - time.monotonic_ns()) / 1e9)
                    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    sender.sendto(b"nothing", (remote["address"], remote["port"]))
                say("connected", local=somewhere, remote=somewhere, path="direct")
            case "echo":
                say("echoed", bytes=command["bytes"])
            case "close":
                say("closed")
                break
"""


def run(*words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Pytest in ``cwd``, with ``words``."""
    return subprocess.run(
        [*PYTEST, *OPTIONS, *words],
        cwd=cwd,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def outcome(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """The last line of pytest's, as numbers."""
    last = done.stdout.strip().splitlines()[-1]
    return {
        word.rstrip("s"): int(n) for n, word in re.findall(r"(\d+) (passed|failed|errors?)", last)
    }


def project(folder: Path, tests: str) -> Path:
    """A suite of one file."""
    (folder / "test_it.py").write_text(dedent(tests))
    return folder


def test_the_example_is_green_on_namespaces(tmp_path: Path) -> None:
    done = run(f"--testbed-out={tmp_path}", cwd=EXAMPLE)
    assert outcome(done) == {"passed": 5}, done.stdout + done.stderr
    kept = tmp_path / "test_my_puncher.py"
    captures = {file.parent.relative_to(kept).parts[0] for file in kept.rglob("capture.pcapng")}
    assert "test_a_server_sees_the_router_and_not_the_host" in captures
    assert len(captures) == 5


def test_a_second_session_leaves_nothing_of_the_first_and_all_of_the_users(tmp_path: Path) -> None:
    out = tmp_path / "kept"
    suite = """
        def test_it(peer, nat_pair):
            assert peer("punch-udp").connect(nat_pair("{}", "full-cone"))
    """
    for name in ("symmetric", "home"):
        done = run(f"--testbed-out={out}", cwd=project(tmp_path, suite.format(name)))
        assert outcome(done) == {"passed": 1}, done.stdout + done.stderr
        (out / "test_it.py" / "test_it" / "notes.txt").write_text("mine")
    cells = [file.parent.parent.name for file in out.rglob("cell.json")]
    assert cells == ["linux-home--full-cone"]
    assert not list(out.rglob("*symmetric*"))
    assert list(out.rglob("notes.txt"))


def test_a_pair_that_cannot_connect_is_red_with_its_cause_and_its_packets() -> None:
    done = run("cannot_connect.py", cwd=EXAMPLE)
    assert outcome(done) == {"failed": 1}, done.stdout + done.stderr
    assert "<none: mapping_changed, predicted none>" in done.stdout
    assert "cause   mapping_changed at nat-a" in done.stdout
    assert re.search(r"✗ #\d+ dropped: unsolicited", done.stdout)
    assert re.search(r"tshark -r \S+capture.pcapng", done.stdout)
    assert "pytest_plugin" not in done.stdout  # of our own insides nothing is shown


@pytest.mark.parametrize(
    ("sends", "words"),
    [
        ("nothing", "a claims direct, the wire shows none"),
        ("nothing", "before it was due to begin"),
        ("probe", "<none: false_claim, predicted none, 2 finding(s)>"),
    ],
)
def test_a_peer_that_lies_is_red(sends: str, words: str, tmp_path: Path) -> None:
    """It claims a connection, and an echo, of which there is no packet."""
    (tmp_path / "liar.py").write_text(dedent(LIAR))
    suite = f"""
        import sys

        def test_truthful(peer, nat_pair):
            liar = peer(command=[sys.executable, "liar.py", "{sends}"], mechanism="punch_udp")
            assert liar.connect(nat_pair("symmetric", "symmetric")).passed
    """
    done = run(cwd=project(tmp_path, suite))
    assert outcome(done) == {"failed": 1}, done.stdout + done.stderr
    assert words in done.stdout


def test_a_name_that_is_unknown_is_told_with_its_file(tmp_path: Path) -> None:
    suite = """
        def test_near(nat_pair):
            nat_pair("home", "symetric")

        def test_own(nat_pair):
            nat_pair("home", "mine.toml")

        def test_image(peer):
            peer(image="mine:1", mechanism="ice")

        def test_mechanism(peer):
            peer(command="true")
    """
    done = run(cwd=project(tmp_path, suite))
    assert outcome(done) == {"failed": 4}, done.stdout
    assert "unknown profile 'symetric'" in done.stdout
    assert "did you mean symmetric" in done.stdout
    assert f"{tmp_path}/mine.toml: No such file" in done.stdout
    assert "--testbed-backend docker; or give its command as well" in done.stdout
    assert 'mechanism="punch_udp"' in done.stdout
    assert "pytest_plugin" not in done.stdout


def test_a_nat_that_is_not_what_its_file_claims_is_refused_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"axis": "UDP mapping", "declared": "endpoint_independent", "agrees": False}
    row |= {"measured": "address_dependent", "evidence": ""}
    found = {"profile": "mine", "rows": [row], "verdict": "FAIL", "reason": ""}
    session = Session("namespaces", tmp_path, tmp_path)
    monkeypatch.setattr(session, "ask", lambda *_, **__: [found])
    for _ in range(2):
        with pytest.raises(ProfileError, match="UDP mapping: declared endpoint_independent, mea"):
            session.certify({"mine": "mine.toml"})


def test_a_cell_without_a_verdict_is_no_verdict() -> None:
    """Else ``not verdict.connected`` would hold of what nobody measured."""
    late = result(
        "mine/a--b",
        judgement="inconclusive",
        measured="none",
        reason="a link's frame was 300 ms late",
    )
    with pytest.raises(InconclusiveError, match="300 ms late"):
        Verdict.of(late)


def test_a_suite_that_does_not_use_it_loads_nothing_of_it(tmp_path: Path) -> None:
    suite = """
        import sys

        def test_it():
            loaded = {name for name in sys.modules if name.split(".")[0] == "testbed"}
            assert loaded == {"testbed", "testbed.pytest_plugin"}
    """
    done = run(cwd=project(tmp_path, suite))
    assert outcome(done) == {"passed": 1}, done.stdout + done.stderr


def test_where_no_sandbox_is_allowed_nothing_passes(tmp_path: Path) -> None:
    suite = """
        def test_lab(lab):
            lab("two-homes", "home", "home")

        def test_pair(nat_pair):
            nat_pair("home", "home")
    """
    # A user namespace of the test's own, in which there can be no further network.
    refused = 'echo 0 >/proc/sys/user/max_net_namespaces && exec "$@"'
    words = ["unshare", "--user", "--map-root-user", "sh", "-c", refused, "sh", *PYTEST, *OPTIONS]
    done = subprocess.run(
        words, cwd=project(tmp_path, suite), capture_output=True, text=True, timeout=60
    )
    assert outcome(done) == {"failed": 2}, done.stdout + done.stderr
    assert "no user namespace" in done.stdout
    assert "remedy" in done.stdout


def test_of_a_pytest_that_is_killed_nothing_is_left(tmp_path: Path) -> None:
    suite = """
        import time

        def test_it(lab, testbed_bench):
            net = lab("two-homes", "home", "home")
            sleeper = net.spawn("a", ["sleep", "1000"])
            print("up", flush=True)
            time.sleep(1000)
    """
    process = subprocess.Popen(
        [*PYTEST, *OPTIONS, "-s"],
        cwd=project(tmp_path, suite),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    while b"up" not in (line := process.stdout.readline()):
        assert line, "pytest ended"
    assert children(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    deadline = time.monotonic() + 5
    while (left := children(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left


def children(folder: Path) -> list[str]:
    """The helpers, and programs in labs, of the suite in ``folder``."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == folder:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found += [words] if "pytest_plugin" in words or "sleep" in words else []
        except OSError:
            continue  # it ended meanwhile
    return found


def test_an_ordinary_user_runs_the_example() -> None:
    if is_one_already():
        return
    python = readable_python()
    place = Path("/tmp") / f"testbed-plugin-user-{os.getpid()}"
    env = copy_for_everybody(place, "tests/example")
    try:
        done = subprocess.run(
            [python, "-m", "pytest", *OPTIONS, f"--basetemp={place}/tmp", "-k", "restricted"],
            cwd=place / "tests" / "example",
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **ordinary_user(),  # type: ignore[call-overload]
        )
    finally:
        subprocess.run(["rm", "-rf", str(place)], check=True)
    assert outcome(done) == {"passed": 1}, done.stdout + done.stderr


def test_on_containers_the_example_is_green_and_what_cannot_connect_is_red() -> None:
    require_engine()
    files = ("test_my_puncher.py", "cannot_connect.py")
    done = run("--testbed-backend=docker", *files, cwd=EXAMPLE, BASE="testbed-base")
    assert outcome(done) == {"passed": 5, "failed": 1}, done.stdout + done.stderr
    assert "cause   mapping_changed at nat-a" in done.stdout
