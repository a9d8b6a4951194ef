"""`testbed autonat`: AutoNAT's verdicts beside the truth and the prediction."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from testbed.errors import Exit
from testbed.lab import sandbox
from testbed.model.behaviour import Protocol
from testbed.model.profile import Profile
from testbed.nat.load import catalogue, named
from testbed.predict.autonat import Prediction, Reachability, between
from testbed.stacks.registry import OURS
from testbed.studies.autonat.asking import Asking
from testbed.studies.autonat.asking import measure as measure_between
from testbed.studies.autonat.reachability import Measured, bench, measure
from testbed.studies.autonat.sweep import Outcome, sweep

TOO_LATE = 0.5  # seconds
TRIES = 3
WIDE = 160  # columns, where no terminal says how many there are


@dataclass(frozen=True)
class Row:
    """One transport behind one profile; ``measured`` is None when ``error`` kept it from being.

    A machine too busy casts a doubt: it leaves an agreement alone, and makes a
    difference inconclusive.
    """

    profile: str
    protocol: Protocol
    predicted: Prediction
    measured: Measured | None
    error: str = ""
    asking: Asking | None = None  # None: our own stack, which tells more

    @property
    def exit_code(self) -> Exit:
        if self.measured is None:
            return Exit.INCONCLUSIVE
        if self.measured.outcome == self.predicted.outcome:
            return Exit.AGREED
        return Exit.INCONCLUSIVE if self.measured.late > TOO_LATE else Exit.DIFFERS

    @property
    def notes(self) -> tuple[str, ...]:
        if self.measured is None:
            return (self.error,)
        if self.exit_code is Exit.INCONCLUSIVE:
            return (f"a node was {self.measured.late:.1f} s late: this machine is too busy",)
        return self.predicted.notes

    def to_json(self) -> dict[str, Any]:
        found = self.measured
        return {
            "profile": self.profile,
            **({"client": self.asking.client, "server": self.asking.server} if self.asking else {}),
            "transport": self.protocol.value,
            "verdict": self.exit_code.name.lower(),
            "measured": None if found is None else _plain(found.outcome),
            "predicted": _plain(self.predicted.outcome),
            "addresses": [] if found is None else [str(one.address) for one in found.addresses],
            "notes": list(self.notes),
        }


def rows(profiles: Sequence[Profile], jobs: int, asking: Asking | None = None) -> list[Row]:
    """Measure every profile, in the given order; says how far it is on stderr.  In a sandbox.

    Inconclusive ones are tried again at the end, with fewer at a time.
    """
    errors = Console(stderr=True)
    who = f"{asking.client} asks {asking.server}: " if asking else ""
    found: dict[str, list[Row]] = {}
    todo = list(profiles)
    work = partial(measure_between, asking=asking) if asking else measure
    for _ in range(TRIES):
        for done, (profile, outcome) in enumerate(sweep(todo, bench, work, jobs), 1):
            found[profile.name] = _rows(profile, outcome, asking)
            words = ", ".join(
                f"{row.protocol.value} {row.exit_code.name.lower()}" for row in found[profile.name]
            )
            line = f"{done:3} of {len(todo)}  {who}{profile.name}: {words}"
            errors.print(line, highlight=False, soft_wrap=True)
        todo = [p for p in todo if any(_inconclusive(row) for row in found[p.name])]
        jobs = max(1, jobs // 4)
    return [row for profile in profiles for row in found[profile.name]]


def _rows(
    profile: Profile, outcome: Outcome[tuple[Measured, ...]], asking: Asking | None
) -> list[Row]:
    by_protocol = {one.protocol: one for one in outcome.result or ()}
    client, server = (asking.client, asking.server) if asking else (OURS, OURS)
    return [
        Row(
            profile.name,
            protocol,
            between(profile.behaviour, protocol, client, server),
            by_protocol.get(protocol),
            outcome.error,
            asking,
        )
        for protocol in (asking.protocols if asking else Protocol)
    ]


def _inconclusive(row: Row) -> bool:
    return row.exit_code is Exit.INCONCLUSIVE


def autonat(
    names: Sequence[str], jobs: int, as_json: bool, clients: str | None, servers: str | None
) -> int:
    """Measure profiles (none named: all) and print one table; the exit code.

    ``clients`` and ``servers`` are libp2p stacks with commas: each client asks servers of each
    kind.  Without them our own stack asks its own.
    """
    profiles = named(names) if names else list(catalogue().values())
    asked: list[Asking | None] = [
        Asking(client, server)
        for client in (clients or OURS).split(",")
        for server in (servers or OURS).split(",")
    ]
    if not (clients or servers):
        asked = [None]
    for one in asked:
        if one is not None:
            one.prepare()
    sandbox.enter()
    measured = [row for one in asked for row in rows(profiles, jobs, one)]
    if as_json:
        print(json.dumps([row.to_json() for row in measured], indent=2))
    else:
        console = Console()
        if not console.is_terminal:
            console = Console(width=max(console.width, WIDE))
        console.print(table(measured))
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
    stacks = any(row.asking for row in measured)
    who = ("client", "server") if stacks else ()
    for column in ("profile", "", *who, "stranger", "v1", "v2", "", "notes"):
        shown.add_column(column, no_wrap=True)
    order = list(dict.fromkeys((row.profile, row.protocol) for row in measured))
    for row in sorted(measured, key=lambda row: order.index((row.profile, row.protocol))):
        marks = " ".join(notes[note] for note in row.notes)
        names = (row.asking.client, row.asking.server) if row.asking else who
        shown.add_row(row.profile, row.protocol.value, *names, *_cells(row), _mark(row), marks)
    return shown


def _all_notes(measured: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(note for row in measured for note in row.notes))


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
