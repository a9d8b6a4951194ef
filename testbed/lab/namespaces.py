"""Labs of network namespaces, for ordinary users and for root alike.

Everything lives in the sandbox (`testbed.lab.sandbox`), which must have been
entered.  A node is a file descriptor of its namespace: closing it, or the end of
the process, takes the node away.
"""

import contextlib
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from testbed.errors import BackendError, UsageError
from testbed.lab import kernel, process, sandbox
from testbed.lab.isolation.confine import Place
from testbed.lab.links.base import Links
from testbed.lab.nodes import Node, Nodes, communicated, popen
from testbed.lab.services import routers
from testbed.lab.services.daemon import Daemon
from testbed.lab.wires import WireBench
from testbed.model.fault import FramesLost, ServiceFailed
from testbed.model.lab import (
    Capability,
    Command,
    Confinement,
    Image,
    Pausable,
    Process,
    Route,
    Rule,
)
from testbed.model.plan import (
    Plan,
    ServeNames,
    WriteFiles,
)

if TYPE_CHECKING:
    from testbed.lab.services.names import Names

_LEFTOVERS = 2.0  # seconds until all are gone that were killed


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


class NamespaceLab(Nodes):
    """A started lab; see `testbed.model.lab.Lab`."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._to_write = {step.node: step for step in plan.of(WriteFiles)}
        self._folder: Path | None = None
        self._processes: dict[str, list[process.NodeProcess]] = {}
        self.services: Mapping[str, Daemon] = {}  # router -> its daemon
        self.names: Names | None = None  # the DNS server, where the world has one
        self.failed: list[ServiceFailed] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def build(self) -> None:
        """Apply the plan; BackendError names the step and node that failed."""
        self._create_nodes()
        self._stack.callback(self._end_leftovers)
        self.lay()
        if WireBench.NODE in self._nodes:
            bench = kernel.inside_netns(self._nodes[WireBench.NODE].netns, self._home)
            self._stack.enter_context(self._wires.running(bench, self.plan.seed, self.socket))
        self.services = self._stack.enter_context(routers.running(self))
        for step in self.plan.of(ServeNames):
            from testbed.lab.services.names import Names  # which few worlds have, and dnspython

            self.names = Names(self, step)
            self._stack.callback(self.names.stop)
            self.names.start()

    def _files(self, name: str) -> Path | None:
        """The folder with the node's own files, written when its first process needs them.

        Each has the addresses of all nodes: written for all of them, they would outgrow the lab.
        """
        node = self._node(name)
        step = self._to_write.pop(name, None)
        if step is not None:
            if self._folder is None:
                made = tempfile.TemporaryDirectory(dir=sandbox.scratch())
                self._folder = Path(self._stack.enter_context(made))
            node.files = self._folder / name
            node.files.mkdir()
            (node.files / "hosts").write_text(step.hosts, encoding="utf-8")
            (node.files / "resolv.conf").write_text(step.resolv, encoding="utf-8")
        return node.files

    def socket(self, node: str, family: int, kind: int, proto: int = 0) -> socket.socket:
        with kernel.inside_netns(self._node(node).netns, self._home):
            return socket.socket(family, kind, proto)

    def spawn(self, node: str, command: Command, confinement: Confinement | None = None) -> Process:
        target = self._node(node)
        if isinstance(command, Image):
            raise UsageError(
                f"{command.reference} is an image, and this lab has no containers",
                node=node,
                remedy="--backend docker",
            )
        if confinement and Capability.NET_BIND_SERVICE in confinement.capabilities:
            self._open_low_ports(target)
        child = process.spawn(command, Place(node, target.netns, self._files(node)), confinement)
        self._stack.callback(child.close)
        self._processes.setdefault(node, []).append(child)
        return child

    def _open_low_ports(self, node: Node) -> None:
        """Whoever is in the node may listen at them: that takes no privilege."""
        with kernel.inside_netns(node.netns, self._home):
            kernel.write_sysctl("net.ipv4.ip_unprivileged_port_start", "0")

    def processes(self, node: str) -> Sequence[Pausable]:
        """Those of ``node`` that were started and still run."""
        return [one for one in self._processes.get(node, ()) if one.poll() is None]

    def run(
        self, node: str, command: Sequence[str], *, input: bytes = b"", timeout: float = 10.0
    ) -> bytes:
        with kernel.inside_netns(self._node(node).netns, self._home):
            child = popen(command)
        out, err = communicated(child, command, node, input, timeout)
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
        programs: list[Daemon | Names] = [*self.services.values()]
        if self.names is not None:
            programs.append(self.names)
        found = (program.failure() for program in programs)
        return [*self.failed, *(failed for failed in found if failed)]

    def lateness_ms(self) -> float:
        return self._wires.lateness_ms()

    def entrance(self, node: str) -> tuple[int, Path | None]:
        """What `testbed.lab.process.enter_node` needs to enter ``node``."""
        target = self._node(node)
        return target.netns, self._files(node)

    def interfaces(self, node: str) -> set[str]:
        return self._node(node).netlink.interfaces()

    def routes(self, node: str) -> set[Route]:
        return self._node(node).netlink.routes()

    def rules(self, node: str) -> set[Rule]:
        return self._node(node).netlink.rules()
