"""Real miniupnpd on a lab's router, a port mapper on the host behind it, strangers outside."""

import asyncio
import contextlib
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from typing import Any, cast

import pytest

from testbed.lab.namespaces import Namespaces
from testbed.lab.services.miniupnpd import PACKAGE, PROGRAM, Miniupnpd
from testbed.model.behaviour import Gateway, PortMapping
from testbed.model.lab import Lab
from testbed.model.plan import ServePortMapping
from testbed.model.topology import INTERNET, Host, Link, Network, Router, Scope, Topology
from testbed.nat.load import catalogue
from testbed.nat.rules import RouterContext, hooks
from testbed.plan.planner import plan
from testbed.traversal.aio.portmap import PortMapper
from testbed.traversal.errors import TraversalError
from testbed.traversal.portmap.mapping import Service, Transport
from testbed.traversal.portmap.options import PortMapOptions, Probe

PORT = 4001  # where the host echoes, UDP and TCP
CATALOGUE = catalogue()
_PATIENCE = 10.0  # seconds for a daemon or a command
SILENCE = 0.5  # seconds after which a stranger was not let in; the way there and back takes 0.04


def require_short_leases(service: Service) -> None:
    """Skip where no lease ends while a test waits: miniupnpd from 2.3.5 grants PCP's 120 s."""
    done = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"miniupnpd (\d+)\.(\d+)\.(\d+)", done.stdout + done.stderr)
    assert found, "miniupnpd does not say its version"
    if service is Service.PCP and tuple(map(int, found.groups())) >= (2, 3, 5):
        pytest.skip(f"{found[0]} grants no lease of PCP below 120 s")


@dataclass(frozen=True)
class Daemon:
    """What it serves.  `extra` lines go to its configuration as they are."""

    upnp: bool = True
    upnp_v1: bool = False  # only the description differs: the calls are the same
    datagrams: bool = True  # NAT-PMP and PCP cannot be had one without the other
    extra: tuple[str, ...] = ()

    def step(self, lab: Lab, node: str) -> ServePortMapping:
        """As a profile that declares it becomes, whatever the router's own declares."""
        version = 0 if not self.upnp else 1 if self.upnp_v1 else 2
        offered = PortMapping(
            Gateway.MINIUPNPD, version, self.datagrams, self.datagrams, min_lease=1
        )
        nat = CATALOGUE["port-restricted"]
        profile = replace(nat, behaviour=replace(nat.behaviour, port_mapping=offered))
        external, inside = lab.plan.addresses[node], IPv4Network("10.0.0.0/8")
        made = hooks(profile, RouterContext("wan", "lan", external, inside, ()))
        assert made
        config = made.config + "\n".join((*self.extra, ""))
        return ServePortMapping(node, made.gateway, made.chains, config)


@contextlib.contextmanager
def miniupnpd(lab: Lab, node: str, daemon: Daemon) -> Iterator[Miniupnpd]:
    """Run it while the context lasts."""
    assert shutil.which(PROGRAM), f"this test needs Debian's package {PACKAGE}"
    process = Miniupnpd(lab, daemon.step(lab, node))
    try:
        yield process.start()
    finally:
        process.stop()


def home(profile: str) -> Topology:
    """`a` behind `nat-a`; `b` and `c` are public."""
    link = Link.both(delay_ms=10.0)
    return Topology(
        "port-mapping",
        (Network(INTERNET, Scope.PUBLIC), Network("lan-a", Scope.PRIVATE)),
        (Router("nat-a", INTERNET, "lan-a", profile, link=link),),
        (Host("a", "lan-a"), Host("b", INTERNET, link=link), Host("c", INTERNET, link=link)),
    )


def carrier(profile: str, between: Scope) -> Topology:
    """The same, `nat-a` itself being behind a carrier's NAT."""
    link = Link.both(delay_ms=10.0)
    return Topology(
        "port-mapping-under-carrier-nat",
        (
            Network(INTERNET, Scope.PUBLIC),
            Network("carrier", between),
            Network("lan-a", Scope.PRIVATE),
        ),
        (
            Router("cgn", INTERNET, "carrier", "carrier-grade", link=link),
            Router("nat-a", "carrier", "lan-a", profile),
        ),
        (Host("a", "lan-a"), Host("b", INTERNET, link=link)),
    )


@contextlib.contextmanager
def lab_of(topology: Topology) -> Iterator[Lab]:
    """A started lab."""
    with Namespaces().start(plan(topology, CATALOGUE, 0)) as lab:
        yield lab


def rules(lab: Lab) -> str:
    """The daemon's rules, as nft prints them."""
    return lab.run("nat-a", ["nft", "list", "table", "inet", "portmap"]).decode()


def reaches(
    lab: Lab, stranger: str, transport: Transport, to: tuple[str, int], within: float = 3.0
) -> bool:
    """Whether a stranger's bytes come back from there.  Each call has a port of its own."""
    kind = socket.SOCK_DGRAM if transport is Transport.UDP else socket.SOCK_STREAM
    with lab.socket(stranger, socket.AF_INET, kind) as sock:
        sock.settimeout(within)
        word = os.urandom(16)
        try:
            sock.connect(to)
            sock.sendall(word)
            return sock.recv(100) == word
        except OSError:
            return False


class Mapper:
    """A port mapper, and an echo on `PORT`, in a process on a host."""

    def __init__(self, lab: Lab, node: str, *services: Service, lifetime: int = 600) -> None:
        config = {"services": services, "lifetime": lifetime}
        self._process = lab.spawn(node, lambda: _main(config))
        self._buffer = b""
        self.events: list[dict[str, Any]] = []

    def ask(self, cmd: str, **words: Any) -> Any:
        """The answer, or the error as text."""
        self._process.stdin.write((json.dumps({"cmd": cmd} | words) + "\n").encode())
        self._process.stdin.flush()
        while "event" in (line := self._next(_PATIENCE)):
            self.events.append(line)
        return line.get("answer") or line.get("error")

    def map(self, transport: Transport, port: int = PORT, **words: Any) -> Any:
        """The mapping as a dictionary, or the error as text."""
        return self.ask("map", transport=transport, port=port, **words)

    def wait(self, timeout: float, event: str, **fields: Any) -> dict[str, Any]:
        """The next such event."""
        end = time.monotonic() + timeout
        while True:
            line = self._next(max(0.0, end - time.monotonic()))
            self.events.append(line)
            if line["event"] == event and all(line[k] == v for k, v in fields.items()):
                return line

    def _next(self, timeout: float) -> dict[str, Any]:
        end = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            left = max(0.0, end - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                raise TimeoutError(f"the mapper is silent; events: {self.events[-5:]}")
            data = self._process.stdout.read(65536)
            if not data:
                raise EOFError(f"the mapper ended: {self._process.stderr.read().decode()}")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        said: dict[str, Any] = json.loads(line)
        return said

    def close(self) -> None:
        """End it, so that it gives back what it has."""
        self._process.stdin.close()
        assert self._process.wait(_PATIENCE) == 0, self._process.stderr.read().decode()

    def kill(self) -> None:
        """End it without a word."""
        self._process.kill()
        self._process.wait(_PATIENCE)


def _say(line: dict[str, Any]) -> None:
    os.write(1, (json.dumps(line) + "\n").encode())


def _main(config: dict[str, Any]) -> int:
    asyncio.run(_serve(config))
    return 0


async def _serve(config: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(_Echo, local_addr=("0.0.0.0", PORT))
    await asyncio.start_server(_echo, "0.0.0.0", PORT)
    options = PortMapOptions(
        probes=tuple(Probe(Service(name)) for name in config["services"]),
        lifetime=config["lifetime"], probe_timeout=2.0, request_timeout=3.0, close_timeout=2.0,
        retry=0.5, recovery=0.2,
    )  # fmt: skip
    emit = lambda event: _say(event.to_dict())  # noqa: E731
    async with PortMapper(options, emit=emit) as mapper:
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            try:
                _say({"answer": await _obey(mapper, json.loads(line))})
            except TraversalError as error:
                _say({"error": f"{type(error).__name__}: {error}"})


async def _obey(mapper: PortMapper, c: dict[str, Any]) -> Any:
    transport = Transport(c["transport"])
    if c["cmd"] == "unmap":
        await mapper.unmap(transport, c["port"])
        return "done"
    mapping = await mapper.map(transport, c["port"], external_port=c.get("external_port"))
    return mapping.to_dict()


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read(100))
    writer.close()
