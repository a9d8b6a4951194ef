"""What the lab costs, beside references: up and down, forwarding, the matrix."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from socket import AF_INET, AF_PACKET, SOCK_DGRAM, SOCK_RAW

from testbed.bench.table import Results, median_ms, say
from testbed.capture.recorder import record
from testbed.errors import TestbedError
from testbed.lab import kernel, sandbox
from testbed.lab.namespaces import NamespaceLab, Namespaces
from testbed.model.plan import LoadRules, Plan, SetSysctls
from testbed.model.presets import BARE, two_homes
from testbed.model.result import summarize
from testbed.nat.load import catalogue, named
from testbed.plan.planner import FORWARDING, plan
from testbed.run.matrix import run_matrix
from testbed.studies.punch.selection import NINE, Selection

FLOOD_SECONDS = 1.5
_SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's mininet is a package of the system's Python


def measure(results: Results) -> bool:
    """Every benchmark of the lab; True when it is within its two promised ratios."""
    kept = _up_and_down(results)
    _forwarding(results)
    _matrix(results)
    return kept


# The five-node lab with two NATs


def five_nodes() -> Plan:
    """a, nat-a, core, nat-b, b; bare links."""
    whole = two_homes("port-restricted", "symmetric", link=BARE)
    without_server = tuple(host for host in whole.hosts if host.name != "server")
    return plan(replace(whole, hosts=without_server), catalogue())


def _up_and_down(results: Results) -> bool:
    steps = five_nodes()

    def ours() -> None:
        with Namespaces().start(steps):
            pass

    mine = median_ms(ours)
    say(results, "lab of 5 nodes and 2 NATs, up and down", mine, "ms", "this testbed")
    _compare_with_docker(results, mine)  # before its socket is hidden
    _hide_run()
    batch = median_ms(lambda: _ip_batch(steps))
    say(results, "same, `ip -batch` and the same rule loads", batch, "ms")
    kept = mine <= 2 * batch
    say(results, "  testbed / ip -batch", mine / batch, "x", "promised: at most 2")
    net = _mininet(steps)
    if net is None:
        print("  mininet: not here (apt-get install mininet)")
    else:
        say(results, "same, Debian's mininet and the same rule loads", net, "ms")
        say(results, "  mininet / testbed", net / mine, "x", "promised: at least 5")
        kept = kept and net >= 5 * mine
    return kept


def _compare_with_docker(results: Results, mine: float) -> None:
    if shutil.which("docker") is None or _quiet(["docker", "info"]):
        print("  Docker: not here (no engine runs)")
        return
    engine = _docker()
    say(results, "same in Docker, 5 containers, 4 networks, no rules", engine, "ms")
    say(results, "  Docker / testbed", engine / mine, "x")


def _quiet(command: list[str]) -> int:
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode
    except subprocess.TimeoutExpired:
        return 1


def _docker() -> float:
    """The same nodes and wires as containers and internal networks, up and down, in ms.

    The image holds `sleep` and its libraries, taken from this machine: nothing is pulled.
    """
    tag, mark = "testbed-bench:latest", f"testbed-bench-{os.getpid()}"
    program = str(shutil.which("sleep"))
    libraries = re.findall(r"(/\S+\.so\S*)", _output(["ldd", program]))
    packed = subprocess.run(
        ["tar", "-ch", program, *libraries], capture_output=True, check=True, timeout=20
    ).stdout
    subprocess.run(
        ["docker", "import", "-", tag], input=packed, capture_output=True, check=True, timeout=60
    )
    nodes = ("a", "nat-a", "core", "nat-b", "b")
    names = [f"{mark}-{node}" for node in nodes]
    networks = [f"{mark}-{one}-{other}" for one, other in pairwise(nodes)]

    def once() -> None:
        for network in networks:
            _output(["docker", "network", "create", "--internal", network])
        for index, name in enumerate(names):
            first = networks[min(index, len(networks) - 1)]
            _output(["docker", "run", "-d", "--name", name, "--network", first, tag, program, "99"])
            if 0 < index < len(networks):
                _output(["docker", "network", "connect", networks[index - 1], name])
        _output(["docker", "rm", "-f", *names])
        _output(["docker", "network", "rm", *networks])

    try:
        return median_ms(once, 3)
    finally:
        _quiet(["docker", "rm", "-f", *names])
        _quiet(["docker", "network", "rm", *networks])
        _quiet(["docker", "rmi", tag])


def _output(command: list[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", timeout=60, check=False
    )
    if done.returncode:
        raise TestbedError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _ip_batch(steps: Plan) -> None:
    """Namespaces and veths by one process, no addresses, then one process a rule set."""
    nodes = ["a", "nat-a", "core", "nat-b", "b"]
    lines = [f"netns add {node}" for node in nodes]
    for one, other in pairwise(nodes):
        lines.append(f"link add to-{other} netns {one} type veth peer name to-{one} netns {other}")
    _feed(["ip", "-batch", "-"], "\n".join(lines))
    for rules in steps.of(LoadRules):
        _feed(["ip", "netns", "exec", rules.node, "nft", "-f", "-"], rules.text)
    _feed(["ip", "-batch", "-"], "\n".join(f"netns del {node}" for node in nodes))


def _feed(command: list[str], text: str) -> None:
    done = subprocess.run(
        command, input=text, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    if done.returncode:
        raise TestbedError(f"{' '.join(command)}: {done.stderr.strip()}")


_MININET = """
import sys, time, subprocess, statistics
from mininet.net import Mininet
from mininet.link import Link
from mininet.log import setLogLevel
setLogLevel('error')
rules = dict(zip(('nat-a', 'nat-b'), sys.argv[2:]))
times = []
for _ in range(int(sys.argv[1])):
    start = time.perf_counter()
    net = Mininet(controller=None, link=Link, build=False)
    names = ['a', 'nat-a', 'core', 'nat-b', 'b']
    hosts = [net.addHost(name, ip=None) for name in names]
    for one, other in zip(hosts, hosts[1:]):
        net.addLink(one, other)
    net.build()
    for name, path in rules.items():
        net.get(name).cmd('nft -f ' + path)
    net.stop()
    times.append((time.perf_counter() - start) * 1e3)
print(statistics.median(times))
"""


def _mininet(steps: Plan) -> float | None:
    if _quiet([_SYSTEM_PYTHON, "-c", "import mininet"]):
        return None
    with tempfile.TemporaryDirectory(dir=sandbox.scratch()) as folder:
        paths = []
        for rules in steps.of(LoadRules):
            path = Path(folder, rules.node)
            path.write_text(rules.text, encoding="utf-8")
            paths.append(str(path))
        command = [_SYSTEM_PYTHON, "-c", _MININET, "5", *paths]
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
    if done.returncode:
        print(f"  mininet failed: {done.stderr.strip().splitlines()[-1:]}")
        return None
    return float(done.stdout)


# Forwarding


def _forwarding(results: Results) -> None:
    steps = plan(two_homes("port-restricted", "symmetric", link=BARE), catalogue())
    plain = replace(
        steps,
        steps=tuple(
            SetSysctls(step.node, (FORWARDING,)) if isinstance(step, SetSysctls) else step
            for step in steps.steps
            if not isinstance(step, LoadRules)
        ),
    )
    with Namespaces().start(plain) as lab:
        routed = _flood(lab)
    with Namespaces().start(steps) as lab:
        natted = _flood(lab)
    with tempfile.TemporaryDirectory() as folder, Namespaces().start(steps) as lab:
        with record(
            lambda v: lab.socket(v.node, AF_PACKET, SOCK_RAW),
            steps.vantages,
            Path(folder, "flood.pcapng"),
            ring_bytes=2**22,
        ) as recorder:
            captured = _flood(lab)
        dropped = sum(count.dropped for count in recorder.recording.counts)
    say(results, "datagrams a second, plain routing", routed / 1e3, "k")
    say(results, "datagrams a second, NAT", natted / 1e3, "k", f"{natted / routed:.2f} of routing")
    note = f"{captured / routed:.2f} of routing, {dropped} lost by the capture"
    say(results, "datagrams a second, NAT and capture", captured / 1e3, "k", note)


def _flood(lab: NamespaceLab) -> float:
    """Datagrams from a to the server, one sender: delivered per second.

    They are small: all that is recorded of them on all interfaces has to fit into one recording.
    """
    server = str(lab.plan.address("server"))
    with (
        lab.socket("server", AF_INET, SOCK_DGRAM) as sink,
        lab.socket("a", AF_INET, SOCK_DGRAM) as source,
    ):
        sink.bind((server, 9000))
        sink.setblocking(False)
        source.connect((server, 9000))
        payload, sent, received = bytes(100), 0, 0
        start = time.perf_counter()
        while time.perf_counter() - start < FLOOD_SECONDS:
            for _ in range(32):
                source.send(payload)
            sent += 32
            received += _drain(sink)
        return received / (time.perf_counter() - start)


def _drain(sink: object) -> int:
    count = 0
    try:
        while True:
            sink.recv(2000)  # type: ignore[attr-defined]
            count += 1
    except BlockingIOError:
        return count


# The matrix


def _matrix(results: Results) -> None:
    profiles = {profile.name: profile for profile in named(NINE)}
    for peer in ("punch-udp", "ice"):
        cells = Selection(NINE, NINE, [peer], controls=False).cells()
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            rows = run_matrix(
                cells,
                profiles,
                Namespaces(),
                Path(folder),
                jobs=8,
                facts=None,
                progress=lambda *_: None,
            )
            seconds = time.monotonic() - start
        summary = summarize(rows)
        note = f"{summary.passed} of {summary.total} as predicted"
        say(results, f"matrix of 81 cells, {peer}", seconds, "s", note)


def _hide_run() -> None:
    """`ip netns` keeps names under /run: give it a /run of its own."""
    kernel.mount("testbed", "/run", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV)
