"""Which version of a stack was built."""

from testbed.model.frozen import FrozenValue


class Built(FrozenValue):
    """A stack in one version, as its program says it is."""

    stack: str
    version: str


class Foreknown(FrozenValue):
    """Of an end that accepts no nonce: what it echoes may have been known before."""

    node: str
