"""Words for what is studied beside the matrix: AutoNAT, NAT life, hard NATs."""

from typing import Annotated

import typer

from testbed.cli.options import (
    DEFAULT_JOBS,
    EngineWords,
    Mechanism,
    Seed,
    Stack,
    some_or_all,
    takes_engine_words,
    takes_profiles,
)
from testbed.cli.words import App

app = App()


@app.command()
@takes_profiles
@takes_engine_words("out/autonat")
def autonat(
    engine: EngineWords,
    profiles: Annotated[list[str] | None, typer.Argument(help="Profiles.")] = None,
    every: Annotated[bool, typer.Option("--all", help="The whole catalogue.")] = False,
    client: Annotated[
        str | None, typer.Option(help="Who asks: traversal, go, ... with commas.")
    ] = None,
    server: Annotated[str | None, typer.Option(help="Who is asked, likewise.")] = None,
    topology: Annotated[
        str | None,
        typer.Option(
            help="A world, by name or file: its a asks its observers, its relay is the stranger. "
            "Profiles are for its -a; its own, if none is named."
        ),
    ] = None,
) -> None:
    """What AutoNAT v1 and v2 say behind NATs, beside a stranger's dial and the prediction."""
    from testbed.cli.commands.autonat import run_autonat

    nats = (profiles or ()) if topology and not every else some_or_all(profiles, every, "profiles")
    raise typer.Exit(run_autonat(nats, every, client, server, topology, engine))


@app.command()
@takes_profiles
@takes_engine_words("out/life", 2 * DEFAULT_JOBS)  # they wait most of their time
def life(
    engine: EngineWords,
    scenarios: Annotated[
        list[str] | None, typer.Argument(help="Scenarios: reboot, outage, roaming, ...")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    topology: Annotated[
        str | None, typer.Option(help="A world in place of them, by name or file, with its events.")
    ] = None,
    peer: Annotated[
        str | None,
        typer.Option(
            help="Stacks of punch_udp or DCUtR with commas, or two: DIALER+LISTENER. Ours, if none."
        ),
    ] = None,
    a: Annotated[
        str | None, typer.Option("-a", help="Profile of the first NAT, instead of the scenario's.")
    ] = None,
    b: Annotated[str | None, typer.Option("-b", help="Profile of the second, likewise.")] = None,
    stack: Stack = None,
    mechanism: Mechanism = None,
) -> None:
    """A direct path, and what happens to it: timeouts, reboots, new addresses, roaming."""
    from testbed.cli.commands.life import run_life
    from testbed.studies.punch.external import add_stacks

    wanted = () if topology else some_or_all(scenarios, every, "scenarios, or a --topology")
    own = add_stacks(stack or (), mechanism)
    raise typer.Exit(run_life(wanted, topology, peer, (a, b), own, engine))


@app.command()
@takes_profiles
@takes_engine_words("out/study")
def study(
    engine: EngineWords,
    name: Annotated[str, typer.Argument(help="Its name, or your FILE.py with a STUDY in it.")],
    profiles: Annotated[list[str] | None, typer.Argument(help="Profiles.")] = None,
    every: Annotated[bool, typer.Option("--all", help="The whole catalogue.")] = False,
    repeat: Annotated[int, typer.Option(min=1, max=1000, help="Runs of each case.")] = 1,
    seed: Seed = 0,
) -> None:
    """Any study that needs no words of its own, or one of yours: testbed study FILE.py --all."""
    from testbed.cli.commands.study import run_named
    from testbed.studies import found

    asked = found.study(name)
    nats = some_or_all(profiles, every, "profiles")
    raise typer.Exit(run_named(asked, nats, repeat, seed, engine))


@app.command()
@takes_engine_words("out/odds")
def odds(
    engine: EngineWords,
    runs: Annotated[int, typer.Option(min=20, max=5000, help="Runs of each case.")] = 200,
    seed: Seed = 0,
) -> None:
    """Hard NATs: how often prediction and birthday probing get through, beside theory."""
    from testbed.cli.commands.odds import run_odds

    raise typer.Exit(run_odds(runs, seed, engine))
