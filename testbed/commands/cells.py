"""`testbed run` and `testbed matrix`."""

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from testbed.backends import sandbox
from testbed.backends.base import Backend
from testbed.backends.choice import Kind, backend
from testbed.cell import MODES, Cell, load_cell, require_sane
from testbed.errors import UsageError
from testbed.expectation import strangers
from testbed.facts import facts
from testbed.matrix import (
    CLASSIC,
    SETS,
    TRIES,
    Row,
    Selection,
    Summary,
    chosen_stacks,
    run_matrix,
    summarize,
)
from testbed.model.version import Built
from testbed.nat.certify import JOBS, Certificate, certified, certify_all
from testbed.nat.load import catalogue, find, named
from testbed.nat.profile import Profile
from testbed.peers.adapter import OURS, stacks
from testbed.report import markdown
from testbed.report.files import (
    document,
    require_utf8,
    require_writable,
    write_json,
    write_junit,
    write_text,
)
from testbed.report.grid import export_svg, render
from testbed.report.html import write_html
from testbed.runner import run_cell
from testbed.shards import Shard, identity
from testbed.topology.presets import TWO_SIDED
from testbed.words import sentence

SVG_WIDTH = 84  # columns of the exported picture


def one(
    peer: str,
    profiles: tuple[str, str | None],
    topology: str | None,
    mode: str,
    skew: float,
    seed: int,
    replay: Path | None,
    out: Path,
    as_json: bool,
    kind: Kind = Kind.NAMESPACES,
    relay: str = OURS,
) -> int:
    """Run one cell; the exit code."""
    if mode not in MODES:
        raise UsageError(f"unknown mode {mode!r}", remedy=f"one of: {', '.join(MODES)}")
    number = 0
    if replay is not None:
        cell, used, number = load_cell(replay)
        recorded = (
            (replay / "plan.txt").read_text(encoding="utf-8")
            if (replay / "plan.txt").exists()
            else ""
        )
    else:
        ends = stacks(peer)
        place = topology or ends.topology
        names = tuple(name for name in profiles if name)[: 2 if place in TWO_SIDED else 1]
        cell = Cell(ends.name, names, place, mode, seed=seed, skew_ms=skew, relay=relay)
        require_sane(cell)
        used = {r.profile: find(r.profile) for r in cell.build().routers}
        recorded = ""
    cell.prepare()
    versions = facts()
    _tell(strangers([cell], versions))
    held = _hold(out)
    require_writable(out / "result.json")
    sandbox.enter(out)
    made_by = backend(kind)
    for _ in range(TRIES):
        result = run_cell(cell, used, made_by, out, number=number, facts=versions)
        if not result.late:
            break
    if (
        recorded
        and (out / "plan.txt").exists()
        and recorded != (out / "plan.txt").read_text(encoding="utf-8")
    ):
        print("testbed: the lab differs from the recorded one, see plan.txt", file=sys.stderr)
    os.close(held)
    row = result.to_json()
    summary = summarize([row], certified=False)
    if as_json:
        print(json.dumps(row, indent=2))
    else:
        print(f"{row['judgement']}: measured {row['measured']}, predicted {row['predicted']}")
        for words in (row["reason"], *row["findings"]):
            print(f"  {words}")
        print(f"  packets and everything else: {out}")
    return int(summary.exit_code)


@dataclass(frozen=True)
class Request:
    """The words of `testbed matrix`."""

    profiles: str
    peers: str
    mixed: bool  # each stack with every other that understands it
    topology: str | None
    patterns: tuple[str, ...]
    repeat: int
    controls: bool
    certify: bool
    jobs: int
    seed: int
    out: Path
    kind: Kind = Kind.NAMESPACES
    shard: Shard | None = None  # this part of it alone
    relays: str = OURS  # stacks with commas
    interop: bool = False  # stacks that differ meet behind the classic four alone


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
            write_junit(self.junit, rows, summary)
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
    used = _profiles(request.profiles)
    cells = _selection(request, used).cells()
    needed = {router.profile for cell in cells for router in cell.build().routers}
    used |= {name: find(name) for name in sorted(needed - used.keys())}  # a carrier's NAT
    shard = None
    if request.shard is not None:
        settings = {"seed": request.seed, "backend": request.kind, "certified": request.certify}
        cells, shard = request.shard.of_run(cells, identity(cells, used, **settings))
    versions = facts()
    _tell(strangers(cells, versions))
    held = _hold(request.out)
    require_writable(request.out / "results.json", request.out / "report.html", *reports.paths)
    sandbox.enter(request.out, *reports.paths)
    started = time.monotonic()
    errors = Console(stderr=True)
    made_by = backend(request.kind)
    refused = _refused(used, errors, request.kind, made_by) if request.certify else {}
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
    summary = summarize(rows, certified=request.certify)
    value = document(rows, summary, versions, shard)
    write_json(request.out / "results.json", value)
    write_html(request.out / "report.html", value)
    seconds = time.monotonic() - started
    reports.write(rows, summary, value, seconds)
    os.close(held)
    if as_json:
        print(json.dumps(value, indent=2))
    else:
        console = Console()
        console.print(render(rows, summary, seconds, console.width))
        print(f"report: {request.out / 'report.html'}; packets: {request.out / 'cells'}")
    return int(summary.exit_code)


def _selection(request: Request, used: Mapping[str, Profile]) -> Selection:
    peers, left_out = chosen_stacks(request.peers, mixed=request.mixed)
    for words in left_out:
        print(f"testbed: {words}", file=sys.stderr)
    if request.topology not in (None, *TWO_SIDED):
        raise UsageError(
            f"no topology with two sides: {request.topology!r}", remedy=", ".join(TWO_SIDED)
        )
    return Selection(
        dialers=list(used),
        listeners=list(used),
        peers=peers,
        repeat=request.repeat,
        seed=request.seed,
        controls=request.controls,
        patterns=request.patterns,
        topology=request.topology,
        relays=[name for name in request.relays.split(",") if name],
        strangers=CLASSIC if request.interop else None,
    )


def _hold(out: Path) -> int:
    """Keep the folder for this run alone: two in one would mix their packets.

    The lock is on the folder itself and gone with the process; gives its descriptor.
    """
    require_utf8(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        held = os.open(out, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(
            f"{out}: another run writes there", remedy="choose another --out"
        ) from None
    except OSError as error:
        raise UsageError(f"{out}: {error.strerror}", remedy="choose another --out") from error
    return held


def _profiles(words: str) -> dict[str, Profile]:
    if words == "all":
        return catalogue()
    names = SETS.get(words) or [name for name in words.split(",") if name]
    if not names:
        raise UsageError("no profile was named", remedy="see `testbed nat list`")
    return {profile.name: profile for profile in named(names)}


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
