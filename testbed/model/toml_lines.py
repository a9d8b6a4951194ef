"""Which line of a TOML file says a key."""

import re
from collections import Counter
from collections.abc import Sequence

_HEADER = re.compile(r"\s*(\[+)\s*([^\]]+?)\s*\]")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")


def line_of(text: str, where: Sequence[str]) -> int:
    """The line of the key ``where``, or of the nearest table around it that is written out.

    The first line is 1, which is also the answer where nothing of ``where`` is written out.
    The tables of an array, ``[[events]]``, have their number behind their name, from 0.
    """
    best, depth, table = 1, 0, ()  # type: tuple[int, int, tuple[str, ...]]
    arrays: Counter[tuple[str, ...]] = Counter()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            here = table = _parts(header[2])
            if header[1] == "[[":
                here = table = (*table, str(arrays[table]))
                arrays[table[:-1]] += 1
        elif key := _KEY.match(line):
            here = (*table, *_parts(key[1]))
        else:
            continue
        if len(here) > depth and here == tuple(where[: len(here)]):
            best, depth = number, len(here)
    return best


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))
