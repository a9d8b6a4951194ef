"""Words for what is studied beside the matrix: AutoNAT, NAT life, hard NATs."""

from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.options import (
    DEFAULT_JOBS,
    AsJson,
    Jobs,
    MadeBy,
    Out,
    Resume,
    Seed,
    takes_profiles,
)
from testbed.cli.words import App
from testbed.errors import UsageError
from testbed.lab.choice import Kind

app = App()


@app.command()
@takes_profiles
def autonat(
    profiles: Annotated[list[str] | None, typer.Argument(help="Profiles.")] = None,
    every: Annotated[bool, typer.Option("--all", help="The whole catalogue.")] = False,
    jobs: Jobs = DEFAULT_JOBS,
    as_json: AsJson = False,
    client: Annotated[
        str | None, typer.Option(help="Who asks: traversal, go, ... with commas.")
    ] = None,
    server: Annotated[str | None, typer.Option(help="Who is asked, likewise.")] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only this part: see `testbed merge`.")
    ] = None,
    out: Out = Path("out/autonat"),
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Write the output as a picture.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write a summary, for CI job pages.")
    ] = None,
    backend: MadeBy = Kind.NAMESPACES,
    resume: Resume = False,
) -> None:
    """What AutoNAT v1 and v2 say behind NATs, beside a stranger's dial and the prediction."""
    from testbed.cli.commands.autonat import AutonatRequest, run_autonat
    from testbed.cli.commands.running import Reports
    from testbed.run.shards import Shard

    if bool(profiles) == every:
        raise UsageError("name profiles, or say --all")
    request = AutonatRequest(
        profiles or [],
        client,
        server,
        jobs,
        out,
        backend,
        Shard.parse(shard) if shard is not None else None,
        resume,
        Reports(junit, svg, markdown),
        as_json,
    )
    raise typer.Exit(run_autonat(request))


@app.command()
@takes_profiles
def life(
    scenarios: Annotated[list[str] | None, typer.Argument(help="Scenarios.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    peers: Annotated[str, typer.Option(help="udp, quic, tcp with commas, or all.")] = "all",
    jobs: Jobs = 2 * DEFAULT_JOBS,  # they wait most of their time
    a: Annotated[
        str | None, typer.Option("-a", help="Profile of the first NAT, instead of the scenario's.")
    ] = None,
    b: Annotated[str | None, typer.Option("-b", help="Profile of the second, likewise.")] = None,
    out: Out = Path("out/life"),
    as_json: AsJson = False,
) -> None:
    """A direct path, and what happens to it: timeouts, reboots, new addresses, roaming."""
    from testbed.cli.commands.life import life as lead_lives

    if bool(scenarios) == every:
        raise UsageError("name scenarios, or say --all")
    raise typer.Exit(lead_lives(scenarios or [], peers, (a, b), jobs, out, as_json))


@app.command()
def odds(
    runs: Annotated[int, typer.Option(min=20, max=5000, help="Runs of each case.")] = 200,
    seed: Seed = 0,
    svg: Annotated[Path | None, typer.Option(help="Write the plot.")] = None,
    as_json: AsJson = False,
) -> None:
    """Hard NATs: how often prediction and birthday probing get through, beside theory."""
    from testbed.cli.commands.odds import odds as run_odds

    raise typer.Exit(run_odds(runs, seed, svg, as_json))
