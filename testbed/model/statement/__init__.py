"""What an explanation states: a value for each thing that can be said of a run.

`testbed/words/statements/` has the sentence of each.
"""

from enum import StrEnum

from testbed.model.frozen import FrozenValue


class Statement(FrozenValue):
    """One thing that is so.  Its fields are all that its sentence tells."""

    @property
    def names(self) -> frozenset[int]:
        """The numbers of the packets that the sentence itself names."""
        return frozenset()


class Stop(StrEnum):
    """What a router did with a packet that it did not let pass."""

    RESET = "reset"  # answered with a RST
    ICMP = "icmp"  # answered with an ICMP error
    TAKEN = "taken"  # by its own kernel
    DROPPED = "dropped"


class At(Statement):
    """When it happened, in milliseconds since the start of the run."""

    what: Statement
    at_ms: float


class Both(Statement):
    """Two things that only together are the cause."""

    first: Statement
    second: Statement
