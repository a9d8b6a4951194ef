"""Tables of a stack's folder: read, validated, and refused by file, line and key."""

import re
import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from testbed import foreign
from testbed.errors import UsageError

T = TypeVar("T", bound=BaseModel)
Key = tuple[int | str, ...]


def read_table(path: Path, kind: type[T]) -> T:
    """The file as a ``kind``; UsageError with its name, the line and the key."""
    try:
        text = foreign.read_text(path, foreign.WRITTEN)
        return kind.model_validate(tomllib.loads(text))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = tuple(part for part in first["loc"] if not _is_of_a_union(part))
        name = f"{'.'.join(map(str, key))}: " if key else ""
        raise UsageError(f"{path}:{line_of(text, key)}: {name}{first['msg']}") from error
    except ValueError as error:  # no TOML, or no UTF-8
        at = re.search(r"\(at line (\d+)", str(error))
        raise UsageError(f"{path}:{at[1] if at else 1}: {error}") from error


def _is_of_a_union(part: int | str) -> bool:
    """pydantic names the member of a union that it tried among the keys."""
    return isinstance(part, str) and ("[" in part or part == "Besides")


def line_of(text: str, key: Key) -> int:
    """The line, 1 the first, at which ``key`` stands; that of the nearest one above it."""
    lines, found = text.splitlines(), 1
    for part, index in zip(key, [*key[1:], None], strict=False):
        if isinstance(part, int):
            continue
        nth = index if isinstance(index, int) else 0
        header = re.compile(rf"\s*\[\[?[\w.]*\b{re.escape(part)}\]\]?\s*$")
        places = [n for n, line in enumerate(lines, 1) if n >= found and header.match(line)]
        if nth < len(places):
            found = places[nth]
            continue
        entry = re.compile(rf"\s*{re.escape(part)}\s*=|.*[{{,]\s*{re.escape(part)}\s*=")
        start = next((n for n, line in enumerate(lines, 1) if n >= found and entry.match(line)), 0)
        if not start:
            break
        rows = [n for n, line in enumerate(lines, 1) if n >= start and re.match(r"\s*\{", line)]
        found = rows[nth] if nth < len(rows) and lines[start - 1].rstrip().endswith("[") else start
    return found
