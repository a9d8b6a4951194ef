"""Labs of network namespaces, for ordinary users and for root alike.

Everything lives in the sandbox (`testbed.lab.sandbox`), which must have been
entered.  A node is a file descriptor of its namespace: closing it, or the end of
the process, takes the node away.
"""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Self

from testbed.errors import BackendError, UnfitError, UsageError
from testbed.lab import kernel, process, sandbox
from testbed.lab.links.base import Links
from testbed.lab.links.interfaces import disable_offloads
from testbed.lab.links.netem import Egress, expressible
from testbed.lab.loading import LOADERS, not_loaded
from testbed.lab.netlink import (
    Netlink,
    Request,
    VethEnd,
    address,
    bridge,
    enslave,
    neighbour,
    route,
    rule,
    up,
    veth,
)
from testbed.lab.services import routers
from testbed.lab.services.daemon import Daemon
from testbed.lab.wires import WireBench, netem
from testbed.model.fault import FramesLost, ServiceFailed
from testbed.model.lab import Command, Image, Process, Route, Rule
from testbed.model.plan import (
    AddBridge,
    AddLink,
    AddNeighbour,
    AddNode,
    AddRoute,
    AddRule,
    Blackhole,
    End,
    LoadRules,
    Plan,
    SetSysctls,
    WriteFiles,
)
from testbed.naming import instead

_PACKAGES = {"nft": "nftables", "iptables-restore": "iptables"}
_LOOPBACK = 1
RULES_DEADLINE = 20.0
_LEFTOVERS = 2.0  # seconds until all are gone that were killed


@dataclass
class _Node:
    """A namespace, its netlink socket, and the indices of its interfaces."""

    netns: int
    netlink: Netlink
    indices: dict[str, int] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    files: Path | None = None


class Namespaces:
    """The default backend."""

    name = "namespaces"

    def start(self, plan: Plan) -> AbstractContextManager["NamespaceLab"]:
        return _started(plan)


@contextmanager
def _started(plan: Plan) -> Iterator["NamespaceLab"]:
    if not sandbox.inside():
        raise BackendError("not in a sandbox", remedy="call testbed.lab.sandbox.enter() first")
    with NamespaceLab(plan) as lab:
        lab.build()
        yield lab


class NamespaceLab:
    """A started lab; see `testbed.model.lab.Lab`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._nodes: dict[str, _Node] = {}
        self._index = count(2)
        self._stack = ExitStack()
        self._home = kernel.current_netns()
        self._stack.callback(os.close, self._home)
        self._wires = WireBench()
        self._processes: dict[str, list[process.NodeProcess]] = {}
        self.services: Mapping[str, Daemon] = {}  # router -> its daemon
        self.failed: list[ServiceFailed] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def build(self) -> None:
        """Apply the plan; BackendError names the step and node that failed."""
        self._create_nodes()
        self._stack.callback(self._end_leftovers)
        with self._loading_rules():
            for step in self.plan.steps:
                self._collect(step)
            for node in self._nodes.values():
                node.netlink.send(node.requests)
                node.requests.clear()
            self._write_files()
        self._set_sysctls()
        self._await_carriers()
        if WireBench.NODE in self._nodes:
            bench = kernel.inside_netns(self._nodes[WireBench.NODE].netns, self._home)
            self._stack.enter_context(self._wires.running(bench, self.plan.seed, self.socket))
        self.services = self._stack.enter_context(routers.running(self))

    # Building

    def _create_nodes(self) -> None:
        steps = self.plan.of(AddNode)
        extra = [replace(steps[0], node=WireBench.NODE)] if self._wires.needed(self.plan) else []
        try:
            for step in (*steps, *extra):
                self._enter_new(step)
                for key, value in step.sysctls:
                    with contextlib.suppress(FileNotFoundError):  # no IPv6, no br_netfilter
                        kernel.write_sysctl(key, value)
                netns = kernel.current_netns()
                self._stack.callback(os.close, netns)
                node = _Node(netns, Netlink(step.node))
                self._stack.callback(node.netlink.close)
                node.requests.append(up(_LOOPBACK))
                self._nodes[step.node] = node
        finally:
            kernel.setns(self._home, kernel.CLONE_NEWNET)

    def _enter_new(self, step: AddNode) -> None:
        """Into the network that the node is to have; nothing has been done there yet."""
        try:
            kernel.unshare(kernel.CLONE_NEWNET)
        except OSError as error:
            raise UnfitError(
                f"no network namespace: {error}", node=step.node, remedy=sandbox.diagnose()
            ) from error

    def _collect(self, step: object) -> None:
        """Sort a step's netlink messages to the node that sends them."""
        match step:
            case AddBridge(node, ifname, mac, addresses):
                target, index = self._nodes[node], self._number(node, ifname)
                target.requests.append(bridge(ifname, index, mac))
                target.requests += [address(index, one) for one in addresses]
            case AddLink():
                self._link(step)
            case AddNeighbour(node, ifname, ip, mac):
                index = self._nodes[node].indices[ifname]
                self._nodes[node].requests.append(neighbour(index, ip, mac))
            case AddRoute(node, destination, gateway, ifname, metric, table):
                target = self._nodes[node]
                index = target.indices[ifname]
                target.requests.append(route(destination, gateway, index, metric, table))
            case AddRule(node, source, table):
                self._nodes[node].requests.append(rule(source, table))
            case Blackhole(node, destination):
                self._nodes[node].requests.append(route(destination, None, None))
            case _:
                pass

    def _link(self, step: AddLink) -> None:
        """One veth pair; two by way of the wire bench for a tunnel, and where netem is missing.

        The pairs are made at once, the rest of the messages when all are there.
        """
        if step.tunnel is not None:
            middle = self._wires.carry(step, step.tunnel)
            self._pair(step.a, middle[0], step.mtu)
            self._pair(step.b, middle[1], step.mtu)
        elif step.transparent:
            self._pair(step.a, step.b, step.mtu)
        elif self._by_netem():
            self._pair(step.a, step.b, step.mtu)
            self._wires.shape(step, self._egress(step.a), self._egress(step.b))
        else:
            middle = self._wires.place(step)
            self._pair(step.a, middle[0], step.mtu)
            self._pair(step.b, middle[1], step.mtu)
        for end in (step.a, step.b):
            node, index = self._nodes[end.node], self._nodes[end.node].indices[end.ifname]
            node.requests += [address(index, one) for one in end.addresses]
            if end.bridge is not None:
                node.requests.append(enslave(index, node.indices[end.bridge]))

    def _egress(self, end: End) -> Egress:
        node = self._nodes[end.node]
        return Egress(node.netlink.socket, node.indices[end.ifname])

    def _by_netem(self) -> bool:
        """All links of a lab are of one kind, which tells what became of each frame."""
        links = self.plan.of(AddLink)
        ways = (way for link in links for way in (link.a_to_b, link.b_to_a))
        return all(map(expressible, ways)) and netem(self._nodes[WireBench.NODE].netlink.socket)

    def _pair(self, a: End, b: End, mtu: int | None) -> None:
        ends = [
            VethEnd(
                self._nodes[end.node].netns,
                end.ifname,
                self._number(end.node, end.ifname),
                end.mac,
                mtu,
            )
            for end in (a, b)
        ]
        self._nodes[a.node].netlink.send([veth(*ends)])
        self._nodes[b.node].requests.append(up(ends[1].index))
        for end in (a, b):
            disable_offloads(self._nodes[end.node].netlink.socket, end.ifname)

    def _number(self, node: str, ifname: str) -> int:
        return self._nodes[node].indices.setdefault(ifname, next(self._index))

    def _write_files(self) -> None:
        steps = self.plan.of(WriteFiles)
        if not steps:
            return
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(dir=sandbox.scratch())))
        for step in steps:
            files = folder / step.node
            files.mkdir()
            (files / "hosts").write_text(step.hosts, encoding="utf-8")
            (files / "resolv.conf").write_text(step.resolv, encoding="utf-8")
            self._nodes[step.node].files = files

    @contextmanager
    def _loading_rules(self) -> Iterator[None]:
        """All loaders run at once, each in its node, while the wires are laid.

        The rules name interfaces, which need not be there yet: no packet ever meets
        a router without its rules.  No loader outlives a failure.
        """
        with ExitStack() as loaders:
            running = []
            for step in self.plan.of(LoadRules):
                with kernel.inside_netns(self._nodes[step.node].netns, self._home):
                    loader = loaders.enter_context(_popen(LOADERS[step.engine]))
                loaders.callback(loader.kill)
                running.append((step, loader))
                assert loader.stdin is not None
                with contextlib.suppress(BrokenPipeError):  # its exit code says more
                    loader.stdin.write(step.text.encode())
                    loader.stdin.close()
            yield
            for step, loader in running:
                self._finish(step, loader)

    def _finish(self, step: LoadRules, loader: subprocess.Popen[bytes]) -> None:
        loader.stdin = None
        try:
            out, err = loader.communicate(timeout=RULES_DEADLINE)
        except subprocess.TimeoutExpired:
            loader.kill()
            raise BackendError(
                f"{step.engine} rules were not loaded within {RULES_DEADLINE} s", node=step.node
            ) from None
        if loader.returncode:
            complaint = (err or out).decode(errors="replace")
            raise not_loaded(self.plan, step, complaint, partial(self._said, step.node))

    def _said(self, node: str, command: Sequence[str], text: bytes) -> tuple[int, str]:
        """The exit code of a router's tool, and what it said."""
        with kernel.inside_netns(self._node(node).netns, self._home):
            child = _popen(command)
        out, err = _communicated(child, command, node, text, RULES_DEADLINE)
        return child.returncode, (err + out).decode(errors="replace")

    def _set_sysctls(self) -> None:
        for step in self.plan.of(SetSysctls):
            with kernel.inside_netns(self._nodes[step.node].netns, self._home):
                for key, value in step.sysctls:
                    try:
                        kernel.write_sysctl(key, value)
                    except OSError as error:
                        raise BackendError(str(error), node=step.node) from error

    def _await_carriers(self) -> None:
        """Until every interface carries packets, but for bridges that nothing is plugged into.

        The kernel activates an interface some time after it is up, in a worker of
        its own; what is sent before is lost without a trace.
        """
        ends = [end for link in self.plan.of(AddLink) for end in (link.a, link.b)]
        plugged = {(end.node, end.bridge) for end in ends}
        bridges = {(one.node, one.ifname) for one in self.plan.of(AddBridge)}
        for name, node in self._nodes.items():
            for ifname, index in node.indices.items():
                if (name, ifname) not in bridges - plugged:
                    node.netlink.await_carrier(index)

    # Using

    def socket(self, node: str, family: int, kind: int, proto: int = 0) -> socket.socket:
        with kernel.inside_netns(self._node(node).netns, self._home):
            return socket.socket(family, kind, proto)

    def spawn(self, node: str, command: Command) -> Process:
        target = self._node(node)
        if isinstance(command, Image):
            raise UsageError(
                f"{command.reference} is an image, and this lab has no containers",
                node=node,
                remedy="--backend docker",
            )
        child = process.spawn(command, target.netns, target.files)
        self._stack.callback(child.close)
        self._processes.setdefault(node, []).append(child)
        return child

    def processes(self, node: str) -> Sequence[process.NodeProcess]:
        """Those of ``node`` that were started and still run."""
        return [one for one in self._processes.get(node, ()) if one.poll() is None]

    def run(
        self, node: str, command: Sequence[str], *, input: bytes = b"", timeout: float = 10.0
    ) -> bytes:
        with kernel.inside_netns(self._node(node).netns, self._home):
            child = _popen(command)
        out, err = _communicated(child, command, node, input, timeout)
        if child.returncode:
            text = err.decode(errors="replace").strip()
            raise BackendError(f"{' '.join(command)}: {text}", node=node)
        return out

    @property
    def links(self) -> Links:
        """The impaired links by name ("nat-a-core"): to be changed, cut and mended."""
        if self._wires.links is None:
            raise BackendError("this lab has no impaired link")
        return self._wires.links

    def lost_frames(self) -> list[FramesLost]:
        return self._wires.lost_frames()

    def sysctls(self, node: str, keys: Sequence[str]) -> dict[str, str]:
        with kernel.inside_netns(self._node(node).netns, self._home):
            found = {key: kernel.read_sysctl(key) for key in keys}
        return {key: value for key, value in found.items() if value is not None}

    def _end_leftovers(self) -> None:
        """End what is still in a node: a peer's child that left its group goes on by itself."""
        nodes = [node.netns for node in self._nodes.values()]
        deadline = time.monotonic() + _LEFTOVERS
        while (found := kernel.processes_in(*nodes)) and time.monotonic() < deadline:
            for pid in found:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.001)

    def strangers(self, node: str) -> list[str]:
        inside = kernel.processes_in(self._node(node).netns)
        own = {one.pid for one in self._processes.get(node, ())}
        return [f"{name} ({pid})" for pid, name in inside.items() if pid not in own]

    def failed_services(self) -> list[ServiceFailed]:
        found = (daemon.failure() for daemon in self.services.values())
        return [*self.failed, *(failed for failed in found if failed)]

    def lateness_ms(self) -> float:
        return self._wires.lateness_ms()

    def entrance(self, node: str) -> tuple[int, Path | None]:
        """What `testbed.lab.process.enter_node` needs to enter ``node``."""
        target = self._node(node)
        return target.netns, target.files

    def interfaces(self, node: str) -> set[str]:
        return self._node(node).netlink.interfaces()

    def routes(self, node: str) -> set[Route]:
        return self._node(node).netlink.routes()

    def rules(self, node: str) -> set[Rule]:
        return self._node(node).netlink.rules()

    def _node(self, name: str) -> _Node:
        try:
            return self._nodes[name]
        except KeyError:
            remedy = instead(name, (node for node in self._nodes if node != WireBench.NODE))
            raise BackendError(f"unknown node {name!r}", remedy=remedy) from None


def _popen(command: Sequence[str]) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(list(command), stdin=pipe, stdout=pipe, stderr=pipe)
    except FileNotFoundError:
        package = _PACKAGES.get(command[0])
        remedy = f"apt-get install {package}" if package else "install it, or name another program"
        raise UnfitError(f"{command[0]!r} is not installed", remedy=remedy) from None


def _communicated(
    child: subprocess.Popen[bytes], command: Sequence[str], node: str, text: bytes, timeout: float
) -> tuple[bytes, bytes]:
    """What a program printed to its end, on standard output and standard error."""
    try:
        return child.communicate(text, timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise BackendError(f"{command[0]} did not end within {timeout} s", node=node) from None
