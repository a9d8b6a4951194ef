"""The observed address that identify tells, beside what the router's conntrack holds."""

from collections.abc import Mapping
from dataclasses import dataclass

from testbed.capture.conntrack import Entry, entry
from testbed.lab.netfilter import CONNTRACK, attributes, dump
from testbed.model.behaviour import Protocol
from testbed.model.lab import Lab
from testbed.model.packet import Endpoint
from testbed.studies.autonat.nodes import Change, world


@dataclass(frozen=True)
class Observation:
    """One observer's word on the client's address, and the truth.

    ``told`` is None when the observer could not be reached, ``held`` when the router
    has no flow from the client's port to the observer's.
    """

    protocol: Protocol
    observer: str
    told: Endpoint | None
    held: Endpoint | None

    @property
    def agrees(self) -> bool:
        return self.told == self.held


def measure(lab: Lab, changes: Mapping[str, Change] | None = None) -> tuple[Observation, ...]:
    """All observers on both transports, in a lab of `testbed.studies.autonat.reachability.bench`.

    ``changes`` as in `testbed.studies.autonat.nodes.world`; PeerError when a process fails.
    """
    with world(lab, changes) as nodes:
        told, entries = nodes.connect(), _held_by(lab, lab.plan.topology.routers[0].name)
    return tuple(
        Observation(protocol, name, seen, _held(lab, entries, protocol, name))
        for protocol in Protocol
        for name, seen in told[protocol].items()
    )


def _held_by(lab: Lab, node: str) -> list[Entry]:
    """All IPv4 flows of a router, by IPCTNL_MSG_CT_GET."""
    return [entry(attributes(body)) for body in dump(lab, node, CONNTRACK | 1)]


def _held(lab: Lab, entries: list[Entry], protocol: Protocol, observer: str) -> Endpoint | None:
    """Where replies to the client's flow go: its address as the outside knows it."""
    client, server = (
        Endpoint(lab.plan.address(host), lab.plan.port(host))
        for host in (lab.plan.topology.roles.a, observer)
    )
    for one in entries:
        flow = (one.protocol, one.original.source, one.original.destination)
        if flow == (protocol.value, client, server):
            return one.reply.destination
    return None
