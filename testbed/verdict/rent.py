"""Was what was paid for carried?  Receipts are held to the packets, to the byte."""

from testbed.evidence.rent import Rented
from testbed.model.breach import Breach, CheatProven, ReceiptDisputed, WorthlessStatements
from testbed.model.outcome import Outcome, Rung
from testbed.model.window import Window


def check_rent(found: Rented, dialer: str) -> list[Breach]:
    """How what ``dialer`` shows of its contracts is not as it should be."""
    breaches: list[Breach] = [ReceiptDisputed(one) for one in found.carried if not one.agrees]
    breaches += [CheatProven(one) for one in found.proven]
    if found.worthless:
        breaches.append(WorthlessStatements(dialer, found.worthless))
    return breaches


def paid_rung(found: Rented | None, outcome: Outcome, window: Window | None) -> Rung | None:
    """RENTED, where the packets of a contract's circuit have room for the echo, both ways.

    None where they do not: then nothing is said of the rung.
    """
    if found is None or window is None or outcome is not Outcome.RELAYED:
        return None
    seen = ((one.seen_up or 0, one.seen_down or 0) for one in found.carried)
    return Rung.RENTED if any(min(ways) >= window.size for ways in seen) else None
