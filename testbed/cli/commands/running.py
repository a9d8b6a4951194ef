"""A run of any study, from its cases to its reports: what the commands have in common."""

import json
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from testbed.cli.options import EngineWords, ReportWords
from testbed.errors import UsageError
from testbed.files import require_writable, write_text
from testbed.lab import sandbox
from testbed.lab.choice import backend
from testbed.model.frozen import FrozenValue
from testbed.model.lab import Backend
from testbed.model.profile import Profile
from testbed.model.result import Document, Identity, Result, ShardPart
from testbed.model.verdict import Judgement
from testbed.report import markdown
from testbed.report.files import document, write_junit
from testbed.report.html import PAGE, write_html
from testbed.report.pictures import picture_of
from testbed.report.terminal import tell, terminal
from testbed.run.engine import folder_of, run_study
from testbed.run.folder import Files, RunFolder, say
from testbed.run.record import begun
from testbed.run.shards import Shard, differs, identity
from testbed.run.store import JOURNAL, RESULTS, Journal, load
from testbed.stacks.versions import facts
from testbed.studies.base import C, Study
from testbed.studies.kept import CRASH

SAID_EVERY = 10.0  # seconds, where no terminal shows a bar

Work = Callable[[Backend, Sequence[C], Mapping[str, Result], "Reporter"], list[Result]]


class Reports(FrozenValue):
    """The files that a run writes besides its own, where they were asked for."""

    junit: Path | None = None
    svg: Path | None = None
    markdown: Path | None = None

    @classmethod
    def of(cls, words: ReportWords) -> "Reports":
        return cls(words.junit, words.svg, words.markdown)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Those that were asked for."""
        return tuple(path for path in (self.junit, self.svg, self.markdown) if path)

    def write(self, value: Document, seconds: float) -> None:
        """Write them; TestbedError where the disk does not take one."""
        if self.junit is not None:
            write_junit(self.junit, value)
        if self.markdown is not None:
            write_text(self.markdown, markdown.summary(value))
        if self.svg is not None:
            write_text(self.svg, picture_of(value).drawn(value, seconds))


@dataclass(frozen=True)
class Asked(Generic[C]):
    """The words that every study takes, and its cases.

    ``study`` is the word of the command; ``own`` are the files that the run may write besides
    its results.
    """

    study: str
    cases: Sequence[C]
    profiles: Mapping[str, Profile]
    words: ReportWords
    own: Sequence[Files]
    facts: Mapping[str, str]
    seed: int | None = None  # None where the study has none
    certify: bool = False
    replace: bool = True  # results in `out` that this run does not make again

    @property
    def shard(self) -> Shard | None:
        """The part of the cases that is run alone; UsageError for a word that names none."""
        named = self.words.shard if isinstance(self.words, EngineWords) else None
        return None if named is None else Shard.parse(named)


def run_cases(
    study: Study[C],
    cases: Sequence[C],
    engine: EngineWords,
    *,
    profiles: Mapping[str, Profile] | None = None,
    seed: int | None = None,
    stacks: Collection[str] | None = None,
) -> int:
    """Run ``cases`` of ``study`` as the options of its command say; the exit code.

    ``stacks`` are those that take part, by name; None: any.
    """
    tries = range(1, study.tries + 1)
    folders = tuple(folder_of(case.name, number) for case in cases for number in tries)
    asked = Asked(
        study.name,
        cases,
        profiles or {},
        engine,
        [Files(folders, (*study.files, CRASH))],
        facts(stacks),
        seed=seed,
    )

    def work(
        made_by: Backend, some: Sequence[C], done: Mapping[str, Result], reporter: Reporter
    ) -> list[Result]:
        jobs = engine.backend.at_once(engine.jobs)
        shown = reporter.report
        return run_study(study, some, made_by, engine.out, jobs=jobs, progress=shown, done=done)

    return carry_out(asked, work)


def carry_out(asked: Asked[C], work: Work[C]) -> int:
    """Run the cases by ``work``, keep what has ended as it ends, and report; the exit code.

    UsageError where ``--resume`` has nothing to take up, or a run of other words.
    """
    words, shard = asked.words, asked.shard
    whole = identity(
        asked.cases,
        asked.profiles,
        seed=asked.seed,
        backend=words.backend.value,
        certified=asked.certify,
    )
    cases, part = shard.of_run(asked.cases) if shard else (asked.cases, None)
    files = Files((".",), (RESULTS, JOURNAL, PAGE))
    own = [files, *asked.own]
    kept = RunFolder(words.out, begun(asked.study, asked.seed), own, replace=asked.replace)
    done = _taken_up(asked, whole, part) if words.resume else ()
    reports = Reports.of(words)
    require_writable(words.out / RESULTS, words.out / PAGE, *reports.paths)
    sandbox.enter(words.out, *reports.paths)
    started = time.monotonic()
    made_by = backend(words.backend)

    def made(results: Sequence[Result]) -> Document:
        return document(
            results,
            asked.facts,
            kept.run,
            certified=asked.certify,
            titles={name: profile.title for name, profile in asked.profiles.items()},
            identity=whole,
            shard=part,
            asked=len(cases),
        )

    say(kept.begin(keep=words.resume))
    journal = Journal(words.out, made(done))
    before = {result.name: result for result in done}
    with Reporter(terminal(stderr=True), len(cases), journal) as reporter:
        results = work(made_by, cases, before, reporter)
    value = made(results)
    journal.finish(value)
    write_html(words.out / PAGE, value)
    seconds = time.monotonic() - started
    reports.write(value, seconds)
    kept.end()
    told = f"report: {words.out / PAGE}; packets: {words.out / 'cells'}"
    return show(value, seconds, told, as_json=words.as_json)


def show(value: Document, seconds: float, told: str, *, as_json: bool) -> int:
    """Print a run, as a table with ``told`` below it or as JSON; its exit code."""
    if as_json:
        print(json.dumps(value.to_json(), indent=2))
    else:
        console = terminal()
        console.print(picture_of(value).table(value, seconds, console.width))
        tell(told)
    return value.exit_code


def _taken_up(asked: Asked[C], whole: Identity, part: ShardPart | None) -> tuple[Result, ...]:
    """The results of the run that was interrupted in the folder; UsageError if it is another."""
    out = asked.words.out
    file = out / JOURNAL
    if not file.exists():
        ended = "its run came to its end" if (out / RESULTS).exists() else "no run is there"
        raise UsageError(f"--resume has no effect in {out}: {ended}")
    left = load(file)
    where = f"{file}: --resume takes up a run of the same words"
    if left.identity is None or (words := differs(left.identity, whole)):
        raise UsageError(f"{where}; this one has {words}" if left.identity else where)
    if left.shard != part:
        raise UsageError(f"{where}; this one has another shard")
    for name in left.facts.keys() | asked.facts.keys():
        old, new = left.facts.get(name), asked.facts.get(name)
        if old != new:
            raise UsageError(f"{where}; {name} was {old or 'none'}, and is {new or 'none'}")
    return left.results


class Reporter:
    """Keeps each result, and shows progress: a bar at a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, total: int, journal: Journal) -> None:
        self.console = console
        self._total = total
        self._journal = journal
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            auto_refresh=False,  # its refreshing would be a thread, and this process forks
            transient=True,
        )
        self._task = self._bar.add_task("cells", total=total)
        self._said = time.monotonic()

    def __enter__(self) -> "Reporter":
        if self.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bar.stop()
        if kind is not None and not issubclass(kind, Exception):  # Ctrl-C, or a signal
            folder = self._journal.folder
            say(
                f"{self._journal.count} of {self._total} cells are kept in {folder}; "
                "the same command with --resume runs the others"
            )

    def report(self, result: Result, done: int, total: int) -> None:
        """Take one more result, of which ``done`` of ``total`` are there now."""
        self._journal.append(result)
        if result.judgement is not Judgement.PASS:
            self.console.print(f"{result.name}: {result.judgement}: {result.reason}")
        self._bar.update(self._task, completed=done, description=result.group)
        if self.console.is_terminal:
            self._bar.refresh()
        elif time.monotonic() - self._said > SAID_EVERY or done == total:
            self._said = time.monotonic()
            print(f"{done} of {total} cells", file=sys.stderr, flush=True)
