"""`testbed run` and `testbed matrix`."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from testbed import foreign
from testbed.certify.beside import Certifying
from testbed.certify.certificates import JOBS, Certificate, certify_all
from testbed.certify.store import certified
from testbed.cli.cell_words import MatrixWords, MeshWords, RunWords
from testbed.cli.commands.chosen import Single
from testbed.cli.commands.required import require_ready
from testbed.cli.commands.running import Asked, Reporter, carry_out
from testbed.cli.options import DEFAULT_PEER
from testbed.files import require_writable
from testbed.lab import sandbox
from testbed.lab.choice import Kind, backend
from testbed.model.explanation import Diagram
from testbed.model.furnishing import nats
from testbed.model.lab import Backend
from testbed.model.profile import Profile
from testbed.model.result import Result, summarize
from testbed.model.version import Built
from testbed.report import single
from testbed.report.glyphs import glyphs_for
from testbed.report.terminal import tell, terminal
from testbed.run.cell import run_cell
from testbed.run.engine import folder_of, parts_of
from testbed.run.folder import Files, RunFolder, say
from testbed.run.matrix import TRIES, run_matrix
from testbed.run.mesh import LAB_FILES
from testbed.run.record import begun
from testbed.stacks.versions import facts
from testbed.studies.base import FEWER
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import cast, strangers
from testbed.studies.punch.external import described_words
from testbed.studies.punch.folder import own_names
from testbed.words import sentence


def one(words: RunWords, chosen: Single) -> int:
    """Run the one cell that the words have chosen; the exit code."""
    cell, used, out, replay = chosen.cell, chosen.profiles, words.out, words.replay
    recorded = None if replay is None else _text(replay / "plan.txt")
    require_ready([cell], words.backend)
    cell.prepare()
    versions = facts(cast([cell]))
    _tell(strangers([cell], versions))
    files = Files((".",), own_names(used, [cell.world.name]))
    kept = RunFolder(out, begun("run", cell.seed), [files])
    require_writable(out / "result.json")
    sandbox.enter(out)
    made_by = backend(words.backend)
    say(kept.begin())
    for _ in range(TRIES):
        ran = run_cell(cell, used, made_by, out, number=chosen.number, facts=versions)
        if not ran.late:
            break
    if recorded is not None and recorded != _text(out / "plan.txt"):
        print("testbed: the lab differs from the recorded one, see plan.txt", file=sys.stderr)
    kept.end()
    result = ran.result()
    if words.as_json:
        print(json.dumps(result.to_json(), indent=2))
    else:
        _print(result, cell, out, ran.explanation.diagram if ran.explanation else None)
        if sys.stdout.isatty() and replay is None:
            described = (words.stack or (), words.mechanism, words.contract, words.reads or ())
            _print_next(out, words.peer or cell.peer, described_words(*described))
    return int(summarize([result]).exit_code)


def _print(result: Result, cell: Cell, out: Path, diagram: Diagram | None) -> None:
    """One result."""
    console = terminal(soft_wrap=True, highlight=False)
    glyphs = glyphs_for(console.encoding)
    ends = (cell.roles.a, cell.roles.b, cell.roles.relay)
    for line in single.told(result, cell.build(), ends, out, glyphs, diagram):
        console.print(line)


def _print_next(out: Path, peer: str, own_words: Sequence[str]) -> None:
    """What to type next, with the stack that was chosen."""
    console = terminal(soft_wrap=True, highlight=False)
    for line in single.next_words(out, peer if peer != DEFAULT_PEER else None, own_words):
        console.print(line)


def _text(file: Path) -> str | None:
    """None where there is no such file."""
    return foreign.read_text(file) if file.exists() else None


def _tell(notes: Iterable[Built]) -> None:
    """On stderr, before the first cell."""
    for one in notes:
        tell(f"testbed: {sentence(one)}", error=True)


def many(words: MatrixWords | MeshWords, cells: Sequence[Cell], used: Mapping[str, Profile]) -> int:
    """Run ``cells``, of a matrix or the pairs of a mesh; the exit code."""
    require_ready(cells, words.backend)
    versions = facts(cast(cells))
    _tell(strangers(cells, versions))
    asked = Asked(
        "mesh" if isinstance(words, MeshWords) else "matrix",
        cells,
        used,
        words,
        _own(cells, used),
        versions,
        seed=words.seed,
        certify=words.certify,
        replace=words.replace,
    )
    jobs = words.jobs if isinstance(words, MatrixWords) else 1  # a mesh has enough to do

    def work(
        made_by: Backend, some: Sequence[Cell], done: Mapping[str, Result], reporter: Reporter
    ) -> list[Result]:
        met = _nats(some, used) if words.certify else {}
        with _certifying(met, reporter.console, words.backend, made_by) as certifying:
            return run_matrix(
                some,
                used,
                made_by,
                words.out,
                jobs=words.backend.at_once(jobs),
                facts=versions,
                progress=reporter.report,
                done=done,
                certifying=certifying,
            )

    return carry_out(asked, work)


def _nats(cells: Sequence[Cell], profiles: Mapping[str, Profile]) -> dict[str, Profile]:
    """What is certified while they run."""
    found: dict[str, Profile] = {}
    for topology in {(cell.topology, cell.profiles): cell.build() for cell in cells}.values():
        found |= nats(topology, profiles)
    return found


def _own(cells: Sequence[Cell], profiles: Iterable[str]) -> list[Files]:
    """The files of its cells that a matrix may write into its folder."""
    tries = range(1, TRIES + 1)
    folders = [folder_of(cell.name, number) for cell in cells for number in tries]
    worlds = {cell.world.name for cell in cells}
    own = Files(tuple(folders), own_names(profiles, sorted(worlds)))
    shared = dict.fromkeys(cell.lab for cell in cells if cell.lab != cell.name)
    labs = [
        folder_of(part, number)
        for lab in shared
        for number in tries
        for part in parts_of(lab, FEWER ** (number - 1))
    ]
    return [own, Files(tuple(labs), LAB_FILES)] if labs else [own]


@contextmanager
def _certifying(
    profiles: Mapping[str, Profile], console: Console, kind: Kind, made_by: Backend
) -> Iterator[Certifying | None]:
    """Certify what is used; None where nothing is.

    No certificate of containers is kept: their kernel is this machine's, their tools are not.
    An engine makes them one after another, and they have numbers: they are measured before.
    """
    if not profiles:
        yield None
        return

    def in_containers(some: Sequence[Profile]) -> Mapping[str, Certificate]:
        measured = certify_all(some, kind.at_once(JOBS), backend=made_by)
        return {certificate.profile: certificate for certificate in measured}

    apart = kind is Kind.NAMESPACES
    measure = certified if apart else in_containers
    with Certifying(profiles, measure, console.print) as certifying:
        if not apart:
            certifying.unproven(wait=True)
        yield certifying
