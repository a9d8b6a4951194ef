"""AutoNAT's verdicts on a node behind a NAT, and the truth: a stranger's dial.

The node is the host that plays ``a`` in the world, its servers are the observers.  The stranger,
the host that plays ``relay``, is one that nobody behind the NAT has ever sent to.  It dials
what the observers have told the node, while the node's connections live.
"""

import errno
import os
import selectors
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack

from testbed.model.behaviour import Protocol
from testbed.model.frozen import FrozenValue
from testbed.model.lab import Lab
from testbed.model.packet import Endpoint, decode
from testbed.model.presets import observers
from testbed.model.topology import Link, Topology
from testbed.predict.autonat import Address, AddressVerdict, NodeVerdict, Reachability
from testbed.studies.autonat.nodes import Change, world

STRANGER_DIAL = 2.0  # seconds: time for a SYN to be repeated
_REPEAT = 0.5  # seconds between two datagrams of the stranger's
_ETH_P_IP = 0x0800
_V2 = {
    "public": AddressVerdict.REACHABLE,
    "private": AddressVerdict.UNREACHABLE,
    "unknown": AddressVerdict.UNKNOWN,
}


class Seen(FrozenValue):
    """One external address of the node, as measured."""

    address: Endpoint
    reachable: bool
    v2: AddressVerdict


class Measured(FrozenValue):
    """One transport of one node.

    ``late``: by how many seconds a node's process was late at worst.  Dial-backs that
    a busy machine has kept waiting fail like those that a NAT has dropped.
    """

    protocol: Protocol
    late: float
    v1: NodeVerdict
    addresses: tuple[Seen, ...]

    @property
    def outcome(self) -> Reachability:
        """Without the addresses themselves, to be held against a prediction."""
        found = (Address(seen.reachable, seen.v2) for seen in self.addresses)
        return Reachability(self.v1, tuple(sorted(found)))


def bench(profile: str) -> Topology:
    """One node behind ``profile``, four observers, a stranger; no delay: no verdict needs it."""
    return observers(profile, link=Link())


def measure(lab: Lab, changes: Mapping[str, Change] | None = None) -> tuple[Measured, ...]:
    """Both transports in a lab of `bench`; PeerError when a node's process fails.

    ``changes`` as in `testbed.studies.autonat.nodes.world`.
    """
    with world(lab, changes) as nodes:
        told, said = nodes.connect(), nodes.probe()
        late = nodes.lateness()
        return tuple(
            judged(lab, protocol, late, set(told[protocol].values()), *said[protocol])
            for protocol in Protocol
        )


def judged(
    lab: Lab,
    protocol: Protocol,
    late: float,
    observed: Collection[Endpoint | None],
    verdict: str,
    by_address: dict[Endpoint, str],
) -> Measured:
    """What a client was told, held against a stranger's dials, while its connections live.

    ``observed``: where the servers see it, None of those that say nothing.  ``verdict`` is
    version 1's, ``by_address`` has version 2's, as AutoNAT's words.
    """
    known = {one for one in observed if one is not None} | set(by_address)
    # Nobody knows an address: then it is tried where a NAT that preserves ports has it.
    external = Endpoint(lab.plan.address(edge(lab.plan.topology)), _port(lab))
    tested = sorted(known or {external}, key=lambda one: (one.address, one.port))
    reached = stranger_dials(lab, protocol, tested)
    addresses = (Seen(one, one in reached, _V2[by_address.get(one, "unknown")]) for one in tested)
    return Measured(protocol, late, NodeVerdict(verdict), tuple(addresses))


def edge(topology: Topology) -> str:
    """The last router between the node and the internet; the node itself where there is none."""
    way = topology.path_out(topology.roles.a)
    return way[-1].name if way else topology.roles.a


def _port(lab: Lab) -> int:
    """Where the node listens."""
    return lab.plan.port(lab.plan.topology.roles.a)


def stranger_dials(lab: Lab, protocol: Protocol, targets: Sequence[Endpoint]) -> set[Endpoint]:
    """Those of ``targets`` where the stranger gets through to the node's socket.

    TCP: the connection is accepted.  UDP: its datagram arrives on the node's wire at
    the port the node listens on, as seen there.
    """
    dial = _dial_tcp if protocol is Protocol.TCP else _dial_udp
    return dial(lab, targets)


def _dial_tcp(lab: Lab, targets: Sequence[Endpoint]) -> set[Endpoint]:
    reached = set()
    deadline, stranger = time.monotonic() + STRANGER_DIAL, lab.plan.topology.roles.relay
    with ExitStack() as stack, selectors.DefaultSelector() as waiting:
        for target in targets:
            dialing = stack.enter_context(lab.socket(stranger, socket.AF_INET, socket.SOCK_STREAM))
            dialing.setblocking(False)
            code = dialing.connect_ex((str(target.address), target.port))
            if code in (0, errno.EINPROGRESS):  # else the refusal is here already
                waiting.register(dialing, selectors.EVENT_WRITE, target)
        while waiting.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in waiting.select(left):
                settled = key.fileobj
                assert isinstance(settled, socket.socket)
                waiting.unregister(settled)
                if settled.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    reached.add(key.data)
    return reached


def _dial_udp(lab: Lab, targets: Sequence[Endpoint]) -> set[Endpoint]:
    marks = {os.urandom(16): target for target in targets}
    missing, again = dict(marks), 0.0
    deadline, roles = time.monotonic() + STRANGER_DIAL, lab.plan.topology.roles
    with (
        lab.socket(roles.a, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_IP)) as wire,
        lab.socket(roles.relay, socket.AF_INET, socket.SOCK_DGRAM) as sending,
    ):
        while missing and (now := time.monotonic()) < deadline:
            if now >= again:
                for mark, target in missing.items():
                    sending.sendto(mark, (str(target.address), target.port))
                again = now + _REPEAT
            wire.settimeout(max(0.001, min(again, deadline) - now))
            try:
                frame = wire.recv(2048)
            except TimeoutError:
                continue
            packet = decode(0, f"{roles.a}:eth0", 0, False, frame, len(frame))
            if packet.protocol == "udp" and packet.destination.port == _port(lab):
                missing.pop(packet.payload, None)
    return {target for mark, target in marks.items() if mark not in missing}
