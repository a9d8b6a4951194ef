"""Stacks of the user's own, for one run: any command, or image, that follows a contract."""

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeGuard, get_args

from testbed.errors import UnfitError, UsageError
from testbed.model.lab import Capability, Image
from testbed.naming import instead
from testbed.stacks.programs import Program, words_of
from testbed.stacks.reading import program, seen_by_all
from testbed.stacks.registry import ADAPTERS, Adapter, Contract, add
from testbed.studies.punch.mechanisms import MECHANISMS
from testbed.studies.punch.mechanisms import mechanism as mechanism_called

IMAGE = "image:"  # before a reference that an engine knows
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


class Command(Program):
    """A program that is started by ``words``, the first of which is a file."""

    words: tuple[str, ...] = ()

    @property
    def expected(self) -> Path:
        return Path(self.words[0])

    def argv(self) -> tuple[str, ...]:
        return self.words

    def files(self) -> tuple[Path, ...]:
        """The files that its words name: not the folders that they lie in."""
        return program(self.words)


class Stranger(Command):
    """One that knows nothing of us, nor of ``--version``."""

    def version(self) -> str:
        """Which file it is."""
        with self.expected.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"


class Past(Program):
    """A stack of a run that is over; the program is not known."""

    def argv(self) -> tuple[str, ...]:
        raise UnfitError(
            f"{self.name} was a stack of your own, and which program is not known",
            remedy=f"--stack {self.name}=COMMAND --mechanism ... as it was given then",
        )


def add_stacks(
    described: Sequence[str],
    mechanism: str | None,
    contract: str = "lines",
    reads: Sequence[Path] = (),
) -> list[str]:
    """Make the stacks NAME=COMMAND or NAME=image:REFERENCE known to this process; their names.

    COMMAND is split as a shell would.  What the lab has for them is what the ``mechanism`` needs.
    ``reads`` are files and folders that their programs see besides their own.
    UsageError naming the word that does not fit.
    """
    if not described and mechanism:
        remedy = f"--stack mine=./my-peer --mechanism {mechanism}"
        raise UsageError("--stack and --mechanism go together", remedy=remedy)
    if not mechanism:
        if described:
            raise _without_mechanism(described)
        return []
    kin = replace(_like(mechanism, contract), reads=tuple(map(_readable, reads)))
    names = []
    for text in described:
        name, _, command = text.partition("=")
        if not _NAME.fullmatch(name):
            raise UsageError(f"--stack {text!r}: a name has small letters, digits and hyphens")
        entry = _entry(text, name, command, kin.contract)
        if reads and isinstance(entry, Image):
            raise UsageError(
                "--reads has no effect: an image has its own files", remedy="build them into it"
            )
        add(replace(kin, name=name, entry=entry))
        names.append(name)
    return names


def described_words(
    described: Sequence[str],
    mechanism: str | None,
    contract: str = "lines",
    reads: Sequence[Path] = (),
) -> list[str]:
    """The options by which stacks are described, to be typed again."""
    words = [word for text in described for word in ("--stack", text)]
    words += ["--mechanism", mechanism] if mechanism else []
    words += [word for path in reads for word in ("--reads", str(path))]
    return words + (["--contract", contract] if contract != "lines" else [])


def _without_mechanism(described: Sequence[str]) -> UsageError:
    """The error for the user's words, which are a part of its remedy."""
    said = shlex.join(described_words(described, None))
    known = ", ".join(MECHANISMS)
    return UsageError(
        "--stack and --mechanism go together: a stack is predicted by its mechanism",
        remedy=f"{said} --mechanism M, where M is one of: {known}",
    )


def own(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Those of ``names`` that are the user's: as much of each as it takes to read its results."""
    stacks = [ADAPTERS[name] for name in names if name in ADAPTERS]
    return {
        one.name: {"mechanism": one.mechanism, "contract": one.contract}
        for one in stacks
        if isinstance(one.entry, Command | Image | Past)
    }


def recall(stacks: Mapping[str, Mapping[str, str]]) -> None:
    """Know the stacks of a run that is over, as `own` gave them, where they are not known.

    They cannot be started: what a file says is not run.
    """
    for name, how in stacks.items():
        if name not in ADAPTERS:
            kin = _like(how["mechanism"], how["contract"])
            add(replace(kin, name=name, entry=Past(name, "you")))


def _like(mechanism: str, contract: str) -> Adapter:
    """An adapter that lacks its name and its program."""
    if not _is_contract(contract):
        remedy = instead(contract, get_args(Contract))
        raise UsageError(f"unknown contract {contract!r}", remedy=remedy)
    found = mechanism_called(mechanism, contract)
    return Adapter(
        "",
        found.name,
        found.transport,
        entry=Past("", "you"),
        needs=found.needs,
        contract=contract,
        roles=found.roles,
        # The unified contract lets entry points set routes.
        capabilities=(Capability.NET_ADMIN,) if contract == "unified" else (),
    )


def _readable(path: Path) -> Path:
    """Absolute; UsageError for one that is not there, or is seen by every program anyway."""
    if not path.exists():
        raise UsageError(f"--reads {path}: there is no such file or folder")
    if seen_by_all(path.resolve()):
        words = f"--reads {path} has no effect: every program sees it"
        raise UsageError(words, remedy="leave it out")
    return path.absolute()


def _is_contract(word: str) -> TypeGuard[Contract]:
    return word in get_args(Contract)


def _entry(text: str, name: str, command: str, contract: Contract) -> Program | Image:
    if command.startswith(IMAGE):
        reference = command.removeprefix(IMAGE)
        if not reference or reference.split() != [reference]:
            raise UsageError(f"--stack {text!r}: that names no image", remedy="mine=image:my-peer")
        return Image(reference)
    kind = Stranger if contract == "unified" else Command
    try:
        return kind(name, "you", words_of(command))
    except UsageError as error:
        raise UsageError(f"--stack {text!r}: {error.message}", remedy=error.remedy) from None
