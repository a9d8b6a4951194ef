"""The lab's public libp2p nodes: a relay of any stack, and observers of our own.

Each is a peer in a role of the contract, in its host's namespace, and answers AutoNAT.
"""

import hashlib
import importlib
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

from testbed.errors import BackendError, PeerError, StarvedError
from testbed.lab.services.watch import Question, watched
from testbed.model.behaviour import Protocol
from testbed.model.contract import (
    Configure,
    Endpoint,
    Keeping,
    Mode,
    Options,
    Ready,
    Role,
    Transport,
)
from testbed.model.lab import Lab
from testbed.stacks.client import PeerClient, wait_all
from testbed.stacks.registry import OURS, Adapter, public

DEADLINE = 10.0  # seconds until all are ready
_GREETING = b"\x13/multistream/1.0.0\n"
# A long header with a reserved version and two connection ids, in a datagram of the least size.
_UNKNOWN_VERSION = bytes.fromhex("c01a2a3a4a08" + "11" * 8 + "08" + "22" * 8).ljust(1200, b"\0")


@dataclass(frozen=True)
class Infrastructure:
    """Where the public nodes are: multiaddrs with /p2p/."""

    relays: tuple[str, ...] = ()
    observers: tuple[str, ...] = ()


NOTHING_PUBLIC = Infrastructure()


@dataclass(frozen=True)
class PublicNode:
    """One that is to run on ``host``; equal seeds give it equal peer ids."""

    host: str
    stack: Adapter
    role: Literal[Role.RELAY, Role.AUTONAT_SERVER]
    port: int
    seed: int
    keep: Keeping | None = None  # of a relay that has the feature


@contextmanager
def infrastructure(
    lab: Lab,
    relay: str,
    transport: Transport,
    seed: int,
    relaying: Adapter | None = None,
    keep: Keeping | None = None,
) -> Iterator[Infrastructure]:
    """Run the nodes while the context lasts; BackendError if one is not ready in time.

    ``relay`` is the host that relays, with the stack ``relaying`` (ours if None); the
    observers are those of the topology.  ``keep`` is what the relay is told of its
    connections.
    """
    ours = public(OURS, transport.value)
    nodes = [_relay(lab, relay, transport, seed, relaying, keep)]
    nodes += [
        PublicNode(name, ours, Role.AUTONAT_SERVER, lab.plan.port(name), seed)
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


def _begun(lab: Lab, node: PublicNode) -> PeerClient:
    client = PeerClient(lab.spawn(node.host, node.stack.command()), node.host)
    client.send(_configure(lab, node))
    return client


@contextmanager
def serving(lab: Lab, nodes: list[PublicNode]) -> Iterator[tuple[str, ...]]:
    """Run ``nodes`` while the context lasts, and give the multiaddr of each, with /p2p/.

    BackendError if one is not ready in time.
    """
    with ExitStack() as stack:
        clients = []
        for node in nodes:
            process = lab.spawn(node.host, node.stack.command())
            stack.callback(process.kill)
            clients.append(PeerClient(process, node.host))
        try:
            for client, node in zip(clients, nodes, strict=True):
                client.send(_configure(lab, node))
            ready = wait_all(clients, (Ready,), time.monotonic() + DEADLINE)
        except StarvedError:  # another try may do
            raise
        except PeerError as error:
            raise BackendError(
                f"the public node is not ready: {error.message}", node=error.node
            ) from error
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
        announce=outside if outside.address != local else None,
    )


def warm() -> None:
    """Import what the nodes and the peers need, before they are forked."""
    importlib.import_module("testbed.stacks.roles")
