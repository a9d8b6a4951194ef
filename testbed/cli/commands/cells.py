"""`testbed run` and `testbed matrix`."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from testbed import foreign
from testbed.certify.certificates import JOBS, Certificate, certified, certify_all
from testbed.cli.commands.chosen import Request, Single, require_cast, require_ready
from testbed.cli.commands.meshes import MeshRequest
from testbed.cli.commands.running import Asked, Reporter, Reports, carry_out
from testbed.cli.options import DEFAULT_PEER
from testbed.errors import UsageError
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
from testbed.run.cell import run_cell
from testbed.run.engine import folder_of, parts_of
from testbed.run.folder import Files, RunFolder, say
from testbed.run.matrix import TRIES, run_matrix
from testbed.run.mesh import LAB_FILES
from testbed.run.record import begun
from testbed.stacks.versions import facts
from testbed.studies.base import FEWER
from testbed.studies.punch.cell import Cell, load_cell, own_names
from testbed.studies.punch.expectation import strangers
from testbed.words import sentence


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
    own = Files((".",), own_names(used, [cell.world.name]))
    kept = RunFolder(out, begun("run", cell.seed), [own])
    require_writable(out / "result.json")
    sandbox.enter(out)
    made_by = backend(kind)
    say(kept.begin())
    for _ in range(TRIES):
        ran = run_cell(cell, used, made_by, out, number=number, facts=versions)
        if not ran.late:
            break
    if recorded is not None and recorded != _text(out / "plan.txt"):
        print("testbed: the lab differs from the recorded one, see plan.txt", file=sys.stderr)
    kept.end()
    result = ran.result()
    if as_json:
        print(json.dumps(result.to_json(), indent=2))
    else:
        _print(result, cell, out, ran.explanation.diagram if ran.explanation else None)
        if sys.stdout.isatty() and isinstance(asked, Single):
            _print_next(out, asked.peer, own_words)
    return int(summarize([result]).exit_code)


def _print(result: Result, cell: Cell, out: Path, diagram: Diagram | None) -> None:
    """One result."""
    console = Console(soft_wrap=True, highlight=False)
    glyphs = glyphs_for(console.encoding)
    ends = (cell.roles.a, cell.roles.b, cell.roles.relay)
    for line in single.told(result, cell.build(), ends, out, glyphs, diagram):
        console.print(line)


def _print_next(out: Path, peer: str, own_words: Sequence[str]) -> None:
    """What to type next, with the stack that was chosen."""
    console = Console(soft_wrap=True, highlight=False)
    for line in single.next_words(out, peer if peer != DEFAULT_PEER else None, own_words):
        console.print(line)


def _text(file: Path) -> str | None:
    """None where there is no such file."""
    return foreign.read_text(file) if file.exists() else None


def _tell(notes: Iterable[Built]) -> None:
    """On stderr, before the first cell."""
    for one in notes:
        print(f"testbed: {sentence(one)}", file=sys.stderr)


def many(
    request: Request | MeshRequest, reports: Reports, *, as_json: bool, resume: bool = False
) -> int:
    """Run a matrix, or the pairs of a mesh; the exit code."""
    cells, used = request.cells()
    require_ready(cells, request.kind)
    versions = facts()
    _tell(strangers(cells, versions))
    asked = Asked(
        "mesh" if isinstance(request, MeshRequest) else "matrix",
        cells,
        used,
        request.out,
        _own(cells, used),
        versions,
        kind=request.kind,
        seed=request.seed,
        certify=request.certify,
        shard=request.shard,
        resume=resume,
        replace=request.replace,
        reports=reports,
        as_json=as_json,
    )

    def work(
        made_by: Backend, some: Sequence[Cell], done: Mapping[str, Result], reporter: Reporter
    ) -> list[Result]:
        console = reporter.console
        met = _nats(some, used) if request.certify else {}
        refused = _refused(met, console, request.kind, made_by)
        return run_matrix(
            some,
            used,
            made_by,
            request.out,
            jobs=request.kind.at_once(request.jobs),
            facts=versions,
            progress=reporter.report,
            done=done,
            refused=refused.keys(),
        )

    return carry_out(asked, work)


def _nats(cells: Sequence[Cell], profiles: Mapping[str, Profile]) -> dict[str, Profile]:
    """What is certified before they run."""
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


def _refused(
    profiles: Mapping[str, Profile], console: Console, kind: Kind, made_by: Backend
) -> dict[str, Certificate]:
    """Certify what is used; gives those that are not what they declare.

    No certificate of containers is kept: their kernel is this machine's, their tools are not.
    """
    if not profiles:
        return {}
    console.print(f"certifying {len(profiles)} NATs")
    if kind is Kind.NAMESPACES:
        certificates = certified(list(profiles.values()))
    else:
        measured = certify_all(list(profiles.values()), kind.at_once(JOBS), backend=made_by)
        certificates = {certificate.profile: certificate for certificate in measured}
    bad = {name: c for name, c in certificates.items() if c.verdict.lower() != "pass"}
    console.print(f"{len(certificates) - len(bad)} of {len(certificates)} NATs certified")
    for name in bad:
        plain = name.partition(".")[0]
        console.print(f"{name} is not what it declares: see `testbed nat certify {plain}`")
    return bad
