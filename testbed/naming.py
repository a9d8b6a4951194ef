"""What to say about a name that nobody knows: the nearest ones, or all that there are."""

from collections import Counter
from collections.abc import Iterable
from difflib import get_close_matches

NEAR = 3  # names that are offered
MANY = 40  # names: more than these are not listed
_ALIKE = 0.65  # of 1: difflib's ratio, below which two names are no slip of a key


def nearest(word: str, known: Iterable[str]) -> list[str]:
    """Those of ``known`` that ``word`` may have meant, the likeliest first; perhaps none.

    Alike are names that differ by a few letters, and those that ``word`` begins or is part of.
    """
    by_fold = {name.casefold(): name for name in dict.fromkeys(known)}
    folded = word.casefold()
    alike = get_close_matches(folded, by_fold, NEAR, _ALIKE)
    if len(folded) > 1:
        holding = [name for name in by_fold if folded in name]
        alike += sorted(holding, key=lambda name: (not name.startswith(folded), len(name)))
    return [by_fold[name] for name in dict.fromkeys(alike)][:NEAR]


def instead(word: str, known: Iterable[str], where: str = "") -> str:
    """The remedy for ``word``: a question with the nearest names, else the list of all.

    ``where`` the names can be seen, as a command, stands for a list that is too long; without
    it that begins with some.
    """
    names = list(dict.fromkeys(known))
    if near := nearest(word, names):
        return either(near)
    if len(names) > MANY:
        return f"see `{where}`" if where else f"one of: {', '.join(names[:NEAR])}, ..."
    return f"one of: {', '.join(names)}"


def twice(words: Iterable[str]) -> list[str]:
    """Those that are there more than once, in order."""
    return [word for word, count in Counter(words).items() if count > 1]


def either(names: list[str]) -> str:
    """Was it one of these?"""
    *first, last = names
    return f"did you mean {', '.join(first)} or {last}?" if first else f"did you mean {last}?"
