"""`testbed merge`: the shards of a matrix put together."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from rich.console import Console

from testbed.cli.commands.cells import Reports
from testbed.cli.commands.report import PAGE, load_document
from testbed.errors import UsageError
from testbed.files import require_writable, write_json
from testbed.model.explanation import Wrong
from testbed.report.files import document
from testbed.report.grid import render
from testbed.report.html import write_html
from testbed.report.recorded import RESULTS
from testbed.run.folder import Files, RunFolder, say
from testbed.run.matrix import summarize
from testbed.run.record import RunRecord
from testbed.run.shards import MOST, Part, Shard, merge


class _Explanation(BaseModel):
    wrong: Wrong


class _Row(BaseModel):
    """What is needed of a row besides what `load_document` has looked at."""

    pair: str
    explanation: _Explanation | None = None


class _Shard(BaseModel):
    """What `testbed.run.shards.Shard.of_run` wrote."""

    model_config = ConfigDict(strict=True, extra="forbid")

    number: Annotated[int, Field(ge=1, le=MOST)]
    of: Annotated[int, Field(ge=1, le=MOST)]
    places: list[Annotated[int, Field(ge=0)]]
    run: dict[str, str | int | bool]


_ROWS = TypeAdapter(list[_Row])


def merged(
    shards: Sequence[Path],
    out: Path,
    differing: Sequence[str],
    junit: Path | None,
    markdown: Path | None,
    as_json: bool,
) -> int:
    """Write results.json and report.html of the whole into ``out``; the whole run's exit code.

    The cells' folders stay where they are, and the results say where that is.
    """
    parts = [read(path) for path in shards]
    reports = Reports(junit=junit, markdown=markdown)
    rows, facts = merge(parts, differing)
    seed = parts[0].run.get("seed")
    run = RunRecord.now("merge", seed if isinstance(seed, int) else None)
    kept = RunFolder(out, run, [Files((".",), (RESULTS, PAGE))])
    require_writable(out / RESULTS, out / PAGE, *reports.paths)
    say(kept.begin())
    summary = summarize(rows, certified=parts[0].run["certified"] is True)
    titles = {name: title for part in parts for name, title in part.titles.items()}
    value = document(rows, summary, facts, run, titles=titles)
    write_json(out / RESULTS, value)
    write_html(out / PAGE, value)
    seconds = sum(row["seconds"] for row in rows)
    reports.write(rows, summary, value, seconds)
    kept.end()
    if as_json:
        print(json.dumps(value, indent=2))
    else:
        console = Console()
        console.print(render(rows, summary, seconds, console.width))
        print(f"report: {out / PAGE}; {len(parts)} shards merged")
    return int(summary.exit_code)


def read(path: Path) -> Part:
    """One shard's ``results.json``, or its folder; UsageError naming what is wrong with it."""
    value = load_document(path)
    if "shard" not in value:
        raise UsageError(
            f"{path} is no shard but a run of its own", remedy="testbed matrix --shard I/N"
        )
    try:
        said = _Shard.model_validate(value["shard"])
        _ROWS.validate_python(value["cells"])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path}: {place}: {first['msg']}") from None
    if said.number > said.of or not {"selection", "certified"} <= said.run.keys():
        raise UsageError(f"{path}: shard: of no run")
    shard = Shard(said.number, said.of)
    return Part(
        str(path),
        shard,
        said.places,
        said.run,
        value["facts"],
        value["cells"],
        value.get("profiles", {}),
    )
