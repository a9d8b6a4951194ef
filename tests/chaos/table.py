"""From what ended to figures: a table for people, and JSON for programs."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.trial import Ended

COLUMNS = ("injections", "inconclusive", "right", "too late", "wrong", "left", "crashed")
HEAD = """\
# Chaos: what dies, stops or has no room, and what the verdict is

Written by `make chaos`; `make chaos ARGS=--help` explains it.  Each injection is done to one
process of a lab, or to the machine, at a random moment while the case runs, and is one try: what is
tried again elsewhere is not tried again here.

- *inconclusive*: the verdict is INCONCLUSIVE, with its reason.
- *right*: the verdict is the one that the case has undisturbed; the harm did not matter, or
  came too late to.
- *too late*: the victim had ended before its moment.  These are no injections.
- *wrong*: any other verdict, or one that its explanation contradicts.
- *left*: a process, a mount, a descriptor, a file in `/tmp`, `/dev/shm` or the sandbox's own
  folder that was there when the case had ended, and not before.
- *crashed*: a traceback, or no end in two minutes more than a try may take (25 s in early runs).

The recorded runs shared two processors with other work.  A victim that was killed or stopped early
kept its lab from getting ready; and where a deadline passes, who was harmed may not be told apart.

Not every clock can be stepped: a time namespace has a monotonic and a boot clock of its own, and
none for the time of day, which would be the whole machine's.  So the harness's monotonic clock
leaps by 20 seconds in the middle of a case (`setns` into a namespace that was made ahead), and
its peers' clocks do not.  A clock cannot be stepped from outside of a process, and so no peer's is.
"""


@dataclass(frozen=True)
class Fate:
    """How one injection ended, in words of the table."""

    word: str
    left: bool
    crashed: bool


def fate(one: Ended, right: Mapping[str, Sequence[str | None]]) -> Fate:
    """``right`` are the ends that the cases of each situation have undisturbed."""
    crashed = one.spoke_python or bool(one.error) or not one.rows
    if not one.rows:  # it has no verdict that could be wrong, and is no right one
        return Fate("crashed", bool(one.left), crashed)
    if one.harmed is None and not crashed:
        return Fate("too late", bool(one.left), crashed)
    wanted = right[one.situation]
    judged = [
        row.judgement == "inconclusive" or (row.judgement == "pass" and row.measured == due)
        for row, due in zip(one.rows, wanted, strict=False)
    ]
    if not all(judged) or any(row.contradicted for row in one.rows):
        return Fate("wrong", bool(one.left), crashed)
    spoiled = any(row.judgement == "inconclusive" for row in one.rows)
    return Fate("inconclusive" if spoiled else "right", bool(one.left), crashed)


def counted(
    ended: Sequence[Ended], right: Mapping[str, Sequence[str | None]]
) -> dict[tuple[str, str], Counter[str]]:
    """Victim and harm -> column -> how many."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for one in ended:
        how = fate(one, right)
        row = found.setdefault((one.victim, one.harm), Counter())
        row["injections"] += how.word != "too late"
        if how.word != "crashed":
            row[how.word] += 1
        row["left"] += how.left
        row["crashed"] += how.crashed
    return dict(sorted(found.items()))


def summed(rows: Mapping[tuple[str, str], Counter[str]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for row in rows.values():
        total.update(row)
    return {column: total[column] for column in COLUMNS}


def page(runs: Mapping[str, Any]) -> str:
    """The Markdown of all runs, by what they are called: as whom, and with which backend."""
    lines = [HEAD]
    for name, run in sorted(runs.items()):
        total = ", ".join(f"{run['total'][one]} {one}" for one in COLUMNS)
        lines += [f"## {name}", "", f"Seed {run['seed']}, Linux {run['kernel']}: {total}.", ""]
        lines += ["| victim | harm | " + " | ".join(COLUMNS) + " |"]
        lines += ["|---|---|" + "---:|" * len(COLUMNS)]
        for row in run["rows"]:
            cells = (str(row[one]) for one in COLUMNS)
            lines += [f"| {row['victim']} | {row['harm']} | " + " | ".join(cells) + " |"]
        lines.append("")
    return "\n".join(lines)


def as_run(
    ended: Sequence[Ended], right: Mapping[str, Sequence[str | None]], seed: int, kernel: str
) -> dict[str, Any]:
    rows = counted(ended, right)
    return {
        "seed": seed,
        "kernel": kernel,
        "total": summed(rows),
        "situations": dict(Counter(one.situation for one in ended)),
        "rows": [
            {"victim": victim, "harm": harm, **{column: row[column] for column in COLUMNS}}
            for (victim, harm), row in rows.items()
        ],
    }


def write(folder: Path, name: str, run: Mapping[str, Any]) -> None:
    """Into ``figures.json`` and ``FIGURES.md`` of ``folder``, beside other runs."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "figures.json"
    runs = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    runs[name] = run
    file.write_text(json.dumps(runs, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "FIGURES.md").write_text(page(runs), encoding="utf-8")
