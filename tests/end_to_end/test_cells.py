"""Whole cells: real peers through real NATs, and what must not be believed."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import instead
import pytest
from built import built
from trying import ran

from testbed.capture import recorder
from testbed.lab.namespaces import Namespaces
from testbed.model.breach import FalseClaim
from testbed.model.contract import Connected, Event
from testbed.model.contract import Path as ClaimedPath
from testbed.model.explanation import Cause
from testbed.model.lab import Lab
from testbed.model.outcome import Outcome
from testbed.model.verdict import Judgement
from testbed.run import cell as runner
from testbed.run import recording
from testbed.run.cell import run_cell
from testbed.stacks import session
from testbed.stacks.registry import ADAPTERS, Adapter, Stacks
from testbed.studies.punch.attempt import Account, Attempt, Cut, attempt
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.evidence import load_evidence
from testbed.studies.punch.folder import load_cell
from testbed.studies.punch.mechanisms import MECHANISMS
from testbed.words import sentence


@pytest.mark.parametrize("peer", built(ADAPTERS))
@pytest.mark.parametrize(
    "pair", [("full-cone", "symmetric"), ("symmetric", "symmetric"), ("udp-blocked", "linux-home")]
)
def test_a_pair_goes_the_way_the_oracle_says(
    peer: str, pair: tuple[str, str], tmp_path: Path
) -> None:
    result = ran(Cell(peer, pair, MECHANISMS[ADAPTERS[peer].mechanism].topology), tmp_path)
    assert result.verdict.judgement is Judgement.PASS, result.verdict


def test_with_punching_off_nothing_goes_direct(tmp_path: Path) -> None:
    silent = ran(Cell("punch-udp", ("full-cone", "full-cone"), mode="silent"), tmp_path / "1")
    assert silent.verdict.measured is Outcome.NONE
    relayed = ran(Cell("ice", ("full-cone", "full-cone"), mode="relay_only"), tmp_path / "2")
    assert relayed.verdict.measured is Outcome.RELAYED
    assert {silent.verdict.judgement, relayed.verdict.judgement} == {Judgement.PASS}


@pytest.mark.parametrize(
    ("profile", "outcome"), [("full-cone", Outcome.DIRECT), ("port-restricted", Outcome.NONE)]
)
def test_a_plain_dial_gets_in_only_where_the_filter_lets_strangers_in(
    profile: str, outcome: Outcome, tmp_path: Path
) -> None:
    for peer in ("punch-udp", "punch-tcp"):
        cell = Cell(peer, (profile, profile), mode="plain_dial")
        verdict = ran(cell, tmp_path / peer).verdict
        assert (verdict.measured, verdict.judgement) == (outcome, Judgement.PASS), peer


def test_an_early_packet_spoils_the_mapping_of_a_naive_router_alone(tmp_path: Path) -> None:
    """The later side's tuple is taken by the packet that its router's INPUT accepted."""
    for profile, outcome in (("naive-linux", Outcome.NONE), ("linux-home", Outcome.DIRECT)):
        cell = Cell("punch-udp", (profile, profile), skew_ms=120.0)
        verdict = ran(cell, tmp_path / profile).verdict
        assert (verdict.measured, verdict.judgement) == (outcome, Judgement.PASS), profile


def test_a_cells_folder_is_enough_to_run_it_again(tmp_path: Path) -> None:
    cell = Cell("punch-udp", ("restricted-cone", "symmetric"), seed=11)
    first = ran(cell, tmp_path / "first")
    again, profiles, number = load_cell(tmp_path / "first")
    assert again == cell
    second = run_cell(again, profiles, Namespaces(), tmp_path / "second", number=number)
    assert second.verdict.measured is first.verdict.measured
    names = {path.name for path in (tmp_path / "first").iterdir()}
    assert names >= {"cell.json", "plan.txt", "result.json", "events.jsonl", "capture.pcapng"}
    for line in (tmp_path / "first" / "events.jsonl").read_text().splitlines():
        assert json.loads(line)["peer"] in ("a", "b")


# Sabotage: each of these must be caught.


def test_a_peer_that_says_direct_while_relayed_is_found_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    honest = ADAPTERS["ice"]
    lying = Adapter(
        honest.name, honest.mechanism, honest.transport, _liar(honest), honest.warm, honest.needs
    )
    monkeypatch.setattr(runner, "stacks", lambda _: Stacks(lying, lying))
    cell = Cell("ice", ("full-cone", "full-cone"), mode="relay_only")
    verdict = ran(cell, tmp_path).verdict
    assert verdict.measured is Outcome.RELAYED
    assert verdict.judgement is Judgement.FAIL
    claims = [one for one in verdict.findings if isinstance(one, FalseClaim)]
    assert (Outcome.DIRECT, Outcome.RELAYED) in [(one.claimed, one.measured) for one in claims]


def _liar(honest: Adapter) -> Callable[[], int]:
    def entry() -> int:
        said = session._Session.emit

        def emit(self: session._Session, event: Event) -> None:
            if isinstance(event, Connected):
                event = event.model_copy(update={"path": ClaimedPath.DIRECT})
            said(self, event)

        instead.emits(emit)
        assert callable(honest.entry)
        return honest.entry()

    return entry


def test_what_was_told_before_a_peer_missed_its_deadline_is_kept_and_explains_the_cell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    honest = ADAPTERS["ice"]
    mute = replace(honest, entry=_mute(honest))
    impatient = replace(MECHANISMS["ice"].deadlines, connecting=3.0)
    usual = runner.asked
    monkeypatch.setattr(runner, "stacks", lambda _: Stacks(honest, mute))
    monkeypatch.setattr(runner, "asked", lambda cell: replace(usual(cell), deadlines=impatient))
    cell = Cell("ice", ("full-cone", "full-cone"))
    result = ran(cell, tmp_path)
    assert result.verdict.judgement is Judgement.INCONCLUSIVE
    evidence = load_evidence(tmp_path)
    assert evidence.events is not None
    assert evidence.start_ns is not None
    assert evidence.clock_ns is not None
    told = [(node, event.event) for node, event in evidence.events]
    assert {("a", "offer"), ("b", "offer"), ("a", "connected")} <= set(told)
    why = result.explanation
    assert why is not None
    assert (why.cause, why.node) == (Cause.PEER_FAILED, "b"), why.headline
    assert "a says" in " ".join(sentence(line.fact) for line in why.story)


def _mute(honest: Adapter) -> Callable[[], int]:
    """It connects, and does not say so."""

    def entry() -> int:
        said = session._Session.emit

        def emit(self: session._Session, event: Event) -> None:
            if not isinstance(event, Connected):
                said(self, event)

        instead.emits(emit)
        assert callable(honest.entry)
        return honest.entry()

    return entry


def test_a_capture_that_loses_packets_makes_the_cell_inconclusive(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = recorder.record

    def tiny(*args: Any, **options: Any) -> object:
        return real(*args, ring_bytes=4096, **options)

    monkeypatch.setattr(recording, "record", tiny)
    monkeypatch.setattr(runner, "attempt", _flooded)
    verdict = ran(Cell("punch-udp", ("full-cone", "full-cone")), tmp_path).verdict
    assert verdict.judgement is Judgement.INCONCLUSIVE
    assert "the capture lost" in sentence(verdict.because)


def _flooded(lab: Lab, task: Attempt) -> Account | Cut:
    account = attempt(lab, task)
    target = (str(lab.plan.address("server")), 9)
    with lab.socket("a", socket.AF_INET, socket.SOCK_DGRAM) as source:
        for _ in range(3000):
            source.sendto(bytes(1200), target)
    return account


def test_a_full_disk_under_the_capture_is_inconclusive_and_says_so(tmp_path: Path) -> None:
    from testbed.lab import kernel

    small = tmp_path / "small"
    small.mkdir()
    kernel.mount("testbed", str(small), "tmpfs", 0, "size=64k")
    verdict = ran(Cell("ice", ("full-cone", "full-cone")), small).verdict
    assert verdict.judgement is Judgement.INCONCLUSIVE
    assert "space" in sentence(verdict.because)


def test_a_second_network_added_during_the_run_makes_it_inconclusive(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def shared(lab: Lab, task: Attempt) -> Account | Cut:
        lab.run("a", ["ip", "link", "add", "side", "type", "veth", "peer", "name", "side-b"])
        return attempt(lab, task)

    monkeypatch.setattr(runner, "attempt", shared)
    verdict = ran(Cell("punch-udp", ("full-cone", "full-cone")), tmp_path).verdict
    assert verdict.judgement is Judgement.INCONCLUSIVE
    assert "unplanned interface side" in sentence(verdict.because)


def test_a_peer_that_dies_or_says_nonsense_is_inconclusive(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    honest = ADAPTERS["punch-udp"]

    def nonsense() -> int:
        os.write(1, b"hello\n")
        time.sleep(0.5)
        return 0

    for name, entry in (("dies", lambda: 9), ("nonsense", nonsense)):
        broken = Adapter(
            honest.name, honest.mechanism, honest.transport, entry, honest.warm, honest.needs
        )
        ends = Stacks(broken, broken)
        monkeypatch.setattr(runner, "stacks", lambda _, ends=ends: ends)
        verdict = ran(Cell("punch-udp", ("full-cone", "full-cone")), tmp_path / name).verdict
        assert verdict.judgement is Judgement.INCONCLUSIVE
        assert threading.active_count() == 1
