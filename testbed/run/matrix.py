"""Many cells, in parallel, and what they say together."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from testbed.certify.beside import Certifying
from testbed.model import saved
from testbed.model.details import PunchDetails
from testbed.model.lab import Backend
from testbed.model.profile import Profile
from testbed.model.result import Result
from testbed.nat import rules
from testbed.run.cell import run_cell
from testbed.run.engine import Progress, run_study
from testbed.run.mesh import CELL_DEADLINE, deadline_of, run_mesh
from testbed.run.trusted import Held
from testbed.studies.base import Site, Study, Together
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import prediction

TRIES = 3  # of a cell that this machine was too busy for


def run_matrix(
    cells: Sequence[Cell],
    profiles: Mapping[str, Profile],
    backend: Backend,
    out: Path,
    *,
    jobs: int,
    facts: Mapping[str, str] | None,
    progress: Progress,
    done: Mapping[str, Result] | None = None,
    certifying: Certifying | None = None,
) -> list[Result]:
    """Run all ``cells`` with `testbed.run.engine.run_study`; results in their order.

    ``certifying`` measures the NATs (`testbed.model.furnishing.nats`) of those that are not
    ``done``: of cells with a NAT that is not what it declares nothing is proven.
    """
    for cell in {(cell.peer, cell.relay): cell for cell in cells}.values():
        cell.prepare()
    for cell in {cell.pair: cell for cell in cells if cell.repeat}.values():
        prediction(cell, profiles, facts)  # what chance makes of it takes seconds: once for all
    rules.warm()
    saved.warm()
    study = replace(punch(profiles, facts), deadline_s=deadline_of(cells))
    if certifying is None:
        return run_study(study, cells, backend, out, jobs=jobs, progress=progress, done=done)
    held = Held([c for c in cells if c.name not in (done or {})], profiles, certifying, progress)
    return held.all(run_study(study, cells, backend, out, jobs=jobs, progress=held.take, done=done))


def punch(profiles: Mapping[str, Profile], facts: Mapping[str, str] | None) -> Study[Cell]:
    """The study of the matrix: do two peers get through, and how?"""

    def run(cell: Cell, site: Site) -> Result:
        ran = run_cell(cell, profiles, site.backend, site.folder, number=site.number, facts=facts)
        return ran.result()

    def run_all(cells: Sequence[Cell], site: Site, folders: Sequence[Path]) -> list[Result]:
        return run_mesh(cells, profiles, site, folders, facts)

    together = Together(lambda cell: cell.lab, run_all)
    return Study("punch", run, PunchDetails, CELL_DEADLINE, TRIES, together=together)
