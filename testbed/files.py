"""Files that a run writes: refused beforehand where they cannot be, and never left half."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from testbed.errors import TestbedError, UsageError


def require_writable(*paths: Path | None) -> None:
    """Refuse, before a run, files that could not be written after it; makes their folders.

    None stands for a file that nobody asked for.  UsageError naming the path.
    """
    for path in paths:
        if path is None:
            continue
        require_utf8(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            new = not path.exists()
            path.open("ab").close()
            if new:
                path.unlink()
        except OSError as error:
            reason = f"{path} cannot be written: {error.strerror}"
            raise UsageError(reason, remedy="choose another folder") from error


def require_utf8(path: Path) -> None:
    """UsageError if results, which are UTF-8 and name their folders, could not name ``path``."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise UsageError(
            f"{shown}: that name is not UTF-8, and no result could tell it",
            remedy="choose another folder, or rename it",
        ) from None


def write_text(path: Path, text: str) -> None:
    """Write ``text``; TestbedError, with the remedy, where the disk does not take it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        reason = f"{path} was not written: {error.strerror}"
        remedy = "make room there or choose another folder, and run again"
        raise TestbedError(reason, remedy=remedy) from error


def json_text(value: Any) -> str:
    """``value`` as JSON in lines, as files of a run have it.

    The standard library indents in Python, at ten times the cost: a cell has five such files.
    """
    return to_json(value, indent=2).decode() + "\n"


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write whole or not at all: a reader never sees half a file."""
    draft = path.with_name(path.name + ".part")
    try:
        write_text(draft, json_text(value))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
