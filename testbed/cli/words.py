"""Every word of every command, and when it has an effect.

A word that changes nothing of what is run is an error: else a run passes that is not the one
which was asked for.  What the words of a command say of each other is the table here, which is
held against each command before it does anything.  A word whose effect hangs on what the others
name (`--relay` needs a peer that is relayed by libp2p) is marked `LATER`; the command itself
refuses it, before anything is built.  A command or an option without an entry does not start.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import typer
from pydantic import ValidationError
from typer.core import TyperCommand

from testbed.cli.prose import flowing
from testbed.errors import UsageError
from testbed.lab.choice import CONTAINER_LABS, Kind
from testbed.model.frozen import FrozenValue
from testbed.naming import instead, twice

Function = TypeVar("Function", bound=Callable[..., Any])
Given = Mapping[str, Any]  # the values of a command's parameters by name


class Effect(FrozenValue):
    """When a word has one.

    ``beside``: only where one of these is given, too.  ``unless``: not where one of these is.
    ``listed``: it is several names, each of which is said once.  ``writes``: it names a file that
    no other word of the command names.  ``later``: the command decides by what the others name.
    ``useless`` gives the reason why it has none, if it has none.
    """

    beside: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    listed: bool = False
    writes: bool = False
    later: bool = False
    useless: Callable[[Given], str | None] | None = None

    @property
    def conditional(self) -> bool:
        """Whether there are words beside which it has none."""
        return self != ALWAYS


ALWAYS = Effect()
LATER = Effect(later=True)
LISTED = Effect(listed=True)
FILE = Effect(writes=True)
NO_JSON = Effect(unless=("as_json",))
ANEW = Effect(unless=("replay",))  # a replayed cell says it itself


def beside(*names: str) -> Effect:
    """Only with one of ``names``."""
    return Effect(beside=names)


def _too_many(given: Given) -> str | None:
    docker = given.get("backend") is Kind.DOCKER
    if docker and given["jobs"] > CONTAINER_LABS:
        return f"an engine starts {CONTAINER_LABS} labs at a time"
    return None


def _not_transferred(given: Given) -> str | None:
    return None if given["workload"] == "transfer" else "only a transfer has a size"


def _named_folder(given: Given) -> str | None:
    if given["cell"] and (Path(given["cell"]) / "cell.json").is_file():
        return f"{given['cell']} is the folder of a cell"
    return None


JOBS = Effect(useless=_too_many)
NAMES_OR_ALL = Effect(listed=True, unless=("every",))
_LAB = {"profiles_dir": ALWAYS, "topology": ALWAYS, "a": LATER, "b": LATER, "number": ALWAYS}
_LINKS = ("delay", "jitter", "loss", "rate", "mtu", "link")
_OWN = {
    "stack": LATER,
    "mechanism": beside("stack"),
    "contract": beside("stack"),
    "reads": Effect(beside=("stack",), listed=True),
}

# The options of every study: `testbed.cli.options.EngineWords`.
_ENGINE = {
    **{"jobs": JOBS, "as_json": ALWAYS, "shard": ALWAYS, "out": ALWAYS, "backend": ALWAYS},
    **{"resume": ALWAYS, **dict.fromkeys(("junit", "svg", "markdown"), FILE)},
}

EFFECTS: Mapping[str, Mapping[str, Effect]] = {
    "doctor": {"as_json": ALWAYS},
    "plan": _LAB,
    "up": {**_LAB, "backend": ALWAYS},
    "labs": {"as_json": ALWAYS, "every": ALWAYS},
    "shell": {"node": ALWAYS, "lab": ALWAYS},
    "exec": {"node": ALWAYS, "command": ALWAYS, "lab": ALWAYS},
    "tcpdump": {
        **{"node": ALWAYS, "interface": ALWAYS, "write": ALWAYS, "count": ALWAYS, "lab": ALWAYS},
    },
    "wipe": {"every": ALWAYS},
    "compose render": {**_LAB, "certifiable": ALWAYS, "out": ALWAYS},
    "compose certify": {"folder": ALWAYS, "as_json": ALWAYS},
    "run": {
        **dict.fromkeys(("peer", "topology", "mode", "seed", "profiles_dir", *_LINKS), ANEW),
        **dict.fromkeys(("a", "b", "skew", "relay"), replace(ANEW, later=True)),
        "at": replace(ANEW, listed=True, later=True),
        **{"replay": ALWAYS, "out": ALWAYS, "as_json": ALWAYS, "backend": ALWAYS},
        **_OWN,
    },
    "matrix": {
        **dict.fromkeys(
            ("profiles", "peers", "select", "relay", "at"), Effect(listed=True, later=True)
        ),
        **{"pairs": LATER, "topology": ALWAYS, "shard": ALWAYS, **dict.fromkeys(_LINKS, ALWAYS)},
        **dict.fromkeys(("repeat", "controls", "certify", "seed", "out", "profiles_dir"), ALWAYS),
        **{"as_json": ALWAYS, "jobs": JOBS, "backend": ALWAYS, "resume": ALWAYS},
        "replace": ALWAYS,
        **dict.fromkeys(("junit", "svg", "markdown"), FILE),
        **_OWN,
    },
    "mesh": {
        **{"world": ALWAYS, "peer": LATER, "at": Effect(listed=True, later=True), "order": ALWAYS},
        **{"a": LATER, "b": LATER, "select": Effect(listed=True, later=True), "repeat": ALWAYS},
        **dict.fromkeys(("certify", "seed", "out", "profiles_dir", "as_json", *_LINKS), ALWAYS),
        **{"resume": ALWAYS, "replace": ALWAYS, "stack": LATER, "mechanism": beside("stack")},
        "reads": Effect(beside=("stack",), listed=True),
        **dict.fromkeys(("junit", "svg", "markdown"), FILE),
        "backend": LATER,
    },
    "explain": {
        "cell": ALWAYS,
        "packets": NO_JSON,
        "out": Effect(useless=_named_folder),
        "as_json": ALWAYS,
    },
    "autonat": {
        **{"profiles": NAMES_OR_ALL, "every": ALWAYS, "profiles_dir": ALWAYS},
        **{"client": LISTED, "server": LISTED, "topology": ALWAYS, **_ENGINE},
    },
    "life": {
        **{"scenarios": NAMES_OR_ALL, "every": ALWAYS, "peer": LISTED},
        **{"topology": Effect(unless=("scenarios", "every"))},
        **{"a": LATER, "b": LATER, "profiles_dir": beside("a", "b", "topology")},
        **{"at": Effect(listed=True, later=True)},
        **{"stack": LATER, "mechanism": beside("stack"), **_ENGINE},
        "reads": Effect(beside=("stack",), listed=True),
    },
    "study": {
        **{"name": ALWAYS, "profiles": NAMES_OR_ALL, "every": ALWAYS, "profiles_dir": ALWAYS},
        **{"repeat": ALWAYS, "seed": ALWAYS, **_ENGINE},
    },
    "odds": {"runs": ALWAYS, "seed": ALWAYS, **_ENGINE},
    "relays": {
        **{"population": LISTED, "size": LISTED, "peer": LISTED, "profiles_dir": ALWAYS},
        **{"relays": ALWAYS, "workload": ALWAYS, "repeat": ALWAYS, "seed": ALWAYS, **_ENGINE},
        **{"topology": ALWAYS, "kib": Effect(useless=_not_transferred), "limits": ALWAYS},
    },
    "merge": {
        **{"shards": LISTED, "out": ALWAYS, "differing": Effect(listed=True, later=True)},
        **{"as_json": ALWAYS, "junit": FILE, "markdown": FILE},
    },
    "kubernetes": {
        **{"image": ALWAYS, "words": LATER},
        **{"shards": ALWAYS, "name": ALWAYS, "claim": ALWAYS},
    },
    "report": {"results": ALWAYS, "html": ALWAYS},
    "compare": {
        "old": ALWAYS,
        "new": LATER,
        "select": Effect(listed=True, later=True),
        "times": LATER,
        "as_json": ALWAYS,
    },
    "golden": {"results": LISTED, "out": ALWAYS},
    "world list": {"as_json": ALWAYS},
    "world links": {"as_json": ALWAYS},
    "world check": {"files": LISTED, "profiles_dir": ALWAYS},
    "world show": {
        **{"file": ALWAYS, "profiles_dir": ALWAYS, "a": LATER, "b": LATER, "svg": FILE},
    },
    "nat list": {"as_json": ALWAYS, "profiles_dir": ALWAYS},
    "nat show": {"profile": ALWAYS, "profiles_dir": ALWAYS},
    "nat probe": {
        **{"profile": Effect(unless=("rules",)), "rules": ALWAYS, "profiles_dir": ALWAYS},
        **{"as_json": ALWAYS, "as_toml": NO_JSON, "out": beside("as_toml")},
        **dict.fromkeys(("wan", "lan"), beside("rules")),
        **dict.fromkeys(("address", "without"), Effect(beside=("rules",), listed=True)),
    },
    "nat certify": {
        **{"profiles": NAMES_OR_ALL, "every": ALWAYS, "jobs": JOBS, "markdown": ALWAYS},
        **{"as_json": ALWAYS, "backend": ALWAYS, "verbose": NO_JSON, "profiles_dir": ALWAYS},
    },
    "peer check": {"command": ALWAYS, "mechanism": LATER, "scene": LISTED, "as_json": ALWAYS},
    "build peers": {"names": LISTED, "older": ALWAYS},
    "build images": {"base": ALWAYS},
}


class App(typer.Typer):
    """A Typer whose commands are held against the table."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Function], Function]:
        """As `typer.Typer.command`; the help is the docstring, whose paragraphs flow."""

        def register(function: Function) -> Function:
            told = {"help": flowing(function)} | settings
            return super(App, self).command(name, cls=Command, **told)(function)

        return register


class Command(TyperCommand):
    """A command that does nothing before all its words are known to have an effect."""

    def make_context(self, *words: Any, **settings: Any) -> Any:
        """As typer's; a word that is none of a few gets the nearest of them."""
        try:
            return super().make_context(*words, **settings)
        except typer.BadParameter as error:
            raise _no_such_choice(self, error) or error from None

    def invoke(self, ctx: Any) -> Any:
        """UsageError for the first that has none."""
        require_effect(self, EFFECTS[_path(ctx)], ctx)
        return super().invoke(ctx)


def _no_such_choice(command: TyperCommand, error: typer.BadParameter) -> UsageError | None:
    """None where the word is wrong in another way than being none of a few."""
    cause, param = error.__cause__, error.param
    if param is None or not isinstance(cause, ValidationError):
        return None
    choices = _choices(get_type_hints(command.callback)[str(param.name)])
    said = str(cause.errors()[0]["input"])
    if not choices:
        return None
    return UsageError(f"unknown {_shown(param)} {said!r}", remedy=instead(said, choices))


def _choices(hint: Any) -> list[str]:
    """The values of the enum in a parameter's type; none if there is no enum."""
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return [one.value for one in hint]
    return [choice for part in get_args(hint) for choice in _choices(part)]


def _path(ctx: Any) -> str:
    """The command as the table has it: without the program's name."""
    above = _path(ctx.parent) if ctx.parent else None
    return "" if above is None else f"{above} {ctx.info_name}".strip()


def require_effect(command: TyperCommand, effects: Mapping[str, Effect], ctx: Any) -> None:
    """UsageError for the first word on the command line that changes nothing."""
    said = {one.name: one for one in command.params if _said(ctx, one.name)}
    names = {one.name: _shown(one) for one in command.params}
    for name in said:
        effect = effects[name]
        for reason in _reasons(effect, names, said.keys(), ctx.params):
            raise UsageError(f"{names[name]} has no effect: {reason}", remedy="leave it out")
        for fault in _faults(_items(ctx.params[name]) if effect.listed else ()):
            raise UsageError(f"{names[name]} {fault}", remedy="name each once")
    written: dict[Path, str] = {}
    for name in (name for name in said if effects[name].writes):
        path = Path(ctx.params[name]).absolute()
        if other := written.get(path):
            raise UsageError(f"{other} and {names[name]} name the same file: {path}")
        written[path] = names[name]


def require_words(app: typer.Typer, name: str, words: Sequence[str]) -> None:
    """UsageError, or typer's own error, for ``words`` that the command ``name`` would refuse."""
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    ctx = command.make_context(name, list(words))
    require_effect(command, EFFECTS[name], ctx)


def _reasons(
    effect: Effect, names: Mapping[str, str], said: Container[str], values: Given
) -> Iterator[str]:
    for other in effect.unless:
        if other in said:
            yield f"{names[other]} decides it"
    if effect.beside and not any(other in said for other in effect.beside):
        yield f"it is of {' or '.join(names[other] for other in effect.beside)}, which is not given"
    if effect.useless and (reason := effect.useless(values)):
        yield reason


def _faults(items: Sequence[str]) -> Iterator[str]:
    if "" in items:
        yield "has an empty name in it"
    if again := twice(items):
        yield f"names {again[0]!r} twice"


def _items(value: Any) -> list[str]:
    """The names in an option with commas, or in one that is repeated."""
    if isinstance(value, str):
        return [word.strip() for word in value.split(",")]
    return [str(word).rstrip("/") for word in value]


def _said(ctx: Any, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _shown(param: Any) -> str:
    """As it stands on the command line: ``--relay``, ``-a``, ``PROFILES``."""
    if param.param_type_name == "argument":
        return str(param.metavar or param.name).strip("[].").upper()
    return str(max(param.opts, key=len))
