"""DCUtR with go-libp2p on one side, each of the two roles, through two real NATs."""

from pathlib import Path

import pytest

from testbed.lab.namespaces import Namespaces
from testbed.plan.planner import plan

from ..test_interop_go import binary, pytestmark
from .foreign import LabForeign
from .lab import CATALOGUE, OBSERVERS, Remote, topology

__all__ = ["binary", "pytestmark"]  # the fixture and the marks
BOTH = pytest.mark.parametrize("transport", ["tcp", "udp"])


@BOTH
@pytest.mark.parametrize("leader", ["go", "ours"])
def test_a_punch_with_go_on_the_other_side_succeeds_at_the_first_attempt(
    leader: str, transport: str, binary: Path
) -> None:
    """`leader` is B of the specification: who received the relayed connection."""
    with Namespaces().start(plan(topology("eim-apdf", "eim-apdf"), CATALOGUE, 0)) as lab:
        relay = Remote(lab, "relay", transport, {"relay": {}})
        observers = [Remote(lab, o, transport, {}) for o in OBSERVERS]
        upgrade = {"upgrade": {"reversal_timeout": 0}}
        ours, go = Remote(lab, "a", transport, upgrade), LabForeign(lab, "b", transport, binary)
        for observer in observers:
            ours.ask("connect", addrs=[observer.address])
            go.ask("connect", observer.address)
        if leader == "go":
            go.ask("connect", relay.address)
            go.ask("reserve", relay.address)
            ours.ask("connect", addrs=[f"{relay.address}/p2p-circuit/p2p/{go.peer}"])
        else:
            go.ask("connect", ours.ask("reserve", addr=relay.address)[0])
        ours.ask("wait_direct", peer=go.peer, timeout=25)
        assert ours.wait_any(10, "Upgraded")["how"] == "punched"
        assert {e["attempt"] for e in ours.events if e["event"] == "PunchStep"} == {1}
        assert go.ask("echo", ours.address, bytes=100_000) == {"bytes": 100_000, "equal": True}
        assert all("/p2p-circuit" not in c for c in go.ask("identify", ours.address)["connections"])
