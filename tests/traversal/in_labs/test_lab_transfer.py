"""A hundred megabytes between two homes, through all that happens to a path (issue 17).

The README's own program runs. The transfer begins relayed and goes direct; then the relay that
brought them together dies, the sender's router reboots and forgets, and the sender moves to
another network behind another router.
"""

import hashlib
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.lab.namespaces import Namespaces
from testbed.lab.network_faults import apply
from testbed.model.lab import Lab, Process
from testbed.model.network_fault import NatReboot, Roaming, dock
from testbed.model.topology import INTERNET, Host, Link, Network, Router, Scope, Topology
from testbed.nat.load import catalogue
from testbed.plan.planner import plan

from ..readme_program import write_program

MIB = 2**20
SIZE = 100 * 10**6
PROFILE = "port-restricted"
ACCESS = Link.both(delay_ms=10.0)
LISTEN = {"tcp": "/ip4/0.0.0.0/tcp/4001", "udp": "/ip4/0.0.0.0/udp/4001/quic-v1"}
pytestmark = pytest.mark.timeout(400)


def homes() -> Topology:
    networks, routers, hosts = [Network(INTERNET, Scope.PUBLIC)], [], []
    for name in ("a", "b", "c"):
        networks.append(Network(f"lan-{name}", Scope.PRIVATE))
        routers.append(Router(f"nat-{name}", INTERNET, f"lan-{name}", PROFILE, link=ACCESS))
        waits = dock("lan-c") if name == "c" else name  # the place that is taken over there
        hosts.append(Host(waits, f"lan-{name}"))
    hosts += [Host(name, INTERNET, link=ACCESS) for name in ("relay1", "relay2")]
    return Topology("transfer", tuple(networks), tuple(routers), tuple(hosts))


class Program:
    """One role of the README's program in a node of the lab."""

    def __init__(self, lab: Lab, node: str, program: Path, *words: str) -> None:
        self.node = node
        self.process: Process = lab.spawn(node, [sys.executable, str(program), *words])
        self.lines: list[str] = []
        self._buffer = b""

    def wait(self, timeout: float, fits: Callable[[str], bool]) -> str:
        """The first line from now on that fits."""
        deadline = time.monotonic() + timeout
        while True:
            line = self._next(deadline)
            self.lines.append(line)
            if fits(line):
                return line

    def word(self, word: str, timeout: float = 30.0) -> str:
        return self.wait(timeout, lambda line: line.startswith(word)).removeprefix(word).strip()

    def sent(self, count: int, path: str, timeout: float = 120.0) -> None:
        """Until it has sent so many bytes, and goes by this path."""

        def there(line: str) -> bool:
            words = line.split()
            return words[0] == "sent" and int(words[1]) >= count and words[2] == path

        self.wait(timeout, there)

    def _next(self, deadline: float) -> str:
        while b"\n" not in self._buffer:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self.process.stdout], [], [], left)[0]:
                raise TimeoutError(f"{self.node} is silent; last: {self.lines[-8:]}")
            data = self.process.stdout.read(65536)
            assert data, f"{self.node} ended: {self.process.stderr.read().decode()[-2000:]}"
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line.decode()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_hundred_megabytes_survive_relay_router_and_roaming(
    transport: str, tmp_path: Path
) -> None:
    program, profiles = write_program(tmp_path), catalogue()
    source, target = tmp_path / "in", tmp_path / "out"
    block = hashlib.shake_256(b"transfer").digest(MIB)
    with source.open("wb") as file:
        for _ in range(SIZE // MIB):
            file.write(block)
        file.write(block[: SIZE % MIB])
    listen = LISTEN[transport]
    with Namespaces().start(plan(homes(), profiles, 0)) as lab:
        by_router = {f"nat-{name}": profiles[PROFILE] for name in ("a", "b", "c")}
        relays = [Program(lab, name, program, "relay", listen) for name in ("relay1", "relay2")]
        addresses = [relay.word("listening") for relay in relays]
        receiver = Program(lab, "b", program, "receive", str(target), listen, *addresses)
        circuits = [receiver.word("dial") for _ in addresses]
        receiver.word("ready")
        sender = Program(lab, "a", program, "send", str(source), listen, *circuits)

        sender.sent(1, "relayed", 30)
        sender.sent(5 * MIB, "direct")
        relays[0].process.kill()
        sender.sent(20 * MIB, "direct")
        apply(lab, NatReboot("nat-a", 1.0), by_router, time.sleep)
        sender.sent(45 * MIB, "direct")
        apply(lab, Roaming("a", "lan-c"), by_router, time.sleep)
        sender.sent(75 * MIB, "direct")
        over = sender.word("whole", 120)
        receiver.word("received")
    assert target.stat().st_size == SIZE
    assert target.read_bytes() == source.read_bytes()
    assert int(over.split()[1]) >= 3, over
