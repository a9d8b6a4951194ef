"""What can be broken in a cell of the corpus: its peers, its lab, its relay, its oracle."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace as altered
from pathlib import Path
from typing import Any

import instead

from testbed.lab.services.watch import Question, Watching
from testbed.model.contract import (
    Configure,
    Connected,
    Dial,
    Endpoint,
    Event,
    FailureClass,
    Keeping,
    Offer,
    Role,
    Transport,
)
from testbed.model.contract import Path as Way
from testbed.model.lab import Command, Confinement, Lab, Process
from testbed.model.plan import AddLink, Plan
from testbed.model.profile import Profile
from testbed.model.topology import Impairment, Topology
from testbed.model.trace import Place, Unmapped
from testbed.plan.site import Site
from testbed.predict.prediction import _predict
from testbed.run import cell as runner
from testbed.stacks import ice, infrastructure, punch_udp, services, session, traversal
from testbed.stacks.adapter import Adapter
from testbed.stacks.session import Emit, Stack
from testbed.traversal import Multiaddr, Node, NodeOptions, PeerId, RelayLimits

# -- peers that are broken -------------------------------------------------------


def gathering(
    stack: type[Stack], change: Callable[[Configure, Offer], Offer]
) -> Callable[[], None]:
    """What a stack offers goes through ``change``."""

    def apply() -> None:
        honest = stack.gather

        async def gather(self: Any, configure: Configure, emit: Emit) -> Offer:
            offer = await honest(self, configure, emit)
            assert isinstance(offer, Offer)
            return change(configure, offer)

        instead.gathers(stack, gather)

    return apply


def dialer_offers(addresses: Callable[[Configure, Offer], tuple[Endpoint, ...]]) -> Any:
    def change(configure: Configure, offer: Offer) -> Offer:
        if configure.role is Role.DIALER:
            return offer.model_copy(update={"addresses": addresses(configure, offer)})
        return offer

    return change


def inside(configure: Configure, _offer: Offer) -> tuple[Endpoint, ...]:
    return (Endpoint(address=configure.local_address, port=configure.port),)


def next_port(_configure: Configure, offer: Offer) -> tuple[Endpoint, ...]:
    one = offer.addresses[0]
    return (Endpoint(address=one.address, port=one.port + 1),)


def crash(configure: Configure, offer: Offer) -> Offer:
    if configure.role is Role.LISTENER:
        os._exit(9)
    return offer


def deaf_once_failed() -> None:
    """Who has given up answers no probe any more."""
    honest = punch_udp.UdpPuncher.dial

    async def dial(self: Any, command: Dial) -> Event:
        try:
            return await honest(self, command)
        except session.PeerFailure:
            self._punch = None
            raise

    instead.dials(punch_udp.UdpPuncher, dial)


def mute() -> None:
    """The listener sends no probe, and answers none."""
    honest = punch_udp.UdpPuncher.dial

    async def dial(self: Any, command: Dial) -> Event:
        if self._configure.role is Role.LISTENER:
            why = "it does not feel like it"
            raise session.PeerFailure(FailureClass.TIMEOUT, why)
        return await honest(self, command)

    instead.dials(punch_udp.UdpPuncher, dial)


def deaf() -> None:
    """No frame is heeded, from whomever."""
    from testbed.stacks.wire import Speaker

    Speaker.heeds = lambda *_: False  # type: ignore[method-assign]


def settled() -> None:
    """Who is probed from elsewhere than was signalled answers there, and never probes there."""
    honest = punch_udp.Punch.received

    def received(
        self: punch_udp.Punch, data: bytes, source: tuple[str, int]
    ) -> list[tuple[bytes, tuple[str, int]]]:
        targets = list(self._targets)
        answers = honest(self, data, source)
        self._targets = targets
        return answers

    punch_udp.Punch.received = received  # type: ignore[method-assign]


def boast() -> None:
    """Every connection is said to be direct."""
    said = session._Session.emit

    def emit(self: session._Session, event: Event) -> None:
        if isinstance(event, Connected):
            event = event.model_copy(update={"path": Way.DIRECT})
        said(self, event)

    instead.emits(emit)


def stubborn() -> None:
    """Both are controlling, with one tie-breaker, and none gives way (RFC 8445 section 7.3.1.1)."""
    honest = ice.PatientConnection.__init__

    def give_way(**_: Any) -> None:
        raise RuntimeError("never")

    def init(self: Any, configure: Configure) -> None:
        honest(self, configure)
        self.ice_controlling = True
        self._tie_breaker = 7
        self.switch_role = give_way

    ice.PatientConnection.__init__ = init  # type: ignore[method-assign]


def upgrades_anyway() -> None:
    honest = traversal.TraversalPeer._options

    def options(self: Any, configure: Configure) -> NodeOptions:
        given = honest(self, configure)
        return altered(given, upgrade=altered(given.upgrade, enabled=True))

    traversal.TraversalPeer._options = options  # type: ignore[method-assign]


def dials_from_anywhere() -> None:
    """No dial leaves from the port that the peer listens on."""
    from testbed.traversal.aio import tcp

    honest = tcp.dial

    async def dial(
        address: Multiaddr, source: tuple[str, int] | None, timeout: float
    ) -> socket.socket:
        del source
        return await honest(address, None, timeout)

    tcp.dial = dial


# -- a lab that is broken --------------------------------------------------------


def _from(lab: Lab, node: str, ports: range, target: tuple[str, int]) -> None:
    """One datagram from each port, so that each has a mapping."""
    for port in ports:
        with lab.socket(node, socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("", port))
            sock.sendto(b"early", target)


def use_up(count: int) -> Callable[[Lab], None]:
    def act(lab: Lab) -> None:
        _from(lab, "a", range(20000, 20000 + count), (str(lab.plan.address("server")), 9))

    return act


def collide(lab: Lab) -> None:
    """Another address behind nat-a has sent from a's port to the one that nat-b has for b."""
    own = lab.plan.address("a")
    lab.run("a", ["ip", "address", "add", f"{own + 1}/32", "dev", "eth0"])
    try:
        with lab.socket("a", socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((str(own + 1), lab.plan.port("a")))
            sock.sendto(b"early", (str(lab.plan.address("nat-b")), lab.plan.port("b")))
    finally:
        lab.run("a", ["ip", "address", "del", f"{own + 1}/32", "dev", "eth0"])


def side_network(lab: Lab) -> None:
    lab.run("a", ["ip", "link", "add", "side", "type", "veth", "peer", "name", "side-b"])


def cut(node: str) -> Callable[[Path], None]:
    """The link of ``node`` loses everything that is for it."""

    def broken(_folder: Path) -> None:
        real = runner.plan  # type: ignore[attr-defined]

        def plan(
            topology: Topology,
            profiles: Mapping[str, Profile],
            number: int = 0,
            seed: int = 0,
            sites: Mapping[str, Site] | None = None,
        ) -> Plan:
            whole = real(topology, profiles, number, seed, sites)
            steps = tuple(
                altered(step, b_to_a=Impairment(delay_ms=10.0, loss=1.0))
                if isinstance(step, AddLink) and step.a.node == node and step.a.ifname != "lan"
                else step
                for step in whole.steps
            )
            return altered(whole, steps=steps)

        runner.plan = plan  # type: ignore[attr-defined]

    return broken


def relay_with(limits: RelayLimits) -> Callable[[Path], None]:
    def broken(_folder: Path) -> None:
        from testbed.stacks import roles

        roles._limits = lambda configure: limits  # noqa: ARG005

    return broken


@contextmanager
def nobody_watches(
    lab: Watching, node: str, name: str, process: Process, questions: Iterable[Question] = ()
) -> Iterator[None]:
    del lab, node, name, process, questions
    yield


def dead_relay(_folder: Path) -> None:
    """The relay is killed before the peers start, and nobody watches; the observers live."""
    real = services.infrastructure  # type: ignore[attr-defined]

    @contextmanager
    def dying(
        lab: Lab,
        relay: str,
        transport: Transport,
        seed: int,
        relaying: Adapter | None = None,
        keep: Keeping | None = None,
        observing: Mapping[str, Adapter] = infrastructure.OURS_OBSERVE,
    ) -> Iterator[infrastructure.Infrastructure]:
        honest = lab.spawn
        spawned: dict[str, Process] = {}

        def spawn(node: str, command: Command, confinement: Confinement | None = None) -> Process:
            return spawned.setdefault(node, honest(node, command, confinement))

        lab.spawn = spawn  # type: ignore[method-assign]
        with real(lab, relay, transport, seed, relaying, keep, observing) as public:
            spawned[relay].kill()
            yield public

    services.infrastructure = dying  # type: ignore[attr-defined]
    infrastructure.watched = nobody_watches  # type: ignore[attr-defined]


def lazy_listener() -> None:
    """It lets its reservation run out, and is dialed only then."""
    from testbed.traversal.aio.relay_client import RelayClient

    async def keep(self: RelayClient, peer: PeerId, address: Multiaddr) -> None:
        del self, peer, address

    RelayClient._keep = keep  # type: ignore[method-assign]
    honest = traversal.TraversalPeer._offered

    async def offered(self: Any, node: Node) -> tuple[str, ...]:
        told = await honest(self, node)
        if self._configure.role is Role.LISTENER:
            await asyncio.sleep(2.5)
        return told

    traversal.TraversalPeer._offered = offered  # type: ignore[method-assign]


def no_turn(_folder: Path) -> None:
    """coturn does not listen where the peers look for a relay."""
    services.HTTPS_PORT = 444  # type: ignore[attr-defined]


# -- an oracle that is broken; what it foretold before, in the parent, is forgotten ------


def closed_oracle(_folder: Path) -> None:
    """The model's filters let in nobody but whom somebody inside has sent to."""
    from testbed.predict.nat import TransportNat

    def admits(
        self: TransportNat, now: float, remote: Place, external: Place, filtered: bool
    ) -> Unmapped:
        del now, remote, filtered
        return Unmapped(self.name, external)

    TransportNat._admits = admits  # type: ignore[method-assign]
    _predict.cache_clear()


def steady_oracle(_folder: Path) -> None:
    """The model's NATs keep one mapping for all destinations."""
    from testbed.predict.nat import TransportNat

    TransportNat._dependent_part = lambda *_: None  # type: ignore[method-assign]
    _predict.cache_clear()
