"""The three parties of a rented circuit: bytes counted and time in, statements in and out.

Times are UNIX milliseconds.  Nothing here waits or sends: `aio/rent_*.py` do.
"""

from dataclasses import dataclass

from ..errors import ProtocolError
from .audit import judge
from .case import Case, count_within
from .cheats import Cheat, CheatError, Finding
from .contract import MIB, Contract, Deal
from .signed import S, Signed
from .statements import Claim, Count, Receipt

_KEPT = 64  # statements of each kind that are kept to be judged: the first half, and the last


@dataclass
class Tab:
    """Bytes that one payer owes one relay, over all of its circuits, those that ended included."""

    unpaid: int = 0


class RelayMeter:
    """The relay's books on one circuit.

    The caller stores what `check_receipt` gives before it calls `credit`: so no crash loses more
    than the credit.
    """

    def __init__(self, deal: Deal, tab: Tab, now: int) -> None:
        self.deal, self.tab, self.began = deal, tab, now
        self.case = Case(deal, Contract.open(deal.data))
        self.up = self.down = 0  # that left the relay
        self.paid: Signed[Receipt] | None = None
        self._owed = 0
        self._count: Signed[Count] | None = None
        self._claim: Claim | None = None
        self._due_since: int | None = None
        self._stalled_since: int | None = None

    @property
    def unpaid(self) -> int:
        """Bytes of this circuit for which there is no receipt."""
        return self._owed

    @property
    def total(self) -> int:
        """Bytes carried, both ways."""
        return self.up + self.down

    def may_pass(self, now: int) -> int:
        """Bytes that may pass now; at 0 a receipt must come first, or the contract has ended."""
        terms, contract = self.deal.terms, self.deal.contract
        if self.unpaid_seconds(now) > terms.credit_seconds or now >= contract.expires:
            return 0
        left = terms.credit - self.tab.unpaid
        if terms.data:
            left = min(left, terms.data - self.total)
        if terms.price_mib:
            money = contract.budget - terms.cost(0, self._seconds(now) + terms.credit_seconds)
            left = min(left, money * MIB // terms.price_mib - self.total)
        return max(left, 0)

    def exhausted(self, now: int) -> bool:
        """Whether no receipt can make more bytes pass."""
        terms, tab = self.deal.terms, self.tab
        waits = tab.unpaid >= terms.credit or self.unpaid_seconds(now) > terms.credit_seconds
        return not self.may_pass(now) and not waits

    def passed(self, *, up: int = 0, down: int = 0) -> None:
        """Bytes leave the relay: at most what `may_pass` allowed."""
        self.up += up
        self.down += down
        self._owed += up + down
        self.tab.unpaid += up + down

    def unpaid_seconds(self, now: int) -> int:
        """Time beyond the last receipt; 0 where it has no price."""
        if not self.deal.terms.price_minute:
            return 0
        return self._seconds(now) - (self.paid.value.seconds if self.paid else 0)

    def check_receipt(self, data: bytes) -> Signed[Receipt]:
        """A receipt that is worth more than the last.  Raises CheatError."""
        try:
            receipt = Receipt.open(data)
        except ProtocolError as error:
            raise CheatError(Cheat.FORGES, str(error)) from error
        value, deal = receipt.value, self.deal
        if receipt.signer != deal.payer:
            raise CheatError(Cheat.FORGES, "a receipt that the payer did not sign")
        if value.contract != deal.id:
            raise CheatError(Cheat.PAYS_TWICE, "a receipt of another contract")
        if deal.terms.cost(value.total, value.seconds) > deal.contract.budget:
            raise CheatError(Cheat.BEYOND_CREDIT, "a receipt beyond the contract's budget")
        if self.paid is not None:
            last = self.paid.value
            if value.seq <= last.seq:
                raise CheatError(Cheat.PAYS_TWICE, "a receipt that was here before")
            if any(getattr(value, n) < getattr(last, n) for n in ("up", "down", "seconds")):
                raise CheatError(Cheat.CONTRADICTS, "a receipt for less than the last")
        return receipt

    def credit(self, receipt: Signed[Receipt]) -> None:
        """Lend anew what a stored receipt pays."""
        before = self.paid.value.total if self.paid else 0
        self.paid = receipt
        _keep(self.case.receipts, receipt)
        paid = min(receipt.value.total - before, self._owed)
        self._owed -= paid
        self.tab.unpaid -= paid
        self._due_since = self._stalled_since = None

    def take_count(self, data: bytes) -> None:
        """The target's count.  Raises ProtocolError: what is no newer count of its own."""
        count = Count.open(data)
        if count.signer != self.deal.target or count.value.contract != self.deal.id:
            raise ProtocolError("count", "not the target's on this contract")
        if self._count is not None and count.value.seq <= self._count.value.seq:
            raise ProtocolError("count", "older than the last")
        self._count = count
        _keep(self.case.counts, count)

    @property
    def counted_all(self) -> bool:
        """Whether the target has said its last."""
        return self._count is not None and bool(self._count.value.final)

    def claim(self, now: int, waiting_up: int = 0, waiting_down: int = 0) -> Claim:
        """What to sign now; `waiting` is of what passed that is not known to have arrived."""
        last = self._claim
        up, down = max(self.up - waiting_up, 0), max(self.down - waiting_down, 0)
        # What the ends themselves say that they have has arrived.
        if self._count is not None:
            up = max(up, min(self.up, self._count.value.received))
        if self.paid is not None:
            down = max(down, min(self.down, self.paid.value.got))
        if last is not None:
            up, down, now = max(up, last.up), max(down, last.down), max(now, last.at)
        data = self._count.data if self._count else b""
        self._claim = Claim(self.deal.id, last.seq + 1 if last else 1, now, up, down, data)
        return self._claim

    def claimed(self, claim: Signed[Claim]) -> None:
        """A claim was sent: from here on the payer knows what it owes."""
        _keep(self.case.claims, claim)
        paid = self.paid.value.total if self.paid else 0
        if self._confirmed(claim.value) - paid < self.deal.terms.every:
            self._due_since = None
        elif self._due_since is None:
            self._due_since = claim.value.at

    def overdue(self, now: int) -> Cheat | None:
        """Whether the payer owes a receipt longer than it may."""
        terms = self.deal.terms
        if self._due_since is not None and now >= self._due_since + terms.patience:
            full = self.tab.unpaid >= terms.credit
            return Cheat.BEYOND_CREDIT if full else Cheat.DOES_NOT_PAY
        if self.tab.unpaid < terms.credit:
            self._stalled_since = None
        elif self._stalled_since is None:
            self._stalled_since = now
        elif now >= self._stalled_since + 2 * terms.patience:
            return Cheat.BEYOND_CREDIT
        late = self.unpaid_seconds(now) > terms.credit_seconds
        return Cheat.DOES_NOT_PAY if late else None

    def _confirmed(self, claim: Claim) -> int:
        if self._count is None:
            return 0
        count = self._count.value
        return min(claim.up, count.received) + min(claim.down, count.sent)

    def _seconds(self, now: int) -> int:
        return max(now - self.began, 0) // 1000


class PayerMeter:
    """What a payer saw, and so what it may sign: never more, and never more than was confirmed."""

    def __init__(self, deal: Deal, now: int) -> None:
        self.deal, self.began = deal, now
        self.case = Case(deal, Contract.open(deal.data))
        self.offered = self.got = 0
        self.last: Receipt | None = None
        self.final = False
        self._claim: Signed[Claim] | None = None
        self._count: Signed[Count] | None = None
        self._heard_at = now  # when the target's word last came

    def take_claim(self, data: bytes, now: int) -> None:
        """The relay's claim.  Raises CheatError, ProtocolError: it is to be left."""
        claim = Claim.open(data)
        value = claim.value
        if claim.signer != self.deal.relay or value.contract != self.deal.id:
            raise ProtocolError("claim", "not the relay's on this contract")
        _keep(self.case.claims, claim)
        if self._claim is not None and value.seq <= self._claim.value.seq:
            raise CheatError(Cheat.CONTRADICTS, "a claim out of its order")
        self._claim = claim
        if value.up > self.offered:
            raise CheatError(Cheat.INFLATES, f"{value.up} bytes of {self.offered} offered")
        if value.count:
            self._take_count(claim, now)

    def _take_count(self, claim: Signed[Claim], now: int) -> None:
        count = count_within(claim)
        if count is None:
            raise CheatError(Cheat.FORGES, "a count that nobody signed on this contract")
        if count.signer != self.deal.target:
            raise CheatError(Cheat.FORWARDS_ELSEWHERE, f"the other end is {count.signer}")
        if count.value.received > self.offered:
            raise CheatError(Cheat.FORWARDS_TWICE, "more came out than was offered")
        if self._count is None or count.value.seq > self._count.value.seq:
            self._count, self._heard_at = count, now

    def receipt(self, now: int, *, final: bool = False) -> Receipt | None:
        """What to sign now, where one is due, or at the end."""
        up, down, seconds = self._owed(now)
        last, terms = self.last, self.deal.terms
        fresh = up + down - (last.total if last else 0)
        waited = now - (last.at if last else self.began)
        timed = bool(terms.price_minute) and seconds > (last.seconds if last else 0)
        # What a claim is ahead by is told without delay of ours: it may be evidence.
        short = self._claim is not None and self._claim.value.down > self.got
        due = fresh >= terms.every or (waited >= terms.patience // 2 and (fresh or timed or short))
        if self.final or not (due or final):
            return None
        self.final = final
        seq, at = (last.seq + 1, max(now, last.at)) if last else (1, now)
        self.last = Receipt(
            self.deal.id, seq, at, up, down, seconds, self.offered, self.got, int(final)
        )
        return self.last

    def signed(self, receipt: Signed[Receipt]) -> None:
        """A receipt was signed."""
        _keep(self.case.receipts, receipt)

    def judge(self) -> list[Finding]:
        """What is proven against the relay."""
        found = judge(self.case)
        return [finding for finding in found if finding.accused == self.deal.relay]

    def silent(self, now: int) -> bool:
        """Whether the relay keeps the target's word from us: there is nothing to sign for."""
        return now - self._heard_at > 3 * self.deal.terms.patience

    def all_confirmed(self) -> bool:
        """Whether the target has said its last."""
        return self._count is not None and bool(self._count.value.final)

    def _owed(self, now: int) -> tuple[int, int, int]:
        """Bytes both ways and seconds, within the budget and not below what was signed."""
        count, last, deal = self._count, self.last, self.deal
        up = min(self.offered, count.value.received) if count else 0
        down = min(self.got, count.value.sent) if count else 0
        seconds = max(now - self.began, 0) // 1000 if deal.terms.price_minute else 0
        seconds = max(seconds, last.seconds if last else 0)
        if last is not None:
            up, down = max(up, last.up), max(down, last.down)
        if deal.terms.cost(up + down, seconds) > deal.contract.budget:
            return (last.up, last.down, last.seconds) if last else (0, 0, 0)
        return up, down, seconds


class TargetMeter:
    """The other end: it counts, so that payer and relay need not believe each other."""

    def __init__(self, deal: Deal, now: int) -> None:
        self.deal = deal
        self.received = self.sent = 0
        self.last = Count(deal.id, 0, now, 0, 0, 0)

    def count(self, now: int, *, final: bool = False) -> Count | None:
        """What to sign now: each `every` bytes, and four times in a patience whatever happens."""
        last, terms = self.last, self.deal.terms
        fresh = self.received + self.sent - last.received - last.sent
        due = fresh >= terms.every or now - last.at >= terms.patience // 4
        if last.final or not (due or final):
            return None
        self.last = Count(
            self.deal.id, last.seq + 1, max(now, last.at), self.received, self.sent, int(final)
        )
        return self.last


def _keep(row: list[Signed[S]], item: Signed[S]) -> None:
    row.append(item)
    if len(row) > _KEPT:
        del row[_KEPT // 2]
