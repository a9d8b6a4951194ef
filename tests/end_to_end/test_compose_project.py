"""A rendered project by hand, as its README says: up, looked into, certified, down."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine import docker, own, require_engine

# Each of xdist's workers has a project, and addresses, of its own.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
NUMBER = 201 + WORKER % 50
SERVER = (f"29.{NUMBER}.0.132", f"29.{NUMBER}.0.133")
PROJECT = f"testbed-compose-test-{os.getpid()}"
# Says where datagrams to each of its addresses come from.
LISTEN = """
import socket, sys
ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in sys.argv[1:]]
for end, address in zip(ends, sys.argv[1:]):
    end.bind((address, 9000))
    end.settimeout(20)
print("ready", flush=True)
for end in ends:
    print(*end.recvfrom(9)[1])
"""
SEND = """
import socket, sys
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for address in sys.argv[1:]:
    end.sendto(b"x", (address, 9000))
"""
TESTBED = [sys.executable, "-m", "testbed"]


def compose(folder: Path, *words: str) -> str:
    command = ["docker-compose", "-p", PROJECT, "-f", str(folder / "compose.yaml"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    require_engine()
    if shutil.which("docker-compose") is None:
        pytest.skip("NO COMPOSE: docker-compose is not installed")
    folder = tmp_path_factory.mktemp("compose") / "project"
    words = ["compose", "render", "two-homes", "-a", "linux-home", "-b", "symmetric"]
    words += ["--certifiable", "--number", str(NUMBER), "-o", str(folder)]
    subprocess.run([*TESTBED, *words], check=True, capture_output=True, timeout=60)
    try:
        compose(folder, "up", "-d")
        yield folder
    finally:
        compose(folder, "down", "-t", "1")
    filters = ("-q", "--filter", f"label=com.docker.compose.project={PROJECT}")
    assert docker("ps", "-a", *filters) == docker("network", "ls", *filters) == ""


def seen(folder: Path, sender: str) -> list[list[str]]:
    """Address and port of ``sender``, as each address of the server sees them."""
    words = ("-p", PROJECT, "-f", str(folder / "compose.yaml"), "exec", "-T", "-u", "node")
    listener = subprocess.Popen(
        ["docker-compose", *words, "server", "python3", "-uc", LISTEN, *SERVER],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "ready\n"
        compose(folder, "exec", "-T", "-u", "node", sender, "python3", "-c", SEND, *SERVER)
        return [line.split() for line in listener.stdout]


def test_the_home_router_keeps_its_mapping(project: Path) -> None:
    one, other = seen(project, "a")
    assert one == other
    assert one[0] == f"29.{NUMBER}.0.2"


def test_the_symmetric_router_has_one_mapping_for_each_destination(project: Path) -> None:
    one, other = seen(project, "b")
    assert one[0] == other[0] == f"29.{NUMBER}.0.67"
    assert one[1] != other[1]


def test_no_node_has_a_route_of_the_engines_and_the_host_no_address(project: Path) -> None:
    routes = compose(project, "exec", "-T", "a", "ip", "route", "show", "default")
    assert routes.split()[:3] == ["default", "via", f"10.{NUMBER}.0.1"]
    core = compose(project, "exec", "-T", "core", "ip", "route", "show", "default")
    assert core.startswith("blackhole default")
    names = docker("network", "ls", "-q", "--filter", f"label=com.docker.compose.project={PROJECT}")
    for network in names.split():
        form = '{{.Internal}} {{index .Options "com.docker.network.bridge.inhibit_ipv4"}}'
        assert docker("network", "inspect", "--format", form, network) == "true true"


# Certified.  The negative controls come first.


def certify(folder: Path, scratch: Path | None = None) -> tuple[int, dict[str, str], str]:
    """The exit code, each router's verdict with the axes that differ, and the errors."""
    command = [*TESTBED, "compose", "certify", str(folder), "--json"]
    env = os.environ | ({"TMPDIR": str(scratch)} if scratch else {})
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=env)
    found = {}
    for certificate in json.loads(done.stdout or "[]"):
        axes = [row["axis"] for row in certificate["rows"] if not row["agrees"]]
        router = certificate["profile"].partition(":")[0]
        found[router] = " ".join([certificate["verdict"], *axes])
    return done.returncode, found, done.stderr


def test_a_route_changed_by_hand_is_no_closed_project(project: Path) -> None:
    route = ("exec", "-T", "core", "ip", "route", "replace")
    compose(project, *route, "default", "via", f"29.{NUMBER}.0.34")
    try:
        code, found, said = certify(project)
    finally:
        compose(project, *route, "blackhole", "default")
    assert (code, found) == (3, {})
    assert f"core has an unplanned route to everywhere via 29.{NUMBER}.0.34" in said


def test_a_stranger_on_a_network_of_the_projects_is_named(project: Path) -> None:
    name = f"{PROJECT}-intruder"
    words = ("--name", name, "--network", f"{PROJECT}_nat-a-wan", "--entrypoint", "sleep")
    docker("run", "-d", *words, "testbed-base", "1000")
    try:
        code, found, said = certify(project)
    finally:
        docker("rm", "-f", name)
    assert (code, found) == (3, {})
    assert f"{name} is on {PROJECT}_nat-a-wan, and of no node" in said


def test_a_rule_changed_by_hand_is_measured(project: Path) -> None:
    rule = ("FORWARD", "-i", "wan", "-j", "ACCEPT")
    compose(project, "exec", "-T", "nat-a", "iptables", "-I", *rule)
    try:
        code, found, said = certify(project)
    finally:
        compose(project, "exec", "-T", "nat-a", "iptables", "-D", *rule)
    assert (code, found) == (1, {"nat-a": "FAIL lan_exposed", "nat-b": "PASS"}), said


def test_the_project_is_certified_and_nothing_of_that_stays(project: Path, tmp_path: Path) -> None:
    code, found, said = certify(project, tmp_path)
    assert (code, found) == (0, {"nat-a": "PASS", "nat-b": "PASS"}), said
    assert not own(tmp_path)


def test_a_project_that_is_not_up_is_said_to_be_down(tmp_path: Path) -> None:
    require_engine()
    words = [*TESTBED, "compose", "render", "two-homes", "-o", str(tmp_path)]
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    code, found, said = certify(tmp_path)
    assert (code, found) == (4, {})
    assert f"remedy: docker-compose -f {tmp_path}/compose.yaml up -d" in said
