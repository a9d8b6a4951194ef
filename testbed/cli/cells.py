"""Words for cells: one, a matrix of them, why one ended as it did."""

from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.options import (
    DEFAULT_JOBS,
    DEFAULT_MESH_PEER,
    DEFAULT_PEER,
    AsJson,
    Contract,
    Delay,
    Jitter,
    Jobs,
    Junit,
    LinkName,
    Loss,
    MadeBy,
    Markdown,
    Mechanism,
    Mtu,
    Out,
    Pairs,
    ProfileA,
    ProfileB,
    Rate,
    Relay,
    Resume,
    Seed,
    Stack,
    Svg,
    takes_profiles,
)
from testbed.cli.words import App
from testbed.lab.choice import Kind
from testbed.model.topology import Conditions, Order

app = App()


@app.command()
@takes_profiles
def run(
    peer: Annotated[
        str, typer.Option(help="The stack: punch-udp, ice, ...; or two, DIALER+LISTENER.")
    ] = DEFAULT_PEER,
    a: ProfileA = None,
    b: ProfileB = None,
    topology: Annotated[
        str | None, typer.Option(help="A world, by name or file; the peer's own if none.")
    ] = None,
    mode: Annotated[str, typer.Option(help="punch, plain_dial, silent, relay_only.")] = "punch",
    skew: Annotated[float, typer.Option(help="The listener starts later, ms.")] = 0.0,
    seed: Seed = 0,
    replay: Annotated[Path | None, typer.Option(help="Run a cell's folder again.")] = None,
    out: Out = Path("out/run"),
    as_json: AsJson = False,
    backend: MadeBy = Kind.NAMESPACES,
    stack: Stack = None,
    mechanism: Mechanism = None,
    contract: Contract = "lines",
    relay: Relay = None,
    delay: Delay = None,
    jitter: Jitter = None,
    loss: Loss = None,
    rate: Rate = None,
    mtu: Mtu = None,
    link: LinkName = None,
) -> None:
    """Run one cell and judge it; or --replay one from its folder."""
    from testbed.cli.commands.cells import one
    from testbed.cli.commands.chosen import Single
    from testbed.studies.punch.external import add_stacks, described_words

    own = add_stacks(stack or (), mechanism, contract)
    single = Single(
        peer,
        a,
        b,
        topology,
        mode,
        skew,
        seed,
        relay,
        Conditions(delay, jitter, loss, rate, mtu, link),
    )
    words = described_words(stack or (), mechanism, contract)
    raise typer.Exit(one(replay or single, own, out, as_json, backend, words))


@app.command()
@takes_profiles
def matrix(
    profiles: Annotated[
        str | None,
        typer.Option(
            help="classic, nine, default, all, or names and files with commas; default, if none."
        ),
    ] = None,
    peers: Annotated[
        str, typer.Option(help="Stacks with commas, default, libp2p, or all.")
    ] = "default",
    pairs: Annotated[
        Pairs,
        typer.Option(help="Which stacks meet; interop: with others behind the classic NATs alone."),
    ] = Pairs.SAME,
    topology: Annotated[
        str | None, typer.Option(help="A world, by name or file; each stack's own if none.")
    ] = None,
    select: Annotated[
        list[str] | None, typer.Option(help="Only pairs like ice/full-cone--*; may be repeated.")
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, max=1000, help="Times each cell is run.")] = 1,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only this part: see `testbed merge`.")
    ] = None,
    controls: Annotated[bool, typer.Option(help="With the negative controls.")] = True,
    certify: Annotated[bool, typer.Option(help="Measure the profiles first.")] = True,
    jobs: Jobs = DEFAULT_JOBS,
    seed: Seed = 0,
    out: Out = Path("out/matrix"),
    replace: Annotated[
        bool, typer.Option("--replace", help="Also cells in --out that this run has not.")
    ] = False,
    as_json: AsJson = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Write the output as a picture.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write a summary, for CI job pages.")
    ] = None,
    backend: MadeBy = Kind.NAMESPACES,
    stack: Stack = None,
    mechanism: Mechanism = None,
    contract: Contract = "lines",
    relay: Relay = None,
    resume: Resume = False,
    delay: Delay = None,
    jitter: Jitter = None,
    loss: Loss = None,
    rate: Rate = None,
    mtu: Mtu = None,
    link: LinkName = None,
) -> None:
    """Send the stacks through every pair of NATs; exit 0 only if all is as predicted."""
    from testbed.cli.commands.cells import many
    from testbed.cli.commands.chosen import Request
    from testbed.cli.commands.running import Reports
    from testbed.run.shards import Shard
    from testbed.studies.punch.external import add_stacks

    own = add_stacks(stack or (), mechanism, contract)
    request = Request(
        profiles,
        ",".join(own) if own and peers == "default" else peers,
        pairs is not Pairs.SAME,
        topology,
        tuple(select or ()),
        repeat,
        controls,
        certify,
        jobs,
        seed,
        out,
        backend,
        Shard.parse(shard) if shard is not None else None,
        Conditions(delay, jitter, loss, rate, mtu, link),
        relay,
        interop=pairs is Pairs.INTEROP,
        own=tuple(own),
        replace=replace,
    )
    reports = Reports(junit, svg, markdown)
    raise typer.Exit(many(request, reports, as_json=as_json, resume=resume))


@app.command()
@takes_profiles
def mesh(
    world: Annotated[
        str, typer.Argument(help="A world that names the peers of a mesh, by name or file.")
    ] = "mesh-12",
    peer: Annotated[
        str | None, typer.Option(help="What each host runs: punch-udp (if none), ice, ...")
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST=STACK", help="What this host runs instead; may be repeated."),
    ] = None,
    order: Annotated[
        Order,
        typer.Option(help="All pairs begin at one moment, or each when the one before has ended."),
    ] = Order.AT_ONCE,
    a: ProfileA = None,
    b: ProfileB = None,
    select: Annotated[
        list[str] | None, typer.Option(help="Only pairs like ann--*; may be repeated.")
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, max=1000, help="Labs, one after another.")] = 1,
    certify: Annotated[bool, typer.Option(help="Measure the profiles first.")] = True,
    seed: Seed = 0,
    out: Out = Path("out/mesh"),
    replace: Annotated[
        bool, typer.Option("--replace", help="Also pairs in --out that this run has not.")
    ] = False,
    as_json: AsJson = False,
    junit: Junit = None,
    svg: Svg = None,
    markdown: Markdown = None,
    stack: Stack = None,
    mechanism: Mechanism = None,
    resume: Resume = False,
    delay: Delay = None,
    jitter: Jitter = None,
    loss: Loss = None,
    rate: Rate = None,
    mtu: Mtu = None,
    link: LinkName = None,
) -> None:
    """Many peers in one lab, each with each; exit 0 only if all pairs are as predicted.

    The world names the peers, roles.peers in its file. Of two, who is named earlier dials.
    A host runs a process for each of its pairs, on a port that no other has. They share
    its NAT, the server and the capture. Each pair is judged, predicted and explained by
    itself, from its own packets, which are in its folder.

    testbed mesh                                 twelve hosts, 66 pairs
    testbed mesh --peer ice --select 'dan--*'    those that dan dials
    testbed mesh --peer ice --at dan=pion        another stack on one host
    testbed mesh ./mine.toml --order in_turn     your world, pair after pair
    testbed explain mesh-12/punch-udp/ann--dan -o out/mesh    why one ended so
    """
    from testbed.cli.commands.cells import many
    from testbed.cli.commands.meshes import MeshRequest
    from testbed.cli.commands.running import Reports
    from testbed.studies.punch.external import add_stacks

    own = add_stacks(stack or (), mechanism)
    request = MeshRequest(
        world,
        peer or (own[0] if own and not at else DEFAULT_MESH_PEER),
        tuple(at or ()),
        order,
        (a, b),
        tuple(select or ()),
        repeat,
        certify,
        seed,
        out,
        Conditions(delay, jitter, loss, rate, mtu, link),
        tuple(own),
        replace,
    )
    raise typer.Exit(many(request, Reports(junit, svg, markdown), as_json=as_json, resume=resume))


@app.command()
def explain(
    cell: Annotated[
        str | None,
        typer.Argument(help="A cell's folder, or its name in the matrix; none: which there are."),
    ] = None,
    packets: Annotated[
        bool, typer.Option("--packets", help="Every packet, at each node of its way.")
    ] = False,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The matrix: its folder or its results.json.")
    ] = Path("out/matrix"),
    as_json: AsJson = False,
) -> None:
    """Why a cell ended as it did: the cause, the story, a sequence diagram of its packets."""
    from testbed.cli.commands.explain import explain_cell

    raise typer.Exit(explain_cell(cell, out, packets=packets, as_json=as_json))
