"""A stack of the user's own, for one run: any command that speaks `testbed.peers.contract`."""

import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from testbed.errors import UsageError
from testbed.peers.adapter import ADAPTERS, add
from testbed.peers.programs import Program

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True)
class Command(Program):
    """A program that is started by ``words``, the first of which is a file."""

    words: tuple[str, ...] = ()

    @property
    def expected(self) -> Path:
        return Path(self.words[0])

    def argv(self) -> tuple[str, ...]:
        return self.words


def add_stacks(described: Sequence[str], mechanism: str | None) -> list[str]:
    """Make the stacks NAME=COMMAND known to this process; their names.

    COMMAND is split as a shell would.  What the lab has for them is what our first stack of that
    ``mechanism`` needs.  UsageError naming the word that does not fit.
    """
    if bool(described) != bool(mechanism):
        raise UsageError(
            "--stack and --mechanism go together",
            remedy="--stack mine=./my-peer --mechanism dcutr_quic",
        )
    kin = next((one for one in ADAPTERS.values() if one.mechanism == mechanism), None)
    if described and kin is None:
        known = dict.fromkeys(one.mechanism for one in ADAPTERS.values())
        raise UsageError(f"unknown mechanism {mechanism!r}", remedy=f"one of: {', '.join(known)}")
    names = []
    for text in described:
        name, _, command = text.partition("=")
        if not _NAME.fullmatch(name):
            raise UsageError(f"--stack {text!r}: a name has small letters, digits and hyphens")
        entry = Command(name, "you", _words(text, command))
        assert kin is not None
        add(replace(kin, name=name, entry=entry))
        names.append(name)
    return names


def _words(text: str, command: str) -> tuple[str, ...]:
    try:
        first, *rest = shlex.split(command)
    except ValueError:
        raise UsageError(
            f"--stack {text!r}: that is no command", remedy="--stack mine=./my-peer"
        ) from None
    found = shutil.which(first)
    if found is None:
        raise UsageError(f"--stack {text!r}: there is no program {first}")
    return (str(Path(found).absolute()), *rest)
