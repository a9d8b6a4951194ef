"""Whatever ends a run, nothing of it is left: no process, namespace, mount, name or file."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from ordinary import copy_for_everybody, is_one_already, ordinary_user, readable_python

from testbed.lab import kernel

# Without the suite's own mark: each program makes its own sandbox, as a user's would.
TESTBED = ["env", "-u", "TESTBED_SANDBOX", sys.executable, "-m", "testbed"]
KILLS = 50
APART = {"pid": kernel.CLONE_NEWPID, "net": kernel.CLONE_NEWNET, "mnt": kernel.CLONE_NEWNS}


@pytest.fixture(autouse=True)
def processes() -> Iterator[Path]:
    """/proc of namespaces in which there is nothing of other tests: whatever is left is ours."""
    with ExitStack() as stack:
        for kind, flag in APART.items():
            home = os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, home)
            stack.callback(kernel.setns, home, flag)
        kernel.unshare(sum(APART.values()))
        kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
        ready, held = os.pipe()
        first = os.fork()
        if first == 0:
            _take_in_orphans()
        stack.callback(os.waitpid, first, 0)
        stack.callback(os.kill, first, signal.SIGKILL)  # and the kernel ends all others
        os.close(held)
        os.read(ready, 1)
        os.close(ready)
        yield Path("/proc", str(first), "root", "proc")


def _take_in_orphans() -> None:
    """What the first process of a pid namespace is for; never returns."""
    try:
        kernel.die_with_parent(signal.SIGKILL)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody stays as a zombie
        kernel.unshare(kernel.CLONE_NEWNS)
        with suppress(OSError):  # where it is refused, the processes of others are seen, too
            kernel.mount("proc", "/proc", "proc")
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        while True:
            signal.pause()
    finally:
        os._exit(1)


def footprint(home: Path, processes: Path) -> dict[str, set[str]]:
    """What a run could leave on this machine, as far as it can be seen from here."""
    commands: set[str] = set()
    namespaces: set[str] = set()
    for entry in processes.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            commands.add((entry / "cmdline").read_bytes().decode())
            namespaces.add(os.readlink(entry / "ns" / "net"))  # noqa: PTH115
        except OSError:
            continue  # it ended meanwhile
    return {
        "processes": commands,
        "namespaces": namespaces,
        "mounts": {line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()},
        "names": {
            line.split()[-1]
            for line in Path("/proc/net/unix").read_text().splitlines()
            if "testbed" in line
        },
        "interfaces": {
            line.split(":")[0] for line in Path("/proc/net/dev").read_text().splitlines()
        },
        "scratch": {
            str(path)
            for place in ("/run", "/mnt", "/media", "/srv", str(home))
            if Path(place).is_dir()
            for path in Path(place).iterdir()
        },
    }


def settled(
    home: Path, processes: Path, before: dict[str, set[str]], seconds: float = 5.0
) -> dict[str, set[str]]:
    """What differs from ``before``, once nothing does or the time is over.

    The kernel needs a moment to end a sandbox.
    """
    deadline = time.monotonic() + seconds
    while (now := footprint(home, processes)) != before and time.monotonic() < deadline:
        time.sleep(0.01)
    return {what: now[what] ^ before[what] for what in now if now[what] != before[what]}


def test_50_runs_killed_at_random_moments_leave_nothing(tmp_path: Path, processes: Path) -> None:
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    home = tmp_path / "home"  # where it would put temporary and cached files
    home.mkdir()
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"), str(home))
    before = footprint(home, processes)
    for number in range(KILLS):
        words = ["up"] if number % 5 == 0 else ["run", "--peer", "ice", "-o", str(tmp_path / "run")]
        process = subprocess.Popen(
            [*TESTBED, *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=home,
            env=os.environ | places,
        )
        time.sleep(chance.uniform(0.1, 2.4))
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert not settled(home, processes, before), f"kill {number}, seed {seed}"


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_a_signal_ends_a_lab_in_order(number: signal.Signals, code: int, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*TESTBED, "up"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert process.stdout is not None
    assert "closed to the outside" in process.stdout.readline()
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == code, errors
    assert "Traceback" not in errors


def test_two_runs_side_by_side_disturb_neither(tmp_path: Path) -> None:
    runs = [
        subprocess.Popen(
            [*TESTBED, "run", "--peer", "punch-udp", "-a", "full-cone", "-o", str(tmp_path / name)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in ("one", "two")
    ]
    for run in runs:
        output, _ = run.communicate(timeout=60)
        assert run.returncode == 0, output


def test_a_lab_that_is_up_is_entered_inspected_and_left() -> None:
    up = subprocess.Popen([*TESTBED, "up", "-b", "symmetric"], stdout=subprocess.PIPE, text=True)
    assert up.stdout is not None
    first = up.stdout.readline()
    pid = first.rsplit(" ", 1)[1].strip()
    try:
        shown = subprocess.run(
            [*TESTBED, "exec", "--lab", pid, "a", "--", "ip", "-br", "address"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "eth0" in shown
        wrong = subprocess.run(
            [*TESTBED, "exec", "--lab", pid, "nobody", "--", "true"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert wrong.returncode == 2
        assert "one of: core, nat-a" in wrong.stderr
        code = subprocess.run([*TESTBED, "exec", "--lab", pid, "b", "--", "sh", "-c", "exit 5"])
        assert code.returncode == 5
    finally:
        up.terminate()
        up.wait(10)
        up.stdout.close()


def test_an_ordinary_user_runs_the_same_labs() -> None:
    if is_one_already():
        return
    python = readable_python()
    place = Path("/tmp") / f"testbed-user-{os.getpid()}"
    env = copy_for_everybody(place)
    try:
        done = subprocess.run(
            [python, "-m", "testbed", "run", "--peer", "ice", "-b", "symmetric", "-o", "out"],
            cwd=place,
            env=env,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            **ordinary_user(),  # type: ignore[call-overload]
        )
    finally:
        subprocess.run(["rm", "-rf", str(place)], check=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass: measured relayed" in done.stdout
