"""Is a project that is up what was rendered, and is there no way out of it?

What the engine says of its networks, what the kernel has in each node, and whether
anybody answers at the addresses that the engine keeps for its own: all must agree.
"""

import errno
import select
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import docker

from testbed.compose.project import RESOLVER, engines, layout
from testbed.compose.running import Container, ProjectLab
from testbed.errors import BackendError
from testbed.lab.audit import audit
from testbed.model.plan import AddNode, Plan
from testbed.words.faults import difference

_INHIBITED = "com.docker.network.bridge.inhibit_ipv4"
_PATIENCE = 0.3  # seconds for an answer of the host, a bridge away
_DISCARD = 9  # a port that hardly anybody serves: a host that is there refuses it


def require_closed(
    client: docker.APIClient, plan: Plan, found: Mapping[str, Container], lab: ProjectLab
) -> None:
    """BackendError naming every difference and every way out; no guest may be there yet.

    ``lab`` has all nodes of ``plan``.
    """
    findings = [*networks(client, found), *_resolvers(found)]
    findings += [*map(difference, audit(lab)), *_ipv6(lab), *answers(plan, lab)]
    if findings:
        raise BackendError("the project is not what was rendered: " + "; ".join(findings))


def networks(client: docker.APIClient, found: Mapping[str, Container]) -> Iterator[str]:
    """Networks of the project that lead to the host or to somebody else, as sentences."""
    own = {container.id for container in found.values()}
    for name in sorted({plug.network for one in found.values() for plug in one.plugs}):
        told = client.inspect_network(name)
        if not told["Internal"]:
            yield f"the network {name} is not internal"
        if (told["Options"] or {}).get(_INHIBITED) != "true":
            yield f"the host may have an address on {name}"
        for number, other in told["Containers"].items():
            if number not in own:
                yield f"{other['Name']} is on {name}, and of no node"


def _resolvers(found: Mapping[str, Container]) -> Iterator[str]:
    """The engine answers questions for names in every container, and asks others."""
    for node, container in found.items():
        if container.resolvers != (RESOLVER,):
            yield f"{node} may ask the host for names"


def _ipv6(lab: ProjectLab) -> Iterator[str]:
    for step in lab.plan.of(AddNode):
        if lab.has_ipv6(step.node):
            yield f"{step.node} has an address of IPv6"


def answers(plan: Plan, lab: ProjectLab) -> list[str]:
    """Where somebody answers at an address that the engine keeps for its own."""
    made = layout(plan)
    with ExitStack() as stack:
        calls = {}
        for node, service in made.services.items():
            for name in service.networks:
                target = str(engines(made.networks[name]))
                call = stack.enter_context(lab.socket(node, socket.AF_INET, socket.SOCK_STREAM))
                call.setblocking(False)
                call.connect_ex((target, _DISCARD))
                calls[call.fileno()] = (call, f"{target} answers {node}")
        return [said for call, said in _ended(calls) if _answered(call)]


def _ended(
    calls: Mapping[int, tuple[socket.socket, str]],
) -> Iterator[tuple[socket.socket, str]]:
    """Those of ``calls`` that come to an end in time."""
    poll, end = select.poll(), time.monotonic() + _PATIENCE
    for number in calls:
        poll.register(number, select.POLLOUT)
    while (left := end - time.monotonic()) > 0:
        for number, _ in poll.poll(left * 1000):
            poll.unregister(number)
            yield calls[number]


def _answered(call: socket.socket) -> bool:
    """Accepted or refused by somebody, and not for want of him."""
    return call.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (0, errno.ECONNREFUSED)
