"""Two homes, a relay and four observers in namespaces, each with a node inside."""

import contextlib
import json
import select
import time
from collections.abc import Callable, Iterator
from typing import Any

from testbed.lab.namespaces import Namespaces
from testbed.model.lab import Lab, Process
from testbed.model.topology import INTERNET, Host, Link, Network, Router, Scope, Topology
from testbed.nat.load import catalogue
from testbed.plan.planner import plan

from . import driver

ACCESS = Link.both(delay_ms=10.0)
OBSERVERS = ("o1", "o2", "o3", "o4")
CATALOGUE = catalogue()


def topology(a: str | None, b: str | None) -> Topology:
    """`a` and `b` behind NATs of these profiles, or public where it is None."""
    networks, routers, hosts = [Network(INTERNET, Scope.PUBLIC)], [], []
    for name, profile in (("a", a), ("b", b)):
        if profile is None:
            hosts.append(Host(name, INTERNET, link=ACCESS))
            continue
        networks.append(Network(f"lan-{name}", Scope.PRIVATE))
        routers.append(Router(f"nat-{name}", INTERNET, f"lan-{name}", profile, link=ACCESS))
        hosts.append(Host(name, f"lan-{name}"))
    hosts += [Host(name, INTERNET, link=ACCESS) for name in ("relay", *OBSERVERS)]
    return Topology("traversal", tuple(networks), tuple(routers), tuple(hosts))


class Remote:
    """A node in a namespace: commands in, answers and events out."""

    def __init__(self, lab: Lab, name: str, transport: str, config: dict[str, Any]) -> None:
        self.name, self.transport = name, transport
        self.ip, self.port = str(lab.plan.address(name)), lab.plan.port(name)
        self._process: Process = lab.spawn(name, lambda: driver.main(config))
        self._buffer = b""
        self.events: list[dict[str, Any]] = []
        self.peer: str = self._next(10.0)["peer"]
        self.address: str = self.ask("listen", addr=self._listen_address())

    def _listen_address(self) -> str:
        kind = f"tcp/{self.port}" if self.transport == "tcp" else f"udp/{self.port}/quic-v1"
        return f"/ip4/{self.ip}/{kind}"

    def _next(self, timeout: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                raise TimeoutError(f"{self.name} is silent; events: {self.events[-5:]}")
            data = self._process.stdout.read(65536)
            if not data:
                raise EOFError(f"{self.name} ended: {self._process.stderr.read().decode()}")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        said: dict[str, Any] = json.loads(line)
        return said

    def kill(self) -> None:
        """End the node without a word, as a crash does."""
        self._process.kill()

    def ask_raw(self, cmd: str, **words: Any) -> dict[str, Any]:
        self._process.stdin.write((json.dumps({"cmd": cmd} | words) + "\n").encode())
        self._process.stdin.flush()
        while True:
            line = self._next(40.0)
            if "event" in line:
                self.events.append(line)
            else:
                return line

    def ask(self, cmd: str, **words: Any) -> Any:
        line = self.ask_raw(cmd, **words)
        assert "answer" in line, f"{self.name}: {cmd}: {line}"
        return line["answer"]

    def wait_event(self, timeout: float = 15.0, **wanted: Any) -> dict[str, Any]:
        """The first event that has these fields, seen already or to come."""
        return self._wait(timeout, lambda event: all(event.get(k) == v for k, v in wanted.items()))

    def wait_any(self, timeout: float, *kinds: str) -> dict[str, Any]:
        """The first event of one of these kinds."""
        return self._wait(timeout, lambda event: event["event"] in kinds)

    def _wait(self, timeout: float, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline, seen = time.monotonic() + timeout, 0
        while True:
            for event in self.events[seen:]:
                if fits(event):
                    return event
            seen = len(self.events)
            line = self._next(max(0.0, deadline - time.monotonic()))
            assert "event" in line, line
            self.events.append(line)


class World:
    """The lab with its nodes; `a` has a reservation nowhere, `b` has one at the relay."""

    def __init__(self, lab: Lab, transport: str, config: dict[str, Any]) -> None:
        self.lab, self.transport = lab, transport
        self.relay = Remote(lab, "relay", transport, {"relay": config.pop("relay", {})})
        self.observers = [Remote(lab, o, transport, {"autonat": True}) for o in OBSERVERS]
        self.a = Remote(lab, "a", transport, config)
        self.b = Remote(lab, "b", transport, config)

    def observe(self, *nodes: Remote) -> None:
        for node in nodes:
            for observer in self.observers:
                node.ask("connect", addrs=[observer.address])

    def relayed(self) -> str:
        """`b` reserves, `a` dials it through the relay; gives b's circuit address."""
        circuit: str = self.b.ask("reserve", addr=self.relay.address)[0]
        self.a.ask("connect", addrs=[self.relay.address])
        assert self.a.ask("connect", addrs=[circuit])["relayed"]
        return circuit


@contextlib.contextmanager
def world(a: str | None, b: str | None, transport: str, **config: Any) -> Iterator[World]:
    with Namespaces().start(plan(topology(a, b), CATALOGUE, 0)) as lab:
        yield World(lab, transport, config)
