"""One cell, from its plan to its verdict: the only place that wires the stages."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from socket import AF_PACKET, SOCK_RAW
from typing import Any

from testbed.backends.audit import audit, require_closed
from testbed.backends.base import Backend, Lab
from testbed.capture.packet import Packet
from testbed.capture.pcapng import Recording
from testbed.capture.reader import read
from testbed.capture.recorder import record
from testbed.cell import DIALER, LISTENER, SERVER, Cell, save_cell
from testbed.errors import Exit, TestbedError, UsageError
from testbed.nat.profile import Profile
from testbed.oracle.predict import Mechanism, Outcome, Prediction, predict
from testbed.peers.adapter import Adapter, adapter
from testbed.peers.contract import Mode, encode
from testbed.plan.describe import describe
from testbed.plan.model import Plan
from testbed.plan.planner import plan
from testbed.scenarios.hole_punch import Account, Attempt, attempt
from testbed.verdict.judge import inconclusive, judge
from testbed.verdict.model import Judgement, Verdict
from testbed.verdict.sanity import denied, late_punches, never_sent, undelayed
from testbed.verdict.upgrade import check_relayed, check_upgrade
from testbed.verdict.wire import read_path

# A punch is decided by who comes first, on a way of 20 ms.  Lateness of the harness
# beyond the first figure may explain a difference; beyond the second it measures itself.
LATE_MS = 10.0
TOO_LATE_MS = 200.0
RELAY_ONLY = {
    "ice": "ice_relay_only",
    "dcutr_tcp": "dcutr_off",
    "dcutr_quic": "dcutr_quic_off",
}
_MODES = {"relay_only": Mode.PUNCH}
# Who must be seen to send, for an attempt to be one.
_SENDERS = {
    "punch": (DIALER, LISTENER),
    "relay_only": (),
    "plain_dial": (DIALER,),
    "silent": (),
}


@dataclass(frozen=True)
class Result:
    """A cell's verdict and what it cost."""

    cell: Cell
    verdict: Verdict
    folder: Path
    seconds: float = 0.0
    up_ms: float | None = None
    connect_ms: float | None = None
    packets: int = 0
    late: bool = False  # inconclusive because the machine was too busy: worth another try

    def to_json(self) -> dict[str, Any]:
        """As the JSON report and ``result.json`` have it."""
        verdict = self.verdict
        return self.cell.to_json() | {
            "judgement": verdict.judgement.value,
            "measured": verdict.measured.value if verdict.measured else None,
            "predicted": verdict.predicted.value,
            "reason": verdict.reason,
            "findings": list(verdict.findings),
            "packets_cited": list(verdict.packets),
            "packets": self.packets,
            "seconds": round(self.seconds, 3),
            "up_ms": self.up_ms and round(self.up_ms, 1),
            "connect_ms": self.connect_ms and round(self.connect_ms, 1),
            "folder": str(self.folder),
        }


@dataclass(frozen=True)
class _Run:
    """What the effects left behind for the pure part."""

    plan: Plan
    account: Account
    recording: Recording
    faults: tuple[str, ...]
    frames_late_ms: float  # by which a link held the most delayed frame too long
    up_ms: float


def prediction(cell: Cell, profiles: Mapping[str, Profile]) -> Prediction:
    """What the oracle says of ``cell``."""
    topology = cell.build()
    behaviours = {r.name: profiles[r.profile].behaviour for r in topology.routers}
    mechanism = _mechanism(adapter(cell.peer), cell.mode)
    return predict(
        topology, behaviours, mechanism, DIALER, LISTENER, server=SERVER, skew_ms=cell.skew_ms
    )


def _mechanism(stack: Adapter, mode: str) -> Mechanism:
    match mode:
        case "punch":
            return Mechanism(stack.mechanism)
        case "plain_dial":
            return Mechanism(f"plain_dial_{stack.transport}")
        case "relay_only":
            return Mechanism(RELAY_ONLY[stack.mechanism])
        case _:
            return Mechanism.NO_PUNCH


def run_cell(
    cell: Cell,
    profiles: Mapping[str, Profile],
    backend: Backend,
    folder: Path,
    *,
    number: int = 0,
    facts: Any = None,
) -> Result:
    """Run ``cell`` and judge it; the folder is filled as far as it went.

    A trouble of the harness gives an INCONCLUSIVE result, not an exception; only
    errors of usage (an unknown peer, say) are raised.
    """
    started = time.monotonic()
    expected = prediction(cell, profiles)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}", remedy="choose another --out") from error
    try:
        save_cell(cell, profiles, folder, number, facts)
        run = _effects(cell, profiles, backend, folder, number)
        result = _judged(cell, run, expected, folder)
    except (TestbedError, OSError) as error:
        if isinstance(error, TestbedError) and error.exit_code in (Exit.USAGE, Exit.UNFIT):
            raise
        result = Result(cell, inconclusive(expected, str(error)), folder)
    result = replace(result, seconds=time.monotonic() - started)
    try:
        (folder / "result.json").write_text(json.dumps(result.to_json(), indent=2) + "\n")
    except OSError as error:
        verdict = inconclusive(expected, f"{folder}/result.json: {error.strerror}")
        return replace(result, verdict=verdict)
    return result


def _effects(
    cell: Cell, profiles: Mapping[str, Profile], backend: Backend, folder: Path, number: int
) -> _Run:
    steps = plan(cell.build(), profiles, number)
    (folder / "plan.txt").write_text(describe(steps))
    task = Attempt(
        adapter=adapter(cell.peer),
        dialer=DIALER,
        listener=LISTENER,
        server=SERVER,
        mode=_MODES.get(cell.mode) or Mode(cell.mode),
        relay_only=cell.mode == "relay_only",
        seed=cell.seed,
        skew_ms=cell.skew_ms,
    )
    before = time.perf_counter()
    with backend.start(steps) as lab:
        up_ms = (time.perf_counter() - before) * 1e3
        require_closed(lab)
        account, recording = _recorded(lab, task, folder)
        faults = [f"after the run: {finding}" for finding in audit(lab)]
        faults += lab.lost_frames()
        frames_late_ms = lab.lateness_ms()
    faults += [
        f"the capture lost {count.dropped} packets at {count.name}"
        for count in recording.counts
        if count.dropped
    ]
    return _Run(steps, account, recording, tuple(faults), frames_late_ms, up_ms)


def _recorded(lab: Lab, task: Attempt, folder: Path) -> tuple[Account, Recording]:
    with record(
        lambda vantage: lab.socket(vantage.node, AF_PACKET, SOCK_RAW),
        lab.plan.vantages,
        folder / "capture.pcapng",
    ) as recorder:
        account = attempt(lab, task)
    lines = (b'{"peer":"%s",' % name.encode() + encode(e)[1:] for name, e in account.events)
    (folder / "events.jsonl").write_bytes(b"".join(lines))
    return account, recorder.recording


def _judged(cell: Cell, run: _Run, expected: Prediction, folder: Path) -> Result:
    packets = read(run.recording.path)
    lateness = {"a link's frame": run.frames_late_ms}
    account, peers = run.account, (DIALER, LISTENER)
    lateness |= _late_starts(cell, packets, account.start_ns)
    lateness |= late_punches(packets, run.plan, account.events, *peers)
    reading = read_path(packets, run.plan, *peers, account.window)
    faults = [*run.faults, *undelayed(packets, run.plan, peers, SERVER)]
    faults += never_sent(packets, run.plan, _SENDERS[cell.mode], SERVER, account.start_ns)
    crossed = denied(packets, run.plan, *peers, account.start_ns) if not account.window else None
    late = [
        f"{what} was {ms:.0f} ms late: this machine is too busy for so many cells"
        for what, ms in lateness.items()
        if ms > LATE_MS
    ]
    if max(lateness.values()) > TOO_LATE_MS:
        faults += late
    verdict = judge(
        reading,
        expected,
        account.claims,
        faults=faults,
        doubts=late,
        denied=crossed,
        violations=_violations(cell, packets, run, reading.outcome),
    )
    return Result(
        cell,
        verdict,
        folder,
        up_ms=run.up_ms,
        connect_ms=run.account.connect_ms,
        packets=len(packets),
        late=bool(late) and not run.faults and verdict.judgement is Judgement.INCONCLUSIVE,
    )


def _violations(cell: Cell, packets: list[Packet], run: _Run, outcome: Outcome) -> list[str]:
    """How the upgrade of a relayed connection broke its protocol."""
    if not adapter(cell.peer).mechanism.startswith("dcutr"):
        return []
    if cell.mode == "relay_only":
        return check_relayed(packets, run.plan, DIALER, LISTENER)
    if outcome is Outcome.DIRECT:
        return check_upgrade(packets, run.plan, run.account.events, DIALER, LISTENER)
    return []


def _late_starts(cell: Cell, packets: list[Packet], start_ns: int | None) -> dict[str, float]:
    """Did both punchers really start together?  The wire says when each began, in ms late."""
    if start_ns is None or cell.mode != "punch" or not cell.peer.startswith("punch"):
        return {}
    late = {}
    for node, delay_ms in ((DIALER, 0.0), (LISTENER, cell.skew_ms)):
        due = start_ns + delay_ms * 1e6
        sent = (p for p in packets if p.outgoing and p.time_ns >= due and p.node == node)
        first = next(sent, None)
        late[f"{node}'s start"] = (first.time_ns - due) / 1e6 if first else float("inf")
    return late
