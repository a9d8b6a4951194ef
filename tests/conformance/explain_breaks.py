"""What can be broken in a cell of the corpus: its peers, its lab, its relay, its oracle."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace as altered
from pathlib import Path
from typing import Any

from testbed.model.contract import Configure, Connected, Endpoint, Event, FailureClass, Offer, Role
from testbed.model.contract import Path as Way
from testbed.model.lab import Lab
from testbed.model.plan import AddLink
from testbed.model.reason import Drop, Place, Unmapped
from testbed.model.topology import Impairment
from testbed.predict.prediction import _predict
from testbed.run import cell as runner
from testbed.stacks import ice, infrastructure, punch_udp, services, session, traversal
from testbed.traversal import RelayLimits

# -- peers that are broken -------------------------------------------------------


def gathering(stack: Any, change: Callable[[Configure, Offer], Offer]) -> Callable[[], None]:
    """What a stack offers goes through ``change``."""

    def apply() -> None:
        honest = stack.gather

        async def gather(self: Any, configure: Configure, emit: Any) -> Offer:
            return change(configure, await honest(self, configure, emit))

        stack.gather = gather

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

    async def dial(self: Any, command: Any) -> Event:
        try:
            return await honest(self, command)
        except session.PeerFailure:
            self._punch = None
            raise

    punch_udp.UdpPuncher.dial = dial  # type: ignore[method-assign]


def mute() -> None:
    """The listener sends no probe, and answers none."""
    honest = punch_udp.UdpPuncher.dial

    async def dial(self: Any, command: Any) -> Event:
        if self._configure.role is Role.LISTENER:
            why = "it does not feel like it"
            raise session.PeerFailure(FailureClass.TIMEOUT, why)
        return await honest(self, command)

    punch_udp.UdpPuncher.dial = dial  # type: ignore[method-assign]


def deaf() -> None:
    """No frame is heeded, from whomever."""
    from testbed.stacks.wire import Speaker

    Speaker.heeds = lambda *_: False  # type: ignore[method-assign,assignment]


def settled() -> None:
    """Who is probed from elsewhere than was signalled answers there, and never probes there."""
    honest = punch_udp.Punch.received

    def received(self: punch_udp.Punch, data: bytes, source: Any) -> Any:
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

    session._Session.emit = emit  # type: ignore[method-assign]


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

    def options(self: Any, configure: Configure) -> Any:
        given = honest(self, configure)
        return altered(given, upgrade=altered(given.upgrade, enabled=True))

    traversal.TraversalPeer._options = options  # type: ignore[method-assign]


def dials_from_anywhere() -> None:
    """No dial leaves from the port that the peer listens on."""
    from testbed.traversal.aio import tcp

    honest = tcp.dial

    async def dial(address: Any, source: Any, timeout: float) -> Any:
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
        real = runner.plan

        def plan(*words: Any) -> Any:
            whole = real(*words)
            steps = tuple(
                altered(step, b_to_a=Impairment(delay_ms=10.0, loss=1.0))
                if isinstance(step, AddLink) and step.a.node == node and step.a.ifname != "lan"
                else step
                for step in whole.steps
            )
            return altered(whole, steps=steps)

        runner.plan = plan

    return broken


def relay_with(limits: RelayLimits) -> Callable[[Path], None]:
    def broken(_folder: Path) -> None:
        from testbed.stacks import roles

        roles._limits = lambda _configure: limits

    return broken


def dead_relay(_folder: Path) -> None:
    """The relay is killed before the peers start, and nobody watches; the observers live."""
    real = services.infrastructure

    @contextmanager
    def dying(lab: Lab, relay: str, *words: Any) -> Iterator[Any]:
        spawn = lab.spawn
        spawned: dict[str, Any] = {}
        lab.spawn = lambda node, entry: spawned.setdefault(  # type: ignore[method-assign]
            node, spawn(node, entry)
        )
        with real(lab, relay, *words) as public:
            spawned[relay].kill()
            yield public

    services.infrastructure = dying
    infrastructure.watched = lambda *_: nullcontext()  # type: ignore[assignment]


def lazy_listener() -> None:
    """It lets its reservation run out, and is dialed only then."""
    from testbed.traversal.aio.relay_client import RelayClient

    async def keep(self: Any, peer: Any, address: Any) -> None:
        del self, peer, address

    RelayClient._keep = keep  # type: ignore[method-assign]
    honest = traversal.TraversalPeer._offered

    async def offered(self: Any, node: Any) -> Any:
        told = await honest(self, node)
        if self._configure.role is Role.LISTENER:
            await asyncio.sleep(2.5)
        return told

    traversal.TraversalPeer._offered = offered  # type: ignore[method-assign]


def no_turn(_folder: Path) -> None:
    """coturn does not listen where the peers look for a relay."""
    services.HTTPS_PORT = 444  # type: ignore[misc]


# -- an oracle that is broken; what it foretold before, in the parent, is forgotten ------


def closed_oracle(_folder: Path) -> None:
    """The model's filters let in nobody but whom somebody inside has sent to."""
    from testbed.predict.nat import TransportNat

    def admits(self: TransportNat, _now: float, _remote: Place, external: Place, _: bool) -> Drop:
        return Unmapped(self.name, external)

    TransportNat._admits = admits  # type: ignore[method-assign]
    _predict.cache_clear()


def steady_oracle(_folder: Path) -> None:
    """The model's NATs keep one mapping for all destinations."""
    from testbed.predict.nat import TransportNat

    TransportNat._dependent_part = lambda *_: None  # type: ignore[method-assign]
    _predict.cache_clear()
