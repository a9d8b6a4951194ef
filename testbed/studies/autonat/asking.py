"""AutoNAT between two stacks, by the peers' contract: servers of one, a client of the other.

The bench and the truth are those of `testbed.studies.autonat.reachability`.
"""

import hashlib
import time
from contextlib import ExitStack

from testbed.model import contract
from testbed.model.behaviour import Protocol
from testbed.model.frozen import FrozenValue
from testbed.model.lab import Lab
from testbed.model.packet import Endpoint
from testbed.stacks.client import PeerClient, wait_all
from testbed.stacks.infrastructure import PublicNode, serving
from testbed.stacks.registry import ADAPTERS, SUFFIX, Adapter, public
from testbed.studies.autonat.reachability import Measured, judged
from testbed.studies.punctual import watched

PATIENCE = 60.0  # seconds for a client's verdicts: a server may try for 15 s


class Asking(FrozenValue):
    """Who asks whom: libp2p stacks, such as ``go`` and ``traversal``."""

    client: str
    server: str

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """What both speak."""
        return tuple(
            protocol
            for protocol in Protocol
            if all(f"{s}-{SUFFIX[protocol.value]}" in ADAPTERS for s in (self.client, self.server))
        )

    @property
    def stacks(self) -> tuple[Adapter, ...]:
        """Those that take part; UsageError for no such stack or one that cannot do its part."""
        spoken = self.protocols or tuple(Protocol)
        asking = [public(self.client, one.value, "autonat_client") for one in spoken]
        asked = [public(self.server, one.value, "autonat_server") for one in spoken]
        return (*asking, *asked)

    def prepare(self) -> None:
        """Before many forks.

        UsageError for no such stack or one that cannot do its part, with those that can;
        UnfitError for one not built.
        """
        for stack in self.stacks:
            stack.prepare()


def measure(lab: Lab, asking: Asking) -> tuple[Measured, ...]:
    """Each transport in a lab of `testbed.studies.autonat.reachability.bench`.

    PeerError or BackendError when a stack does not do its part.
    """
    hosts, roles = lab.plan.topology.observers, lab.plan.topology.roles
    with ExitStack() as stack:
        late = stack.enter_context(watched(lab, roles.relay))
        clients = []
        for protocol in asking.protocols:
            node = public(asking.server, protocol.value, "autonat_server")
            nodes = [
                PublicNode(host, node, contract.Role.AUTONAT_SERVER, lab.plan.port(host), seed=0)
                for host in hosts
            ]
            servers = stack.enter_context(serving(lab, nodes))
            asker = public(asking.client, protocol.value, "autonat_client")
            process = lab.spawn(roles.a, asker.command(), asker.confinement(lab.plan.port(roles.a)))
            stack.callback(process.kill)
            clients.append(PeerClient(process, roles.a))
            clients[-1].send(_configure(lab, protocol, servers))
        wait_all(clients, (contract.Verdicts,), time.monotonic() + PATIENCE)
        lateness = late()
        return tuple(
            _judged(lab, protocol, lateness, one)
            for protocol, one in zip(asking.protocols, clients, strict=True)
        )


def _configure(lab: Lab, protocol: Protocol, servers: tuple[str, ...]) -> contract.Configure:
    return contract.Configure(
        version=2,
        role=contract.Role.AUTONAT_CLIENT,
        transport=contract.Transport(protocol.value),
        local_address=lab.plan.address(lab.plan.topology.roles.a),
        port=lab.plan.port(lab.plan.topology.roles.a),
        stun=None,
        turn=None,
        relays=(),
        observers=servers,
        session=hashlib.sha256(protocol.value.encode()).hexdigest()[:32],
        seed=0,
        options=contract.Options(mode=contract.Mode.PUNCH, relay_only=False),
    )


def _judged(lab: Lab, protocol: Protocol, late: float, client: PeerClient) -> Measured:
    """The stranger dials while the client's connections live."""
    events = client.events
    observed = {_endpoint(e.address) for e in events if isinstance(e, contract.Observed)}
    said = next(e for e in events if isinstance(e, contract.Verdicts))
    by_address = {_endpoint(one.address): one.verdict.value for one in said.v2 or ()}
    v1 = said.v1 or contract.Reachable.UNKNOWN
    return judged(lab, protocol, late, observed, v1.value, by_address)


def _endpoint(one: contract.Endpoint) -> Endpoint:
    return Endpoint(one.address, one.port)
