"""Packets that were too long for a link, which told nobody."""

from testbed.model.statement import Statement


class Vanished(Statement):
    """A packet left a vantage, and the link behind it loses what is so long."""

    node: str  # whose it is
    vantage: str
    length: int
    largest: int


class EchoVanished(Statement):
    """Peers are connected, and what they say in longer packets does not come through."""

    relayed: bool
    vanished: Vanished
