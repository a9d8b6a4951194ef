"""Words, numbers and files of others, cleaned and bounded where they enter.

Peers under test, and folders that somebody sent, say what they like.  Nothing of it may move a
terminal's cursor, give an order to a CI's log, break a document, or keep a reader waiting.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pydantic import ValidationError

LONGEST = 4000  # characters of one remark
LATEST = 1 << 63  # nanoseconds: some 292 years
DOCUMENT = 256 << 20  # bytes of a file of words, as `results.json` of the largest matrix
WRITTEN = 1 << 20  # bytes of a file that a person writes
RECORDED = 4 << 30  # bytes of a capture

# Orders to a CI that reads a log: `::error::` at the beginning of a line, `##[error]` anywhere.
_ORDER = re.compile(r"(?m)^(\s*):(?=:)|#(?=#\[)")


def words(text: str) -> str:
    """``text`` as it may be printed: a ``?`` for each character that is no more than a command.

    Lines stay lines, and the length stays the same.
    """
    shown = "".join(c if c.isprintable() or c == "\n" else " " if c == "\t" else "?" for c in text)
    return _ORDER.sub(lambda found: f"{found[1] or ''}?", shown)


def line(text: str, longest: int = LONGEST) -> str:
    """As `words`, in one line that is not longer than so many characters."""
    shown = words(" ".join(text.split()))
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def require_within(path: Path) -> None:
    """OSError for a link that leads out of the folder that it is in."""
    home, target = os.path.realpath(path.parent), os.path.realpath(path)
    if path.is_symlink() and os.path.commonpath((home, target)) != home:
        raise OSError(errno.ELOOP, "a link that leads out of its folder", str(path))


@contextmanager
def opened(path: Path, most: int = DOCUMENT, *, named: bool = False) -> Iterator[BinaryIO]:
    """A regular file of no more than ``most`` bytes, to be read; OSError for anything else.

    Nothing waits for somebody to write into a pipe, and no device is read.  Unless it is the
    user who ``named`` the file, no link is followed that leads out of its folder: a folder
    that somebody sent shows nothing of this machine.
    """
    if not named:
        require_within(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if found.st_size > most:
            raise OSError(errno.EFBIG, f"larger than {most} bytes", str(path))
        yield file


def read_bytes(path: Path, most: int = DOCUMENT, *, named: bool = False) -> bytes:
    """What is in a file that `opened` takes; errors as there."""
    with opened(path, most, named=named) as file:
        return file.read()


def read_text(path: Path, most: int = DOCUMENT, *, named: bool = False) -> str:
    """As `read_bytes`, with lines that end with LF alone.

    UnicodeDecodeError, which is a ValueError, for what is not UTF-8.
    """
    text = read_bytes(path, most, named=named).decode("utf-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def complaint(error: "ValidationError") -> str:
    """The first field that does not fit: ``results[3].judgement: ...``."""
    first, count = error.errors(include_url=False)[0], error.error_count()
    place = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in first["loc"])
    words = first["msg"].removeprefix("Value error, ")
    given = first["input"]
    found = f", not {given!r:.60}" if given is None or isinstance(given, str | int | float) else ""
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"{place.lstrip('.') or 'the whole'}: {words}{found}{more}"
