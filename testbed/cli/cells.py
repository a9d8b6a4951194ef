"""Words for cells: one, a matrix of them, why one ended as it did."""

from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.cell_words import MatrixWords, MeshWords, RunWords
from testbed.cli.options import AsJson, takes, takes_profiles
from testbed.cli.words import App

app = App()


@app.command()
@takes_profiles
@takes(RunWords)
def run(words: RunWords) -> None:
    """Run one cell and judge it; or --replay one from its folder."""
    from testbed.cli.commands.chosen import single

    chosen = single(words)  # first: what runs cells takes longer to import than words to check
    from testbed.cli.commands.cells import one

    raise typer.Exit(one(words, chosen))


@app.command()
@takes_profiles
@takes(MatrixWords)
def matrix(words: MatrixWords) -> None:
    """Send the stacks through every pair of NATs; exit 0 only if all is as predicted."""
    from testbed.cli.commands.chosen import Request

    chosen = Request(words, tuple(words.added())).cells()
    from testbed.cli.commands.cells import many

    raise typer.Exit(many(words, *chosen))


@app.command()
@takes_profiles
@takes(MeshWords)
def mesh(words: MeshWords) -> None:
    """Many peers in one lab, each with each; exit 0 only if all pairs are as predicted.

    The world names the peers, roles.peers in its file. Of two, who is named
    earlier dials. A host runs a process for each of its pairs, on a port that no
    other has. They share its NAT, the server and the capture. Each pair is judged,
    predicted and explained by itself, from its own packets, which are in its folder.

    testbed mesh                                 twelve hosts, 66 pairs
    testbed mesh --peer ice --select 'dan--*'    those that dan dials
    testbed mesh --peer ice --at dan=pion        another stack on one host
    testbed mesh ./mine.toml --order in_turn     your world, pair after pair
    testbed explain mesh-12/punch-udp/ann--dan -o out/mesh    why one ended so
    """
    from testbed.cli.commands.meshes import MeshRequest, require_namespaces
    from testbed.studies.punch.external import add_stacks

    require_namespaces(words)
    own = add_stacks(words.stack or (), words.mechanism, reads=words.reads or ())
    chosen = MeshRequest(words, tuple(own)).cells()
    from testbed.cli.commands.cells import many

    raise typer.Exit(many(words, *chosen))


@app.command()
def explain(
    cell: Annotated[
        str | None,
        typer.Argument(
            help="A cell's folder, or its name in the matrix; without it, the cells are listed."
        ),
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
