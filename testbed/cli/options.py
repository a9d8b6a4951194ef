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
from testbed.model.topology import SMALLEST_MTU
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
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, for machines.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for captures and results.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Take up an interrupted run of the same words in --out.")
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, max=200, help="Cells at a time.")]
Junit = Annotated[Path | None, typer.Option(help="Write JUnit XML.")]
Svg = Annotated[Path | None, typer.Option(help="Write the output as a picture.")]
Markdown = Annotated[Path | None, typer.Option(help="Write a summary, for CI job pages.")]
Shards = Annotated[
    str | None, typer.Option("--shard", metavar="I/N", help="Only this part: see `testbed merge`.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Makes a run repeatable.")]
MadeBy = Annotated[
    Kind, typer.Option("--backend", help="What nodes are: namespaces, or Docker's containers.")
]
_EVERY = "of every link to the internet, in each direction; else as the world has it."
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
        "--link", metavar="NAME", help="Of `testbed world links`: each home's link to the internet."
    ),
]
DEFAULT_JOBS = 4 * (os.cpu_count() or 1)
LabName = Annotated[
    str | None,
    typer.Option("--lab", help="Which one, if several are up: its number, or its topology."),
]


# Their modules' names, which are theirs: to import them takes long.
MECHANISMS = [
    module.name
    for module in pkgutil.iter_modules([str(PACKAGE / "studies" / "punch" / "mechanisms")])
]
Stack = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=COMMAND", help="A stack of yours: a program, or image:REFERENCE."),
]
Mechanism = Annotated[
    str | None,
    typer.Option(metavar="NAME", help=f"What it is predicted by: {', '.join(MECHANISMS)}."),
]


Contract = Annotated[
    str, typer.Option(help="Which one your stacks follow: lines (ours), or unified (libp2p's).")
]
Relay = Annotated[
    str | None,
    typer.Option(help="The libp2p relay's stack (traversal, if none); a matrix takes several."),
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


@dataclass(frozen=True)
class EngineWords:
    """The options of every study that the engine runs; each field is one."""

    jobs: Jobs
    out: Out
    backend: MadeBy
    shard: Shards
    resume: Resume
    junit: Junit
    svg: Svg
    markdown: Markdown
    as_json: AsJson


def takes_engine_words(
    out: str, jobs: int = DEFAULT_JOBS
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of `EngineWords`, which it gets as ``engine``."""
    defaults: dict[str, Any] = {"jobs": jobs, "out": Path(out), "backend": Kind.NAMESPACES}
    defaults |= {"resume": False, "as_json": False}
    hints = {one.name: one.type for one in fields(EngineWords)}

    def given(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def with_words(*words: Any, **options: Any) -> None:
            engine = EngineWords(**{name: options.pop(name) for name in hints})
            command(*words, engine=engine, **options)

        own = inspect.signature(command).parameters.values()
        more = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(name), annotation=hint
            )
            for name, hint in hints.items()
        ]
        parameters = [one for one in own if one.name != "engine"]
        with_words.__signature__ = inspect.Signature([*parameters, *more])  # type: ignore[attr-defined]
        known = {one.name: one.annotation for one in parameters}
        with_words.__annotations__ = known | hints | {"return": None}
        return with_words

    return given


DEFAULT_PEER = "ice"  # of `testbed run`
DEFAULT_MESH_PEER = "punch-udp"
