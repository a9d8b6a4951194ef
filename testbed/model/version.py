"""Which version of a stack was built."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Built:
    """A stack in one version, as its program says it is."""

    stack: str
    version: str
