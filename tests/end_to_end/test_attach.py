"""Who may enter a lab that is up, as whom, and what others can do about it."""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import forked_command
import pytest

from testbed.lab import attach, kernel, sandbox, serving
from testbed.lab.namespaces import Namespaces
from testbed.model.presets import preset
from testbed.nat.load import find
from testbed.plan.planner import plan

TESTBED = ["env", "-u", "TESTBED_SANDBOX", sys.executable, "-m", "testbed"]
SOMEBODY = 12345
PR_SET_DUMPABLE = 4
OTHERS = Path("/proc/self/uid_map").read_text().split()[2] != "1"

needs_others = pytest.mark.skipif(not OTHERS, reason="there is but one user in here")


@pytest.fixture(autouse=True)
def apart() -> Iterator[None]:
    """Names of labs belong to a network namespace: each test sees its own alone."""
    home = kernel.current_netns()
    kernel.unshare(kernel.CLONE_NEWNET)
    yield
    kernel.setns(home, kernel.CLONE_NEWNET)
    os.close(home)


def said(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Without an engine, whose containers, and what is left of them, are those of other tests."""
    nowhere = {"DOCKER_HOST": "unix:///nowhere"}
    return forked_command.said(*words, env=nowhere | env, timeout=30)


@contextmanager
def child(work: Callable[[int], None]) -> Iterator[tuple[int, int]]:
    """``work``, given a pipe to write to, in a fork: its process and the pipe's other end."""
    answer, held = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work(held)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(held)
    try:
        yield pid, answer
    finally:
        os.close(answer)
        os.kill(pid, signal.SIGKILL)  # not reaped yet, so the number is its own
        os.waitpid(pid, 0)


def become_somebody() -> None:
    os.setgroups([])
    os.setresgid(SOMEBODY, SOMEBODY, SOMEBODY)
    os.setresuid(SOMEBODY, SOMEBODY, SOMEBODY)
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # or /proc/self stays root's


@contextmanager
def lab_of_somebody() -> Iterator[int]:
    """`testbed up` of an ordinary user, in a fork, since others may not read this checkout."""
    steps = plan(preset("same-lan"), {"linux-home": find("linux-home")})

    def up(ready: int) -> None:
        become_somebody()
        kernel.die_with_parent(signal.SIGKILL)
        os.environ.pop("TESTBED_SANDBOX", None)
        server = serving.listen()
        sandbox.enter()
        with Namespaces().start(steps) as lab, sandbox.signals() as signals:
            os.write(ready, b"up")
            serving.serve(server, lab, signals)

    with child(up) as (pid, answer):
        assert os.read(answer, 2) == b"up"
        yield pid


@contextmanager
def own_lab() -> Iterator[subprocess.Popen[str]]:
    words = [*TESTBED, "up", "same-lan"]
    up = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert up.stdout is not None
        assert "closed to the outside" in up.stdout.readline()
        yield up
    finally:
        up.terminate()
        up.communicate(timeout=10)


@pytest.fixture(scope="module")
def kept() -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A network with one lab, which is up for all who only enter it."""
    home = kernel.current_netns()
    kernel.unshare(kernel.CLONE_NEWNET)
    network = kernel.current_netns()
    try:
        with own_lab() as up:
            kernel.setns(home, kernel.CLONE_NEWNET)
            yield network, up
    finally:
        kernel.setns(home, kernel.CLONE_NEWNET)
        os.close(home)
        os.close(network)


@pytest.fixture
def own(apart: None, kept: tuple[int, subprocess.Popen[str]]) -> Iterator[subprocess.Popen[str]]:
    """That lab, seen from its network; the test must leave it up."""
    del apart  # it takes the test home again
    network, up = kept
    kernel.setns(network, kernel.CLONE_NEWNET)
    yield up
    assert up.poll() is None


@needs_others
@pytest.mark.parametrize("named", [False, True])
def test_an_impostor_under_roots_name_is_never_asked(named: bool) -> None:
    def impostor(requests: int) -> None:
        become_somebody()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
            server.bind(f"\0testbed-lab-0-{os.getpid()}")
            server.listen(8)
            os.write(requests, b"ready")
            while True:
                client, _ = server.accept()
                if data := client.recv(4096):
                    os.write(requests, data)
                    kinds = ("user", "pid", "ipc", "mnt", "net")
                    fds = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in kinds]
                    socket.send_fds(client, [b'{"files": null}'], fds)

    with child(impostor) as (pid, requests):
        assert os.read(requests, 5) == b"ready"
        done = said("exec", *(("--lab", str(pid)) if named else ()), "a", "--", "echo", "entered")
        assert said("wipe", "--all").stdout == "nothing to wipe\n"
        os.set_blocking(requests, False)
        with pytest.raises(BlockingIOError):
            os.read(requests, 1)
    assert done.returncode == 2, done.stderr
    assert "no such lab is up" in done.stderr
    assert "entered" not in done.stdout


@needs_others
def test_root_enters_anothers_lab_only_by_name_and_as_that_user(tmp_path: Path) -> None:
    readable = tmp_path / "of-root"
    readable.write_text("secret")
    readable.chmod(0o600)
    with lab_of_somebody() as pid:
        silent = said("exec", "a", "--", "true")
        assert silent.returncode == 2
        assert f"--lab, one of {pid}" in silent.stderr
        shown = said("exec", "--lab", str(pid), "a", "--", "sh", "-c", "ls /sys/class/net; exit 5")
        assert shown.returncode == 5, shown.stderr
        assert shown.stdout.split() == ["eth0", "lo"]
        ours = said("exec", "--lab", str(pid), "a", "--", "cat", "/proc/self/uid_map")
        assert ours.stdout.split() == ["0", str(SOMEBODY), "1"]
        secret = said("exec", "--lab", str(pid), "a", "--", "cat", str(readable))
        assert secret.returncode == 1
        assert "secret" not in secret.stdout


@needs_others
def test_wipe_takes_your_own_labs_and_all_takes_everybodys() -> None:
    with lab_of_somebody() as pid, own_lab() as own:
        assert said("wipe").stdout == "1 lab(s) taken down\n"
        assert own.wait(5) == 0
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        assert said("wipe", "--all").stdout == "1 lab(s) taken down\n"


@needs_others
def test_a_stranger_can_neither_stop_nor_crash_nor_block_a_lab() -> None:
    strangers = []

    def connect() -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client.connect(f"\0testbed-lab-0-{mine.pid}")
        return client

    def stranger(result: int) -> None:
        become_somebody()
        strangers.append(connect())  # says nothing
        for request in (b'{"stop": true}', b"[" * 4000):
            client = connect()
            strangers.append(client)
            with contextlib.suppress(BrokenPipeError):  # it was hung up on
                client.send(request)
        os.write(result, b"done")
        signal.pause()  # they stay connected

    with own_lab() as mine, child(stranger) as (_, result):
        assert os.read(result, 4) == b"done"
        assert said("exec", "a", "--", "true").returncode == 0
        assert mine.poll() is None


@pytest.mark.parametrize(
    "name",
    [
        b"testbed-lab-foo",
        b"testbed-lab-0-x",
        b"testbed-lab-\xff",
        b"testbed-lab-0-4000000",
        b"testbed-lab-0-99999999999999999999",
        b"testbed-lab-99999999999-1",
        b"x\n\ny @testbed-lab-0-1",
    ],
)
def test_names_that_are_no_labs_are_passed_over(name: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(b"\0" + name)
        server.listen(8)
        done = said("wipe")
    assert (done.returncode, done.stdout, done.stderr) == (0, "nothing to wipe\n", "")


def test_a_lab_that_went_by_itself_is_stopped() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait(5)
    attach.stop(attach.Running(os.getuid(), gone.pid))


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("trap 'exit 7' INT; echo ready; while :; do sleep 0.05; done", 7),
        ("echo ready; exec sleep 20", 130),
        ("trap '' INT; echo ready; sleep 0.3; exit 9", 9),
    ],
)
def test_a_ctrl_c_is_the_commands_and_the_lab_stays(
    script: str, code: int, own: subprocess.Popen[str]
) -> None:
    done = subprocess.Popen(
        [*TESTBED, "exec", "a", "--", "sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert done.stdout is not None
    assert done.stdout.readline() == "ready\n"
    os.killpg(done.pid, signal.SIGINT)
    _, errors = done.communicate(timeout=10)
    assert done.returncode == code
    assert errors.startswith(f"testbed: in lab {own.pid}: same-lan with linux-home, up ")
    assert errors.count("\n") == 1
    assert own.poll() is None


def test_a_command_in_a_lab_notices_that_its_reader_has_gone(
    own: subprocess.Popen[str],
) -> None:
    named = ["exec", "--lab", str(own.pid), "a", "--", "yes"]
    words = ["sh", "-c", '"$@" | head -1', "sh", *TESTBED, *named]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr) == ("y\n", "")


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("nobody", "--", "true"), 2, "one of: core, nat-a"),
        (("a", "--"), 2, "no command was given"),
        (("a", "--", "no-such-program"), 127, "no-such-program: No such file"),
    ],
)
def test_wrong_words_to_a_lab_are_answered(words: tuple[str, ...], code: int, message: str) -> None:
    done = said("exec", *words)
    assert done.returncode == code
    assert message in done.stderr


@contextmanager
def started(script: str) -> Iterator[subprocess.Popen[str]]:
    """`testbed exec` of a shell script that has said ``ready``."""
    done = subprocess.Popen(
        [*TESTBED, "exec", "a", "--", "sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert done.stdout is not None
        assert done.stdout.readline() == "ready\n"
        yield done
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(done.pid, signal.SIGKILL)
        done.wait(10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize(
    "script",
    [
        "echo ready; exec sleep 300",
        "(trap '' INT HUP; setsid sleep 300) & echo ready; wait",
        "sleep 300 & (sleep 300 & sleep 300) & echo ready; wait",
    ],
)
def test_killing_exec_ends_all_that_its_command_started(
    number: signal.Signals, script: str, own: subprocess.Popen[str]
) -> None:
    """Each of them holds the pipe, which ends with the last."""
    with started(script) as done:
        done.send_signal(number)
        rest, _ = done.communicate(timeout=20)
        assert rest == ""
        assert done.returncode in (-signal.SIGKILL, 128 + number)
        assert own.poll() is None
        assert said("exec", "a", "--", "true").returncode == 0


@pytest.mark.usefixtures("own")
def test_a_command_that_ignores_its_end_is_killed_after_some_seconds() -> None:
    with started("trap '' TERM; echo ready; while :; do sleep 0.1; done") as done:
        done.terminate()
        done.communicate(timeout=20)
        assert done.returncode == 128 + signal.SIGKILL


@pytest.mark.usefixtures("own")
def test_what_a_command_left_in_the_lab_stays_where_nobody_killed_it() -> None:
    left = said("exec", "a", "--", "sh", "-c", "sleep 300 >/dev/null 2>&1 & echo $!")
    pid = left.stdout.strip()
    assert said("exec", "b", "--", "kill", "-0", pid).returncode == 0


def in_node_a(
    own: subprocess.Popen[str], path: str, *words: str
) -> subprocess.CompletedProcess[str]:
    """`testbed exec` of somebody who looks for programs in ``path``."""
    return said("exec", "--lab", str(own.pid), "nat-a", "--", *words, PATH=path)


def test_a_command_finds_the_tools_of_the_administrator(own: subprocess.Popen[str]) -> None:
    done = in_node_a(own, "/usr/bin:/bin", "nft", "list", "ruleset")
    assert done.returncode == 0, done.stderr
    assert "chain" in done.stdout


def test_a_tool_that_is_not_installed_is_named_with_its_package(
    own: subprocess.Popen[str],
) -> None:
    if shutil.which("socat") is not None:
        pytest.skip("socat is installed here")
    done = in_node_a(own, "/usr/bin:/bin", "socat", "-V")
    assert done.returncode == 127
    assert "socat: No such file or directory" in done.stderr
    assert "remedy: apt-get install socat" in done.stderr


def test_labs_are_listed_with_what_tells_them_apart() -> None:
    with own_lab() as one, own_lab() as other:
        listed = json.loads(said("labs", "--json").stdout)
        assert [lab["pid"] for lab in listed] == sorted([one.pid, other.pid])
        assert {lab["topology"] for lab in listed} == {"same-lan"}
        assert {lab["folder"] for lab in listed} == {str(Path.cwd())}
        lines = said("labs").stdout.splitlines()
        assert len(lines) == 2
        assert lines[0].startswith(f"{min(one.pid, other.pid)}: same-lan with linux-home, up ")
        asked = said("exec", "a", "--", "true")
        assert asked.returncode == 2
        assert "2 labs are up" in asked.stderr
        assert all(f"{lab.pid}: same-lan with" in asked.stderr for lab in (one, other))
        assert said("exec", "--lab", "same-lan", "a", "--", "true").returncode == 2
        assert said("exec", "--lab", str(one.pid), "a", "--", "true").returncode == 0
    assert said("labs").stdout == "no lab is up\n"
    assert said("labs", "--json").stdout == "[]\n"


@pytest.mark.usefixtures("own")
def test_a_lab_that_is_named_is_entered_without_a_word() -> None:
    done = said("exec", "--lab", "same-lan", "a", "--", "true")
    assert (done.returncode, done.stderr) == (0, "")
    assert said("exec", "--lab", "carrier", "a", "--", "true").returncode == 2
