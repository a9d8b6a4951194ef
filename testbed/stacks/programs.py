"""Peers that are programs of their own: where they were built, and how to build them.

A program NAME is the executable ``NAME/NAME`` in the folder that the environment variable
TESTBED_PEERS names, else in ``peers`` of `testbed.places.built`, where ``testbed build peers``
puts it: ``out/peers`` in a clone, and a folder in the user's home otherwise.
It speaks `testbed.model.contract` on its standard streams and takes no argument but
``--version``, which prints one line.
"""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

from testbed import foreign, places
from testbed.errors import UnfitError, UsageError
from testbed.model.frozen import FrozenValue
from testbed.stacks.reading import program

VARIABLE = "TESTBED_PEERS"
PATIENCE = 5.0  # seconds for a program to say its version


def folder() -> Path:
    """Where programs are looked for, and put when they are built."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else places.built() / "peers"


class Program(FrozenValue):
    """A peer's executable; ``toolchain`` is what building it takes, in words."""

    name: str
    toolchain: str

    @property
    def expected(self) -> Path:
        """Where it is looked for, absolute."""
        return (folder() / self.name / self.name).absolute()

    @property
    def path(self) -> Path | None:
        """The executable, if it was built."""
        found = self.expected
        return found if found.is_file() and os.access(found, os.X_OK) else None

    def argv(self) -> tuple[str, ...]:
        """Its argument vector; UnfitError, with the way to build it, if it is not built."""
        if self.path is None:
            raise UnfitError(
                f"the peer {self.name} is not built: there is no program {self.expected}",
                remedy=f"testbed build peers, which takes {self.toolchain}; or set {VARIABLE}",
            )
        return (str(self.path),)

    def files(self) -> tuple[Path, ...]:
        """What it takes to run it, besides the system: its folder, and what it is linked to."""
        return (self.expected.parent, *program(self.argv()))

    def version(self) -> str:
        """What it says of itself; "absent" if it is not built or says nothing."""
        try:
            done = subprocess.run(
                [*self.argv(), "--version"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=PATIENCE,
                check=True,
            )
            return foreign.line(done.stdout.strip().splitlines()[0])
        except (UnfitError, OSError, subprocess.SubprocessError, IndexError):
            return "absent"


def words_of(command: str) -> tuple[str, ...]:
    """``command`` as a shell would split it; its first word is the whole path of a program.

    UsageError, with what may have been meant, if there is no such program.
    """
    try:
        first, *rest = shlex.split(command)
    except ValueError:
        raise UsageError("that is no command", remedy="name a program: ./my-peer") from None
    found = shutil.which(first)
    if found is None:
        raise UsageError(f"there is no program {first} that may be executed", remedy=_meant(first))
    return (str(Path(found).absolute()), *rest)


def _meant(first: str) -> str:
    """What to write instead of a word that is no program."""
    file = Path(first)
    if not file.is_file():
        return "name one that is in PATH, or the path of one: ./my-peer"
    here = first if os.sep in first else f"./{first}"
    if os.access(file, os.X_OK):
        return f"did you mean {here}?"
    return f"chmod +x {here}, or name its interpreter in quotes: 'python3 {here}'"
