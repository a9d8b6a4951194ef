"""A stack that takes one thing for another is red: the two ends of a lab have nothing in common.

Each confusion is planted in both ends of a stack that is sound, behind NATs where that stack goes
direct.  Where two ends share a port, a host part or an order of ports, some of these pass.
"""

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import instead
import pytest
from explain_corpus import peer
from patience import repeated, too_busy

from testbed.lab.forked import forked
from testbed.lab.namespaces import Namespaces
from testbed.model.breach import Belated
from testbed.model.contract import Configure, Dial, Endpoint, Event, Offer, Role
from testbed.model.explanation import Wrong
from testbed.model.fault import Tardy
from testbed.model.outcome import Outcome
from testbed.model.verdict import Judgement
from testbed.nat.load import catalogue
from testbed.run.cell import Ran, run_cell
from testbed.stacks import ice, punch_tcp, punch_udp, traversal
from testbed.studies.punch.cell import Cell
from testbed.words import sentence

HOME = "port-restricted"
OWN_PORT = ("carrier-grade", "full-cone", "restricted-cone", "port-restricted", "linux-home")
HOST_PART = 0x3F  # of the lab's public addresses
DEADLINE, TRIES = 60.0, 4
LATE_MS, MS = 500, 1_000_000


@dataclass(frozen=True)
class Known:
    """What an end knows when it is to dial: its own endpoints, the server's and its peer's."""

    local: Endpoint
    mapped: Endpoint
    server: Endpoint
    peer: Endpoint


def at(address: int | IPv4Address, port: int) -> Endpoint:
    return Endpoint(address=IPv4Address(address), port=port)


def takes(choose: Callable[[Known], Endpoint]) -> Callable[[], None]:
    """UDP hole punching towards what ``choose`` gives instead of the peer's endpoint."""

    def change() -> None:
        gather, dial = punch_udp.UdpPuncher.gather, punch_udp.UdpPuncher.dial

        async def gathering(self: Any, configure: Configure, emit: Any) -> Offer:
            self.offered = await gather(self, configure, emit)
            return self.offered  # type: ignore[no-any-return]

        async def dialing(self: Any, told: Dial) -> Event:
            configure = self._configure
            known = Known(
                at(configure.local_address, configure.port),
                self.offered.addresses[0],
                configure.stun,
                told.remote.addresses[0],
            )
            remote = told.remote.model_copy(update={"addresses": (choose(known),)})
            return await dial(self, told.model_copy(update={"remote": remote}))

        instead.gathers(punch_udp.UdpPuncher, gathering)
        instead.dials(punch_udp.UdpPuncher, dialing)

    return change


def offers_its_inside() -> None:
    """The LAN address for that of the WAN."""
    gather = punch_udp.UdpPuncher.gather

    async def gathering(self: Any, configure: Configure, emit: Any) -> Offer:
        offer = await gather(self, configure, emit)
        own = at(configure.local_address, configure.port)
        return offer.model_copy(update={"addresses": (own,)})

    instead.gathers(punch_udp.UdpPuncher, gathering)


def checks_its_own_candidates() -> None:
    """The dialer's candidates for the listener's, and the other way round."""
    gather, dial = ice.IcePeer.gather, ice.IcePeer.dial

    async def gathering(self: Any, configure: Configure, emit: Any) -> Offer:
        self.offered = await gather(self, configure, emit)
        return self.offered  # type: ignore[no-any-return]

    async def dialing(self: Any, told: Dial) -> Event:
        own, theirs = self.offered.ice, told.remote.ice
        assert own is not None
        assert theirs is not None
        mixed = theirs.model_copy(update={"candidates": own.candidates})
        remote = told.remote.model_copy(update={"ice": mixed})
        return await dial(self, told.model_copy(update={"remote": remote}))

    instead.gathers(ice.IcePeer, gathering)
    instead.dials(ice.IcePeer, dialing)


def reserves_at_an_observer() -> None:
    """One public node's address for another's."""
    gather = traversal.TraversalPeer.gather

    async def gathering(self: Any, configure: Configure, emit: Any) -> Any:
        observer = configure.observers[0]
        return await gather(self, configure.model_copy(update={"relays": (observer,)}), emit)

    instead.gathers(traversal.TraversalPeer, gathering)


def _udp(choose: Callable[[Known], Endpoint], nat: str = HOME) -> tuple[str, str, Any]:
    return "punch-udp", nat, takes(choose)


CONFUSIONS: Mapping[str, tuple[str, str, Callable[[], None]]] = {
    "its own mapped address for the peer's": _udp(lambda k: at(k.mapped.address, k.peer.port)),
    "its own mapped endpoint for the peer's": _udp(lambda k: k.mapped),
    "its own LAN endpoint for its WAN endpoint": _udp(lambda k: k.local),
    "the server's endpoint for the peer's": _udp(lambda k: k.server),
    "the server's address for the peer's": _udp(lambda k: at(k.server.address, k.peer.port)),
    "its own listening port for the peer's": _udp(lambda k: at(k.peer.address, k.local.port)),
    "the server's port for the peer's": _udp(lambda k: at(k.peer.address, k.server.port)),
    "its own host part for the peer's": _udp(
        lambda k: at(
            int(k.peer.address) & ~HOST_PART | int(k.mapped.address) & HOST_PART, k.peer.port
        )
    ),
    "port 4001 for the peer's": _udp(lambda k: at(k.peer.address, 4001)),
    "its LAN address for its WAN": ("punch-udp", HOME, offers_its_inside),
    "the dialer's candidates for the listener's": ("ice", HOME, checks_its_own_candidates),
    "an observer's address for the relay's": ("traversal-tcp", HOME, reserves_at_an_observer),
    **{
        f"its own mapped port for the peer's, {nat}": _udp(
            lambda k: at(k.peer.address, k.mapped.port), nat
        )
        for nat in OWN_PORT
    },
}


def starts_late() -> None:
    """The listener takes half a second for itself, with nothing to compute."""
    dial = punch_tcp.TcpPuncher.dial

    async def dialing(self: Any, told: Dial) -> Event:
        late = LATE_MS * MS if self._configure.role is Role.LISTENER else 0
        return await dial(self, told.model_copy(update={"start_at": told.start_at + late}))

    instead.dials(punch_tcp.TcpPuncher, dialing)


def task(cell: Cell, change: Callable[[], None], folder: Path) -> Callable[[int], bytes]:
    def run(slot: int) -> bytes:
        peer(cell.peer, change)(folder)
        ran = run_cell(cell, catalogue(), Namespaces(), folder, number=90 + slot)
        return pickle.dumps(ran)

    return run


def punctual(cell: Cell, change: Callable[[], None], folder: Path) -> Ran:
    """A cell of a stack that is changed, on a machine that was not late; else a skip."""
    for left in reversed(range(TRIES)):
        work = task(cell, change, folder / str(left))
        ((_, output, seconds),) = forked([work], 1, DEADLINE)
        assert output, f"the worker died after {seconds:.0f} s"
        ran: Ran = pickle.loads(output)
        assert ran.verdict.measured is not Outcome.DIRECT
        assert ran.verdict.judgement is not Judgement.PASS
        if not ran.late:
            break
        reason = sentence(ran.verdict.because)
        repeated(reason) if left else too_busy(reason)
    return ran


def test_at_least_ten_confusions_are_planted() -> None:
    assert len(CONFUSIONS) >= 10


@pytest.mark.parametrize("name", CONFUSIONS)
def test_a_stack_that_takes_one_for_the_other_is_red(name: str, tmp_path: Path) -> None:
    stack, nat, change = CONFUSIONS[name]
    place = "libp2p" if stack == "traversal-tcp" else "two-homes"
    verdict = punctual(Cell(stack, (nat, nat), place), change, tmp_path).verdict
    assert verdict.predicted is Outcome.DIRECT
    assert verdict.judgement is Judgement.FAIL, verdict


def test_a_peer_that_is_late_by_itself_is_not_excused_by_the_machine(tmp_path: Path) -> None:
    """Who is refused by ICMP has no second try: the later SYN finds a session out of step."""
    cell = Cell("punch-tcp", ("rejecting-icmp", "rejecting-icmp"))
    ran = punctual(cell, starts_late, tmp_path)
    assert ran.verdict.judgement is Judgement.FAIL, ran.verdict
    (late,) = [one for one in ran.verdict.findings if isinstance(one, Belated)]
    assert (late.what, late.node) == (Tardy.START, "b")
    assert late.ms >= LATE_MS
    assert ran.explanation is not None
    assert ran.explanation.wrong is Wrong.PEER
