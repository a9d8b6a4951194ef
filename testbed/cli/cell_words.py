"""The words of the commands that run cells: each field is an option, or an argument."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.options import (
    AsJson,
    At,
    EngineWords,
    LinkWords,
    MadeBy,
    Mechanism,
    Out,
    Pairs,
    ProfileA,
    ProfileB,
    Reads,
    Relay,
    ReportWords,
    Seed,
    Stack,
    StackWords,
)
from testbed.lab.choice import Kind
from testbed.model.topology import Order


@dataclass(frozen=True, kw_only=True)
class RunWords(LinkWords, StackWords):
    """Those of `testbed run`."""

    peer: Annotated[
        str | None,
        typer.Option(
            help="The stack: ice, if none is named, punch-udp, ...; or two, DIALER+LISTENER."
        ),
    ] = None
    at: At = None
    a: ProfileA = None
    b: ProfileB = None
    topology: Annotated[
        str | None,
        typer.Option(help="A world, by name or file; if none is named, the stack's own."),
    ] = None
    mode: Annotated[
        str, typer.Option(help="How the peers go about it: punch, plain_dial, silent, relay_only.")
    ] = "punch"
    skew: Annotated[
        float, typer.Option(help="Milliseconds by which the listener starts later.")
    ] = 0.0
    seed: Seed = 0
    replay: Annotated[Path | None, typer.Option(help="Run the cell of this folder again.")] = None
    out: Out = Path("out/run")
    as_json: AsJson = False
    backend: MadeBy = Kind.NAMESPACES
    relay: Relay = None


@dataclass(frozen=True, kw_only=True)
class CellsWords(LinkWords, ReportWords):
    """Those that a matrix and a mesh have in common."""

    at: At = None
    select: Annotated[
        list[str] | None,
        typer.Option(help="Only pairs like ice/full-cone--* or ann--*; may be repeated."),
    ] = None
    repeat: Annotated[
        int,
        typer.Option(min=1, max=1000, help="How often each cell, or the lab of a mesh, is run."),
    ] = 1
    certify: Annotated[bool, typer.Option(help="Measure the profiles first.")] = True
    seed: Seed = 0
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Remove pairs in --out that this run does not make again."),
    ] = False


@dataclass(frozen=True, kw_only=True)
class MatrixWords(StackWords, CellsWords, EngineWords):
    """Those of `testbed matrix`."""

    out: Out = Path("out/matrix")
    profiles: Annotated[
        str | None,
        typer.Option(
            help="classic, nine, default or all; or names and files, with commas. If none, default."
        ),
    ] = None
    peers: Annotated[str, typer.Option(help="Stacks with commas, default, libp2p, or all.")] = (
        "default"
    )
    pairs: Annotated[
        Pairs,
        typer.Option(
            help="Which stacks meet; interop: those that differ behind the classic NATs alone."
        ),
    ] = Pairs.SAME
    topology: Annotated[
        str | None,
        typer.Option(
            help="Worlds, by names or files with commas, or all; if none, each stack's own."
        ),
    ] = None
    controls: Annotated[bool, typer.Option(help="With the negative controls.")] = True
    relay: Relay = None


@dataclass(frozen=True, kw_only=True)
class MeshWords(CellsWords):
    """Those of `testbed mesh`."""

    out: Out = Path("out/mesh")
    world: Annotated[
        str, typer.Argument(help="A world that names the peers of a mesh, by name or file.")
    ] = "mesh-12"
    peer: Annotated[
        str | None, typer.Option(help="What each host runs: punch-udp, if none is named, ice, ...")
    ] = None
    order: Annotated[
        Order,
        typer.Option(help="All pairs begin at one moment, or each when the one before has ended."),
    ] = Order.AT_ONCE
    a: ProfileA = None
    b: ProfileB = None
    stack: Stack = None
    mechanism: Mechanism = None
    reads: Reads = None
