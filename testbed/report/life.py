"""The lives that were led, as a table and as JSON."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from testbed.errors import Exit
from testbed.model.network_fault import words
from testbed.predict.life import Fate
from testbed.studies.life.stories import story
from testbed.words import sentence

if TYPE_CHECKING:
    from testbed.studies.life.row import Row

_COLUMNS = ("scenario", "peers", "expected", "measured", "ms", "packets", "", "notes")
_NUMBERS = ("ms", "packets")


def table(rows: Sequence["Row"]) -> Table:
    """A line a life; what differs, and why, is below.

    ``ms``: the gap in the echo; ``packets``: those on the dialer's wire within it.
    """
    notes = {note: str(n) for n, note in enumerate(_notes(rows), 1)}
    shown = Table(
        title="What becomes of a direct path",
        caption="\n".join(f"{number} {note}" for note, number in notes.items()),
        title_justify="left", caption_justify="left", title_style="bold", box=SIMPLE,
        padding=(0, 1, 0, 0),
    )  # fmt: skip
    for column in _COLUMNS:
        shown.add_column(column, no_wrap=True, justify="right" if column in _NUMBERS else "left")
    for row in rows:
        marks = " ".join(notes[note] for note in row.notes)
        shown.add_row(
            row.story, row.transport.value, str(row.expected), *_measured(row), _mark(row), marks
        )
    return shown


def _notes(rows: Sequence["Row"]) -> list[str]:
    return list(dict.fromkeys(note for row in rows for note in row.notes))


def _measured(row: "Row") -> tuple[str, str, str]:
    if row.led is None:
        return "", "", ""
    seen = row.led.seen
    recovery = "" if seen.fate is Fate.LOST else f"{seen.gap * 1000:.0f}"
    return seen.fate.value, recovery, str(seen.packets)


def _mark(row: "Row") -> Text:
    return {
        Exit.AGREED: Text("=", "green"),
        Exit.DIFFERS: Text("!=", "bold red"),
    }.get(row.exit_code, Text("?", "magenta"))


def to_json(row: "Row") -> dict[str, Any]:
    """One life for machines; times in seconds."""
    led, expected, told = row.led, row.expected, story(row.story)
    return {
        "scenario": row.story,
        "about": told.about,
        "faults": [f"+{at:g} s: {words(fault)}" for at, fault in told.course.faults],
        "transport": row.transport.value,
        "verdict": row.exit_code.name.lower(),
        "expected": {
            "fate": expected.fate.value,
            "low": round(expected.low, 3),
            "high": round(expected.high, 3),
            "moved": expected.moved,
            "why": sentence(expected.why),
        },
        "measured": None if led is None else {
            "fate": led.seen.fate.value,
            "recovery": None if led.seen.fate is Fate.LOST else round(led.seen.gap, 3),
            "moved": led.seen.moved,
            "packets": led.seen.packets,
            "echoes": led.seen.echoes,
            "packets_cited": list(led.seen.cited),
            "slow": round(led.slow, 3),
            "late": round(led.late, 3),
            "diary": list(led.diary),
        },
        "capture": None if led is None else str(led.capture),
        "notes": list(row.notes),
    }  # fmt: skip
