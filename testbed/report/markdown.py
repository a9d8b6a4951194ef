"""A matrix in Markdown, for the page of a CI job (GitHub's flavour)."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from testbed.model.result import Document, RateSeen, Result
from testbed.report import rates
from testbed.report.files import printable
from testbed.report.rungs import HEAD, summaries
from testbed.report.stability import Stability, unstable

LIMIT = (1 << 20) - (1 << 16)  # bytes: GitHub shows no summary beyond 1 MiB, and others add to it
LONGEST = 400  # characters of one field
_LETTERS = {"direct": "D", "relayed": "R", "none": "-", None: "?"}
_LEGEND = "In the tables: D direct, R relayed, - none, ? inconclusive; bold: measured ≠ predicted"
# What could start something in a line: HTML, entities, cells, code, emphasis, links, formulas.
_SPECIAL = re.compile(r"[&<>|\\`*\[\]~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def summary(document: Document, limit: int = LIMIT) -> str:
    """``document`` (as in results.json) as a page of at most ``limit`` bytes of UTF-8.

    What does not fit is left out whole, table by table or line by line, and the page says
    so where it is missing.
    """
    rows = document.results
    page = _Page(limit)
    page.block("\n".join(_counts(document)))
    grids = [row for row in rows if row.study == "punch"]
    for peer in dict.fromkeys(row.grid for row in grids):
        punched = [row for row in rows if row.grid == peer and row.mode == "punch"]
        if punched:
            page.block(_grid(peer, punched))
    others = [row for row in rows if row.study != "punch"]
    page.table("### Results", _RESULTS, others, _result)
    controls = [row for row in grids if row.mode != "punch"]
    groups = list(dict.fromkeys((row.mode, row.stack) for row in controls))
    page.table("### Negative controls", _CONTROLS, groups, lambda at: _control(at, controls))
    page.table(
        "### The ladder",
        HEAD,
        list(summaries(rows)),
        lambda line: _row([*map(escaped, line.words)]),
    )
    page.table("### Rates by chance", rates.HEAD, document.rates, _chance, at=1)
    page.table("### Unstable pairs", _UNSTABLE, unstable(rows), _unstable, at=1)
    causes = Counter(found.cause.value for row in rows if (found := row.explanation))
    page.table("### Causes", _CAUSES, causes.most_common(), lambda item: _cause(item, rows))
    trouble = [row for row in rows if row.judgement != "pass"]
    trouble.sort(key=lambda row: row.judgement != "fail")  # stable: what failed, then the rest
    # Read first and written last: it may fill what the others, which are small, have left.
    page.table("### What differs", _TROUBLE, trouble, _trouble, at=1)
    return page.text()


def escaped(text: object, longest: int = LONGEST) -> str:
    """``text`` as one line that Markdown shows as it is, also within a table."""
    line = " ".join(printable(str(text)).split())
    short = line if len(line) <= longest else line[: longest - 1] + "…"
    # Entities: a backslash before a "|" would be the table's, not the text's.
    return _SPECIAL.sub(lambda match: f"&#{ord(match[0])};", short)


class _Page:
    """Blocks with an empty line between, as many as fit."""

    RESERVE = 300  # bytes for the words that say what is missing

    def __init__(self, limit: int) -> None:
        self._left = limit - self.RESERVE
        self._blocks: list[str] = []
        self._missing = 0

    def block(self, text: str, at: int | None = None) -> None:
        size = len(text.encode()) + 2
        if size > self._left:
            self._missing += 1
            return
        self._left -= size
        self._blocks.insert(len(self._blocks) if at is None else at, text)

    def table(
        self,
        title: str,
        head: Sequence[str],
        items: Sequence[Any],
        line: Callable[[Any], str],
        at: int | None = None,
    ) -> None:
        """A table of as many ``items`` as fit; none of it where there is none."""
        if not items:
            return
        lines = [title, "", *_head(head)]
        room = self._left - sum(len(text.encode()) + 1 for text in lines) - self.RESERVE
        for shown, item in enumerate(items):
            text = line(item)
            room -= len(text.encode()) + 1
            if room < 0:
                lost = f"**{len(items) - shown} more of {len(items)} are not shown: this page may"
                lines += ["", f"{lost} not be longer. All are in results.json.**"]
                break
            lines.append(text)
        self.block("\n".join(lines), at)

    def text(self) -> str:
        if self._missing:
            lost = f"**{self._missing} tables are not shown: this page may not be longer."
            self._blocks.append(f"{lost} All is in results.json.**")
        return "\n\n".join(self._blocks) + "\n"


def _head(columns: Sequence[str]) -> list[str]:
    return [_row(columns), "|" + "---|" * len(columns)]


def _row(values: Sequence[str]) -> str:
    return f"| {' | '.join(values)} |"


def _counts(document: Document) -> Iterator[str]:
    counts, run = document.summary, document.run
    said = [f"{counts.passed} of {counts.total} cells as predicted"]
    said += [f"{counts.failed} differ"] if counts.failed else []
    said += [f"{counts.inconclusive} inconclusive"] if counts.inconclusive else []
    yield f"## testbed {escaped(run.study)}: {', '.join(said)}"
    yield ""
    seed = "" if run.seed is None else f", seed {run.seed}"
    yield f"- {escaped(run.date)}{seed}, testbed {escaped(run.version)}"
    yield f"- {escaped(run.command)}"
    if missing := document.asked - counts.total:
        yield f"- interrupted: {missing} of {document.asked} cells were not run"
    if counts.retried:
        yield f"- {counts.retried} tried again, for the machine was too busy"
    if not counts.certified:
        yield "- NATs not certified"
    for pair in counts.mixed[:10]:
        yield f"- mixed results: {escaped(pair)}"
    if (more := len(counts.mixed) - 10) > 0:
        yield f"- {more} more with mixed results"
    differing = [seen for seen in document.rates if not (seen.agrees and seen.sampled)]
    for seen in differing[:10]:
        yield f"- {escaped(rates.sentence(seen))}"
    if (more := len(differing) - 10) > 0:
        yield f"- {more} more rates disagree or are none"
    if any(row.study == "punch" for row in document.results):
        yield f"- {_LEGEND}"
    yield "- " + ", ".join(f"{escaped(k)} {escaped(v)}" for k, v in document.facts.items())


_RESULTS = ("case", "judgement", "measured", "predicted")


def _result(row: Result) -> str:
    values = (row.name, row.judgement, row.measured or "?", row.predicted or "?")
    return _row([escaped(value) for value in values])


_TROUBLE = ("cell", "measured", "predicted", "why", "cause", "wrong side", "testbed explain")


def _trouble(row: Result) -> str:
    found = row.explanation
    place = f" at {found.node}" if found and found.node else ""
    why = (found.headline if found else "") or row.reason
    values = (
        row.name,
        row.measured or "?",
        row.predicted or "?",
        "; ".join([why, *row.findings]),
        f"{found.cause if found else '?'}{place}",
        found.wrong if found else "?",
        row.folder,
    )
    return _row([escaped(value) for value in values])


def _grid(peer: str, rows: Sequence[Result]) -> str:
    """A letter a pair, under numbers: so many names would not fit side by side."""
    cells: dict[tuple[str, str], list[Result]] = {}
    for row in rows:
        cells.setdefault(row.hosts or (row.profiles[0], row.profiles[-1]), []).append(row)
    names = dict.fromkeys([*(b for _, b in cells), *(a for a, _ in cells)])
    numbers = {name: number for number, name in enumerate(names, 1)}
    listeners = dict.fromkeys(b for _, b in cells)
    lines = _head(["dialer / listener", *(str(numbers[name]) for name in listeners)])
    for name, number in numbers.items():
        line = [_cell(cells.get((name, listener), ())) for listener in listeners]
        lines.append(_row([f"{number} {escaped(name)}", *line]))
    return "\n".join([f"### {escaped(peer)}: who got through", "", *lines])


def _cell(rows: Sequence[Result]) -> str:
    """One pair, all its repetitions."""
    if not rows:
        return ""
    bad = [row for row in rows if row.judgement == "fail"]
    unclear = [row for row in rows if row.judgement == "inconclusive"]
    if bad:
        measured, predicted = (_LETTERS[end] for end in (bad[0].measured, bad[0].predicted))
        return f"**{measured} ≠ {predicted}{_rate(bad, rows)}**"
    if unclear:
        return _LETTERS[None] + _rate(unclear, rows)
    return _LETTERS[rows[0].measured]


def _rate(some: Sequence[Result], rows: Sequence[Result]) -> str:
    return f" {len(some)}/{len(rows)}" if len(rows) > 1 else ""


_CONTROLS = ("control", "stack", "as predicted", "went direct")


def _control(at: tuple[str, str], rows: Sequence[Result]) -> str:
    some = [row for row in rows if (row.mode, row.stack) == at]
    passed = sum(row.judgement == "pass" for row in some)
    direct = sum(row.measured == "direct" for row in some)
    return _row([escaped(at[0]), escaped(at[1]), f"{passed} of {len(some)}", str(direct)])


_UNSTABLE = ("pair", "as predicted", "95 % bounds", "measured", "could not be judged")


def _unstable(one: Stability) -> str:
    return _row([*map(escaped, (one.pair, *one.words))])


def _chance(seen: RateSeen) -> str:
    return _row([*map(escaped, rates.words(seen))])


_CAUSES = ("cause", "cells", "direct", "relayed", "none")


def _cause(item: tuple[str, int], rows: Sequence[Result]) -> str:
    cause, count = item
    ends = Counter(
        row.measured for row in rows if row.explanation and row.explanation.cause.value == cause
    )
    split = [str(ends[outcome] or "") for outcome in _CAUSES[2:]]
    return _row([escaped(cause), str(count), *split])
