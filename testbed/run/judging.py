"""From the records of a run to its verdict.  Pure."""

from collections.abc import Sequence

from testbed.evidence.account import WireAccount
from testbed.model.breach import Breach, Claim, TooSlow
from testbed.model.deviation import Deviation
from testbed.model.fault import (
    CaptureLost,
    Fault,
    FramesLost,
    Late,
    Tardy,
)
from testbed.model.frozen import FrozenValue
from testbed.model.judgement import Verdict, WireReading
from testbed.model.outcome import Outcome
from testbed.model.packet import Packet
from testbed.model.plan import Plan
from testbed.model.prediction import Prediction
from testbed.model.verdict import Judgement
from testbed.predict.deviations import fewest
from testbed.run.recording import Records
from testbed.studies.punch.attempt import Account
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.mechanism import PUNCH
from testbed.verdict.claimed import knowable, unfounded
from testbed.verdict.judge import judge
from testbed.verdict.sanity import (
    Lateness,
    Start,
    crossed,
    late_punches,
    late_starts,
    never_sent,
    seen_inside,
    undelayed,
    unseen_ways,
)
from testbed.verdict.tried import untried
from testbed.verdict.tried_direct import Indirect
from testbed.verdict.upgrade import untold

# A punch is decided by who comes first, on a way of 20 ms.  Lateness of the harness
# beyond the first figure may explain a difference; beyond the second it measures itself.
LATE_MS = 10.0
TOO_LATE_MS = 200.0
# Where chance decides, no end looks wrong, and a busy machine would change the rate unseen: a cell
# that was as late as this is no try, however it ended.
LATE_BY_CHANCE_MS = 50.0


class Run(FrozenValue):
    """What the effects left behind for the pure part."""

    plan: Plan
    account: Account
    records: Records
    faults: tuple[Fault, ...]
    frames_late_ms: float  # by which a link held the most delayed frame too long
    up_ms: float


def worth_another(faults: Sequence[Fault], *, late: bool, verdict: Verdict) -> bool:
    """Whether a machine with more room might have come to a verdict.

    It lost frames or packets, or was late, and nothing else kept the run from being a measurement.
    """
    crowded = all(isinstance(one, FramesLost | CaptureLost) for one in faults)
    spoiled = verdict.judgement is Judgement.INCONCLUSIVE
    return spoiled and crowded and (late or bool(faults))


def too_slow(account: Account, outcome: Outcome, expected: Prediction) -> list[Breach]:
    """Whether it ended as expected, and too late."""
    took, within = account.settled_s, expected.within_s
    if within is None or took is None or outcome is not expected.outcome or took <= within:
        return []
    return [TooSlow(took, within)]


def account_of(run: Run, packets: list[Packet]) -> WireAccount:
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


def judged(
    cell: Cell,
    run: Run,
    expected: Prediction,
    wire: WireAccount,
    read: tuple[WireReading, Sequence[Breach]],
    known: Sequence[Deviation],
) -> tuple[Verdict, tuple[Fault, ...], bool]:
    """The verdict, the faults of the harness, and whether it was late."""
    (peers, server), (reading, violations) = _places(cell), read
    foreseen = reading.outcome is expected.beside(reading.outcome)
    lateness = _lateness(cell, run, wire)
    late = [one.fault for one in lateness if one.of_machine]
    if run.frames_late_ms > LATE_MS:
        late.insert(0, Late(Tardy.FRAME, None, run.frames_late_ms))
    faults: list[Fault] = [*run.faults, *undelayed(wire, peers, server), *unseen_ways(reading)]
    if any(one.ms > _patience(expected) for one in late):
        faults += late
    if reading.outcome is Outcome.DIRECT:
        violations = [*violations, *unfounded(wire, peers)]
    violations = [*violations, *_omitted(cell, run, wire, (reading.outcome, expected), known)]
    if not foreseen:
        violations += [one.breach for one in lateness if not one.of_machine]
    through, claims = _claimed(run, wire, peers)
    verdict = judge(
        reading,
        expected,
        claims,
        faults=faults,
        doubts=late,
        crossed=through,
        violations=violations,
        known=known if foreseen else (),
        ends=peers,
        untold=untold(wire, *peers),
    )
    if verdict.judgement is Judgement.INCONCLUSIVE:
        faults += late  # then they weighed, too
    return verdict, tuple(dict.fromkeys(faults)), bool(late)


def _lateness(cell: Cell, run: Run, wire: WireAccount) -> list[Lateness]:
    """Of the peers, by which each began or punched too late."""
    account, (peers, server) = run.account, _places(cell)
    found = [
        *late_starts(wire, _starts(cell, account.start_ns), server, account.punctuality),
        *late_punches(wire, *peers, account.punctuality),
    ]
    return [one for one in found if one.ms > LATE_MS]


def _patience(expected: Prediction) -> float:
    """The lateness, in ms, beyond which a run is no measurement."""
    counted = expected.chances is not None and not expected.chances.borrowed
    return LATE_BY_CHANCE_MS if counted else TOO_LATE_MS


def _unconnected(run: Run) -> bool:
    """Nobody said to be connected, where what is lost may be the reason."""
    return run.account.window is None and run.plan.topology.by_chance


def _omitted(
    cell: Cell,
    run: Run,
    wire: WireAccount,
    ended: tuple[Outcome, Prediction],
    known: Sequence[Deviation],
) -> list[Breach]:
    """What the peers that are to send did not send."""
    peers, server = _places(cell)
    named = dict(zip(("dialer", "listener"), peers, strict=True))
    senders = [named[end] for end in cell.play.senders]
    if cell.relaying is not None and seen_inside(wire, peers[1], server):
        return []  # the listener leads, and has no address to signal
    circuitless = _unconnected(run) and cell.relaying is not None  # nobody punches before it
    silent = [] if circuitless else never_sent(wire, senders, server)
    others = [node for node in senders if node not in {one.node for one in silent}]
    return [*silent, *_untried(cell, run.account, wire, others, ended, known)]


def _claimed(
    run: Run, wire: WireAccount, peers: tuple[str, str]
) -> tuple[tuple[int, int] | None, tuple[Claim, ...]]:
    """What crossed where nobody was connected, and what the peers say, as far as it is held to.

    Where packets get lost, the other end may have given up before it heard enough: nobody lies,
    nobody disowns.
    """
    claims = knowable(wire, run.account.claims)
    through = crossed(wire, *peers) if run.account.window is None else None
    if not _unconnected(run):
        return through, claims
    return None, tuple(c for c in claims if c.outcome is Outcome.DIRECT and through is None)


def _untried(
    cell: Cell,
    account: Account,
    wire: WireAccount,
    senders: Sequence[str],
    ended: tuple[Outcome, Prediction],
    known: Sequence[Deviation],
) -> Sequence[Breach]:
    """Who did too little for an outcome that is not direct, and is what was predicted."""
    measured, expected = ended
    boasts = any(claim.outcome is Outcome.DIRECT for claim in account.claims)
    if boasts or measured is Outcome.DIRECT or expected.beside(measured) is not measured:
        return ()
    peers, server = _places(cell)
    if cell.play.indirect is not None and not cell.build().by_chance:
        relayed = measured is Outcome.RELAYED
        least = fewest(known, peers)
        case = Indirect(wire, senders, peers, server, relayed, expected.trace, least)
        return cell.play.indirect(case)
    if cell.play.tries is None or measured is not Outcome.NONE:
        return ()
    patience, told = cell.mechanism.patience, cell.patience_s
    share = 1.0 if patience is None or told is None else told / patience.usual_s
    return untried(wire, senders, peers, server, cell.play.tries.within(share))


def _places(cell: Cell) -> tuple[tuple[str, str], str]:
    """The hosts of the two peers, and of the server."""
    roles = cell.roles
    return (roles.a, roles.b), roles.relay


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
