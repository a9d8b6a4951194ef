"""Options that several commands have."""

import inspect
import os
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from testbed.errors import UsageError
from testbed.lab.choice import Kind
from testbed.model.topology import SMALLEST_MTU, Conditions
from testbed.places import PACKAGE

TopologyName = Annotated[
    str, typer.Argument(help="A world: its name, see `testbed world list`, or its file.")
]
ProfileA = Annotated[
    str | None,
    typer.Option("-a", help="Profile of the first NAT, a name or a file; else the world's own."),
]
ProfileB = Annotated[
    str | None, typer.Option("-b", help="Profile of the second NAT, where the world has one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for machines.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for captures and results.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Take up an interrupted run of the same words in --out.")
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, max=200, help="Labs at a time.")]
Junit = Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")]
Svg = Annotated[Path | None, typer.Option(help="Write the output to this file as a picture.")]
Markdown = Annotated[
    Path | None, typer.Option(help="Write a summary to this file, for CI job pages.")
]
Shards = Annotated[
    str | None,
    typer.Option("--shard", metavar="I/N", help="Run only this part; see `testbed merge`."),
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Makes a run repeatable.")]
MadeBy = Annotated[
    Kind, typer.Option("--backend", help="What nodes are: namespaces, or Docker's containers.")
]
_EVERY = "of every link to the internet, in each direction; if left out, as the world has it."
Delay = Annotated[float | None, typer.Option(min=0, help=f"Delay in ms, {_EVERY}")]
Jitter = Annotated[
    float | None, typer.Option(min=0, help=f"Jitter in ms, up to the delay, {_EVERY}")
]
Loss = Annotated[float | None, typer.Option(min=0, max=1, help=f"Share of lost frames, {_EVERY}")]
Rate = Annotated[float | None, typer.Option(help=f"Rate in Mbit/s, {_EVERY}")]
Mtu = Annotated[
    int | None,
    typer.Option(min=SMALLEST_MTU, max=1500, help="MTU in bytes, of every link to the internet."),
]
LinkName = Annotated[
    str | None,
    typer.Option(
        "--link",
        metavar="NAME",
        help="Each home's link to the internet: see `testbed world links`.",
    ),
]
DEFAULT_JOBS = 4 * (os.cpu_count() or 1)
LabName = Annotated[
    str | None,
    typer.Option("--lab", help="Which lab, if several are up: its number, or its topology."),
]


# Their modules' names, which are theirs: to import them takes long.
MECHANISMS = [
    module.name
    for module in pkgutil.iter_modules([str(PACKAGE / "studies" / "punch" / "mechanisms")])
]
At = Annotated[
    list[str] | None,
    typer.Option(metavar="HOST=STACK", help="Another stack for this host; may be repeated."),
]
Stack = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=COMMAND", help="A stack of yours: a program, or image:REFERENCE."),
]
Reads = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="PATH", help="A file or folder that your stack may read, besides its own program."
    ),
]
Mechanism = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help=f"The mechanism that predicts your stack: {', '.join(MECHANISMS)}."
    ),
]


Contract = Annotated[
    str,
    typer.Option(help="The contract that your stacks keep: lines (ours) or unified (libp2p's)."),
]
Relay = Annotated[
    str | None,
    typer.Option(
        help="The stack of the libp2p relay; traversal, if none is named. A matrix takes several."
    ),
]


class Pairs(StrEnum):
    """Which stacks meet in a matrix."""

    SAME = "same"
    ALL = "all"
    INTEROP = "interop"


ProfilesDir = Annotated[
    Path | None,
    typer.Option(
        "--profiles-dir",
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="Your own profiles, besides ours; else those of the folder that TESTBED_PROFILES "
        "names, else of ~/.config/nat-testbed/profiles.",
    ),
]


def some_or_all(names: Sequence[str] | None, every: bool, kind: str) -> Sequence[str]:
    """The ``names`` that were given, or none for ``every`` one; UsageError where nothing is said.

    Both at once are refused before: a name has no effect beside --all.
    """
    if not names and not every:
        raise UsageError(f"name {kind}, or say --all")
    return names or ()


def takes_profiles(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--profiles-dir``, which holds for all that it starts, too."""

    @wraps(command)
    def with_folder(*words: Any, profiles_dir: Path | None, **options: Any) -> None:
        if profiles_dir is not None:
            from testbed.nat.load import VARIABLE

            os.environ[VARIABLE] = str(profiles_dir.absolute())
        command(*words, **options)

    known = inspect.signature(command)
    more = inspect.Parameter(
        "profiles_dir", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=ProfilesDir
    )
    with_folder.__signature__ = known.replace(  # type: ignore[attr-defined]
        parameters=[*known.parameters.values(), more]
    )
    with_folder.__annotations__ = {**command.__annotations__, "profiles_dir": ProfilesDir}
    return with_folder


@dataclass(frozen=True, kw_only=True)
class ReportWords:
    """The options of every run that leaves a folder; each field is one."""

    out: Out
    resume: Resume = False
    junit: Junit = None
    svg: Svg = None
    markdown: Markdown = None
    as_json: AsJson = False
    backend: MadeBy = Kind.NAMESPACES


@dataclass(frozen=True, kw_only=True)
class EngineWords(ReportWords):
    """The options of every study that the engine runs in labs of its own."""

    jobs: Jobs = DEFAULT_JOBS
    shard: Shards = None


@dataclass(frozen=True, kw_only=True)
class LinkWords:
    """The options of what the links to the internet are like."""

    delay: Delay = None
    jitter: Jitter = None
    loss: Loss = None
    rate: Rate = None
    mtu: Mtu = None
    link: LinkName = None

    @property
    def conditions(self) -> Conditions:
        """The same as a value."""
        return Conditions(self.delay, self.jitter, self.loss, self.rate, self.mtu, self.link)


@dataclass(frozen=True, kw_only=True)
class StackWords:
    """The options of stacks of the user's own."""

    stack: Stack = None
    mechanism: Mechanism = None
    contract: Contract = "lines"
    reads: Reads = None

    def added(self) -> list[str]:
        """Their names, after they were added to the registry; UsageError."""
        from testbed.studies.punch.external import add_stacks

        return add_stacks(self.stack or (), self.mechanism, self.contract, self.reads or ())


Command = Callable[..., None]


def takes(kind: type, **defaults: Any) -> Callable[[Command], Command]:
    """Give a command the options that are the fields of ``kind``.

    It gets their values as one, by the name of that parameter whose annotation is ``kind``.
    ``defaults`` are others than those of the fields.  Help shows the fields of ``kind`` itself
    before those that it shares with other commands.
    """
    shown = sorted(fields(kind), key=lambda one: one.name not in kind.__annotations__)
    usual = {one.name: one.default for one in shown} | defaults
    hints = {one.name: one.type for one in shown}

    def given(command: Command) -> Command:
        own = inspect.signature(command).parameters.values()
        (name,) = (one.name for one in own if one.annotation is kind)

        @wraps(command)
        def with_words(*words: Any, **options: Any) -> None:
            value = kind(**{hint: options.pop(hint) for hint in hints})
            command(*words, **{name: value}, **options)

        more = [
            inspect.Parameter(
                hint, inspect.Parameter.KEYWORD_ONLY, default=usual[hint], annotation=annotation
            )
            for hint, annotation in hints.items()
        ]
        parameters = [one for one in own if one.name != name]
        with_words.__signature__ = inspect.Signature([*parameters, *more])  # type: ignore[attr-defined]
        known = {one.name: one.annotation for one in parameters}
        with_words.__annotations__ = known | hints | {"return": None}
        return with_words

    return given


DEFAULT_PEER = "ice"  # of `testbed run`
DEFAULT_MESH_PEER = "punch-udp"
