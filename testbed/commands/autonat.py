"""`testbed autonat`: AutoNAT's verdicts beside the truth and the prediction."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from testbed.backends import sandbox
from testbed.errors import Exit
from testbed.nat.behaviour import Protocol
from testbed.nat.load import catalogue, named
from testbed.nat.profile import Profile
from testbed.oracle.autonat import Prediction, Reachability, predict
from testbed.scenarios.reachability import Measured, bench, measure
from testbed.scenarios.sweep import sweep


@dataclass(frozen=True)
class Row:
    """One transport behind one profile; ``measured`` is None when ``error`` kept it from being."""

    profile: str
    protocol: Protocol
    predicted: Prediction
    measured: Measured | None
    error: str = ""

    @property
    def exit_code(self) -> Exit:
        if self.measured is None:
            return Exit.INCONCLUSIVE
        agrees = self.measured.outcome == self.predicted.outcome
        return Exit.AGREED if agrees else Exit.DIFFERS

    def to_json(self) -> dict[str, Any]:
        found = self.measured
        return {
            "profile": self.profile,
            "transport": self.protocol.value,
            "verdict": self.exit_code.name.lower(),
            "measured": None if found is None else _plain(found.outcome),
            "predicted": _plain(self.predicted.outcome),
            "addresses": [] if found is None else [str(one.address) for one in found.addresses],
            "notes": list(self.predicted.notes),
            "error": self.error,
        }


def rows(profiles: Sequence[Profile], jobs: int) -> list[Row]:
    """Measure every profile, in the given order; inside a sandbox."""
    found: dict[tuple[str, Protocol], Row] = {}
    for profile, outcome in sweep(profiles, bench, measure, jobs):
        by_protocol = {one.protocol: one for one in outcome.result or ()}
        for protocol in Protocol:
            found[profile.name, protocol] = Row(
                profile.name,
                protocol,
                predict(profile.behaviour, protocol),
                by_protocol.get(protocol),
                outcome.error,
            )
    return [found[profile.name, protocol] for profile in profiles for protocol in Protocol]


def autonat(names: Sequence[str], jobs: int, as_json: bool) -> int:
    """Measure profiles (none named: all) and print one table; the exit code."""
    profiles = named(names) if names else list(catalogue().values())
    sandbox.enter()
    measured = rows(profiles, jobs)
    if as_json:
        print(json.dumps([row.to_json() for row in measured], indent=2))
    else:
        Console().print(table(measured))
    codes = {row.exit_code for row in measured}
    return int(Exit.DIFFERS if Exit.DIFFERS in codes else max(codes))


def table(measured: Sequence[Row]) -> Table:
    """A line a transport; where measured and predicted differ, both.  Notes are below."""
    notes = {note: str(n) for n, note in enumerate(_all_notes(measured), 1)}
    shown = Table(
        title="AutoNAT behind every NAT",
        caption="\n".join(f"{number} {note}" for note, number in notes.items()),
        title_justify="left", caption_justify="left", title_style="bold", box=SIMPLE,
        padding=(0, 1, 0, 0),
    )  # fmt: skip
    for column in ("profile", "", "stranger", "v1", "v2", "", "notes"):
        shown.add_column(column, no_wrap=True)
    for row in measured:
        marks = " ".join(notes[note] for note in _notes(row))
        shown.add_row(row.profile, row.protocol.value, *_cells(row), _mark(row), marks)
    return shown


def _all_notes(measured: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(note for row in measured for note in _notes(row)))


def _notes(row: Row) -> tuple[str, ...]:
    return (row.error,) if row.error else row.predicted.notes


def _cells(row: Row) -> list[str]:
    predicted = _words(row.predicted.outcome)
    if row.measured is None:
        return predicted
    pairs = zip(_words(row.measured.outcome), predicted, strict=True)
    return [one if one == other else f"{one}, predicted {other}" for one, other in pairs]


def _words(found: Reachability) -> list[str]:
    return [
        "gets in" if found.reachable else "kept out",
        found.v1.value,
        ", ".join(_counted([address.v2.value for address in found.addresses])),
    ]


def _counted(words: Sequence[str]) -> list[str]:
    """Each word once, with its number where there are several addresses."""
    if len(words) == 1:
        return list(words)
    return [f"{words.count(word)} {word}" for word in sorted(set(words))]


def _mark(row: Row) -> Text:
    return {
        Exit.AGREED: Text("=", "green"),
        Exit.DIFFERS: Text("!=", "bold red"),
    }.get(row.exit_code, Text("?", "magenta"))


def _plain(found: Reachability) -> dict[str, Any]:
    return {
        "stranger": found.reachable,
        "v1": found.v1.value,
        "v2": [{"stranger": one.reachable, "verdict": one.v2.value} for one in found.addresses],
    }
