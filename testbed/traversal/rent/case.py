"""All that is known to have been signed about one contract."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ..errors import ProtocolError
from .contract import Deal
from .signed import Signed
from .statements import Claim, Count, Receipt, Redemption


@dataclass(frozen=True)
class Point:
    """What a counter stood at, when, by whose word; `final`: it stays there."""

    at: int
    value: int
    final: bool
    by: Signed[Any]

    def after(self, moment: int) -> bool:
        """Whether it tells of a time not before this, or of all times."""
        return self.final or self.at >= moment


@dataclass(frozen=True)
class Way:
    """One direction: what was given to the relay, what came out, what the relay says did."""

    given: tuple[Point, ...]
    arrived: tuple[Point, ...]
    claimed: tuple[Point, ...]


@dataclass
class Case:
    """The statements on one deal.  Counts within claims are among `counts`."""

    deal: Deal
    contract: Signed[Any]
    receipts: list[Signed[Receipt]] = field(default_factory=list)
    counts: list[Signed[Count]] = field(default_factory=list)
    claims: list[Signed[Claim]] = field(default_factory=list)
    redemptions: list[Signed[Redemption]] = field(default_factory=list)

    @property
    def paid(self) -> Signed[Receipt] | None:
        """The payer's receipt that is worth most."""
        own = self.own_receipts()
        return max(own, key=lambda r: self.cost(r.value), default=None)

    def cost(self, receipt: Receipt) -> int:
        """What a receipt comes to, within the budget."""
        cost = self.deal.terms.cost(receipt.total, receipt.seconds)
        return min(cost, self.deal.contract.budget)

    def own_receipts(self) -> list[Signed[Receipt]]:
        """Those that the payer signed, in its order."""
        return sorted(
            (r for r in self.receipts if r.signer == self.deal.payer), key=lambda r: r.value.seq
        )

    def own_counts(self) -> list[Signed[Count]]:
        """Those that the target signed, in its order."""
        found = {c.data: c for c in [*self.counts, *self._passed_on()]}
        own = (c for c in found.values() if c.signer == self.deal.target)
        return sorted(own, key=lambda c: c.value.seq)

    def own_claims(self) -> list[Signed[Claim]]:
        """Those that the relay signed, in its order."""
        return sorted(
            (c for c in self.claims if c.signer == self.deal.relay), key=lambda c: c.value.seq
        )

    def ways(self) -> tuple[Way, Way]:
        """Up and down."""
        receipts, counts, claims = self.own_receipts(), self.own_counts(), self.own_claims()
        offered, got = _points(receipts, "offered"), _points(receipts, "got")
        received, sent = _points(counts, "received"), _points(counts, "sent")
        return (
            Way(offered, received, _points(claims, "up")),
            Way(sent, got, _points(claims, "down")),
        )

    def _passed_on(self) -> Iterator[Signed[Count]]:
        for claim in self.own_claims():
            if (count := count_within(claim)) is not None:
                yield count


def count_within(claim: Signed[Claim]) -> Signed[Count] | None:
    """The count of this contract that a claim passes on, if its signature holds."""
    count = _opened(claim.value.count)
    return count if count is not None and count.value.contract == claim.value.contract else None


@lru_cache(maxsize=1024)
def _opened(data: bytes) -> Signed[Count] | None:
    """A judge asks again and again, and a signature costs a tenth of a millisecond."""
    try:
        return Count.open(data)
    except ProtocolError:
        return None


def _points(statements: list[Any], name: str) -> tuple[Point, ...]:
    return tuple(
        Point(s.value.at, getattr(s.value, name), bool(getattr(s.value, "final", 0)), s)
        for s in statements
    )
