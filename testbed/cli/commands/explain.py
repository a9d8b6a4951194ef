"""`testbed explain`: why one cell ended as it did."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError
from rich.text import Text

from testbed import foreign
from testbed.errors import Exit, UsageError
from testbed.evidence.account import WireAccount
from testbed.explain.crossings import crossings
from testbed.explain.explainer import explain
from testbed.model.explanation import Cause, Explanation
from testbed.model.plan import Plan
from testbed.model.result import Result
from testbed.naming import instead
from testbed.report.glyphs import Glyphs, glyphs_for
from testbed.report.story import hops, pointers, render
from testbed.report.terminal import terminal
from testbed.run.folder import left_in, say
from testbed.run.store import RESULTS, load
from testbed.studies.base import RESULT
from testbed.studies.found import known
from testbed.studies.kept import CASE, account_of
from testbed.studies.punch.evidence import load_evidence
from testbed.words.explanations import to_json

SHOWN = 30  # names of cells, where none was named
CELL = "cell.json"  # what makes a folder that of a cell


def explain_cell(name: str | None, out: Path, *, packets: bool, as_json: bool) -> int:
    """Explain the cell that ``name`` stands for; the exit code.

    UsageError where there is no such cell, or its folder is damaged.
    """
    if name is None:
        raise _unnamed(out)
    folder = find(name, out)
    if not (folder / "result.json").exists():
        say(f"{folder}: the run of this cell was interrupted before it ended")
    explanation, account = read_case(folder) if (folder / CASE).exists() else read_cell(folder)
    if as_json:
        print(json.dumps(to_json(explanation), indent=2))
    else:
        console = terminal()
        glyphs = glyphs_for(sys.stdout.encoding)
        story = render(explanation, console.width, glyphs, _addresses(account.plan))
        console.print(story, crop=False)
        if packets:
            for line in _packets(account, glyphs):
                console.print(line, crop=False, soft_wrap=True)
        console.print()
        for words in pointers(explanation, folder / "capture.pcapng"):  # whole, to be copied
            console.print(words, soft_wrap=True, markup=False, highlight=False)
    return int(Exit.INCONCLUSIVE if explanation.cause is Cause.UNKNOWN else Exit.AGREED)


def read_cell(folder: Path) -> tuple[Explanation, WireAccount]:
    """The explanation of a hole punch, and what it is of."""
    evidence = load_evidence(folder)
    account = WireAccount.of(evidence)
    return explain(evidence, account), account


def read_case(folder: Path) -> tuple[Explanation, WireAccount]:
    """The same of any other study, by its own explainer; UsageError for a damaged file."""
    file = folder / RESULT
    try:
        result = Result.model_validate_json(foreign.read_bytes(file))
    except FileNotFoundError:
        raise UsageError(f"{file}: missing", remedy="run the case anew") from None
    except ValidationError as error:
        raise UsageError(
            f"{file}: {foreign.complaint(error)}", remedy="run the case anew"
        ) from None
    account = account_of(folder)
    study = known().get(result.study)
    return (study.explain if study else crossings)(result, account), account


def _packets(account: WireAccount, glyphs: Glyphs) -> Iterator[Text]:
    if not account.packets:
        return
    zero = account.start_ns
    if zero is None:
        zero = account.packets[0].time_ns
    yield Text()
    yield from hops(account.journeys, account.labels, zero, glyphs)


def _addresses(plan: Plan) -> Mapping[str, str]:
    """What stands below the nodes of a diagram: the first address, for NATs the outer one."""
    return {node: str(own[0]) for node, own in plan.addresses.items() if own}


def _unnamed(out: Path) -> UsageError:
    """The error where no cell was named: those of the matrix that can be."""
    if not (known := _folders(out)):
        return _no_matrix("no cell is named", out)
    pairs = list(dict.fromkeys(cell.rpartition("/")[0] for cell in known))
    shown = "".join(f"\n    {pair}" for pair in pairs[:SHOWN])
    more = f"\n    and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
    return UsageError(f"no cell is named; in {out} are{shown}{more}")


def _no_matrix(what: str, out: Path) -> UsageError:
    return UsageError(
        f"{what}, and there is no matrix in {out}",
        remedy="run `testbed matrix` first, or name a folder that has a cell.json",
    )


def find(name: str, out: Path) -> Path:
    """The folder that ``name`` stands for.

    It is one itself, or names a cell of the matrix in ``out`` (its folder, or its
    results.json): a pair, then the newest repeat and try count, or a pair and a
    repeat.  UsageError, with the names that are nearest, where there is none.
    """
    if _explainable(Path(name)):
        return Path(name)
    known = _folders(out)
    wanted = name.strip("/")
    found = [folder for cell, folder in known.items() if wanted in (cell, cell.rpartition("/")[0])]
    if found:
        return min(found, key=_age)
    if not known:
        raise _no_matrix(f"{name}: not the folder of a cell", out)
    pairs = (cell.rpartition("/")[0] for cell in known)
    raise UsageError(f"there is no cell {name!r} in {out}", remedy=instead(wanted, pairs))


def _folders(out: Path) -> dict[str, Path]:
    """Name of each cell of a run to its folder, of the try that counted.

    What the run's results do not name is another's, and is not looked at; of a run that
    has no results (yet), the cells that it recorded as its own.
    """
    results = out if out.suffix == ".json" else out / RESULTS
    if not results.exists():
        return _unfinished(results.parent)
    found = {one.name: Path(one.folder) for one in load(results).results}
    return {name: folder for name, folder in found.items() if _explainable(folder)}


def _unfinished(out: Path) -> dict[str, Path]:
    """The same of a run that was interrupted, or still runs; says so."""
    left = left_in(out)
    if left is None:
        return {}
    known = {}
    for folder in (out / name for name in left.folders):
        if _explainable(folder):
            own = folder.parent if folder.name.startswith("try-") else folder
            known[str(own.relative_to(out / "cells"))] = folder  # a later try is a later folder
    if known:
        say(f"{out}: the {left.run.words} has not come to its end")
    return known


def _explainable(folder: Path) -> bool:
    """Whether it is that of a cell, or of a case of another study."""
    return any((folder / name).is_file() for name in (CELL, CASE))


def _age(folder: Path) -> int:
    """Least for what was run last."""
    file = next(folder / name for name in (CELL, CASE) if (folder / name).is_file())
    return -file.stat().st_mtime_ns
