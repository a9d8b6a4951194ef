"""What a peer reaches from inside: its own node and its own files, and nothing else."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from engine import require_engine
from ordinary import ROOT, copy_for_everybody, is_one_already, ordinary_user, readable_python

from testbed.lab import kernel, sandbox
from testbed.lab.forked import forked
from testbed.lab.isolation.powers import DATA, FILE_SIZE, FILES, PROCESSES
from testbed.lab.isolation.view import _View, prepared
from testbed.lab.namespaces import NamespaceLab, Namespaces
from testbed.model.lab import Capability, Confinement
from testbed.model.presets import BARE, two_homes
from testbed.nat.load import catalogue
from testbed.plan.planner import plan

DEADLINE = 100.0
DRIVER = Path("tests/conformance/reach.py")
SECRET = "CI_SECRET_TOKEN"
ENVIRONMENT = {"HOME", "LANG", "LANGUAGE", "PATH", "TMPDIR", "TZ", "USER"}
OWN = {"/dev/shm", "/run", "/tmp"}
NO_RIGHTS = dict.fromkeys(("CapAmb", "CapBnd", "CapEff", "CapPrm"), "0" * 16)

Reached = Mapping[str, Any]


def reached(*words: str, python: str = sys.executable, root: Path = ROOT, **how: Any) -> Reached:
    command = [python, str(root / DRIVER), *words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE, check=False, cwd=root, **how
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=["this user", "an ordinary user"])
def found(request: pytest.FixtureRequest) -> Iterator[Reached]:
    if request.param == "this user":
        yield reached("namespaces")
        return
    if is_one_already():
        pytest.skip("this user is an ordinary one")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        place = Path(folder, "testbed")
        how = {"env": copy_for_everybody(place, "tests"), **ordinary_user()}
        yield reached("namespaces", python=readable_python(), root=place, **how)


def test_the_probe_finds_what_there_is_to_find() -> None:
    """The negative control: a process of the harness's own reaches all of it."""
    free = reached("namespaces", "free")
    assert SECRET in free["environment"]
    assert SECRET in free["first environment"]
    assert free["processes"].count("sleep") >= 2  # those of other tests are in the sandbox, too
    assert free["memory"]
    assert free["networks"]
    assert {"see the results", "attach shared memory", "open a packet socket"} <= {*free["can"]}


def test_a_peer_has_an_environment_by_allow_list(found: Reached) -> None:
    names = {name for name in found["environment"] if not name.startswith("LC_")}
    assert names <= ENVIRONMENT
    assert SECRET not in found["first environment"]


def test_a_peer_sees_no_process_but_its_own(found: Reached) -> None:
    assert found["processes"] == ["python3"]
    assert found["memory"] == found["traced"] == []


def test_a_peer_sees_no_network_but_its_nodes_and_no_socket_of_others(found: Reached) -> None:
    assert found["networks"] == found["descriptors"] == []
    assert found["listeners"] == found["unix sockets"] == []


def test_a_peer_sees_its_program_and_the_system_alone(found: Reached) -> None:
    files = [one for one in found["files"] if not one.startswith("/dev/")]
    assert [Path(one).name for one in files] == ["reach_probe.py"]


def test_a_peer_writes_nowhere_but_into_folders_that_end_with_it(found: Reached) -> None:
    assert set(found["writable"]) == OWN


def test_a_peer_is_nobody_and_has_no_rights(found: Reached) -> None:
    assert found["users"][:2] == [65534, 65534]
    assert found["name"] == "a"
    assert {name: found["status"][name] for name in NO_RIGHTS} == NO_RIGHTS
    assert found["status"]["NoNewPrivs"] == "1"


def test_a_peer_can_do_nothing_that_takes_a_right(found: Reached) -> None:
    assert found["can"] == []


def test_a_peer_has_limits_that_it_cannot_raise(found: Reached) -> None:
    assert found["limits"] == {
        "RLIMIT_NPROC": [PROCESSES, PROCESSES],
        "RLIMIT_NOFILE": [FILES, FILES],
        "RLIMIT_FSIZE": [FILE_SIZE, FILE_SIZE],
        "RLIMIT_DATA": [DATA, DATA],
        "RLIMIT_CORE": [0, 0],
    }


@pytest.fixture(scope="module")
def lab() -> Iterator[NamespaceLab]:
    steps = plan(two_homes("linux-home", "full-cone", link=BARE), catalogue())
    with Namespaces().start(steps) as started:
        yield started


@pytest.mark.parametrize("end", ["by itself", "by the lab"])
def test_what_a_peer_leaves_behind_ends_with_it(end: str, lab: NamespaceLab) -> None:
    """A daemon that left its group, its session and its parent."""
    then = "exit 3" if end == "by itself" else "sleep 1000"
    script = f"setsid -f sleep 1000; echo begun; {then}"
    process = lab.spawn("a", ["sh", "-c", script], Confinement())
    assert process.stdout.readline() == b"begun\n"
    if end == "by the lab":
        assert (
            len(kernel.processes_in(lab.entrance("a")[0])) >= 2
        )  # the daemon may not be `sleep` yet
        process.kill()
    assert process.wait(10.0) == (3 if end == "by itself" else -signal.SIGKILL)
    assert kernel.processes_in(lab.entrance("a")[0]) == {}


def test_a_declared_folder_is_seen_and_not_changed(tmp_path: Path, lab: NamespaceLab) -> None:
    shown, hidden = tmp_path / "shown", tmp_path / "hidden"
    for folder in (shown, hidden):
        folder.mkdir()
        (folder / "file").write_text("words")
        (folder / "file").chmod(0o666)
    script = f"cat {shown}/file; cat {hidden}/file; echo more >> {shown}/file; exit 0"
    process = lab.spawn("a", ["sh", "-c", script], Confinement((shown,)))
    assert process.stdout.read() == b"words"
    complaints = process.stderr.read().decode()
    assert "No such file" in complaints
    assert "Read-only" in complaints
    assert process.wait(10.0) == 0


def test_a_folder_below_var_tmp_is_seen_and_nothing_is_made_in_the_machines_tmp(
    lab: NamespaceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/var/tmp is a link in a view: what is made through it from outside would be elsewhere."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        Path(name, "here").mkdir()
        Path(name, "shown").write_text("words")
        monkeypatch.chdir(Path(name, "here"))
        shown = Confinement((Path(name, "shown"),))
        process = lab.spawn("a", ["sh", "-c", f"cat ../shown {name}/shown"], shown)
        assert process.stdout.read() == b"wordswords", process.stderr.read()
        assert process.wait(10.0) == 0
        assert not Path("/tmp", Path(name).name).exists()


def test_a_link_in_a_view_that_leads_out_of_it_is_followed_by_nobody(tmp_path: Path) -> None:
    view = _View(tmp_path / "root")
    view.root.mkdir()
    (view.root / "away").symlink_to(tmp_path)
    with pytest.raises(OSError, match="leads out of the view"):
        view.folder(Path("/away/made"))
    assert not (tmp_path / "made").exists()


def test_a_declared_capability_is_had_and_no_other(lab: NamespaceLab) -> None:
    words = (
        "grep CapEff /proc/self/status; ip link add probe0 type dummy || ip link set lo mtu 1500"
    )
    admin = Confinement(capabilities=(Capability.NET_ADMIN,))
    process = lab.spawn("b", ["sh", "-ec", words], admin)
    assert process.stdout.read().split() == [b"CapEff:", b"0000000000001000"]
    assert process.wait(10.0) == 0, process.stderr.read()


def test_low_ports_take_a_declaration(lab: NamespaceLab) -> None:
    words = ["/usr/bin/python3", "-c", "import socket; socket.create_server(('', 443))"]
    refused = lab.spawn("server", words, Confinement())
    assert refused.wait(10.0) == 1
    granted = Confinement(capabilities=(Capability.NET_BIND_SERVICE,))
    process = lab.spawn("server", words, granted)
    assert process.wait(10.0) == 0, process.stderr.read()


@pytest.fixture(scope="module")
def contained() -> Reached:
    require_engine()
    return reached("docker")


def test_a_peer_in_a_container_reaches_no_more(contained: Reached) -> None:
    names = {name for name in contained["environment"] if not name.startswith("LC_")}
    assert names <= ENVIRONMENT | {"PYTHONPATH"}
    assert contained["processes"] == ["python3", "python3"]  # the agent, which is its parent
    assert contained["memory"] == contained["traced"] == contained["networks"] == []
    assert contained["descriptors"] == []
    # The agent's connection, whose listener and name are gone.
    assert {Path(one).name for one in contained["unix sockets"]} <= {"lab.sock"}
    assert set(contained["writable"]) <= OWN | {"/dev/mqueue"}  # of its ipc namespace
    assert {name: contained["status"][name] for name in NO_RIGHTS} == NO_RIGHTS
    assert contained["status"]["NoNewPrivs"] == "1"
    assert contained["can"] == []


def test_workers_share_one_view_of_files_and_remove_none_of_it() -> None:
    """Made again for each cell it would cost more than the cell."""

    def ask(_: int) -> bytes:
        return bytes(prepared(Confinement(), Path.cwd()))

    roots = {output for _, output, _ in forked([ask] * 3, 2, 30.0)}
    (root,) = map(Path, map(os.fsdecode, roots))
    assert (root / "usr/bin").is_dir()
    assert not root.is_relative_to(sandbox.inner_scratch())


def test_a_view_that_was_made_in_another_mount_namespace_is_made_again() -> None:
    """Its folder is there for all, and what is mounted on it is not."""
    wanted = Confinement((Path(__file__),))

    def apart(_: int) -> bytes:
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
        return bytes(prepared(wanted, Path.cwd()))

    ((_, output, _),) = forked([apart], 1, 30.0)
    root = Path(os.fsdecode(output))
    assert root.is_dir()
    assert not root.is_mount()
    assert prepared(wanted, Path.cwd()) == root
    assert (root / "usr/bin").is_dir()


def test_a_worker_in_whose_scratch_something_is_mounted_leaves_that_alone() -> None:
    """What is mounted there may be anybody's: a removal would go through the mount."""

    def mount_there(_: int) -> bytes:
        place = sandbox.scratch() / "there"
        place.mkdir()
        kernel.mount("testbed", str(place), "tmpfs", 0)
        (place / "kept").touch()
        return bytes(place)

    ((_, output, _),) = forked([mount_there], 1, 30.0)
    place = Path(os.fsdecode(output))
    assert (place / "kept").exists()
    kernel.unmount(str(place))


OUTSIDE_OF_USR = """
import sys
from pathlib import Path
from testbed.lab import sandbox
sandbox.enter()
from testbed.lab.forked import forked
from testbed.lab.isolation import confine
from testbed.lab.namespaces import Namespaces
from testbed.model.lab import Confinement
from testbed.model.presets import BARE, two_homes
from testbed.nat.load import catalogue
from testbed.plan.planner import plan

real = confine.enter

class Nothing:
    def find_spec(self, name, *_):
        raise ImportError(name)

def enter(*words):
    switches = real(*words)
    sys.meta_path.insert(0, Nothing())
    return switches

confine.enter = enter
for _ in forked([lambda _: bytes(confine.root_of(Confinement()))], 1, 30.0):
    pass  # the view is made, and by another process
with Namespaces().start(plan(two_homes("linux-home", "full-cone", link=BARE), catalogue())) as lab:
    process = lab.spawn("a", ["true"], Confinement())
    print(process.wait(10.0), process.stderr.read().decode())
"""


def test_an_interpreter_outside_of_usr_imports_nothing_within_the_confinement() -> None:
    """pyenv's, uv's or conda's: its files are not there any more, encodings among them."""
    command = [sys.executable, "-c", OUTSIDE_OF_USR]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE, check=False, cwd=ROOT
    )
    assert (done.stdout.strip(), done.returncode) == ("0", 0), done.stdout + done.stderr
