"""A statement of the tests' own, whose sentence is its text."""

from typing import cast

from testbed.model.statement import Statement
from testbed.words import explanations


class Told(Statement):
    """What a test has to say."""

    text: str
    packets: frozenset[int] = frozenset()  # that the text names

    @property
    def names(self) -> frozenset[int]:
        return self.packets


cast("dict[type[Statement], str]", explanations.WORDS)[Told] = "{text}"
