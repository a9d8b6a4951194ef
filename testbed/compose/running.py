"""A rendered project that is up: its containers, as the engine tells of them, and their networks.

A network is entered through an eye: a container of our own without any privilege that
shares it, and hands out a descriptor of it.  Where the engine numbers its processes
otherwise than we do, that works all the same.
"""

import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import docker

from testbed.errors import BackendError, UnfitError
from testbed.lab import kernel
from testbed.lab.containers import images
from testbed.lab.containers.crew import NODE, RUN, Member
from testbed.lab.containers.remote import Agent
from testbed.lab.namespaces import NamespaceLab
from testbed.lab.rtnetlink import address, route
from testbed.model.frozen import FrozenValue
from testbed.model.plan import AddBridge, AddLink, AddNode, AddRoute, Blackhole, Plan, Step

GUESTS_OWN = "eth0"  # what an engine calls the interface of a container that has one
READY = 30.0  # seconds for the containers of a project that was just brought up
_FOLDER = "com.docker.compose.project.working_dir"
_ENGINE = "engine"  # no node's name
_POLL = 0.2  # seconds between two questions to the engine


class Plug(FrozenValue):
    """A container on a network of the engine's."""

    network: str  # the engine's name of it
    address: IPv4Address
    mac: str


class Container(FrozenValue):
    """Of one node."""

    node: str
    id: str
    plugs: tuple[Plug, ...]
    resolvers: tuple[str, ...]  # whom the engine's resolver asks; none: the host's

    def plug(self, address: IPv4Address) -> Plug:
        """Where it has ``address``; BackendError if it has not."""
        for plug in self.plugs:
            if plug.address == address:
                return plug
        raise BackendError(f"the engine knows no interface with {address}", node=self.node)


def containers(client: docker.APIClient, folder: Path, plan: Plan) -> dict[str, Container]:
    """Those of the project in ``folder``, all running and ready.

    UnfitError where it is not up; BackendError if it does not get ready in `READY` seconds.
    """
    end = time.monotonic() + READY
    wanted = {step.node for step in plan.of(AddNode)}
    while True:
        found = {one["Labels"][NODE]: one for one in _of(client, folder)}
        if not found:
            raise UnfitError(
                f"no container of the project in {folder} runs",
                remedy=f"docker-compose -f {folder}/compose.yaml up -d",
            )
        late = sorted(node for node in wanted if not _ready(found.get(node)))
        if not late:
            return {node: _container(client, node, found[node]["Id"]) for node in sorted(wanted)}
        if time.monotonic() > end:
            raise BackendError(
                f"not ready: {', '.join(late)}",
                node=late[0],
                remedy=f"docker-compose logs {late[0]}",
            )
        time.sleep(_POLL)


def _of(client: docker.APIClient, folder: Path) -> Iterator[dict[str, Any]]:
    for one in client.containers(filters={"label": [NODE, _FOLDER]}):
        if RUN not in one["Labels"] and Path(one["Labels"][_FOLDER]).resolve() == folder.resolve():
            yield one


def _ready(one: Mapping[str, Any] | None) -> bool:
    return one is not None and "(healthy)" in one["Status"]


def _container(client: docker.APIClient, node: str, number: str) -> Container:
    told = client.inspect_container(number)
    plugs = [
        Plug(name, IPv4Address(end["IPAddress"]), end["MacAddress"])
        for name, end in told["NetworkSettings"]["Networks"].items()
        if end["IPAddress"]
    ]
    return Container(node, told["Id"], tuple(plugs), tuple(told["HostConfig"]["Dns"] or ()))


def eye(container: Container) -> Member:
    """A member of a crew that shares the container's network, and may do nothing there."""
    return Member(container.node, images.BASE, False, {}, f"container:{container.id}")


def as_wired(plan: Plan) -> Plan:
    """The same lab as a project has it: the ports of bridges are the engine's."""
    steps: list[Step] = []
    for step in plan.steps:
        match step:
            case AddNode():
                steps.append(replace(step, sysctls=()))
            case AddLink(_, b):
                port = b if b.bridge is None else replace(b, node=_ENGINE)
                steps.append(AddLink(step.a, port))
            case AddBridge() | AddRoute() | Blackhole():
                steps.append(step)
            case _:
                pass
    return replace(plan, steps=tuple(steps))


class ProjectLab(NamespaceLab):
    """Networks that containers have: to be looked at, and to open sockets in.

    The plan (`as_wired`) names the nodes; nothing of it is applied.
    """

    def __init__(self, plan: Plan, agents: Mapping[str, Agent]) -> None:
        super().__init__(plan)
        self._agents = agents

    def build(self) -> None:
        self._create_nodes()

    def _enter_new(self, step: AddNode) -> None:
        try:
            kernel.setns(self._agents[step.node].netns, kernel.CLONE_NEWNET)
        except OSError as error:
            raise UnfitError(
                f"a container's network cannot be entered: {error}",
                node=step.node,
                remedy="run as root, on the engine's machine",
            ) from error

    def has_ipv6(self, node: str) -> bool:
        """Whether any interface but loopback has an address of IPv6's."""
        with kernel.inside_netns(self._node(node).netns, self._home):
            told = kernel.read_switch("/proc/thread-self/net/if_inet6") or ""
        return any(not line.endswith(" lo") for line in told.splitlines())

    def give(self, node: str, more: Sequence[IPv4Interface], routes: Mapping[str, str]) -> None:
        """Further addresses for ``node``'s one interface, and routes: destination -> gateway."""
        target = self._node(node)
        with kernel.inside_netns(target.netns, self._home):
            index = socket.if_nametoindex(GUESTS_OWN)
        requests = [address(index, one) for one in more]
        for destination, gateway in routes.items():
            requests.append(route(IPv4Network(destination), IPv4Address(gateway), index))
        target.netlink.send(requests)


@contextmanager
def looked_into(plan: Plan, agents: Mapping[str, Agent]) -> Iterator[ProjectLab]:
    """``agents`` by the plan's nodes."""
    with ProjectLab(plan, agents) as lab:
        lab.build()
        yield lab
