"""One cell, from its plan to its verdict: the only place that wires the stages."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from testbed.capture.reader import read
from testbed.errors import (
    ContractError,
    Exit,
    PeerError,
    ServiceError,
    StarvedError,
    TestbedError,
    UsageError,
)
from testbed.evidence.account import WireAccount
from testbed.lab.audit import audit, require_closed
from testbed.lab.sentry import guarded
from testbed.lab.services.watch import served
from testbed.model.breach import Breach, TooSlow
from testbed.model.chances import Chances
from testbed.model.deviation import Deviation
from testbed.model.explanation import Explanation
from testbed.model.fault import (
    Broke,
    CaptureLost,
    Ending,
    Fault,
    Late,
    PeerFailed,
    ServiceFailed,
    Tardy,
)
from testbed.model.judgement import Verdict, WireReading
from testbed.model.lab import Backend
from testbed.model.outcome import Outcome, RungReading
from testbed.model.packet import Packet
from testbed.model.plan import Plan
from testbed.model.prediction import Prediction
from testbed.model.profile import Profile
from testbed.model.result import PunchDetails, Result, Why
from testbed.model.verdict import Judgement
from testbed.model.version import Built
from testbed.plan.describe import describe
from testbed.plan.planner import plan
from testbed.run.explaining import explained, write_json
from testbed.run.recording import Records, record_run, save_events
from testbed.stacks.registry import stacks
from testbed.studies.punch import unified
from testbed.studies.punch.attempt import Account, Attempt, attempt
from testbed.studies.punch.cell import Cell, save_cell
from testbed.studies.punch.evidence import Notes, Recorded, assemble, read_recorded
from testbed.studies.punch.expectation import deviations, prediction, strangers
from testbed.studies.punch.mechanism import PATIENT, PUNCH, Taken
from testbed.verdict.judge import inconclusive, judge
from testbed.verdict.sanity import (
    Start,
    crossed,
    late_punches,
    late_starts,
    never_sent,
    undelayed,
    unseen_ways,
)
from testbed.verdict.tried import untried
from testbed.verdict.wire import read_path
from testbed.words import sentence
from testbed.words.explanations import to_json

# A punch is decided by who comes first, on a way of 20 ms.  Lateness of the harness
# beyond the first figure may explain a difference; beyond the second it measures itself.
LATE_MS = 10.0
TOO_LATE_MS = 200.0
# Where chance decides, no end looks wrong, and a busy machine would change the rate unseen: a cell
# that was as late as this is no try, however it ended.
LATE_BY_CHANCE_MS = 50.0
# An outcome that none of so many runs of the model has fails the cell.  Its chance p is missed so
# often with (1 - p)^n, and comes up with p: a sound cell fails with at most 1/(e n) = 0.007 %.
RULED_OUT_BY = 5000


@dataclass(frozen=True)
class Ran:
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
            notes=tuple(sentence(one) for one in self.strangers),
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


@dataclass(frozen=True)
class Run:
    """What the effects left behind for the pure part."""

    plan: Plan
    account: Account
    records: Records
    faults: tuple[Fault, ...]
    frames_late_ms: float  # by which a link held the most delayed frame too long
    up_ms: float


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
        known = deviations(cell, profiles, facts)
        surer = partial(prediction, cell, profiles, facts, RULED_OUT_BY)
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
        deadlines=PATIENT if cell.build().by_chance else cell.mechanism.deadlines,
        ports=meeting.ports if meeting else None,
    )


def _effects(
    cell: Cell, profiles: Mapping[str, Profile], backend: Backend, folder: Path, number: int
) -> Run:
    steps = plan(cell.build(), profiles, number, cell.seed)
    (folder / "plan.txt").write_text(describe(steps), encoding="utf-8")
    task = asked(cell)
    before = time.perf_counter()
    with backend.start(steps) as lab:
        up_ms = (time.perf_counter() - before) * 1e3
        require_closed(lab)
        scenario = unified.attempt if task.stacks.contract == "unified" else attempt
        with guarded(lab) as changes:
            try:
                account, records = record_run(lab, folder, lambda: scenario(lab, task))
            except PeerError:
                with served(lab):  # who is failed by a service breaks, or misses a deadline
                    raise
            changed = changes()
        save_events(folder, account)
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
    known: tuple[Deviation, ...],
    folder: Path,
) -> Ran:
    """The pure part: judge what was recorded, and explain it.

    ``predicted`` is what is expected, and how to know more exactly what chance may do.
    """
    expected, surer = predicted
    packets = read(run.records.capture.path)
    wire = _read(run, packets)
    peers, mechanism = (cell.roles.a, cell.roles.b), cell.mechanism
    reading = read_path(wire, *peers)
    if expected.chances is not None and not expected.chances.count(reading.outcome):
        expected = surer()  # is it rare, or not possible?
    taken = Taken(wire, peers, reading.outcome, expected.rung)
    climbed = mechanism.climbed(taken) if mechanism.climbed is not None else None
    violations = [
        *run.account.breaches,
        *cell.play.check(taken, climbed),
        *_too_slow(run.account, reading.outcome, expected),
    ]
    verdict, faults, late = _judged(cell, run, expected, wire, (reading, violations), known)
    account, records = run.account, run.records
    notes = Notes(account.start_ns, records.clock_ns, account.window, faults, records.lost)
    recorded = Recorded(packets, account.events, records.flows, records.drops, notes)
    evidence = assemble(cell, run.plan, expected, recorded, verdict)
    explanation, evidence, verdict = explained(evidence, wire, verdict)
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
        late=late and not run.faults and verdict.judgement is Judgement.INCONCLUSIVE,
        explanation=explanation,
        rung=climbed,
        chances=expected.chances,
    )


def _too_slow(account: Account, outcome: Outcome, expected: Prediction) -> list[Breach]:
    """Whether it ended as expected, and too late."""
    took, within = account.settled_s, expected.within_s
    if within is None or took is None or outcome is not expected.outcome or took <= within:
        return []
    return [TooSlow(took, within)]


def _read(run: Run, packets: list[Packet]) -> WireAccount:
    """The one account of what was recorded."""
    account, records = run.account, run.records
    return WireAccount(
        run.plan,
        packets,
        account.events,
        records.flows,
        records.drops,
        records.clock_ns,
        account.start_ns,
        account.window,
    )


def _judged(
    cell: Cell,
    run: Run,
    expected: Prediction,
    wire: WireAccount,
    read: tuple[WireReading, Sequence[Breach]],
    known: tuple[Deviation, ...],
) -> tuple[Verdict, tuple[Fault, ...], bool]:
    """The verdict, the faults of the harness, and whether it was late."""
    account, (peers, server) = run.account, _places(cell)
    reading, violations = read
    lateness = [
        *late_starts(wire, _starts(cell, account.start_ns), server, account.punctuality),
        *late_punches(wire, *peers, account.punctuality),
    ]
    lateness = [one for one in lateness if one.ms > LATE_MS]
    late = [one.fault for one in lateness if one.of_machine]
    if run.frames_late_ms > LATE_MS:
        late.insert(0, Late(Tardy.FRAME, None, run.frames_late_ms))
    faults: list[Fault] = [*run.faults, *undelayed(wire, peers, server), *unseen_ways(reading)]
    named = dict(zip(("dialer", "listener"), peers, strict=True))
    unconnected = account.window is None and run.plan.topology.by_chance
    senders = [named[end] for end in cell.play.senders]
    circuitless = unconnected and cell.relaying is not None  # nobody punches before there is one
    silent = [] if circuitless else never_sent(wire, senders, server)
    others = [node for node in senders if node not in {one.node for one in silent}]
    tried_little = _untried(cell, account, wire, others, (reading.outcome, expected))
    violations = [*violations, *silent, *tried_little]
    if reading.outcome is not expected.beside(reading.outcome):
        violations = [*violations, *(one.breach for one in lateness if not one.of_machine)]
    through, claims = None, account.claims
    if account.window is None:
        through = crossed(wire, *peers)
    if unconnected:
        # The other end may have given up before it heard enough: nobody lies, nobody disowns.
        claims = tuple(c for c in claims if c.outcome is Outcome.DIRECT and through is None)
        through = None
    too_late_ms = TOO_LATE_MS if expected.chances is None else LATE_BY_CHANCE_MS
    if any(one.ms > too_late_ms for one in late):
        faults += late
    verdict = judge(
        reading,
        expected,
        claims,
        faults=faults,
        doubts=late,
        crossed=through,
        violations=violations,
        known=known if reading.outcome is expected.outcome else (),
        ends=peers,
    )
    if verdict.judgement is Judgement.INCONCLUSIVE:
        faults += late  # then they weighed, too
    return verdict, tuple(dict.fromkeys(faults)), bool(late)


def _untried(
    cell: Cell,
    account: Account,
    wire: WireAccount,
    senders: Sequence[str],
    ended: tuple[Outcome, Prediction],
) -> Sequence[Breach]:
    """Who did too little for an outcome of none, which is what was predicted."""
    measured, expected = ended
    boasts = any(claim.outcome is Outcome.DIRECT for claim in account.claims)
    none = measured is Outcome.NONE and expected.beside(measured) is Outcome.NONE
    if cell.play.tries is None or boasts or not none:
        return ()
    peers, server = _places(cell)
    return untried(wire, senders, peers, server, cell.play.tries)


def broken(
    cell: Cell,
    profiles: Mapping[str, Profile],
    number: int,
    expected: Prediction,
    error: Exception,
    folder: Path,
) -> Ran:
    """The result of a run that did not come to a verdict; explained from what it left."""
    fault = _fault(error)
    verdict = inconclusive(expected, fault)
    notes = Notes(faults=(fault,))
    recorded = Recorded(notes=notes)
    with suppress(OSError, UsageError):  # a full disk is what broke it, perhaps
        write_json(folder / "run.json", notes.to_json())
        recorded = read_recorded(folder)
    steps = plan(cell.build(), profiles, number, cell.seed)
    evidence = assemble(cell, steps, expected, recorded, verdict)
    explanation, _, verdict = explained(evidence, WireAccount.of(evidence), verdict)
    with suppress(OSError):
        write_json(folder / "explanation.json", to_json(explanation))
    late = isinstance(error, StarvedError)
    return Ran(cell, verdict, folder, late=late, explanation=explanation)


def _places(cell: Cell) -> tuple[tuple[str, str], str]:
    """The hosts of the two peers, and of the server."""
    roles = cell.roles
    return (roles.a, roles.b), roles.relay


def _fault(error: Exception) -> Fault:
    """What an error of the harness, of a peer or of the system is."""
    if isinstance(error, PeerError):
        broke_contract = isinstance(error, ContractError)
        return PeerFailed(error.node, error.message, error.remedy, broke_contract)
    if isinstance(error, ServiceError):
        return ServiceFailed(error.node or "", error.service, Ending(error.ending))
    if isinstance(error, TestbedError):
        return Broke(error.phase, error.node, error.message, error.remedy)
    return Broke(None, None, str(error))


def _starts(cell: Cell, start_ns: int | None) -> dict[str, Start]:
    """When each peer was to send its first packet to the other, where that is known."""
    if start_ns is None or cell.mode != PUNCH:
        return {}
    starts = (start_ns, start_ns + cell.skew_ms * 1e6)
    ends = zip(cell.stacks.both, _places(cell)[0], starts, strict=True)
    return {
        node: Start(start, start + after * 1e9)
        for adapter, node, start in ends
        if (after := cell.mechanism.begins(adapter.agent)) is not None
    }
