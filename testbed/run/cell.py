"""One cell, from its plan to its verdict: the only place that wires the stages."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from testbed.capture.reader import read
from testbed.errors import (
    Exit,
    PeerError,
    TestbedError,
    UsageError,
)
from testbed.evidence.account import WireAccount
from testbed.lab.audit import audit, require_closed
from testbed.lab.sentry import guarded
from testbed.lab.services.watch import served
from testbed.lab.turns import turn
from testbed.model.chances import Chances
from testbed.model.details import PunchDetails
from testbed.model.deviation import Deviation
from testbed.model.distance import extra_time_s
from testbed.model.explanation import Explanation
from testbed.model.fault import (
    Broke,
    CaptureLost,
    Fault,
)
from testbed.model.frozen import FrozenValue
from testbed.model.judgement import Verdict
from testbed.model.lab import Backend
from testbed.model.outcome import Outcome, RungReading
from testbed.model.prediction import Prediction
from testbed.model.profile import Profile
from testbed.model.result import Result, Why
from testbed.model.version import Built, Foreknown
from testbed.plan.describe import describe
from testbed.plan.planner import plan
from testbed.run.crash import crash_of
from testbed.run.explaining import explained, write_json
from testbed.run.judging import Run, account_of, judged, too_slow, worth_another
from testbed.run.recording import record_run, save_events
from testbed.stacks.registry import stacks
from testbed.studies.punch import unified
from testbed.studies.punch.attempt import Attempt, Cut, attempt
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.evidence import Notes, Recorded, assemble, read_recorded
from testbed.studies.punch.expectation import deviations, prediction, strangers
from testbed.studies.punch.folder import save_cell
from testbed.studies.punch.mechanism import PATIENT, Taken
from testbed.verdict.judge import inconclusive
from testbed.verdict.wire import read_path
from testbed.words import sentence
from testbed.words.explanations import to_json

# An outcome that none of so many runs of the model has fails the cell.  Its chance p is missed so
# often with (1 - p)^n, and comes up with p: a sound cell fails with at most 1/(e n) = 0.007 %.
RULED_OUT_BY = 5000


class Ran(FrozenValue):
    """A cell that was run in this process: its verdict, and what it cost."""

    cell: Cell
    verdict: Verdict
    folder: Path
    seconds: float = 0.0
    peers_s: float = 0.0  # of them, in which the lab was the peers'
    up_ms: float | None = None
    connect_ms: float | None = None
    packets: int = 0
    late: bool = False  # inconclusive because the machine was too busy: worth another try
    explanation: Explanation | None = None
    rung: RungReading | None = None  # of stacks that climb the ladder
    chances: Chances | None = None  # of its ends
    strangers: tuple[Built, ...] = ()  # stacks in versions that no known deviation is of
    foreknown: tuple[Foreknown, ...] = ()  # ends whose echo may have been known before

    def result(self) -> Result:
        """The record of it, as reports and ``result.json`` have it."""
        cell, verdict = self.cell, self.verdict
        return Result(
            study="punch",
            name=cell.name,
            group=cell.group,
            labels=dict(cell.labels),
            profiles=cell.nats,
            repeat=cell.repeat,
            judgement=verdict.judgement,
            measured=verdict.measured.value if verdict.measured else None,
            predicted=verdict.predicted.value,
            reason=sentence(verdict.because),
            findings=tuple(sentence(breach) for breach in verdict.findings),
            finding_values=verdict.findings,
            notes=(
                *(sentence(one) for one in self.strangers),
                *(sentence(one) for one in self.foreknown),
            ),
            packets_cited=verdict.packets,
            packets=self.packets,
            seconds=round(self.seconds, 3),
            peers_s=round(self.peers_s, 3),
            up_ms=self.up_ms and round(self.up_ms, 1),
            connect_ms=self.connect_ms and round(self.connect_ms, 1),
            folder=str(self.folder),
            late=self.late,
            explanation=self._why(),
            details=PunchDetails(rung=self.rung, chances=self.chances),
        )

    def _why(self) -> Why | None:
        """The short form; all of it is in the folder."""
        if self.explanation is None:
            return None
        why = self.explanation
        return Why(cause=why.cause, node=why.node, headline=sentence(why.headline), wrong=why.wrong)


def run_cell(
    cell: Cell,
    profiles: Mapping[str, Profile],
    backend: Backend,
    folder: Path,
    *,
    number: int = 0,
    facts: Mapping[str, str] | None = None,
) -> Ran:
    """Run ``cell`` and judge it; the folder is filled as far as it went.

    A trouble of the harness gives an INCONCLUSIVE result, not an exception; only
    errors of usage (an unknown peer, say) are raised.
    """
    started = time.monotonic()
    expected = prediction(cell, profiles, facts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}", remedy="choose another --out") from error
    try:
        save_cell(cell, profiles, folder, number, facts)
        run = _effects(cell, profiles, backend, folder, number)
        known = partial(deviations, cell, profiles, facts)
        surer = partial(prediction, cell, profiles, facts, RULED_OUT_BY)
        with turn():
            result = finished(cell, run, (expected, surer), known, folder)
    except (TestbedError, OSError) as error:
        if isinstance(error, TestbedError) and error.exit_code in (Exit.USAGE, Exit.UNFIT):
            raise
        result = broken(cell, profiles, number, expected, error, folder)
    seconds = time.monotonic() - started
    return kept(replace(result, seconds=seconds, strangers=strangers([cell], facts)), expected)


def kept(ran: Ran, expected: Prediction) -> Ran:
    """``ran``, whose result is in its folder; INCONCLUSIVE where the disk does not take it."""
    try:
        write_json(ran.folder / "result.json", ran.result().to_json())
    except OSError as error:
        fault = Broke(None, None, f"{ran.folder}/result.json: {error.strerror}")
        return replace(ran, verdict=inconclusive(expected, fault))
    return ran


def asked(cell: Cell) -> Attempt:
    """What the peers of ``cell`` are asked to do."""
    meeting = cell.meeting
    topology = cell.build()
    extra = extra_time_s(topology, (cell.roles.a, cell.roles.b), cell.roles.relay)
    usual = PATIENT if topology.by_chance else cell.mechanism.deadlines
    return Attempt(
        stacks=stacks(cell.peer),
        dialer=cell.roles.a,
        listener=cell.roles.b,
        server=cell.roles.relay,
        mode=cell.play.mode,
        relay_only=cell.play.relay_only,
        seed=cell.words,
        skew_ms=cell.skew_ms,
        relaying=cell.relaying,
        observing=cell.observing,
        deadlines=usual.longer(extra),
        extra_time=extra,
        patience=cell.patience_s,
        ports=meeting.ports if meeting else None,
        clear=cell.mechanism.clear,
    )


def _effects(
    cell: Cell, profiles: Mapping[str, Profile], backend: Backend, folder: Path, number: int
) -> Run:
    steps = plan(cell.build(), profiles, number, cell.seed)
    (folder / "plan.txt").write_text(describe(steps), encoding="utf-8")
    task = asked(cell)
    with ExitStack() as stack:
        with turn():
            before = time.perf_counter()
            lab = stack.enter_context(backend.start(steps))
            up_ms = (time.perf_counter() - before) * 1e3
            require_closed(lab)
        scenario = unified.attempt if task.stacks.contract == "unified" else attempt
        with guarded(lab) as guard:
            try:
                account, records = record_run(lab, folder, lambda: scenario(lab, task))
                save_events(folder, account, records)
                if isinstance(account, Cut):
                    raise account.error
            except PeerError:
                with served(lab):  # who is failed by a service breaks, or misses a deadline
                    raise
            changed = guard.changes()
        faults: list[Fault] = [
            *audit(lab),
            *changed,
            *lab.lost_frames(),
            *lab.failed_services(),
        ]
        frames_late_ms = lab.lateness_ms()
    faults += [
        CaptureLost(count.name, count.dropped) for count in records.capture.counts if count.dropped
    ]
    return Run(steps, account, records, tuple(faults), frames_late_ms, up_ms)


def finished(
    cell: Cell,
    run: Run,
    predicted: tuple[Prediction, Callable[[], Prediction]],
    known: Callable[[Outcome], Sequence[Deviation]],
    folder: Path,
) -> Ran:
    """The pure part: judge what was recorded, and explain it.

    ``predicted`` is what is expected, and how to know more exactly what chance may do; ``known``
    gives the deviations for how it ended.
    """
    expected, surer = predicted
    packets = read(run.records.capture.path)
    wire = account_of(run, packets)
    peers, mechanism = (cell.roles.a, cell.roles.b), cell.mechanism
    reading = read_path(wire, *peers)
    if expected.chances is not None and not expected.chances.count(reading.outcome):
        expected = surer()  # is it rare, or not possible?
    taken = Taken(wire, peers, reading.outcome, expected.rung, reading.connected)
    climbed = mechanism.climbed(taken) if mechanism.climbed is not None else None
    violations = [
        *run.account.breaches,
        *cell.play.check(taken, climbed),
        *too_slow(run.account, reading.outcome, expected),
    ]
    verdict, faults, late = judged(
        cell, run, expected, wire, (reading, violations), known(reading.outcome)
    )
    account, records = run.account, run.records
    notes = Notes(account.start_ns, records.clock_ns, account.window, faults, records.gaps)
    recorded = Recorded(packets, account.events, records.flows, records.drops, notes)
    evidence = assemble(cell, run.plan, expected, recorded, verdict)
    explanation, evidence, verdict = explained(evidence, wire, verdict, folder)
    write_json(folder / "run.json", replace(notes, faults=evidence.faults).to_json())
    write_json(folder / "explanation.json", to_json(explanation))
    return Ran(
        cell,
        verdict,
        folder,
        peers_s=records.run_s,
        up_ms=run.up_ms,
        connect_ms=account.connect_ms,
        packets=len(packets),
        late=worth_another(run.faults, late=late, verdict=verdict),
        explanation=explanation,
        rung=climbed,
        chances=expected.chances,
        foreknown=tuple(map(Foreknown, account.foreknown)),
    )


def broken(
    cell: Cell,
    profiles: Mapping[str, Profile],
    number: int,
    expected: Prediction,
    error: Exception,
    folder: Path,
) -> Ran:
    """The result of a run that did not come to a verdict; explained from what it left."""
    fault = crash_of(error, folder)
    verdict = inconclusive(expected, fault)
    recorded = Recorded()
    with suppress(OSError, UsageError):  # a full disk is what broke it, perhaps
        recorded = read_recorded(folder)
    recorded = replace(recorded, notes=replace(recorded.notes, faults=(fault,)))
    with suppress(OSError):
        write_json(folder / "run.json", recorded.notes.to_json())
    steps = plan(cell.build(), profiles, number, cell.seed)
    evidence = assemble(cell, steps, expected, recorded, verdict)
    explanation, _, verdict = explained(evidence, WireAccount.of(evidence), verdict, folder)
    with suppress(OSError):
        write_json(folder / "explanation.json", to_json(explanation))
    late = isinstance(error, TestbedError) and error.crowded
    return Ran(cell, verdict, folder, late=late, explanation=explanation)
