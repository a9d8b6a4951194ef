"""What a circuit carried that its dialer paid for, by the receipt and by the packets."""

from testbed.model.frozen import FrozenValue


class Carriage(FrozenValue):
    """A contract on one circuit.  Bytes are the circuit's own: `up` from the payer to the target.

    ``seen_up`` and ``seen_down`` are what the packets show that both ends had; None where they
    could not be opened.  ``packets`` and ``size`` are all that the payer's connection to the relay
    took, headers of IP included.
    """

    contract: str  # its digest, in hex
    relay: str  # peer id
    up: int  # of the receipt
    down: int
    cost: int  # units
    seen_up: int | None
    seen_down: int | None
    packets: int
    size: int

    @property
    def agrees(self) -> bool:
        """Whether the receipt is for what passed, to the byte."""
        return (self.up, self.down) == (self.seen_up, self.seen_down)

    @property
    def exceeds(self) -> bool:
        """Whether it is for more than the packets show: no circuit that was cut short is that."""
        if self.seen_up is None or self.seen_down is None:
            return False
        return self.up > self.seen_up or self.down > self.seen_down


class Proven(FrozenValue):
    """A cheat that the signed statements prove, in the words of who signed them."""

    cheat: str
    accused: str  # peer id
    contract: str
