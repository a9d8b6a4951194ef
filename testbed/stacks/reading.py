"""Which files a program takes, besides those of the system: what it is shown of the machine."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from testbed import places
from testbed.model.lab import SYSTEM

_FIRST_LINE = 4096  # bytes, of a script


def seen_by_all(path: Path) -> bool:
    """Whether it is of the system, which all programs see."""
    return any(path.is_relative_to(name) for name in SYSTEM)


def program(words: Sequence[str]) -> tuple[Path, ...]:
    """The files that the words of a command name, absolute, and the interpreters that they take."""
    found: dict[Path, None] = {}
    for word in words:
        path = Path(word)
        if _is_file(path):
            found |= dict.fromkeys(_with_links(path.absolute()))
    for path in list(found):
        for one in _interpreters(path):
            found |= dict.fromkeys(_with_links(one))
    for path in list(found):
        if os.access(path, os.X_OK):
            found |= dict.fromkeys(_installation(path))
    return tuple(found)


@cache
def interpreter() -> tuple[Path, ...]:
    """This Python, its packages and this one: for a stack of ours, which may still import.

    Of a clone only the package is shown, and nothing of the folder that one happens to be in.
    """
    script = getattr(sys.modules["__main__"], "__file__", None)  # whose folder is a part of path
    hidden = [places.PACKAGE.parent, Path.cwd(), Path.home(), Path(script or "/").absolute().parent]
    own = {Path(one).absolute() for one in (sys.prefix, *sys.path) if one}
    shown = {one for one in own if not any(other.is_relative_to(one) for other in hidden)}
    shown.add(Path(sys.prefix))  # of which a script may be, as ours is
    return (places.PACKAGE, *sorted(shown), *_installation(Path(sys.executable).resolve()))


def _is_file(path: Path) -> bool:
    """A word may be as long as a script, and no path at all."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _with_links(path: Path) -> Iterator[Path]:
    """A file, and every one that it is a link to."""
    for _ in range(40):  # as many as the kernel follows
        yield path
        if not path.is_symlink():
            break
        path = Path(os.path.normpath(path.parent / path.readlink()))
    yield path.resolve()


def _interpreters(path: Path) -> Iterator[Path]:
    """What the first line of a script names; of ``env NAME``, the program of that name."""
    try:
        with path.open("rb") as file:
            line = file.readline(_FIRST_LINE)
    except PermissionError:  # a program that may be executed alone
        return
    if not line.startswith(b"#!"):
        return
    for word in line[2:].decode(errors="replace").split():
        found = shutil.which(word)
        if found is not None:
            yield Path(found).absolute()


def _installation(path: Path) -> Iterator[Path]:
    """Where a program in a folder ``bin`` keeps its libraries; a whole venv of Python's."""
    prefix = path.parent.parent
    if path.parent.name != "bin" or prefix == prefix.parent:
        return
    if (prefix / "pyvenv.cfg").is_file():
        yield prefix
    elif (prefix / "lib").is_dir():
        yield prefix / "lib"
