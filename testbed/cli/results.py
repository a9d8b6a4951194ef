"""Words for what matrices left behind: shards, reports, what changed."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.options import AsJson
from testbed.cli.words import App, require_words

app = App()


@app.command()
def merge(
    shards: Annotated[
        list[Path], typer.Argument(help="The shards' folders, or their results.json.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write the whole run to.")],
    differing: Annotated[
        list[str] | None,
        typer.Option(metavar="FACT", help="A fact that may differ between shards: kernel, ..."),
    ] = None,
    as_json: AsJson = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a summary to this file.")] = None,
) -> None:
    """Put the shards of one matrix together; one that is missing or foreign is an error."""
    from testbed.cli.commands.merge import merged

    raise typer.Exit(merged(shards, out, differing or (), junit, markdown, as_json))


@app.command()
def kubernetes(
    image: Annotated[str, typer.Argument(help="An image that has the testbed and its tools.")],
    words: Annotated[
        list[str] | None, typer.Argument(help="The words of `testbed matrix`, after --.")
    ] = None,
    shards: Annotated[int, typer.Option(min=1, max=1000, help="How many shards, each a pod.")] = 4,
    name: Annotated[str, typer.Option(help="The name of the Job.")] = "testbed",
    claim: Annotated[
        str, typer.Option(help="The volume claim that results are written to.")
    ] = "testbed-results",
) -> None:
    """Print a matrix's shards as an Indexed Job: kubernetes IMAGE -- --profiles nine."""
    from testbed.cli.cells import app as cells_app
    from testbed.cli.kubernetes import manifest

    require_words(cells_app, "matrix", words or ())  # else each pod would end with the error
    sys.stdout.write(manifest(image, shards, name, claim, words or ()))


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="results.json of a matrix, or its folder.")],
    html: Annotated[
        Path | None,
        typer.Option(help="The page to write; if none is named, report.html beside the results."),
    ] = None,
) -> None:
    """Write the reports of a matrix again, from its results.json."""
    from testbed.cli.commands.report import report as write_report

    raise typer.Exit(write_report(results, html))


@app.command()
def compare(
    old: Annotated[Path, typer.Argument(help="results.json, its folder, or a golden file.")],
    new: Annotated[Path, typer.Argument(help="The same, to be held against OLD.")],
    select: Annotated[
        list[str] | None, typer.Option(help="Only pairs like ice/full-cone--*; may be repeated.")
    ] = None,
    times: Annotated[
        float | None,
        typer.Option(
            metavar="FACTOR", help="A pair that is slower by this factor counts as differing."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What changed between two matrices; exit 0 nothing, 1 something, 3 inconclusive."""
    from testbed.cli.commands.compare import compared

    raise typer.Exit(compared(old, new, select or (), times, as_json))


@app.command()
def golden(
    results: Annotated[
        list[Path],
        typer.Argument(help="Results as `compare` takes them; the last on a pair holds."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The golden file to write.")],
) -> None:
    """Keep what a matrix gave as a golden file, one line a pair, to compare with later."""
    from testbed.cli.commands.compare import keep

    raise typer.Exit(keep(results, out))
