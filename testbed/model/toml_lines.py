"""Which line of a TOML file says a key."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

_WORD = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_WORD}(?:\s*\.\s*{_WORD})*"
_HEADER = re.compile(r"\s*(\[+)\s*([^\]]+?)\s*\]")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")
_INLINE = re.compile(rf"[{{,]\s*({_DOTTED})\s*=")
_PART = re.compile(_WORD)

Place = tuple[str, ...]


def written(text: str) -> dict[Place, int]:
    """The line, the first is 1, of each table and of each key that is written out.

    The tables of an array, ``[[events]]`` or one inline table a line, have their number behind
    their name, from 0.
    """
    found: dict[Place, int] = {}
    for number, place in _places(text):
        found.setdefault(place, number)
    return found


def line_of(text: str, where: Sequence[str | int]) -> int:
    """The line of the key ``where``, or of the nearest table around it that is written out.

    It is 1 where nothing of ``where`` is written out.
    """
    found, place = written(text), tuple(map(str, where))
    above = (place[:length] for length in range(len(place), 0, -1))
    return next((found[one] for one in above if one in found), 1)


def broken_at(text: str, error: Exception) -> int:
    """The line at which ``tomllib`` gave up with ``error``: the last where it names none."""
    at = re.search(r"\(at line (\d+)", str(error))
    return int(at[1]) if at else max(1, len(text.splitlines()))


def _places(text: str) -> Iterator[tuple[int, Place]]:
    table, array, rows = Place(), Place(), Counter[Place]()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table, array = _parts(header[2]), ()
            if header[1] == "[[":
                rows[table] += 1
                table = (*table, str(rows[table] - 1))
            here = table
        elif key := _KEY.match(line):
            here = (*table, *_parts(key[1]))
            array = here if line.rstrip().endswith("[") else ()
        elif array and line.lstrip().startswith("{"):
            rows[array] += 1
            here = (*array, str(rows[array] - 1))
        else:
            continue
        yield number, here
        for inline in _INLINE.finditer(line):
            yield number, (*here, *_parts(inline[1]))


def _parts(dotted: str) -> Place:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))
