"""`testbed run` and `testbed matrix`."""

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from testbed.certify.certificates import JOBS, Certificate, certified, certify_all
from testbed.cli.commands.chosen import Request, Single, require_cast, require_ready
from testbed.cli.options import DEFAULT_PEER
from testbed.errors import UsageError
from testbed.files import require_writable, write_json, write_text
from testbed.lab import sandbox
from testbed.lab.choice import Kind, backend
from testbed.model.lab import Backend
from testbed.model.profile import Profile
from testbed.model.version import Built
from testbed.report import markdown, single
from testbed.report.files import document, write_junit
from testbed.report.glyphs import glyphs_for
from testbed.report.grid import export_svg, render
from testbed.report.html import write_html
from testbed.run.cell import run_cell
from testbed.run.folder import Files, RunFolder, say
from testbed.run.matrix import TRIES, Row, Summary, folder_of, run_matrix, summarize
from testbed.run.record import RunRecord
from testbed.run.shards import identity
from testbed.stacks.versions import facts
from testbed.studies.punch.cell import DIALER, LISTENER, SERVER, Cell, load_cell, own_names
from testbed.studies.punch.expectation import strangers
from testbed.words import sentence

SVG_WIDTH = 84  # columns of the exported picture


def one(
    asked: Single | Path,
    described: Sequence[str],
    out: Path,
    as_json: bool,
    kind: Kind,
    own_words: Sequence[str] = (),
) -> int:
    """Run one cell, the folder of one that was run before or one that is described.

    ``described`` are the stacks of the user's that were described, by ``own_words``.  Gives the
    exit code.
    """
    number, recorded = 0, None
    if isinstance(asked, Path):
        if asked.resolve() == out.resolve():
            raise UsageError(f"{out} is what is replayed", remedy="choose another --out")
        cell, used, number = load_cell(asked)
        recorded = _text(asked / "plan.txt")
    else:
        cell, used = asked.cell()
    require_cast(described, [cell], "--peer")
    require_ready([cell], kind)
    cell.prepare()
    versions = facts()
    _tell(strangers([cell], versions))
    own = Files((".",), own_names(used))
    kept = RunFolder(out, RunRecord.now("run", cell.seed), [own])
    require_writable(out / "result.json")
    sandbox.enter(out)
    made_by = backend(kind)
    say(kept.begin())
    for _ in range(TRIES):
        result = run_cell(cell, used, made_by, out, number=number, facts=versions)
        if not result.late:
            break
    if recorded is not None and recorded != _text(out / "plan.txt"):
        print("testbed: the lab differs from the recorded one, see plan.txt", file=sys.stderr)
    kept.end()
    row = result.to_json()
    summary = summarize([row], certified=False)
    if as_json:
        print(json.dumps(row, indent=2))
    else:
        _print(row, cell, out)
        if sys.stdout.isatty() and isinstance(asked, Single):
            _print_next(out, asked.peer, own_words)
    return int(summary.exit_code)


def _print(row: Row, cell: Cell, out: Path) -> None:
    """One result."""
    console = Console(soft_wrap=True, highlight=False)
    glyphs = glyphs_for(console.encoding)
    ends = (DIALER, LISTENER, SERVER)
    for line in single.told(row, cell.build(), ends, out, glyphs):
        console.print(line)


def _print_next(out: Path, peer: str, own_words: Sequence[str]) -> None:
    """What to type next, with the stack that was chosen."""
    console = Console(soft_wrap=True, highlight=False)
    for line in single.next_words(out, peer if peer != DEFAULT_PEER else None, own_words):
        console.print(line)


def _text(file: Path) -> str | None:
    """None where there is no such file."""
    return file.read_text(encoding="utf-8") if file.exists() else None


@dataclass(frozen=True)
class Reports:
    """The files that a matrix writes besides its own, where they were asked for."""

    junit: Path | None = None
    svg: Path | None = None
    markdown: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.junit, self.svg, self.markdown) if path)

    def write(
        self, rows: Sequence[Row], summary: Summary, value: Mapping[str, Any], seconds: float
    ) -> None:
        if self.junit is not None:
            write_junit(self.junit, rows, summary, RunRecord(**value["run"]))
        if self.markdown is not None:
            write_text(self.markdown, markdown.summary(value))
        if self.svg is not None:
            picture = render(rows, summary, seconds, SVG_WIDTH)
            write_text(self.svg, export_svg(picture, "testbed matrix", SVG_WIDTH))


def _tell(notes: Iterable[Built]) -> None:
    """On stderr, before the first cell."""
    for one in notes:
        print(f"testbed: {sentence(one)}", file=sys.stderr)


def many(request: Request, reports: Reports, *, as_json: bool) -> int:
    """Run a matrix; the exit code."""
    cells, used = request.cells()
    require_ready(cells, request.kind)
    shard = None
    if request.shard is not None:
        run = identity(
            cells,
            used,
            seed=request.seed,
            backend=request.kind.value,
            certified=request.certify,
        )
        cells, shard = request.shard.of_run(cells, run)
    versions = facts()
    _tell(strangers(cells, versions))
    kept = RunFolder(request.out, RunRecord.now("matrix", request.seed), _own(cells, used))
    require_writable(request.out / "results.json", request.out / "report.html", *reports.paths)
    sandbox.enter(request.out, *reports.paths)
    started = time.monotonic()
    errors = Console(stderr=True)
    made_by = backend(request.kind)
    refused = _refused(used, errors, request.kind, made_by) if request.certify else {}
    say(kept.begin())
    with _Reporter(errors, len(cells)) as reporter:
        rows = run_matrix(
            cells,
            used,
            made_by,
            request.out,
            jobs=request.kind.at_once(request.jobs),
            facts=versions,
            progress=reporter.report,
        )
    rows = [_distrust(row, refused) for row in rows]
    titles = {name: profile.title for name, profile in used.items()}
    summary = summarize(rows, certified=request.certify)
    value = document(rows, summary, versions, kept.run, shard, titles)
    write_json(request.out / "results.json", value)
    write_html(request.out / "report.html", value)
    seconds = time.monotonic() - started
    reports.write(rows, summary, value, seconds)
    kept.end()
    if as_json:
        print(json.dumps(value, indent=2))
    else:
        console = Console()
        console.print(render(rows, summary, seconds, console.width))
        print(f"report: {request.out / 'report.html'}; packets: {request.out / 'cells'}")
    return int(summary.exit_code)


def _own(cells: Sequence[Cell], profiles: Iterable[str]) -> list[Files]:
    """All that a matrix of ``cells`` may write into its folder."""
    folders = [folder_of(cell, tries) for cell in cells for tries in range(1, TRIES + 1)]
    return [
        Files((".",), ("results.json", "report.html")),
        Files(tuple(folders), own_names(profiles)),
    ]


def _refused(
    profiles: Mapping[str, Profile], console: Console, kind: Kind, made_by: Backend
) -> dict[str, Certificate]:
    """Certify what is used; gives those that are not what they declare.

    No certificate of containers is kept: their kernel is this machine's, their tools are not.
    """
    console.print(f"certifying {len(profiles)} NATs")
    if kind is Kind.NAMESPACES:
        certificates = certified(list(profiles.values()))
    else:
        measured = certify_all(list(profiles.values()), kind.at_once(JOBS), backend=made_by)
        certificates = {certificate.profile: certificate for certificate in measured}
    bad = {name: c for name, c in certificates.items() if c.verdict.lower() != "pass"}
    console.print(f"{len(certificates) - len(bad)} of {len(certificates)} NATs certified")
    for name in bad:
        console.print(f"{name} is not what it declares: see `testbed nat certify {name}`")
    return bad


def _distrust(row: Row, refused: Mapping[str, Certificate]) -> Row:
    """A NAT that is not what it declares proves nothing about the stack behind it."""
    bad = [name for name in row["profiles"] if name in refused]
    if not bad:
        return row
    reason = f"{', '.join(bad)} failed certification; {row['reason']}"
    return row | {"judgement": "inconclusive", "reason": reason}


class _Reporter:
    """Live progress on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            auto_refresh=False,  # its refreshing would be a thread, and this process forks
            transient=True,
        )
        self._task = self._bar.add_task("cells", total=total)
        self._said = time.monotonic()

    def __enter__(self) -> "_Reporter":
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def report(self, row: Row, done: int, total: int) -> None:
        if row["judgement"] != "pass":
            self._console.print(f"{row['name']}: {row['judgement']}: {row['reason']}")
        self._bar.update(self._task, completed=done, description=row["pair"])
        if self._console.is_terminal:
            self._bar.refresh()
        elif time.monotonic() - self._said > 10 or done == total:
            self._said = time.monotonic()
            print(f"{done} of {total} cells", file=sys.stderr, flush=True)
