"""How the sentence of a statement is written down: a text with its fields, or a function."""

from collections.abc import Callable, Mapping
from typing import Any

from testbed.model.statement import Statement

# A text has the names of the statement's fields in braces.  Of a field that is a statement
# itself, the sentence is put there; of several values all, with commas.
Words = Mapping[type[Statement], str | Callable[[Any], str]]


def because(reason: str | None) -> str:
    """The end of a sentence that gives somebody else's words for it."""
    return "" if reason is None else f": {reason}"
