"""Traversal nodes inside a lab: observers on the internet, a client behind the NAT.

Each process answers one JSON line on stdout for each JSON line on stdin, out of band:
the nodes share no network but the one under test.
"""

import asyncio
import json
import os
import select
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from ipaddress import IPv4Address
from typing import Any

from testbed.errors import PeerError
from testbed.lab.services.watch import Beginning, watched
from testbed.model.behaviour import Protocol
from testbed.model.frozen import FrozenValue
from testbed.model.lab import Lab, Process
from testbed.model.packet import Endpoint
from testbed.traversal import DialError, Multiaddr, Node, NodeOptions
from testbed.traversal.aio.autonat_server import AutonatOptions
from testbed.traversal.autonat_v1 import Reachability

DIAL_BACK = 5.0  # seconds until a server says that it could not reach us
DIAL = 6.0  # seconds for the client's connection to a server
PATIENCE = 60.0  # seconds for an answer of a node's process
OBSERVER = "the observer"
LAST_WORD = 5.0  # seconds for how late it was
_BEAT = 0.1  # seconds between two looks at the clock

Change = Callable[[Node], None]


def _leave(_node: Node) -> None:
    """Take a node as it is."""


def _listen(protocol: Protocol, ip: str, port: int) -> str:
    kind = f"tcp/{port}" if protocol is Protocol.TCP else f"udp/{port}/quic-v1"
    return f"/ip4/{ip}/{kind}"


def endpoint(address: str) -> Endpoint:
    """The socket address in a multiaddr's text."""
    host, port = Multiaddr.parse(address).socket_address[:2]
    return Endpoint(IPv4Address(host), port)


# Inside the nodes


def _say(answer: Any) -> None:
    os.write(1, (json.dumps(answer) + "\n").encode())


async def _commands() -> AsyncIterator[dict[str, Any]]:
    """The lines of stdin, until it is closed."""
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)


class _Watch:
    """By how many seconds this process was late at worst: its machine is as busy as that."""

    def __init__(self) -> None:
        self.worst = 0.0
        self._task = asyncio.get_running_loop().create_task(self._run())  # it ends with the loop

    async def _run(self) -> None:
        while True:
            due = time.monotonic() + _BEAT
            await asyncio.sleep(_BEAT)
            self.worst = max(self.worst, time.monotonic() - due)


async def _observe(ip: str, port: int, change: Change) -> int:
    """An AutoNAT server that listens on both transports."""
    watch = _Watch()
    options = NodeOptions(
        autonat_server=True, autonat_interval=0, autonat=AutonatOptions(dial_timeout=DIAL_BACK)
    )
    async with Node(options) as node:
        change(node)
        addresses = {}
        for protocol in Protocol:
            bound = await node.listen(_listen(protocol, ip, port))
            addresses[protocol.value] = str(bound.with_peer(node.peer))
        _say(addresses)
        async for _ in _commands():
            _say(watch.worst)
    return 0


async def _ask(ip: str, port: int) -> int:
    """The node under test: one for each transport, since version 1 judges whole nodes."""
    watch = _Watch()
    async with AsyncExitStack() as stack:
        nodes = {}
        for protocol in Protocol:
            node = await stack.enter_async_context(Node(NodeOptions(autonat_interval=0)))
            await node.listen(_listen(protocol, ip, port))
            nodes[protocol.value] = node
        _say(sorted(nodes))
        async for command in _commands():
            if (task := command.pop("do")) == "lateness":
                _say(watch.worst)
                continue
            work = _connect_all if task == "connect" else _probe
            answers = await asyncio.gather(*(work(n, command.get(t)) for t, n in nodes.items()))
            _say(dict(zip(nodes, answers, strict=True)))
    return 0


async def _connect_all(node: Node, servers: list[str] | None) -> list[str | None]:
    return await asyncio.gather(*(_connect(node, server) for server in servers or ()))


async def _connect(node: Node, server: str) -> str | None:
    """What the server says that it sees of us; None when it cannot be reached."""
    try:
        connection = await node.dial(server, timeout=DIAL)
    except DialError:
        return None
    await node.identify.wait(connection)
    info = node.identify.peers.get(connection.peer)
    return str(info.observed) if info is not None and info.observed is not None else None


async def _probe(node: Node, _: object) -> tuple[str, dict[str, str]]:
    verdict, by_address = await node.probe_reachability()
    return _word(verdict), {str(address): _word(one) for address, one in by_address.items()}


def _word(verdict: Reachability) -> str:
    return verdict.name.lower()


# From outside


class Remote:
    """A node's process, as the harness speaks with it."""

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self._process = process
        self._buffer = b""

    def ask(self, patience: float = PATIENCE, /, **command: Any) -> Any:
        """The answer to a command; PeerError when there is none within ``patience`` seconds."""
        try:
            self._process.stdin.write((json.dumps(command) + "\n").encode())
        except BrokenPipeError:
            raise self._ended() from None
        return self.answer(patience)

    def answer(self, patience: float = PATIENCE) -> Any:
        """The next line that the node says."""
        deadline = time.monotonic() + patience
        while b"\n" not in self._buffer:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                raise PeerError(f"no answer for {patience:g} s", node=self.name)
            data = self._process.stdout.read(65536)
            if not data:
                raise self._ended()
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def _ended(self) -> PeerError:
        words = self._process.stderr.read().decode(errors="replace").strip()
        return PeerError(f"it ended before its time: {words[-2000:]}", node=self.name)


class World(FrozenValue):
    """All nodes by name, and where the observers listen: by protocol, then by observer."""

    client: str
    remotes: dict[str, Remote]
    servers: dict[Protocol, dict[str, str]]

    def connect(self) -> dict[Protocol, dict[str, Endpoint | None]]:
        """Connect to all observers; what each one says that it sees of the client."""
        listening = {p.value: list(servers.values()) for p, servers in self.servers.items()}
        told = self.remotes[self.client].ask(do="connect", **listening)
        return {
            p: {
                name: None if seen is None else endpoint(seen)
                for name, seen in zip(servers, told[p.value], strict=True)
            }
            for p, servers in self.servers.items()
        }

    def probe(self) -> dict[Protocol, tuple[str, dict[Endpoint, str]]]:
        """AutoNAT: the verdict on the node, and on each address that it asked about."""
        answers = self.remotes[self.client].ask(do="probe")
        return {
            Protocol(name): (verdict, {endpoint(one): word for one, word in addresses.items()})
            for name, (verdict, addresses) in answers.items()
        }

    def lateness(self) -> float:
        """By how many seconds a node's process was late at worst."""
        asked = (one.ask(LAST_WORD, do="lateness") for one in self.remotes.values())
        return max(map(float, asked))


@contextmanager
def world(lab: Lab, changes: Mapping[str, Change] | None = None) -> Iterator[World]:
    """Start the client on the host that plays ``a``, and an observer on each that observes.

    ``changes`` are applied to the nodes of the observers that they name, inside them.
    """
    client, names = lab.plan.topology.roles.a, lab.plan.topology.observers
    with ExitStack() as stack:
        remotes, processes, begun = {}, {}, {}
        for name in [*names, client]:
            process = lab.spawn(name, _program(lab, name, (changes or {}).get(name, _leave)))
            stack.callback(process.kill)
            remotes[name], processes[name] = Remote(name, process), process
            begun[name] = Beginning(name, OBSERVER, process)
        try:
            said = {name: remotes[name].answer() for name in remotes}
        except PeerError as error:
            if error.node not in names:
                raise
            raise begun[error.node].unready(error.message) from error
        servers = {
            p: {name: _outside(lab, name, p, said[name][p.value]) for name in names}
            for p in Protocol
        }
        for name in names:
            stack.enter_context(watched(lab, name, OBSERVER, processes[name]))
        yield World(client, remotes, servers)


def _outside(lab: Lab, name: str, protocol: Protocol, address: str) -> str:
    """``address`` of an observer as others know it, who may be behind NATs that lead to it."""
    there = lab.plan.entrance(name, protocol, lab.plan.port(name))
    if there.address == lab.plan.address(name):
        return address
    peer = address.partition("/p2p/")[2]
    return f"{_listen(protocol, str(there.address), there.port)}/p2p/{peer}"


def _program(lab: Lab, name: str, change: Change) -> Callable[[], int]:
    ip, port = str(lab.plan.address(name)), lab.plan.port(name)
    if name == lab.plan.topology.roles.a:
        return lambda: asyncio.run(_ask(ip, port))
    return lambda: asyncio.run(_observe(ip, port, change))
