"""What a program relies on that adopts the library: names, errors, logs, borders, figures."""

import ast
import asyncio
import importlib
import inspect
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import testbed.traversal
from testbed.traversal import (
    DialError,
    DialFailure,
    Gater,
    Multiaddr,
    Node,
    NodeOptions,
    PeerId,
    RelayAcl,
    RelayLimits,
    RelayRefusedError,
    errors,
    events,
    logs,
)

from .nodes import address, nodes, run

ROOT = Path(testbed.traversal.__file__).parent
BOTH = pytest.mark.parametrize("transport", ["tcp", "quic"])
POSIX_ALONE = ("fcntl", "termios", "pwd", "grp", "resource", "tty", "pty", "syslog")


# Names.


def test_every_public_name_is_there_and_the_version_is_the_distribution_s() -> None:
    for name in testbed.traversal.__all__:
        assert hasattr(testbed.traversal, name)
    version = importlib.import_module("testbed.traversal.version")
    assert testbed.traversal.__version__ == version.__version__


def test_every_type_that_options_and_the_node_name_is_exported() -> None:
    """Whoever writes types needs the names of what is passed in and given back."""
    named: set[type] = set()
    holders: tuple[Callable[..., object], ...] = (
        NodeOptions,
        *(f for n, f in inspect.getmembers(Node, inspect.isfunction) if n[0] != "_"),
    )
    for holder in holders:
        for hint in inspect.get_annotations(holder, eval_str=True).values():
            named |= {part for part in _parts(hint) if part.__module__.startswith("testbed.")}
    exported = {getattr(testbed.traversal, name) for name in testbed.traversal.__all__}
    assert named <= exported


def _parts(hint: Any) -> Iterator[type]:
    if isinstance(hint, type) and not hasattr(hint, "__args__"):
        yield hint
    for part in getattr(hint, "__args__", ()):
        yield from _parts(part)


def test_the_library_is_imported_where_there_is_no_module_of_posix() -> None:
    """As on Windows, and with the few options of sockets that macOS and Windows have."""
    program = f"""
import sys, socket
for name in {POSIX_ALONE!r}:
    sys.modules[name] = None
for name in ("SO_REUSEPORT", "SOCK_NONBLOCK", "TCP_INFO", "AF_NETLINK", "NETLINK_ROUTE"):
    delattr(socket, name)
import pkgutil, importlib, testbed.traversal as library
for found in pkgutil.walk_packages(library.__path__, library.__name__ + "."):
    if found.name != "testbed.traversal.aio.turn":
        importlib.import_module(found.name)
import asyncio
async def work():
    async with library.Node(library.NodeOptions(allow_private=True)) as one, library.Node() as two:
        for where in ("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"):
            await one.listen(where)
        for there in one.listening():
            print((await two.host.dial_direct(there, one.peer, 5)).transport)
asyncio.run(work())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == ["quic-v1", "tcp"]


def test_the_library_imports_what_it_declares_and_nothing_else() -> None:
    declared = {"aioquic", "cryptography", "OpenSSL"}
    optional = {"aioice": "turn.py", "dns": "txt.py", "websockets": "websocket.py"}
    found: dict[str, set[str]] = {}
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module or ""]
            for module in modules:
                found.setdefault(module.partition(".")[0], set()).add(path.name)
    outside = set(found) - set(sys.stdlib_module_names)
    assert outside == declared | set(optional)
    assert {name: found[name] for name in optional} == {n: {f} for n, f in optional.items()}


# Errors.


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.DeadlineError("x"), TimeoutError),
        (errors.ConnectionClosedError("x"), ConnectionError),
        (errors.PathLostError("x"), ConnectionError),
        (errors.StreamResetError("x"), ConnectionResetError),
        (errors.DialError("x", DialFailure.REFUSED, "why"), OSError),
        (errors.DialTimeoutError("x", "why"), TimeoutError),
        (errors.AddressError("x"), ValueError),
    ],
)
def test_errors_are_those_that_a_program_of_sockets_knows(
    error: errors.TraversalError, kind: type[Exception]
) -> None:
    assert isinstance(error, kind)
    assert str(error)


def test_a_dial_that_nobody_answers_is_a_timeout() -> None:
    async def work() -> None:
        async with asyncio.timeout(5):
            silent = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
            port = silent.sockets[0].getsockname()[1]
            # Listens with QUIC nowhere: no datagram is answered.
            async with Node(NodeOptions(allow_private=True)) as node:
                there = f"/ip4/127.0.0.1/udp/{port}/quic-v1/p2p/{node.peer}"
                with pytest.raises(TimeoutError) as caught:
                    await node.dial(there, timeout=0.3)
            assert isinstance(caught.value, DialError)
            assert caught.value.failure is DialFailure.TIMEOUT
            silent.close()

    asyncio.run(work())


# Logs.


def test_every_event_has_a_logger_of_its_subject() -> None:
    kinds = {
        kind
        for _, kind in inspect.getmembers(events, inspect.isclass)
        if issubclass(kind, events.Event) and kind is not events.Event
    }
    assert kinds == set(logs._SUBJECTS)


def test_events_are_logged_by_names(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        async with nodes("tcp", {}, {}) as (one, two):
            await one.dial(address(two))

    with caplog.at_level(logging.INFO, "testbed.traversal.connections"):
        run(work)
    records = [r for r in caplog.records if r.name == "testbed.traversal.connections"]
    assert any(isinstance(getattr(r, "event", None), events.ConnectionOpened) for r in records)
    assert any("remote=/ip4/127.0.0.1/tcp/" in r.getMessage() for r in records)
    assert not [r for r in caplog.records if r.name == "testbed.traversal.dials"]  # DEBUG


# Who may connect.


class _Refusing(Gater):
    """Says no to one question, and remembers what it was asked."""

    def __init__(self, refused: str) -> None:
        self.refused, self.asked = refused, list[str]()

    def _say(self, question: str) -> bool:
        self.asked.append(question)
        return question != self.refused

    def may_dial(self, address: Multiaddr, peer: PeerId | None) -> bool:
        assert address.ip is not None
        assert peer is not None
        return self._say("dial")

    def may_accept(self, remote: Multiaddr) -> bool:
        assert remote.ip is not None
        return self._say("accept")

    def may_connect(self, peer: PeerId, remote: Multiaddr) -> bool:
        assert peer.public_key is not None
        assert remote.ip is not None
        return self._say("connect")


@BOTH
@pytest.mark.parametrize(("side", "refused"), [(0, "dial"), (0, "connect"), (1, "accept")])
def test_a_gater_keeps_out_whom_it_refuses(transport: str, side: int, refused: str) -> None:
    async def work() -> None:
        gaters = [_Refusing("nobody"), _Refusing("nobody")]
        gaters[side] = _Refusing(refused)
        options = [{"gater": gater} for gater in gaters]
        async with nodes(transport, *options) as (one, two):
            with pytest.raises(DialError):
                await one.dial(address(two), timeout=1.0)
            assert not one.host.connections
            for unaware in two.host.connections:  # until it hears of the end
                await unaware.wait_closed()
            if refused == "dial":
                assert not gaters[1].asked  # nothing was sent

    run(work)


@BOTH
def test_a_gater_refuses_a_peer_that_has_proved_its_name(transport: str) -> None:
    async def work() -> None:
        gater = _Refusing("connect")
        async with nodes(transport, {}, {"gater": gater}) as (one, two):
            connection = None
            try:
                connection = await one.dial(address(two), timeout=1.0)
            except DialError:
                pass  # it may have heard of the end by then
            else:
                await asyncio.wait_for(connection.wait_closed(), 5)
            assert gater.asked == ["accept", "connect"]
            assert not two.host.connections

    run(work)


class _Acl(RelayAcl):
    def __init__(self) -> None:
        self.reserve, self.connect = True, True

    def may_reserve(self, *_: object, **__: object) -> bool:
        return self.reserve

    def may_connect(self, *_: object, **__: object) -> bool:
        return self.connect


@BOTH
def test_a_relay_serves_whom_its_acl_lets(transport: str) -> None:
    async def work() -> None:
        acl = _Acl()
        serving = {"relay": RelayLimits(), "relay_acl": acl}
        async with nodes(transport, serving, {}, {}) as (relay, target, source):
            acl.reserve = False
            with pytest.raises(RelayRefusedError) as refused:
                await target.reserve(address(relay))
            assert refused.value.status == 202
            acl.reserve, acl.connect = True, False
            held = await target.reserve(address(relay))
            with pytest.raises(DialError) as failed:
                await source.dial(held.addresses[0])
            assert failed.value.failure is DialFailure.RELAY_REFUSED
            acl.connect = True
            assert await source.dial(held.addresses[0])

    run(work)


@BOTH
def test_a_gater_is_asked_about_circuits(transport: str) -> None:
    async def work() -> None:
        gater = _Refusing("nobody")
        serving = {"relay": RelayLimits()}
        async with nodes(transport, serving, {"gater": gater}, {}) as (relay, target, source):
            held = await target.reserve(address(relay))
            gater.refused = "accept"
            with pytest.raises(DialError):
                await source.dial(held.addresses[0])
            assert not target.host.connections_to(source.peer)

    run(work)


# Figures.


@BOTH
def test_a_node_tells_what_it_holds(transport: str) -> None:
    async def work() -> None:
        serving = {"relay": RelayLimits()}
        private = {"allow_private": False}  # nothing goes direct on loopback
        async with nodes(transport, serving, private, private) as (relay, target, source):
            empty = source.resources
            assert (empty.connections, empty.streams, empty.received, empty.written) == (0,) * 4
            held = await target.reserve(address(relay))
            await source.dial(held.addresses[0])
            data = bytes(3000)
            stream = await source.open_stream(
                target.peer, ["/testbed/echo/1.0.0"], allow_limited=True
            )
            await stream.write(data)
            assert await stream.read_exactly(len(data)) == data
            assert target.resources.held == 1
            assert (relay.resources.reservations, relay.resources.circuits) == (1, 1)
            now = source.resources
            assert (now.connections, now.relayed) == (2, 1)
            assert now.streams >= 2  # ours, and the circuit's
            await stream.close()

    run(work)
