"""Finds every cheat that signed statements prove, from nothing but them.

The same functions judge while a circuit lives, so that whoever leaves has what convinces others.
`patience` is granted between any two clocks.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from ..errors import ProtocolError
from ..peer_id import PeerId
from .case import Case, Way, count_within
from .cheats import Cheat, Finding, Grade
from .signed import Signed
from .statements import Claim, Receipt


def judge(case: Case) -> list[Finding]:
    """What is proven of one contract."""
    provers = (
        _elsewhere, _contradictions, _forged_receipts, _overdrawn, _false_redemptions,
        _inflated, _twice, _late, _unpaid,
    )  # fmt: skip
    found = [finding for prover in provers for finding in prover(case)]
    # Who keeps bytes back that it claims is slow by that already.
    late = any(f.cheat in (Cheat.DROPS, Cheat.DELAYS) for f in found)
    return found if late else [*found, *_throttled(case)]


def double_contracts(cases: Iterable[Case]) -> Iterator[Finding]:
    """A payer that gives the same serial, and so the same money, to two contracts."""
    seen: dict[tuple[PeerId, int], Case] = {}
    for case in cases:
        deal = case.deal
        first = seen.setdefault((deal.payer, deal.contract.serial), case)
        if first.deal.id != deal.id:
            exhibits = (first.contract, case.contract)
            yield Finding(Cheat.PAYS_TWICE, deal.payer, Grade.OWN_WORD, deal.id, exhibits)


def _finding(case: Case, cheat: Cheat, accused: PeerId, grade: Grade, *by: Signed[Any]) -> Finding:
    return Finding(cheat, accused, grade, case.deal.id, (case.contract, *by))


# By the accused's own signatures.


def _elsewhere(case: Case) -> Iterator[Finding]:
    """The relay passes on a count that is not the target's, or nobody's."""
    relay = case.deal.relay
    for claim in case.own_claims():
        if not claim.value.count:
            continue
        count = count_within(claim)
        if count is None:
            yield _finding(case, Cheat.FORGES, relay, Grade.OWN_WORD, claim)
            return
        if count.signer != case.deal.target:
            yield _finding(case, Cheat.FORWARDS_ELSEWHERE, relay, Grade.OWN_WORD, claim)
            return


_GROWING = {
    "receipt": ("up", "down", "seconds", "offered", "got", "at"),
    "claim": ("up", "down", "at"),
    "count": ("received", "sent", "at"),
}


def _contradictions(case: Case) -> Iterator[Finding]:
    """One number twice with different words, or a counter that goes back."""
    rows: dict[str, list[Any]] = {
        "receipt": [*case.own_receipts()],
        "claim": [*case.own_claims()],
        "count": [*case.own_counts()],
    }
    for kind, row in rows.items():
        for one, two in pairwise(row):
            same = one.value.seq == two.value.seq
            sinks = any(getattr(two.value, n) < getattr(one.value, n) for n in _GROWING[kind])
            if (same and one.value != two.value) or sinks:
                yield _finding(case, Cheat.CONTRADICTS, one.signer, Grade.OWN_WORD, one, two)
                break


def _forged_receipts(case: Case) -> Iterator[Finding]:
    """Receipts of somebody who has no say in this contract."""
    for receipt in case.receipts:
        if receipt.signer != case.deal.payer:
            yield _finding(case, Cheat.FORGES, receipt.signer, Grade.OWN_WORD, receipt)


def _overdrawn(case: Case) -> Iterator[Finding]:
    """A receipt that comes to more than the payer's own budget."""
    deal = case.deal
    for receipt in case.own_receipts():
        if deal.terms.cost(receipt.value.total, receipt.value.seconds) > deal.contract.budget:
            yield _finding(case, Cheat.BEYOND_CREDIT, deal.payer, Grade.OWN_WORD, receipt)
            return


def _false_redemptions(case: Case) -> Iterator[Finding]:
    """The relay asks to be paid for this contract by what is no receipt of it."""
    for redemption in case.redemptions:
        cheat = false_redemption(case, redemption.value.entry.receipt)
        if cheat is not None and redemption.signer == case.deal.relay:
            yield _finding(case, cheat, case.deal.relay, Grade.OWN_WORD, redemption)


def false_redemption(case: Case, data: bytes) -> Cheat | None:
    """What is wrong with a receipt that is to be paid by this contract."""
    try:
        receipt = Receipt.open(data)
    except ProtocolError:
        return Cheat.FORGES
    if receipt.value.contract != case.deal.id:
        return Cheat.REPLAYS
    return None if receipt.signer == case.deal.payer else Cheat.FORGES


# By the word of the others.


def _inflated(case: Case) -> Iterator[Finding]:
    """The relay claims that more came out than was ever given to it."""
    patience = case.deal.terms.patience
    for way in case.ways():
        for claim in way.claimed:
            for given in way.given:
                if given.after(claim.at + patience) and given.value < claim.value:
                    yield _finding(
                        case, Cheat.INFLATES, case.deal.relay, Grade.WITNESSED, claim.by, given.by
                    )
                    return


def _twice(case: Case) -> Iterator[Finding]:
    """More came out than was given: only the relay can have added it."""
    patience = case.deal.terms.patience
    for way in case.ways():
        for arrived in way.arrived:
            for given in way.given:
                if given.after(arrived.at + patience) and given.value < arrived.value:
                    yield _finding(
                        case, Cheat.FORWARDS_TWICE, case.deal.relay, Grade.WITNESSED,
                        arrived.by, given.by,
                    )  # fmt: skip
                    return


def _late(case: Case) -> Iterator[Finding]:
    """What the relay says has arrived was not there a patience later, or came after all.

    What did not come in two is dropped.
    """
    patience, relay = case.deal.terms.patience, case.deal.relay
    for way in case.ways():
        for claim in way.claimed:
            late = [a for a in way.arrived if a.at >= claim.at + patience]
            short = [a for a in late if a.value < claim.value]
            if not short:
                continue
            came = next((a for a in late if a.value >= claim.value), None)
            if came is not None:
                by = (claim.by, short[0].by, came.by)
                yield _finding(case, Cheat.DELAYS, relay, Grade.WITNESSED, *by)
            elif short[-1].at >= claim.at + 2 * patience:
                yield _finding(case, Cheat.DROPS, relay, Grade.WITNESSED, claim.by, short[-1].by)
            return


def _throttled(case: Case) -> Iterator[Finding]:
    """For a patience less came out than the promised rate, though more was given, on credit."""
    terms, receipts, ways = case.deal.terms, case.own_receipts(), case.ways()
    if not terms.rate:
        return
    for way, other in (ways, ways[::-1]):
        for start in way.arrived:
            end = next((a for a in way.arrived if a.at >= start.at + terms.patience), None)
            if end is None:
                break
            if (end.value - start.value) * 1000 >= terms.rate * (end.at - start.at):
                continue
            before = start.at - terms.patience
            waits = [g for g in way.given if g.at <= before and g.value > end.value]
            paid = [r for r in receipts if r.value.at <= before]
            carried = end.value + _highest(other, end.at + terms.patience)
            allowed = terms.credit + (paid[-1].value.total if paid else 0)
            if waits and carried + terms.every < allowed:
                by = (waits[0].by, start.by, end.by, *paid[-1:])
                yield _finding(
                    case, Cheat.THROTTLES, case.deal.relay, Grade.WITNESSED, *dict.fromkeys(by)
                )
                return


def _highest(way: Way, until: int) -> int:
    return max((a.value for a in way.arrived if a.at <= until), default=0)


def _unpaid(case: Case) -> Iterator[Finding]:
    """The target says that it had the bytes, the relay waits, and no receipt comes."""
    terms, payer = case.deal.terms, case.deal.payer
    claims = case.own_claims()
    paid = max((r.value.total for r in case.own_receipts()), default=0)
    for claim in claims:
        owed = confirmed(case, claim) - paid
        last = claims[-1]
        if owed >= terms.every and last.value.at >= claim.value.at + terms.patience:
            whole = confirmed(case, last) - paid >= terms.credit
            cheat = Cheat.BEYOND_CREDIT if whole else Cheat.DOES_NOT_PAY
            best = [r for r in case.own_receipts() if r.value.total == paid][:1]
            yield _finding(case, cheat, payer, Grade.UNANSWERED, claim, last, *best)
            return


def confirmed(case: Case, claim: Signed[Claim]) -> int:
    """Bytes of which relay and target both say that they were carried."""
    count = count_within(claim)
    if count is None or count.signer != case.deal.target:
        return 0
    value = claim.value
    return min(value.up, count.value.received) + min(value.down, count.value.sent)


def payable(cases: Iterable[Case]) -> dict[PeerId, int]:
    """What the receipts come to for each relay."""
    sums: dict[PeerId, int] = defaultdict(int)
    for case in cases:
        if (best := case.paid) is not None:
            sums[case.deal.relay] += case.cost(best.value)
    return dict(sums)
