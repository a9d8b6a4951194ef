"""How a lab of namespaces is built: its nodes, the wires between them, and the rules in them."""

import contextlib
import os
import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path

from testbed.errors import BackendError, UnfitError
from testbed.lab import kernel, sandbox
from testbed.lab.links.interfaces import disable_offloads
from testbed.lab.links.netem import Egress, expressible
from testbed.lab.loading import LOADERS, not_loaded
from testbed.lab.netlink import Netlink
from testbed.lab.rtnetlink import (
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
from testbed.lab.wires import WireBench, netem
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
)
from testbed.naming import instead

_PACKAGES = {"nft": "nftables", "iptables-restore": "iptables"}
_LOOPBACK = 1
RULES_DEADLINE = 20.0
_LOADERS = 64  # at once: each has some megabytes


@dataclass
class Node:
    """A namespace, its netlink socket, and the indices of its interfaces."""

    netns: int
    netlink: Netlink
    indices: dict[str, int] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    files: Path | None = None


class Nodes:
    """The nodes of a lab that is being built, or is up."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._nodes: dict[str, Node] = {}
        self._index = count(2)
        self._stack = ExitStack()
        self._home = kernel.current_netns()
        self._stack.callback(os.close, self._home)
        self._wires = WireBench()

    def lay(self) -> None:
        """Apply the plan to the nodes; BackendError names the step and node that failed."""
        with self._loading_rules():
            for step in self.plan.steps:
                self._collect(step)
            for node in self._nodes.values():
                node.netlink.send(node.requests)
                node.requests.clear()
        self._set_sysctls()
        self._await_carriers()

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
                node = Node(netns, Netlink(step.node))
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

    @contextmanager
    def _loading_rules(self) -> Iterator[None]:
        """Loaders run side by side, each in its node, the last of them while the wires are laid.

        The rules name interfaces, which need not be there yet: no packet ever meets
        a router without its rules.  No loader outlives a failure.
        """
        with ExitStack() as loaders:
            running: deque[tuple[LoadRules, subprocess.Popen[bytes]]] = deque()
            for step in self.plan.of(LoadRules):
                if len(running) == _LOADERS:
                    self._finish(*running.popleft())
                with kernel.inside_netns(self._nodes[step.node].netns, self._home):
                    loader = loaders.enter_context(popen(LOADERS[step.engine]))
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
            child = popen(command)
        out, err = communicated(child, command, node, text, RULES_DEADLINE)
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

    def _node(self, name: str) -> Node:
        try:
            return self._nodes[name]
        except KeyError:
            remedy = instead(name, (node for node in self._nodes if node != WireBench.NODE))
            raise BackendError(f"unknown node {name!r}", remedy=remedy) from None


def popen(command: Sequence[str]) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(list(command), stdin=pipe, stdout=pipe, stderr=pipe)
    except FileNotFoundError:
        package = _PACKAGES.get(command[0])
        remedy = f"apt-get install {package}" if package else "install it, or name another program"
        raise UnfitError(f"{command[0]!r} is not installed", remedy=remedy) from None


def communicated(
    child: subprocess.Popen[bytes], command: Sequence[str], node: str, text: bytes, timeout: float
) -> tuple[bytes, bytes]:
    """What a program printed to its end, on standard output and standard error."""
    try:
        return child.communicate(text, timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise BackendError(f"{command[0]} did not end within {timeout} s", node=node) from None
