"""Tables of a stack's folder: read, validated, and refused by file, line and key."""

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from testbed import foreign
from testbed.errors import UsageError
from testbed.model.toml_lines import broken_at, line_of

T = TypeVar("T", bound=BaseModel)


def read_table(path: Path, kind: type[T]) -> T:
    """The file as a ``kind``; UsageError with its name, the line and the key."""
    text = ""
    try:
        text = foreign.read_text(path, foreign.WRITTEN, named=True)
        return kind.model_validate(tomllib.loads(text))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = tuple(part for part in first["loc"] if not _is_of_a_union(part))
        name = f"{'.'.join(map(str, key))}: " if key else ""
        raise UsageError(f"{path}:{line_of(text, key)}: {name}{first['msg']}") from error
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, or too deep
        raise UsageError(f"{path}:{broken_at(text, error)}: {error}") from error


def _is_of_a_union(part: int | str) -> bool:
    """pydantic names the member of a union that it tried among the keys."""
    return isinstance(part, str) and ("[" in part or part == "Besides")
