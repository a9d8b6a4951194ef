"""The ladder that ends on a paid relay: receipts are for what passed, and who inflates fails."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from built import built
from test_ladder_rungs import broken, measured, said
from trying import libp2p_cell, ran, sure

from testbed.explain.explainer import explain
from testbed.model.breach import BreachKind, RungDiffers
from testbed.model.outcome import Outcome, Rung
from testbed.model.statement.relays import Rented
from testbed.model.verdict import Judgement
from testbed.run.cell import Ran
from testbed.stacks.adapter import Adapter
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.evidence import load_evidence
from testbed.traversal.rent.cheats import Cheat

PEERS = pytest.mark.parametrize("peer", ["rented-tcp", "rented-quic"])
RELAYED = ("symmetric", "symmetric")
pytestmark = pytest.mark.timeout(180)


def kinds(result: Ran) -> set[BreachKind]:
    return {finding.kind for finding in result.verdict.findings}


@PEERS
def test_a_paid_relay_carries_the_echo_and_its_receipt_is_for_what_passed_to_the_byte(
    peer: str, tmp_path: Path
) -> None:
    result = sure(ran(Cell(peer, RELAYED, "libp2p"), tmp_path))
    assert measured(result) == (Rung.RENTED, Judgement.PASS), result.verdict
    assert result.rung is not None
    (paid,) = result.rung.paid
    assert paid.agrees
    assert min(paid.up, paid.down) > 16_384
    assert paid.size > paid.up + paid.down
    assert paid.cost > 0
    told = [line.fact for line in explain(load_evidence(tmp_path)).story]
    assert Rented("server", paid) in told
    # Anybody reads the same in the statements alone.
    statements = "\n".join(said(tmp_path, "accounted")[0]["statements"])
    done = subprocess.run(
        [sys.executable, "-m", "testbed.traversal", "rent", "verify"],
        input=statements, capture_output=True, encoding="utf-8", timeout=30, check=True,
    )  # fmt: skip
    first = json.loads(done.stdout.splitlines()[0])
    assert (first["contract"], first["up"], first["down"]) == (paid.contract, paid.up, paid.down)


@PEERS
def test_a_contract_is_settled_also_where_the_relay_is_far(peer: str, tmp_path: Path) -> None:
    result = sure(ran(Cell(peer, RELAYED, "far-relay"), tmp_path))
    assert measured(result) == (Rung.RENTED, Judgement.PASS), result.verdict
    assert result.rung is not None
    assert [paid.agrees for paid in result.rung.paid] == [True]


@PEERS
def test_what_was_paid_before_the_connection_went_direct_is_held_to_the_packets_too(
    peer: str, tmp_path: Path
) -> None:
    result = sure(ran(Cell(peer, ("port-restricted", "port-restricted"), "libp2p"), tmp_path))
    assert measured(result) == (Rung.PUNCHED, Judgement.PASS), result.verdict
    assert result.rung is not None
    (paid,) = result.rung.paid
    assert paid.agrees
    assert 0 < paid.up < 16_384


@pytest.mark.parametrize("peer", built(("go-tcp", "go-quic", "rust-tcp", "rust-quic")))
def test_stacks_that_know_no_rent_are_relayed_for_nothing_by_the_relay_that_sells(
    peer: str, tmp_path: Path
) -> None:
    cell = libp2p_cell(peer, *RELAYED, "relay_only")
    assert cell.relaying is not None
    assert "rent" in cell.relaying.features
    verdict = sure(ran(cell, tmp_path)).verdict
    assert (verdict.measured, verdict.judgement) == (Outcome.RELAYED, Judgement.PASS), verdict


# -- who inflates, and who does not buy ------------------------------------------------


def _signs_for_more() -> None:
    """The payer's receipts are for a KiB more each way than was confirmed."""
    from testbed.traversal.rent.meter import PayerMeter

    honest = PayerMeter._owed

    def owed(self: PayerMeter, now: int) -> tuple[int, int, int]:
        up, down, seconds = honest(self, now)
        return up + 1024, down + 1024, seconds

    PayerMeter._owed = owed  # type: ignore[method-assign]


def _signs_for_less() -> None:
    """Payer and target agree on a byte less than came."""
    from testbed.traversal.rent.meter import TargetMeter
    from testbed.traversal.rent.statements import Count

    honest = TargetMeter.count

    def count(self: TargetMeter, now: int, *, final: bool = False) -> Count | None:
        said = honest(self, now, final=final)
        return None if said is None else replace(said, received=max(said.received - 1, 0))

    TargetMeter.count = count  # type: ignore[method-assign]


@pytest.mark.parametrize("lie", [_signs_for_more, _signs_for_less])
def test_ends_whose_receipts_are_not_for_what_passed_fail(
    lie: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cell = Cell("rented-tcp", RELAYED, "libp2p", "relay_only")
    assert sure(ran(cell, tmp_path / "honest")).verdict.judgement is Judgement.PASS
    broken(cell.peer, lie, monkeypatch)
    result = sure(ran(cell, tmp_path / "lies"))
    assert result.verdict.judgement is Judgement.FAIL, result.verdict
    assert BreachKind.RECEIPT_DISPUTED in kinds(result), result.verdict


def _inflates() -> None:
    """The relay claims a MiB more than it had."""
    from testbed.traversal.rent.meter import RelayMeter
    from testbed.traversal.rent.statements import Claim

    honest = RelayMeter.claim

    def claim(self: RelayMeter, now: int, waiting_up: int = 0, waiting_down: int = 0) -> Claim:
        said = honest(self, now, waiting_up, waiting_down)
        return replace(said, up=said.up + 2**20)

    RelayMeter.claim = claim  # type: ignore[method-assign]


def test_a_relay_that_inflates_its_count_fails_by_the_proof_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cell = Cell("rented-tcp", RELAYED, "libp2p", "relay_only")
    honest = cell.relaying
    assert honest is not None

    def entry() -> int:
        _inflates()
        assert callable(honest.entry)
        return honest.entry()

    def public(*_: object) -> Adapter:
        return replace(honest, entry=entry)

    monkeypatch.setattr("testbed.studies.punch.cell.public", public)
    result = sure(ran(cell, tmp_path))
    assert result.verdict.judgement is not Judgement.PASS
    assert BreachKind.CHEAT_PROVEN in kinds(result), result.verdict
    (statements,) = [e["statements"] for e in said(tmp_path, "accounted") if e["peer"] == "a"]
    done = subprocess.run(
        [sys.executable, "-m", "testbed.traversal", "rent", "verify"],
        input="\n".join(statements), capture_output=True, encoding="utf-8", timeout=30,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert Cheat.INFLATES in done.stdout


def _buys_nothing() -> None:
    from testbed.stacks import rented

    rented.BUDGET = 0


def test_a_stack_that_takes_the_relay_for_nothing_is_on_another_rung(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cell = Cell("rented-quic", RELAYED, "libp2p")
    broken(cell.peer, _buys_nothing, monkeypatch)
    result = sure(ran(cell, tmp_path))
    assert result.verdict.judgement is not Judgement.PASS
    assert RungDiffers(Rung.RENTED, Rung.RELAYED) in result.verdict.findings, result.verdict
