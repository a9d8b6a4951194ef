"""The evidence of a cell, read back from its folder.

The one module of this room that reads files.  What is not there was not recorded,
which is None in the evidence; what is there and damaged is an error.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from testbed import foreign
from testbed.capture.flows import read_flows
from testbed.capture.reader import read
from testbed.errors import CaptureError, PeerError, UsageError
from testbed.model.contract import Event
from testbed.model.contract_lines import decode_event
from testbed.model.explanation import Evidence
from testbed.model.fault import Fault
from testbed.model.frozen import FrozenValue
from testbed.model.gap import Gap
from testbed.model.journey import FlowEvent
from testbed.model.judgement import Verdict
from testbed.model.outcome import Outcome
from testbed.model.packet import Packet
from testbed.model.plan import Plan
from testbed.model.prediction import Prediction
from testbed.model.result import Result
from testbed.model.saved import faults_from_json, faults_to_json, gaps_from_json, gaps_to_json
from testbed.model.verdict import Judgement, NoResult, Recalled
from testbed.model.window import Window
from testbed.plan.planner import plan
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import prediction
from testbed.studies.punch.folder import load_cell, load_versions
from testbed.words import sentence

T = TypeVar("T")
_ILL_FORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


class Notes(FrozenValue):
    """``run.json``: what the harness knows of a run besides what its other files say."""

    start_ns: int | None = None  # as `Evidence` has it, like the next
    clock_ns: int | None = None
    window: Window | None = None  # of the echo
    faults: tuple[Fault, ...] = ()
    gaps: tuple[Gap, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "start_ns": self.start_ns,
            "clock_ns": self.clock_ns,
            "window": vars(self.window) if self.window else None,
            "faults": [sentence(fault) for fault in self.faults],
            "fault_values": faults_to_json(self.faults),
            "gaps": [sentence(gap) for gap in self.gaps],
            "gap_values": gaps_to_json(self.gaps),
        }


class Recorded(FrozenValue):
    """What a run left behind; None: not recorded."""

    packets: list[Packet] | None = None
    events: tuple[tuple[str, Event], ...] | None = None
    flows: tuple[FlowEvent, ...] | None = None
    drops: Mapping[str, Mapping[str, int]] | None = None
    notes: Notes = Notes()


def load_evidence(folder: Path) -> Evidence:
    """All that is known of the run in a cell's ``folder``.

    The prediction is made anew from the cell and its profiles.  UsageError, naming the
    file: no cell's folder, or a file that is damaged.
    """
    cell, profiles, number = load_cell(folder)
    expected = prediction(cell, profiles, load_versions(folder))
    verdict = _read(folder / "result.json", lambda path: _verdict(path, expected))
    verdict = verdict or Verdict(Judgement.INCONCLUSIVE, None, expected.outcome, NoResult())
    steps = plan(cell.build(), profiles, number, cell.seed)
    return assemble(cell, steps, expected, read_recorded(folder), verdict)


def assemble(
    cell: Cell,
    steps: Plan,
    expected: Prediction,
    recorded: Recorded,
    verdict: Verdict,
) -> Evidence:
    """The evidence of one run, from its parts."""
    return Evidence(
        name=cell.name,
        technique=cell.play.model,
        mode=cell.mode,
        plan=steps,
        behaviours=steps.behaviours,
        dialer=cell.roles.a,
        listener=cell.roles.b,
        server=cell.roles.relay,
        packets=recorded.packets,
        events=recorded.events,
        flows=recorded.flows,
        drops=recorded.drops,
        clock_ns=recorded.notes.clock_ns,
        start_ns=recorded.notes.start_ns,
        prediction=expected,
        judgement=verdict.judgement,
        measured=verdict.measured,
        findings=verdict.findings,
        faults=recorded.notes.faults,
        cited=verdict.packets,
        window=recorded.notes.window,
    )


def read_recorded(folder: Path) -> Recorded:
    """What is in ``folder`` of a run; UsageError naming a file that is damaged."""
    return Recorded(
        packets=_read(folder / "capture.pcapng", read),
        events=_read(folder / "events.jsonl", _events),
        flows=_read(folder / "conntrack.jsonl", read_flows),
        drops=_read(folder / "drops.json", _drops),
        notes=_read(folder / "run.json", _notes) or Notes(),
    )


def _read(path: Path, parse: Callable[[Path], T]) -> T | None:
    """None without such a file; UsageError naming it when ``parse`` makes nothing of it."""
    if not path.exists():
        return None
    try:
        return parse(path)
    except CaptureError as error:  # which names the file
        raise UsageError(error.message, remedy="run the cell anew") from error
    except ValidationError as error:  # without what the file has, which may be anybody's
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise UsageError(
            f"{path}: not what a run leaves there ({place}: {first['msg']})",
            remedy="run the cell anew",
        ) from None
    except (OSError, PeerError, *_ILL_FORMED) as error:
        raise UsageError(
            f"{path}: not what a run leaves there ({error})", remedy="run the cell anew"
        ) from error


def _verdict(path: Path, expected: Prediction) -> Verdict:
    result = Result.model_validate_json(foreign.read_bytes(path))
    return Verdict(
        result.judgement,
        None if result.measured is None else Outcome(result.measured),
        expected.outcome,
        Recalled(result.reason),
        result.finding_values,
        result.packets_cited,
    )


def _events(path: Path) -> tuple[tuple[str, Event], ...]:
    found = []
    for line in foreign.read_bytes(path).splitlines():
        fields = json.loads(line)
        peer = _word(fields.pop("peer"))
        found.append((peer, decode_event(json.dumps(fields).encode())))
    return tuple(found)


def _drops(path: Path) -> dict[str, dict[str, int]]:
    routers = json.loads(foreign.read_text(path)).items()
    return {name: {why: _whole(count) for why, count in one.items()} for name, one in routers}


def _notes(path: Path) -> Notes:
    fields = json.loads(foreign.read_text(path))
    times = [fields[key] for key in ("start_ns", "clock_ns")]
    start, clock = (None if value is None else _whole(value) for value in times)
    window = fields["window"]
    return Notes(
        start,
        clock,
        None if window is None else _window(window),
        faults_from_json(fields["fault_values"]),
        gaps_from_json(fields.get("gap_values", [])),  # older runs have sentences alone
    )


def _window(fields: Mapping[str, object]) -> Window:
    numbers = {key: _whole(value) for key, value in fields.items() if key != "nonce"}
    nonce = _word(fields.get("nonce", ""))
    bytes.fromhex(nonce)
    return Window(**numbers, nonce=nonce)


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _word(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value
