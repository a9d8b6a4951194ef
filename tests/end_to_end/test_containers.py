"""Labs of containers: closed, without privilege, and gone after every death of a run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from engine import docker, inspected, labelled, own, require_engine

from testbed.capture.reader import read
from testbed.lab.audit import require_closed
from testbed.lab.containers.lab import ContainerLab, Containers
from testbed.model.packet import NOWHERE
from testbed.model.plan import AddNode
from testbed.model.presets import BARE, two_homes
from testbed.model.verdict import Judgement
from testbed.nat.load import catalogue
from testbed.plan.planner import plan
from testbed.run.cell import run_cell
from testbed.stacks.registry import adapter
from testbed.studies.punch.cell import Cell
from testbed.words import sentence

CATALOGUE = catalogue()
TESTBED = ["env", "-u", "TESTBED_SANDBOX", sys.executable, "-m", "testbed"]
KILLS = 20
# Asks for each address by UDP and TCP, and says which answered.
PROBE = """
import socket, sys
for address in sys.argv[1:]:
    for port in (22, 53, 80, 2375, 9000):
        try:
            socket.create_connection((address, port), 0.05).close()
        except ConnectionRefusedError:
            print(address, port, "is there")
        except OSError:
            pass
        else:
            print(address, port, "answers")
"""


@pytest.fixture(autouse=True)
def _engine() -> None:
    require_engine()


@pytest.fixture
def lab() -> Iterator[ContainerLab]:
    with Containers().start(plan(two_homes("linux-home", "symmetric", link=BARE), CATALOGUE)) as up:
        yield up


def nodes(lab: ContainerLab) -> list[str]:
    return [step.node for step in lab.plan.of(AddNode)]


def said(lab: ContainerLab, node: str, *words: str) -> str:
    process = lab.spawn(node, words)
    text = process.stdout.read().decode()
    assert process.wait(20) == 0, process.stderr.read()
    return text


def outside() -> list[str]:
    """The host as containers see it, by the engine's bridges, and what lies beyond."""
    networks = docker("network", "ls", "-q").split()
    form = "{{range .IPAM.Config}}{{.Gateway}} {{end}}"
    bridges = docker("network", "inspect", "--format", form, *networks).split()
    return [*bridges, "172.17.0.1", "203.0.113.1"]


def test_no_node_reaches_the_host_the_bridge_or_beyond(lab: ContainerLab) -> None:
    require_closed(lab)
    for node in nodes(lab):
        assert said(lab, node, "python3", "-c", PROBE, *outside()) == "", node


def test_the_probe_finds_what_is_there(lab: ContainerLab) -> None:
    """The negative control: the same probe towards a host of the lab."""
    server = str(lab.plan.address("server"))
    assert "is there" in said(lab, "a", "python3", "-c", PROBE, server)


def test_the_engine_gives_no_network_no_route_and_no_rule(lab: ContainerLab) -> None:
    for node in nodes(lab):
        networks = inspected(lab.container(node))["NetworkSettings"]["Networks"]
        assert list(networks) == ["none"]
        if not node.startswith("nat-"):
            assert lab.run(node, ["nft", "list", "ruleset"]) == b"", node


def test_only_routers_may_configure_a_network_and_hosts_may_nothing(lab: ContainerLab) -> None:
    for node, user, mask in (("nat-a", "0", (1 << 12) | (1 << 13)), ("a", "1000", 0)):
        status = said(lab, node, "cat", "/proc/self/status")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["Uid"].split()[0] == user
        assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == mask
        assert fields["NoNewPrivs"] == "1"


def test_a_stack_runs_in_its_container_and_the_engine_logs_it(lab: ContainerLab) -> None:
    process = lab.spawn("a", adapter("punch-udp").command())
    running = docker("exec", lab.container("a"), "cat", f"/proc/{process.pid}/cmdline")
    assert running.split("\0")[1:4] == ["-m", "testbed.stacks", "testbed.stacks.punch_udp"]
    process.kill()
    process.wait(10)
    assert f"{process.pid}: python3 -m testbed.stacks testbed.stacks.punch_udp" in lab.logs("a")


def test_a_node_can_be_given_an_image_of_ones_own() -> None:
    steps = plan(two_homes(link=BARE), CATALOGUE)
    with Containers({"a": "testbed-coturn"}).start(steps) as lab:
        assert inspected(lab.container("a"))["Config"]["Image"] == "testbed-coturn"
        assert inspected(lab.container("b"))["Config"]["Image"] == "testbed-peer"


def test_a_capture_holds_addresses_of_the_plan_only(tmp_path: Path) -> None:
    cell = Cell("ice", ("symmetric", "port-restricted"), "two-homes")
    result = run_cell(cell, CATALOGUE, Containers(), tmp_path)
    assert result.verdict.judgement is Judgement.PASS, sentence(result.verdict.because)
    owners = plan(cell.build(), CATALOGUE).owners
    packets = read(tmp_path / "capture.pcapng")
    assert len(packets) > 20
    seen = {end.address for packet in packets for end in (packet.source, packet.destination)}
    assert seen <= {*owners, NOWHERE.address}


# What a run that dies leaves


@pytest.fixture
def strangers() -> Iterator[dict[str, str]]:
    """A container, a network and a volume of somebody else: what, and when it was made."""
    name = f"stranger-{os.getpid()}"
    with ExitStack() as stack:
        words = ("--network", "none", "--label", "testbed=no", "--entrypoint", "sleep")
        docker("run", "-d", "--name", name, *words, "testbed-base", "1000")
        stack.callback(docker, "rm", "-f", name)
        docker("volume", "create", name)
        stack.callback(docker, "volume", "rm", name)
        yield {"container": name, "since": str(inspected(name)["State"])}


@pytest.mark.timeout(900)
def test_20_runs_killed_at_random_moments_leave_nothing_after_a_wipe(
    strangers: dict[str, str], tmp_path: Path
) -> None:
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    env = os.environ | {"TMPDIR": str(tmp_path)}
    for number in range(KILLS):
        words = (
            ["up"] if number % 3 == 0 else ["run", "--peer", "punch-udp", "-o", str(tmp_path / "o")]
        )
        process = subprocess.Popen(
            [*TESTBED, *words, "--backend", "docker"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env,
        )  # fmt: skip
        time.sleep(chance.uniform(0.3, 5.0))
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    wiped = subprocess.run([*TESTBED, "wipe"], capture_output=True, text=True, env=env, timeout=120)
    assert wiped.returncode == 0, wiped.stderr
    for what in ("container", "network", "volume"):
        assert not own(tmp_path, what), f"seed {seed}"
    assert not list(tmp_path.glob("testbed-containers-*/*")), f"seed {seed}"
    assert str(inspected(strangers["container"])["State"]) == strangers["since"]
    assert strangers["container"] in docker("volume", "ls", "-q").split()


def test_a_wipe_names_what_it_removes_and_leaves_what_lacks_a_label(
    strangers: dict[str, str], tmp_path: Path
) -> None:
    """The control of the test above: here something is left for sure.

    It is another user's: what is ours may be removed by any run that another test starts meanwhile.
    """
    folder, name = tmp_path / "gone", f"left-{os.getpid()}"
    left = {"run": "r", "user": str(os.getuid() + 1), "folder": str(folder)}
    labels = [word for key, value in left.items() for word in ("--label", f"testbed.{key}={value}")]
    docker("create", "--name", name, "--network", "none", *labels, "testbed-base")
    docker("network", "create", "--internal", *labels, name)
    docker("volume", "create", *labels, name)
    mine, everybodys = (
        subprocess.run([*TESTBED, *words], capture_output=True, text=True, timeout=120).stdout
        for words in (["wipe"], ["wipe", "--all"])
    )
    assert name not in mine
    for kind in ("container", "network", "volume"):
        assert f"removed {kind} {name}" in everybodys
        assert name not in labelled(kind)
    assert str(inspected(strangers["container"])["State"]) == strangers["since"]


def test_the_doctor_tries_a_container() -> None:
    done = subprocess.run([*TESTBED, "doctor", "--json"], capture_output=True, text=True)
    found = {check["name"]: check for check in json.loads(done.stdout)}
    assert found["containers"]["ok"], found


def test_a_lab_that_runs_is_not_wiped_by_another_run(lab: ContainerLab) -> None:
    subprocess.run([*TESTBED, "wipe"], capture_output=True, check=True, timeout=120)
    assert said(lab, "a", "echo", "here") == "here\n"
    assert lab.container("a")


def test_without_an_engine_the_command_says_how_to_start_one(tmp_path: Path) -> None:
    env = os.environ | {"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    words = [*TESTBED, "run", "--backend", "docker", "-o", str(tmp_path / "run")]
    done = subprocess.run(words, capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 4
    assert "no Docker engine answers at" in done.stderr
    assert ".ci/engine start" in done.stderr
    assert "Traceback" not in done.stderr
