"""Words for cells: one, a matrix of them, why one ended as it did."""

from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.options import (
    DEFAULT_JOBS,
    DEFAULT_PEER,
    AsJson,
    Contract,
    Delay,
    Jitter,
    Jobs,
    LinkName,
    Loss,
    MadeBy,
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
    takes_profiles,
)
from testbed.cli.words import App
from testbed.lab.choice import Kind
from testbed.model.topology import Conditions

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
