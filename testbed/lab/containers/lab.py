"""Labs of containers: one to a node, wired by the same netlink code as namespaces.

No network of the engine's is used.  A container starts without any interface, and the
lab lays its wires straight into it: so there is no bridge on the host, no address of the
engine's, no default route but the plan's, and no NAT beside those under test.  That
takes root, and an engine on this machine.

What runs where: programs that are spawned by name, the stacks of `testbed.stacks`, and the
loaders of rules run in the container, with its files and its privileges, which are none
for hosts.  Python functions, and programs of this machine given by their path, run in a
fork of this process in the node's network only; so does what an operator `run`s there.
An image of the user's gets a container of its own beside the node's (`image`).
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path

from testbed.errors import BackendError, UnfitError
from testbed.lab import kernel, sandbox
from testbed.lab.containers import image, images
from testbed.lab.containers.crew import Member, crew
from testbed.lab.containers.engine import engine
from testbed.lab.containers.remote import Agent, RemoteProcess, finish
from testbed.lab.loading import LOADERS, not_loaded
from testbed.lab.namespaces import NamespaceLab
from testbed.lab.nodes import RULES_DEADLINE
from testbed.model.lab import Command, Confinement, Image, Pausable, Process
from testbed.model.plan import AddNode, LoadRules, NodeKind, Plan, WriteFiles
from testbed.model.topology import INTERNET


class Containers:
    """The backend on the docker SDK.  ``images`` names another image for a node."""

    name = "docker"

    def __init__(self, images: Mapping[str, str] | None = None) -> None:
        self._images = dict(images or {})

    def start(self, plan: Plan) -> AbstractContextManager["ContainerLab"]:
        return _started(plan, self._images)


@contextmanager
def _started(plan: Plan, chosen: Mapping[str, str]) -> Iterator["ContainerLab"]:
    if not sandbox.inside():
        raise BackendError("not in a sandbox", remedy="call testbed.lab.sandbox.enter() first")
    with ContainerLab(plan, chosen) as lab:
        lab.build()
        yield lab


class ContainerLab(NamespaceLab):
    """A started lab; see `testbed.model.lab.Lab`."""

    def __init__(self, plan: Plan, chosen: Mapping[str, str]) -> None:
        super().__init__(plan)
        self._chosen = chosen
        self._agents: dict[str, Agent] = {}
        self._images = count(1)
        self._inside: dict[str, list[RemoteProcess]] = {}  # node -> those in its container

    def build(self) -> None:
        self._agents = self._stack.enter_context(crew(members(self.plan, self._chosen)))
        super().build()

    def _enter_new(self, step: AddNode) -> None:
        agent = self._agents.get(step.node)
        if agent is None:  # the wire bench is no node, and needs no container
            super()._enter_new(step)
            return
        try:
            kernel.setns(agent.netns, kernel.CLONE_NEWNET)
        except OSError as error:
            raise UnfitError(
                f"a container's network cannot be entered: {error}",
                node=step.node,
                remedy="run as root, outside of any user namespace",
            ) from error

    @contextmanager
    def _loading_rules(self) -> Iterator[None]:
        """By the router's own tools, all at once while the wires are laid."""
        with ExitStack() as loaders:
            running = []
            for step in self.plan.of(LoadRules):
                loader = self._agents[step.node].start(LOADERS[step.engine])
                loaders.callback(loader.close)
                running.append((step, loader))
                with contextlib.suppress(BrokenPipeError):  # its exit code says more
                    loader.stdin.write(step.text.encode())
                loader.stdin.close()
            yield
            for step, loader in running:
                self._loaded(step, loader)

    def _loaded(self, step: LoadRules, loader: RemoteProcess) -> None:
        try:
            code, said = finish(loader, RULES_DEADLINE)
        except TimeoutError as error:
            raise BackendError(f"{step.engine} rules: {error}", node=step.node) from None
        if code:
            complaint = said.decode(errors="replace")
            raise not_loaded(self.plan, step, complaint, partial(self._said, step.node))

    def _said(self, node: str, command: Sequence[str], text: bytes) -> tuple[int, str]:
        """The router's own tool, in its container."""
        process = self._agents[node].start(command)
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(text)
            process.stdin.close()
            code, said = finish(process, RULES_DEADLINE)
        except TimeoutError as error:
            raise BackendError(f"{command[0]}: {error}", node=node) from None
        finally:
            process.close()
        return code, said.decode(errors="replace")

    def spawn(self, node: str, command: Command, confinement: Confinement | None = None) -> Process:
        if isinstance(command, Image):
            return self._spawn_image(node, command)
        words = getattr(command, "argv", command)
        if callable(words) or Path(words[0]).is_absolute():
            return super().spawn(node, command, confinement)
        self._node(node)  # an unknown one is refused
        process = self._agents[node].start(words)
        self._stack.callback(process.close)
        self._inside.setdefault(node, []).append(process)
        return process

    def processes(self, node: str) -> Sequence[Pausable]:
        """Those in its container, too."""
        inside = [one for one in self._inside.get(node, ()) if one.poll() is None]
        return [*super().processes(node), *inside]

    def _spawn_image(self, node: str, wanted: Image) -> Process:
        with engine() as client:
            image.require(client, wanted)
        name = f"{self.container(node)}-{next(self._images)}"
        self._stack.callback(_discard, name)
        return super().spawn(node, partial(image.run, wanted, self.container(node), name))

    def container(self, node: str) -> str:
        """Its name, for ``docker exec`` and the like; BackendError for an unknown node."""
        self._node(node)
        return self._agents[node].container

    def logs(self, node: str) -> str:
        """What the engine logged of a node: the programs that were started, and their ends."""
        with engine() as client:
            return str(client.logs(self.container(node)).decode(errors="replace"))


def _discard(name: str) -> None:
    with engine() as client:
        image.discard(client, name)


def members(plan: Plan, chosen: Mapping[str, str]) -> list[Member]:
    """The container of each node, with the files that its processes are to see."""
    files = {
        step.node: {"hosts": step.hosts, "resolv.conf": step.resolv} for step in plan.of(WriteFiles)
    }
    public = {host.name for host in plan.topology.attached(INTERNET)}
    return [
        Member(
            step.node,
            chosen.get(step.node) or _image(step, step.node in public),
            step.kind is not NodeKind.HOST,
            files.get(step.node, {}),
        )
        for step in plan.of(AddNode)
    ]


def _image(step: AddNode, public: bool) -> str:
    """Servers of the internet are hosts, too: they can run a peer as well as coturn."""
    if step.kind is not NodeKind.HOST:
        return images.ROUTER
    return images.COTURN if public else images.PEER
