"""Our own stack as a peer, with a relay and observers on the same: whole cells, and breaches."""

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from trying import CATALOGUE, libp2p_cell, ran

from testbed.errors import BackendError
from testbed.lab.namespaces import Namespaces
from testbed.model.breach import BreachKind
from testbed.model.contract import Connected, Reserved, Step, StepName, Transport, Upgraded
from testbed.model.fault import Ending, ServiceFailed
from testbed.model.lab import Lab
from testbed.model.outcome import Outcome
from testbed.model.presets import libp2p
from testbed.model.verdict import Judgement, Troubled
from testbed.plan.planner import plan
from testbed.run import cell as runner
from testbed.run.cell import run_cell
from testbed.stacks import coturn, infrastructure
from testbed.stacks.registry import ADAPTERS, Adapter, Stacks
from testbed.studies.punch.attempt import Account, Attempt, Cut, attempt
from testbed.studies.punch.cell import Cell
from testbed.traversal import Multiaddr, PeerId
from testbed.traversal.punch_budget import Attempt as PunchAttempt

PEERS = ("traversal-tcp", "traversal-quic")
pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize(
    ("a", "b", "outcome"),
    [
        ("eim-eif", "apdm-apdf", Outcome.DIRECT),  # reversed
        ("port-restricted", "port-restricted", Outcome.DIRECT),  # punched
        ("symmetric", "symmetric", Outcome.RELAYED),
    ],
)
def test_a_pair_goes_the_way_the_oracle_says(
    peer: str, a: str, b: str, outcome: Outcome, tmp_path: Path
) -> None:
    verdict = ran(libp2p_cell(peer, a, b), tmp_path).verdict
    assert (verdict.measured, verdict.judgement) == (outcome, Judgement.PASS), verdict


@pytest.mark.parametrize("peer", PEERS)
def test_with_upgrades_off_two_open_nats_stay_relayed(peer: str, tmp_path: Path) -> None:
    verdict = ran(libp2p_cell(peer, "eim-eif", "eim-eif", "relay_only"), tmp_path).verdict
    assert (verdict.measured, verdict.judgement) == (Outcome.RELAYED, Judgement.PASS), verdict


@pytest.mark.parametrize("peer", PEERS)
def test_the_events_tell_the_whole_way(
    peer: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    accounts: list[Account | Cut] = []

    def kept(lab: Lab, task: Attempt) -> Account | Cut:
        accounts.append(attempt(lab, task))
        return accounts[-1]

    monkeypatch.setattr(runner, "attempt", kept)
    ran(libp2p_cell(peer, "port-restricted", "port-restricted"), tmp_path)
    said = accounts[-1].events
    assert [node for node, event in said if isinstance(event, Reserved)] == ["b"]
    assert [e.path.value for _, e in said if isinstance(e, Connected)] == ["relayed"] * 2
    assert [(e.how.value, e.attempts) for _, e in said if isinstance(e, Upgraded)] == [
        ("punched", 1)
    ] * 2
    steps = sorted((e.realtime, node, e.name) for node, e in said if isinstance(e, Step))
    assert [(node, name) for _, node, name in steps if name is not StepName.PUNCHING][:6] == [
        ("b", StepName.CONNECT_SENT),
        ("a", StepName.CONNECT_RECEIVED),
        ("a", StepName.CONNECT_SENT),
        ("b", StepName.CONNECT_RECEIVED),
        ("b", StepName.SYNC_SENT),
        ("a", StepName.SYNC_RECEIVED),
    ]


def test_equal_seeds_give_equal_relays_and_observers() -> None:
    with Namespaces().start(plan(libp2p(), CATALOGUE)) as lab:
        found = []
        for seed in (1, 1, 2):
            with infrastructure.infrastructure(lab, "server", Transport.TCP, seed) as public:
                found.append(public)
        one, again, other = found
        assert one == again != other
        assert len({*one.relays, *one.observers}) == 5


def test_a_public_node_that_does_not_start_is_named() -> None:
    broken = replace(ADAPTERS["traversal-tcp"], entry=_refuses)
    with (
        Namespaces().start(plan(libp2p(), CATALOGUE)) as lab,
        pytest.raises(BackendError, match=r"(?s)\[server\].*not ready.*out of order"),
        infrastructure.infrastructure(lab, "server", Transport.TCP, 0, broken),
    ):
        pass


@pytest.mark.parametrize(
    ("peer", "node", "service"),
    [
        ("traversal-tcp", "observer-1", "autonat_server"),
        ("traversal-tcp", "server", "relay"),
        ("ice", "server", "coturn"),
    ],
)
def test_a_public_node_whose_port_is_taken_is_named_and_not_excused_by_the_machine(
    peer: str, node: str, service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = runner.require_closed  # type: ignore[attr-defined]
    cell = Cell(peer, ("full-cone", "full-cone"), "libp2p")
    taken = []

    def require_closed(lab: Lab) -> None:
        closed(lab)
        sock = lab.socket(node, socket.AF_INET, socket.SOCK_STREAM)
        sock.bind(("0.0.0.0", coturn.PORT if service == "coturn" else lab.plan.port(node)))
        sock.listen()
        taken.append(sock)

    monkeypatch.setattr(runner, "require_closed", require_closed)
    result = run_cell(cell, CATALOGUE, Namespaces(), tmp_path)
    taken[0].close()
    assert isinstance(result.verdict.because, Troubled)
    (fault,) = result.verdict.because.faults
    assert isinstance(fault, ServiceFailed)
    assert (fault.node, fault.service, fault.ending) == (node, service, Ending.UNREADY)
    assert fault.why
    assert not result.late
    assert result.verdict.judgement is Judgement.INCONCLUSIVE


def _refuses() -> int:
    raise RuntimeError("out of order")


# Sabotage: stacks that go direct, but not as the protocol says.


def _keeps_the_relay() -> None:
    from testbed.traversal.aio.upgrade_service import UpgradeService

    async def stay(self: UpgradeService, peer: PeerId) -> None:
        del self, peer

    UpgradeService._leave = stay  # type: ignore[method-assign]


def _everybody_is_a_quic_client() -> None:
    from testbed.traversal.aio.upgrade_service import UpgradeService

    real = UpgradeService._punch_one

    async def dials(
        self: UpgradeService, address: Multiaddr, peer: PeerId, client: bool, round_: PunchAttempt
    ) -> None:
        del client
        await real(self, address, peer, True, round_)

    UpgradeService._punch_one = dials  # type: ignore[method-assign]


def _broken(honest: Adapter, breach: Callable[[], None]) -> Adapter:
    def entry() -> int:
        breach()
        assert callable(honest.entry)
        return honest.entry()

    return replace(honest, entry=entry)


@pytest.mark.parametrize(
    ("peer", "breach", "kind"),
    [
        ("traversal-tcp", _keeps_the_relay, BreachKind.RELAY_KEPT),
        ("traversal-quic", _everybody_is_a_quic_client, BreachKind.OWN_INITIAL),
    ],
)
def test_a_stack_that_breaks_the_protocol_does_not_pass_though_it_goes_direct(
    peer: str,
    breach: Callable[[], None],
    kind: BreachKind,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    lawless = _broken(ADAPTERS[peer], breach)
    monkeypatch.setattr(runner, "stacks", lambda _: Stacks(lawless, lawless))
    verdict = ran(libp2p_cell(peer, "port-restricted", "port-restricted"), tmp_path).verdict
    assert verdict.measured is Outcome.DIRECT
    assert verdict.judgement is not Judgement.PASS  # FAIL; on a busy machine inconclusive
    assert kind in [one.kind for one in verdict.findings], verdict.findings
