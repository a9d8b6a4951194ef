"""DCUtR with rust-libp2p on one side, each of the two roles, through two real NATs."""

from pathlib import Path

import pytest

from testbed.lab.namespaces import Namespaces
from testbed.plan.planner import plan

from ..test_interop_rust import binary, pytestmark
from .foreign import LabForeign
from .lab import CATALOGUE, OBSERVERS, Remote, topology

__all__ = ["binary", "pytestmark"]  # the fixture and the marks
BOTH = pytest.mark.parametrize("transport", ["tcp", "udp"])


@BOTH
@pytest.mark.parametrize("leader", ["rust", "ours"])
def test_a_punch_with_rust_on_the_other_side_succeeds_at_the_first_attempt(
    leader: str, transport: str, binary: Path
) -> None:
    """`leader` is B of the specification: who received the relayed connection."""
    with Namespaces().start(plan(topology("eim-apdf", "eim-apdf"), CATALOGUE, 0)) as lab:
        relay = Remote(lab, "relay", transport, {"relay": {}})
        observers = [Remote(lab, o, transport, {}) for o in OBSERVERS]
        upgrade = {"upgrade": {"reversal_timeout": 0, "relay_grace": 1}}
        ours, rust = Remote(lab, "a", transport, upgrade), LabForeign(lab, "b", transport, binary)
        for observer in observers:
            ours.ask("connect", addrs=[observer.address])
            rust.ask("connect", observer.address)
        if leader == "rust":
            rust.ask("connect", relay.address)
            rust.ask("reserve", relay.address)
            ours.ask("connect", addrs=[f"{relay.address}/p2p-circuit/p2p/{rust.peer}"])
        else:
            rust.ask("connect", ours.ask("reserve", addr=relay.address)[0])
        ours.ask("wait_direct", peer=rust.peer, timeout=25)
        assert ours.wait_any(10, "Upgraded")["how"] == "punched"
        assert {e["attempt"] for e in ours.events if e["event"] == "PunchStep"} == {1}
        # rust-libp2p keeps a ping stream open: it is not waited for.
        left = ours.wait_any(10, "RelayLeft")
        assert (left["peer"], left["forced"]) == (rust.peer, False)
        assert rust.punched(ours.address, 10) == "ok"
        assert rust.ask("echo", ours.address, bytes=100_000) == {"bytes": 100_000, "equal": True}
