"""Words for what is studied beside the matrix: AutoNAT, NAT life, hard NATs."""

from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.options import (
    DEFAULT_JOBS,
    At,
    EngineWords,
    Mechanism,
    Reads,
    Seed,
    Stack,
    some_or_all,
    takes,
    takes_profiles,
)
from testbed.cli.words import App
from testbed.model.swarming import Workload

app = App()


@app.command()
@takes_profiles
@takes(EngineWords, out=Path("out/autonat"))
def autonat(
    engine: EngineWords,
    profiles: Annotated[list[str] | None, typer.Argument(help="Profiles, by name or file.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All profiles of the catalogue.")] = False,
    client: Annotated[
        str | None, typer.Option(help="The stacks that ask, with commas: traversal, go, ...")
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="The stacks that are asked, with commas.")
    ] = None,
    topology: Annotated[
        str | None,
        typer.Option(
            help="A world, by name or file. Its host a asks its observers; its relay is the "
            "stranger that dials. Profiles replace its first NAT's, if any are named."
        ),
    ] = None,
) -> None:
    """What AutoNAT v1 and v2 say behind NATs, beside a stranger's dial and the prediction."""
    from testbed.cli.commands.autonat import run_autonat

    nats = (profiles or ()) if topology and not every else some_or_all(profiles, every, "profiles")
    raise typer.Exit(run_autonat(nats, every, client, server, topology, engine))


@app.command()
@takes_profiles
@takes(EngineWords, out=Path("out/life"), jobs=2 * DEFAULT_JOBS)  # they wait most of their time
def life(
    engine: EngineWords,
    scenarios: Annotated[
        list[str] | None, typer.Argument(help="Scenarios: reboot, outage, roaming, ...")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All scenarios.")] = False,
    topology: Annotated[
        str | None,
        typer.Option(help="A world in place of scenarios, by name or file, with its events."),
    ] = None,
    peer: Annotated[
        str | None,
        typer.Option(
            help="Stacks of punch_udp or DCUtR with commas, or two: DIALER+LISTENER; ours, if none "
            "is named."
        ),
    ] = None,
    at: At = None,
    a: Annotated[
        str | None, typer.Option("-a", help="Profile of the first NAT, instead of the scenario's.")
    ] = None,
    b: Annotated[
        str | None, typer.Option("-b", help="Profile of the second NAT, instead of the scenario's.")
    ] = None,
    stack: Stack = None,
    mechanism: Mechanism = None,
    reads: Reads = None,
) -> None:
    """A direct path, and what happens to it: timeouts, reboots, new addresses, roaming."""
    from testbed.cli.commands.life import run_life
    from testbed.studies.punch.external import add_stacks

    wanted = () if topology else some_or_all(scenarios, every, "scenarios, or a --topology")
    own = add_stacks(stack or (), mechanism, reads=reads or ())
    raise typer.Exit(run_life(wanted, topology, peer, (a, b), own, engine, at or ()))


@app.command()
@takes_profiles
@takes(EngineWords, out=Path("out/study"))
def study(
    engine: EngineWords,
    name: Annotated[
        str, typer.Argument(help="The study's name, or your FILE.py with a STUDY in it.")
    ],
    profiles: Annotated[list[str] | None, typer.Argument(help="Profiles, by name or file.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All profiles of the catalogue.")] = False,
    repeat: Annotated[int, typer.Option(min=1, max=1000, help="Runs of each case.")] = 1,
    seed: Seed = 0,
) -> None:
    """Any study that needs no options of its own, or one of yours: testbed study FILE.py --all."""
    from testbed.cli.commands.study import run_named
    from testbed.studies import found

    asked = found.study(name)
    nats = some_or_all(profiles, every, "profiles")
    raise typer.Exit(run_named(asked, nats, repeat, seed, engine))


@app.command()
@takes(EngineWords, out=Path("out/odds"))
def odds(
    engine: EngineWords,
    runs: Annotated[int, typer.Option(min=20, max=5000, help="Runs of each case.")] = 200,
    seed: Seed = 0,
) -> None:
    """Hard NATs: how often prediction and birthday probing get through, beside theory."""
    from testbed.cli.commands.odds import run_odds

    raise typer.Exit(run_odds(runs, seed, engine))


@app.command()
@takes_profiles
@takes(EngineWords, out=Path("out/relays"), jobs=1)  # a swarm takes the whole machine
def relays(
    engine: EngineWords,
    population: Annotated[
        str, typer.Option(help="Who the peers are, with commas; a population's name, or its file.")
    ] = "routers-2005,peers-2010,carriers",
    size: Annotated[
        str, typer.Option(help="How many peers, with commas: even, 2 to 128.")
    ] = "8,16,32,64",
    peer: Annotated[
        str, typer.Option(help="Their stacks, with commas: traversal-tcp, go-quic, ...")
    ] = "traversal-tcp,traversal-quic",
    relays: Annotated[int, typer.Option(min=1, max=4, help="Between how many relays.")] = 1,
    workload: Annotated[
        Workload, typer.Option(help="What each pair does: one large echo, or many small ones.")
    ] = Workload.TRANSFER,
    topology: Annotated[
        str,
        typer.Option(
            help="A world, by name or file, of two homes: dialers are where its first is, "
            "listeners where its second, relays and observers where its are."
        ),
    ] = "libp2p",
    kib: Annotated[int, typer.Option(min=1, max=4096, help="KiB that each pair transfers.")] = 64,
    limits: Annotated[
        str,
        typer.Option(
            metavar="KIB,S,N",
            help="What a relay lets each circuit carry each way in KiB, and for how many seconds, "
            "0 for no limit, and how many circuits it has at once.",
        ),
    ] = "128,120,1024",
    repeat: Annotated[int, typer.Option(min=1, max=1000, help="Swarms of each kind.")] = 1,
    seed: Seed = 0,
) -> None:
    """Why punch at all: what a growing swarm costs its relays, with upgrades off and on.

    Bytes, share of direct pairs, round trips and rates are read off the packets, and held against
    what the population and the oracle foresee.  The page has the curves.
    """
    from testbed.cli.commands.relays import run_relays

    populations, sizes, peers = (
        [name.strip() for name in named.split(",")] for named in (population, size, peer)
    )
    asked = run_relays(
        populations, sizes, peers, relays, workload, topology, kib, limits, repeat, seed, engine
    )
    raise typer.Exit(asked)
