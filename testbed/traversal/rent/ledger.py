"""Where receipts become money: the interface that a chain, a bank or `sqlite.py` stands behind."""

from dataclasses import dataclass
from typing import Protocol

from ..errors import TraversalError
from ..peer_id import PeerId
from .contract import Deal


class LedgerRefusedError(TraversalError):
    """The ledger does not do it, and has changed nothing."""


@dataclass(frozen=True)
class Paid:
    """What a redemption brought; 0 where all was paid before."""

    relay: PeerId
    payer: PeerId
    amount: int


class Ledger(Protocol):
    """Accounts by peer, and money that is held for contracts.  Times are UNIX milliseconds.

    Each call is done whole or not at all.  Raises LedgerRefusedError.
    """

    def hold(self, deal: Deal, now: int) -> None:
        """Set the contract's budget aside from the payer's account.

        A serial that the payer used for another contract is refused, as is more than it has; the
        same contract again changes nothing.
        """

    def redeem(self, data: bytes, now: int) -> Paid:
        """Pay what a signed redemption's receipt comes to beyond what was paid on it before."""

    def release(self, now: int) -> int:
        """Give back to the payers what is left of contracts that ran out; returns the sum."""

    def balance(self, peer: PeerId) -> int:
        """What a peer may spend."""
