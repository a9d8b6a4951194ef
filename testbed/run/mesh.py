"""The pairs of a mesh: one lab, one start and one recording, of which each gets what is its own.

A pair's folder is a cell's, and it is judged as one.  The folder of the lab has what was
recorded of all.
"""

import gc
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from testbed.capture.reader import read
from testbed.errors import Exit, ServiceError, TestbedError
from testbed.evidence.account import WireAccount
from testbed.evidence.sharing import Shares, shares
from testbed.lab.audit import audit, require_closed
from testbed.lab.forked import forked
from testbed.lab.sentry import guarded
from testbed.model.address import Socket
from testbed.model.fault import CaptureLost, Fault, ServiceFailed
from testbed.model.frozen import FrozenValue
from testbed.model.lab import Backend
from testbed.model.packet import Packet
from testbed.model.plan import Plan
from testbed.model.prediction import Prediction
from testbed.model.profile import Profile
from testbed.model.result import Result
from testbed.model.topology import Order
from testbed.plan.describe import describe
from testbed.plan.planner import plan
from testbed.run.cell import RULED_OUT_BY, Ran, asked, broken, finished, kept
from testbed.run.judging import Run
from testbed.run.recording import Records, record_run, save_events, save_share
from testbed.studies.base import Site
from testbed.studies.punch.attempt import Attempted, Cut, attempts
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import deviations, prediction, strangers
from testbed.studies.punch.folder import save_cell

JUDGING_S = 300.0  # until which all are judged and explained
_RESULTS = TypeAdapter(list[Result])
PLAN = "plan.txt"  # of all pairs the same steps
LAB_FILES = ("capture.pcapng", "conntrack.jsonl", "drops.json", PLAN)
CELL_DEADLINE = 180.0  # seconds; every wait inside has its own, this ends what has none


class _Met(FrozenValue):
    """What the effects left behind: of the lab, and of each pair in order."""

    plan: Plan
    records: Records
    faults: tuple[Fault, ...]
    frames_late_ms: float
    up_ms: float
    ended: Sequence[Attempted]


def deadline_of(cells: Sequence[Cell]) -> float:
    """Seconds that a lab of ``cells`` may take; pairs that meet in turn may take their sum."""
    sharing = Counter(cell.lab for cell in cells)
    in_turn = {cell.lab for cell in cells if cell.meeting and cell.meeting.order is Order.IN_TURN}
    many = len(sharing) < len(cells)
    most = max((sharing[lab] for lab in in_turn), default=2 if many else 1)
    return CELL_DEADLINE * most


def run_mesh(
    cells: Sequence[Cell],
    profiles: Mapping[str, Profile],
    site: Site,
    folders: Sequence[Path],
    facts: Mapping[str, str] | None = None,
) -> list[Result]:
    """Let all pairs ``cells`` of a mesh meet in one lab, and judge each; results in their order.

    ``site`` is the lab's, ``folders`` are the pairs'.  A trouble of the harness gives
    INCONCLUSIVE results, not an exception; only errors of usage and of the machine are raised.
    """
    pairs = [
        _Pair(number, cell, profiles, folder, site.number, facts)
        for number, (cell, folder) in enumerate(zip(cells, folders, strict=True))
    ]
    try:
        met = _effects(cells, profiles, site.backend, site)
        shared = _shared(met, read(met.records.capture.path))
    except (TestbedError, OSError) as error:
        if isinstance(error, TestbedError) and error.exit_code in (Exit.USAGE, Exit.UNFIT):
            raise
        for pair in pairs:
            pair.save()
        return [pair.lost(error) for pair in pairs]
    return _judged(pairs, met, shared)


def _effects(
    cells: Sequence[Cell], profiles: Mapping[str, Profile], backend: Backend, site: Site
) -> _Met:
    first = cells[0]
    steps = plan(first.build(), profiles, site.number, first.seed)
    site.folder.mkdir(parents=True, exist_ok=True)
    (site.folder / PLAN).write_text(describe(steps), encoding="utf-8")
    tasks = [asked(cell) for cell in cells]
    at_once = first.meeting is None or first.meeting.order is Order.AT_ONCE
    before = time.perf_counter()
    with backend.start(steps) as lab:
        up_ms = (time.perf_counter() - before) * 1e3
        require_closed(lab)
        with guarded(lab) as guard:
            ended, records = record_run(
                lab, site.folder, lambda: attempts(lab, tasks, first.seed, at_once=at_once)
            )
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
    return _Met(steps, records, tuple(faults), frames_late_ms, up_ms, ended)


def _shared(met: _Met, packets: Sequence[Packet]) -> Shares:
    """Which packets are whose, by the sockets that the peers were seen to have."""
    sockets: dict[Socket, set[int]] = {}
    for number, one in enumerate(met.ended):
        for socket in one.sockets:
            sockets.setdefault(socket, set()).add(number)
    account = WireAccount(met.plan, packets, drops=met.records.drops)
    return shares(packets, account.journeys, met.plan, sockets)


def _judged(pairs: Sequence["_Pair"], met: _Met, shared: Shares) -> list[Result]:
    """Judge all pairs, in a fork for each processor: a fork for each pair takes as long again."""
    gc.freeze()  # what the forks share stays shared
    count = min(os.cpu_count() or 1, len(pairs))
    parts = [pairs[number::count] for number in range(count)]
    tasks = [partial(_judged_part, part, met, shared) for part in parts]
    found: dict[int, Result] = {}
    for index, output, seconds in forked(tasks, count, JUDGING_S):
        try:
            results = _RESULTS.validate_json(output)
        except ValidationError:
            lost = TestbedError(f"judging it ended without a result after {seconds:.0f} s")
            results = [pair.lost(lost) for pair in parts[index]]
        numbers = (pair.number for pair in parts[index])
        found.update(zip(numbers, results, strict=True))
    return [found[number] for number in range(len(pairs))]


def _failed(faults: Sequence[Fault]) -> ServiceError | None:
    """The service that failed, as an error: who misses a deadline for that is not to blame."""
    found = (one for one in faults if isinstance(one, ServiceFailed))
    return next((ServiceError(f.service, f.ending.value, node=f.node) for f in found), None)


def _judged_part(pairs: Sequence["_Pair"], met: _Met, shared: Shares, _slot: int) -> bytes:
    """Their results as JSON, in their order."""
    return _RESULTS.dump_json([pair.judged(met, shared) for pair in pairs])


class _Pair(FrozenValue):
    """One of a mesh; ``number`` is its place in the order, ``lab`` that of the lab's addresses."""

    number: int
    cell: Cell
    profiles: Mapping[str, Profile]
    folder: Path
    lab: int
    facts: Mapping[str, str] | None

    def judged(self, met: _Met, shared: Shares) -> Result:
        """Its result, from what was recorded of it."""
        ended = met.ended[self.number]
        known = met.records.flows
        flows = None if known is None else shared.flows(self.number, known)
        packets = shared.packets.get(self.number, ())
        try:
            self.save()
            records = save_share(self.folder, met.records, packets, flows, ended.seconds)
            save_events(self.folder, ended.result, records)
            if isinstance(ended.result, Cut):
                return self.lost(_failed(met.faults) or ended.result.error)
            own_plan = replace(met.plan, topology=self.cell.build())
            shutil.copyfile(met.records.capture.path.with_name(PLAN), self.folder / PLAN)
            run = Run(own_plan, ended.result, records, met.faults, met.frames_late_ms, met.up_ms)
            surer = partial(prediction, self.cell, self.profiles, self.facts, RULED_OUT_BY)
            by_stacks = partial(deviations, self.cell, self.profiles, self.facts)
            ran = finished(self.cell, run, (self.expected, surer), by_stacks, self.folder)
        except Exception as error:  # also a crash is told with what it left
            return self.lost(error)
        return self._kept(replace(ran, seconds=ended.seconds))

    def save(self) -> None:
        """What is needed to run it again; nothing of an earlier run is left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        save_cell(self.cell, self.profiles, self.folder, self.lab, self.facts)

    @cached_property
    def expected(self) -> Prediction:
        """What the oracle says of it: of this pair alone."""
        return prediction(self.cell, self.profiles, self.facts)

    def lost(self, error: Exception) -> Result:
        """Its result where ``error`` kept it from a verdict."""
        return self._kept(
            broken(self.cell, self.profiles, self.lab, self.expected, error, self.folder)
        )

    def _kept(self, ran: Ran) -> Result:
        return kept(
            replace(ran, strangers=strangers([self.cell], self.facts)), self.expected
        ).result()
