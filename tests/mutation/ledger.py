"""What earlier runs found of mutants, line by line in a file, and what of it still holds."""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mutation.mutants import Mutant
from mutation.trial import ALIVE, Fate


@dataclass(frozen=True)
class End:
    """How a mutant ended, and by which test; ``test`` is "" where none was even started."""

    fate: Fate
    test: str = ""


def digest(files: Iterable[Path]) -> str:
    """Of the names and the contents of ``files``."""
    found = hashlib.sha256()
    for file in sorted(files):
        found.update(f"{file}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()[:16]


def program(rooms: Sequence[str]) -> str:
    """The digest of all modules of the packages that ``rooms`` are in."""
    packages = {Path(room).parts[0] for room in rooms}
    return digest(file for package in packages for file in Path(package).rglob("*.py"))


class Ledger:
    """A file of ends, each with the digests of what it was found with.

    A death holds as long as the program and the file of the test that noticed it are the same, a
    survival as long as all tests are: a new one may notice.
    """

    def __init__(self, file: Path, rooms: Sequence[str]) -> None:
        self._file = file
        self._program = program(rooms)
        self._tests = digest(Path("tests/unit").rglob("*.py"))
        self._ends: dict[str, End] = {}
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            row = json.loads(line)
            end = End(Fate(row["fate"]), row["test"])
            if (row["program"], row["digest"]) == (self._program, self._digest(end)):
                self._ends[row["mutant"]] = end

    def end(self, mutant: Mutant) -> End | None:
        """How ``mutant`` ended, where that still holds."""
        return self._ends.get(_name(mutant))

    def add(self, mutant: Mutant, end: End) -> None:
        """Keep it, in the file as well: an interrupt takes nothing back."""
        self._ends[_name(mutant)] = end
        row = {"mutant": _name(mutant), **asdict(end), "program": self._program}
        with self._file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(row | {"digest": self._digest(end)}) + "\n")

    def forget(self, tests: Collection[str]) -> None:
        """Whatever ``tests`` noticed is open again."""
        self._ends = {name: end for name, end in self._ends.items() if end.test not in tests}

    def _digest(self, end: End) -> str:
        if end.fate in ALIVE:
            return self._tests
        file = Path(end.test.partition("::")[0])
        return digest([file] if file.is_file() else [])


def _name(mutant: Mutant) -> str:
    return json.dumps(asdict(mutant))
