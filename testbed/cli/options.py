"""Options that several commands have."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from testbed.backends.choice import Kind

TopologyName = Annotated[str, typer.Argument(help="A preset: two-homes, carrier, same-lan, ...")]
ProfileA = Annotated[str, typer.Option("-a", help="Profile of the first NAT.")]
ProfileB = Annotated[str | None, typer.Option("-b", help="Profile of the second NAT, if any.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, for machines.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for captures and results.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, max=200, help="Cells at a time.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Makes a run repeatable.")]
MadeBy = Annotated[
    Kind, typer.Option("--backend", help="What nodes are: namespaces, or Docker's containers.")
]
LabPid = Annotated[int | None, typer.Option("--lab", help="Process of `testbed up`, if several.")]


Stack = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=COMMAND", help="A stack of yours: a program, or image:REFERENCE."),
]
Mechanism = Annotated[
    str | None, typer.Option(help="What it is predicted by: dcutr_quic, dcutr_tcp, ice, ...")
]


Contract = Annotated[
    str, typer.Option(help="Which one your stacks follow: lines (ours), or unified (libp2p's).")
]
Relay = Annotated[
    str, typer.Option(help="The libp2p relay's stack: traversal, go, ...; a matrix takes several.")
]


class Pairs(StrEnum):
    """Which stacks meet in a matrix."""

    SAME = "same"
    ALL = "all"
    INTEROP = "interop"


DEFAULT_JOBS = 4 * (os.cpu_count() or 1)
