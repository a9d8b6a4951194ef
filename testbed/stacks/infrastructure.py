"""The lab's public libp2p nodes: a relay of any stack, and observers of our own.

Each is a peer in a role of the contract, in its host's namespace, and answers AutoNAT.
"""

import hashlib
import importlib
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import Literal

from testbed.errors import PeerError
from testbed.lab.services.watch import Beginning, Question, watched
from testbed.model.behaviour import Protocol
from testbed.model.contract import (
    CircuitLimits,
    Configure,
    Endpoint,
    Keeping,
    Mode,
    Options,
    Ready,
    Role,
    Transport,
)
from testbed.model.frozen import FrozenValue
from testbed.model.lab import Lab, Process
from testbed.stacks.client import PeerClient, wait_all
from testbed.stacks.registry import OURS, Adapter, public

DEADLINE = 10.0  # seconds until all are ready
_GREETING = b"\x13/multistream/1.0.0\n"
# A long header with a reserved version and two connection ids, in a datagram of the least size.
_UNKNOWN_VERSION = bytes.fromhex("c01a2a3a4a08" + "11" * 8 + "08" + "22" * 8).ljust(1200, b"\0")


class Infrastructure(FrozenValue):
    """Where the public nodes are: multiaddrs with /p2p/."""

    relays: tuple[str, ...] = ()
    observers: tuple[str, ...] = ()


NOTHING_PUBLIC = Infrastructure()
OURS_OBSERVE: Mapping[str, Adapter] = MappingProxyType({})


class PublicNode(FrozenValue):
    """One that is to run on ``host``; equal seeds give it equal peer ids."""

    host: str
    stack: Adapter
    role: Literal[Role.RELAY, Role.AUTONAT_SERVER]
    port: int
    seed: int
    keep: Keeping | None = None  # of a relay that has the feature
    limits: CircuitLimits | None = None  # of one that has that feature


@contextmanager
def infrastructure(
    lab: Lab,
    relay: str,
    transport: Transport,
    seed: int,
    relaying: Adapter | None = None,
    keep: Keeping | None = None,
    observing: Mapping[str, Adapter] = OURS_OBSERVE,
) -> Iterator[Infrastructure]:
    """Run the nodes while the context lasts; ServiceError if one is not ready in time.

    ``relay`` is the host that relays, with the stack ``relaying`` (ours if None); the
    observers are those of the topology, of our stack where ``observing`` has no other.  ``keep`` is
    what the relay is told of its connections.
    """
    ours = public(OURS, transport.value)
    nodes = [_relay(lab, relay, transport, seed, relaying, keep)]
    nodes += [
        PublicNode(name, observing.get(name, ours), Role.AUTONAT_SERVER, lab.plan.port(name), seed)
        for name in lab.plan.topology.observers
    ]
    with serving(lab, nodes) as addresses:
        yield Infrastructure(relays=addresses[:1], observers=addresses[1:])


def begin_relay(
    lab: Lab,
    relay: str,
    transport: Transport,
    seed: int,
    relaying: Adapter | None = None,
    keep: Keeping | None = None,
) -> PeerClient:
    """Start the relay of such an `infrastructure` anew, and do not wait until it is `Ready`."""
    return _begun(lab, _relay(lab, relay, transport, seed, relaying, keep))


def _relay(
    lab: Lab,
    relay: str,
    transport: Transport,
    seed: int,
    relaying: Adapter | None,
    keep: Keeping | None,
) -> PublicNode:
    stack = relaying or public(OURS, transport.value)
    return PublicNode(relay, stack, Role.RELAY, lab.plan.port(relay), seed, keep)


def _started(lab: Lab, node: PublicNode) -> Process:
    return lab.spawn(node.host, node.stack.command(), node.stack.confinement(node.port))


def _begun(lab: Lab, node: PublicNode) -> PeerClient:
    client = PeerClient(_started(lab, node), node.host)
    client.send(_configure(lab, node))
    return client


@contextmanager
def serving(lab: Lab, nodes: list[PublicNode]) -> Iterator[tuple[str, ...]]:
    """Run ``nodes`` while the context lasts, and give the multiaddr of each, with /p2p/.

    ServiceError if one is not ready in time, StarvedServiceError if that is the machine's doing.
    """
    with ExitStack() as stack:
        clients, begun = [], []
        for node in nodes:
            process = _started(lab, node)
            stack.callback(process.kill)
            clients.append(PeerClient(process, node.host))
            begun.append(Beginning(node.host, str(node.role), process))
        try:
            for client, node in zip(clients, nodes, strict=True):
                client.send(_configure(lab, node))
            ready = wait_all(clients, (Ready,), time.monotonic() + DEADLINE)
        except PeerError as error:
            raise next(b for b in begun if b.node == error.node).unready(error.message) from error
        for client, node in zip(clients, nodes, strict=True):
            asked = _question(lab, node)
            stack.enter_context(watched(lab, node.host, str(node.role), client.process, asked))
        yield tuple(one.addresses[0] for one in ready if isinstance(one, Ready))


def _question(lab: Lab, node: PublicNode) -> tuple[Question]:
    """What every libp2p node answers that listens: on TCP multistream-select's greeting,

    on QUIC a version that nobody speaks, by the versions that it does (RFC 9000 section 6).
    """
    address = (str(lab.plan.address(node.host)), node.port)
    if node.stack.transport == "tcp":
        return (Question("TCP", socket.SOCK_STREAM, address, _GREETING, _GREETING),)
    return (Question("QUIC", socket.SOCK_DGRAM, address, _UNKNOWN_VERSION, b""),)


def _configure(lab: Lab, node: PublicNode) -> Configure:
    words = repr((node.seed, node.host)).encode()
    local = lab.plan.address(node.host)
    there = lab.plan.entrance(node.host, Protocol(node.stack.transport), node.port)
    outside = Endpoint(address=there.address, port=there.port)
    return Configure(
        version=2,
        role=node.role,
        transport=Transport(node.stack.transport),
        local_address=local,
        port=node.port,
        stun=None,
        turn=None,
        relays=(),
        observers=(),
        session=hashlib.sha256(words).hexdigest()[:32],
        seed=node.seed,
        options=Options(mode=Mode.PUNCH, relay_only=False),
        keep=node.keep,
        limits=node.limits,
        announce=outside if outside.address != local else None,
    )


def warm() -> None:
    """Import what the nodes and the peers need, before they are forked."""
    importlib.import_module("testbed.stacks.roles")
