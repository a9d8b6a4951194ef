"""Packets that were too long for a link, which told nobody, or told it in vain."""

from testbed.model.statement import Statement


class Vanished(Statement):
    """A packet left a vantage, and the link behind it loses what is so long."""

    node: str  # whose it is
    vantage: str
    length: int
    largest: int


class Unheeded(Statement):
    """A router refused a packet for its length and said so, and none that is shorter followed."""

    node: str  # whose it is
    router: str
    length: int
    mtu: int


class EchoVanished(Statement):
    """Peers are connected, and what they say in longer packets does not come through."""

    relayed: bool
    vanished: Vanished
