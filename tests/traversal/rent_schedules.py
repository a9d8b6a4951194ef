"""Random schedules of a rented circuit, with crashes and cheats on both sides: who loses what.

`python -m tests.traversal.rent_schedules 10000` runs so many from the first seed on; one seed is
one schedule, always the same.
"""

import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence

from testbed.traversal.rent.cheats import CheatError
from testbed.traversal.rent.contract import Deal, Terms, terms
from testbed.traversal.rent.meter import Tab
from testbed.traversal.rent.signed import Signed
from testbed.traversal.rent.sqlite import Book, SqliteLedger
from testbed.traversal.rent.statements import Claim, Entry, Receipt, Redemption

from . import rented
from .rent_model import Conduct, World
from .rented import KIB

FUNDS = 10_000_000
_TERMS: tuple[Terms, ...] = (
    rented.TERMS,
    terms(7_777, 600, credit=64 * KIB, every=8 * KIB, patience=1000),
    terms(0, 9_999, credit=64 * KIB, every=32 * KIB, patience=300),
)
_EXPIRED = rented.START + 2 * rented.DAY


class BrokenBoundError(AssertionError):
    """Somebody lost more than the contract says."""


class Circuit(World):
    """One that lives until it is closed; statements wait in the mail, and crashes lose them."""

    def __init__(self, deal: Deal, conduct: Conduct, tab: Tab, now: int) -> None:
        super().__init__(deal, conduct, tab)
        self.now = self.began = now
        for meter in (self.payer, self.relay):
            meter.began = now
        self.claims: list[Signed[Claim]] = []
        self.receipts: list[Signed[Receipt]] = []
        self.on_disk: Signed[Receipt] | None = None  # stored, not lent on yet
        self.closed = False


class Play:
    """A payer, a relay and their disks; each act is one thing that happens."""

    def __init__(self, asked: Terms) -> None:
        self.terms, self.now = asked, rented.START
        self.ledger, self.book = SqliteLedger(":memory:"), Book(":memory:")
        self.ledger.fund(rented.PAYER, FUNDS)
        self.tab, self.conduct = Tab(), Conduct()
        self.circuits: list[Circuit] = []
        self.relay_crashes = 0
        self.pays = True
        self.seen: Counter[str] = Counter()

    def act(self, name: str) -> None:
        """Do it, and look at what everybody could lose."""
        act: Callable[[], None] = getattr(self, name)
        try:
            act()
        except CheatError as error:
            self.seen[error.cheat] += 1
            self.close()
        self.check()

    @property
    def live(self) -> Circuit | None:
        """The circuit that is open."""
        return self.circuits[-1] if self.circuits and not self.circuits[-1].closed else None

    def open(self) -> None:
        """As the relay's server does: a debtor gets none."""
        if self.live or self.tab.unpaid + self.terms.every > self.terms.credit:
            return
        serial = len(self.circuits) + 1
        deal = rented.deal(self.terms, serial, budget=20_000)
        self.ledger.hold(deal, self.now)
        self.book.open_deal(deal)
        self.circuits.append(Circuit(deal, self.conduct, self.tab, self.now))

    def close(self) -> None:
        if self.live:
            self.live.closed = True

    def give(self) -> None:
        if self.live:
            self.live.give(40 * KIB, 10 * KIB)

    def carry(self) -> None:
        if self.live:
            self.live.carry()

    def count(self) -> None:
        if self.live:
            self.live.counts()

    def claim(self) -> None:
        if self.live:
            self.live.claims.append(self.live.claim())

    def hear(self) -> None:
        if self.live and self.live.claims:
            self.live.payer.take_claim(self.live.claims.pop(0).data, self.now)

    def pay(self) -> None:
        if self.live and self.pays and (receipt := self.live.receipt()):
            self.live.receipts.append(receipt)

    def store(self) -> None:
        circuit = self.live
        if circuit and circuit.receipts and circuit.on_disk is None:
            receipt = circuit.relay.check_receipt(circuit.receipts.pop(0).data)
            value = receipt.value
            self.book.store(receipt, self.terms.cost(value.total, value.seconds))
            circuit.on_disk, circuit.stored = receipt, value

    def lend(self) -> None:
        circuit = self.live
        if circuit and circuit.on_disk is not None:
            circuit.relay.credit(circuit.on_disk)
            circuit.on_disk = None

    def wait(self) -> None:
        """The relay looks at its books each quarter of a patience."""
        for _ in range(3):
            self.now += self.terms.patience // 4
            if (circuit := self.live) is None:
                continue
            circuit.now = self.now
            circuit.arrive()
            cheat = circuit.relay.overdue(self.now)
            if cheat is not None:
                self.seen[cheat] += 1
                circuit.closed = True

    def relay_crashes_now(self) -> None:
        """Its memory is gone: meters and tabs.  What it stored is not."""
        self.relay_crashes += 1
        self.seen["relay crash"] += 1
        self.close()
        self.tab = Tab()

    def payer_crashes(self) -> None:
        self.seen["payer crash"] += 1
        self.close()

    def defaults(self) -> None:
        self.pays = False

    def pays_again(self) -> None:
        self.pays = True

    def relay_drops(self) -> None:
        self.conduct.drops_after = 0

    def relay_copies(self) -> None:
        self.conduct.copies = 2

    def relay_inflates(self) -> None:
        self.conduct.inflates = 50 * KIB

    def relay_is_honest(self) -> None:
        self.conduct.drops_after, self.conduct.copies, self.conduct.inflates = 1 << 60, 1, 0

    def redeem(self) -> None:
        """All of the book, as often as the relay likes."""
        for contract, receipt in self.book.redeemable():
            ask = Redemption(self.now, Entry(contract, receipt)).seal(rented.RELAY_KEY)
            self.ledger.redeem(ask.data, self.now)

    # What must hold.

    def check(self) -> None:
        """After every act."""
        for circuit in self.circuits[-2:]:
            if circuit.lost_by_relay() > self.terms.most_at_risk:
                raise BrokenBoundError(f"the relay lost {circuit.lost_by_relay()}")
            if circuit.overpaid():
                raise BrokenBoundError(f"the payer signed for {circuit.overpaid()} bytes of none")
        if self.unpaid > self.terms.credit * (1 + self.relay_crashes):
            raise BrokenBoundError(f"{self.unpaid} bytes on credit")

    @property
    def unpaid(self) -> int:
        """Bytes carried over all contracts for which the relay has no receipt on its disk."""
        return sum(c.relay.total - (c.stored.total if c.stored else 0) for c in self.circuits)

    def finish(self) -> None:
        """Money changes hands once, and none appears or vanishes."""
        self.now += 1000
        self.redeem()
        self.redeem()
        due = sum(
            self.terms.cost(c.stored.total, c.stored.seconds) for c in self.circuits if c.stored
        )
        if self.ledger.balance(rented.RELAY) != due:
            raise BrokenBoundError(f"{self.ledger.balance(rented.RELAY)} paid of {due}")
        self.ledger.release(_EXPIRED)
        if self.ledger.balance(rented.PAYER) != FUNDS - due or self.ledger.total() != FUNDS:
            raise BrokenBoundError("money appeared or vanished")


USUAL = ("give", "carry", "count", "claim", "hear", "pay", "store", "lend")
SELDOM = (
    "wait", "open", "close", "relay_crashes_now", "payer_crashes", "defaults", "pays_again",
    "relay_drops", "relay_copies", "relay_inflates", "relay_is_honest", "redeem",
)  # fmt: skip


def play(asked: Terms, acts: Sequence[str]) -> Play:
    """Raises BrokenBoundError."""
    made = Play(asked)
    made.act("open")
    for name in acts:
        made.act(name)
    made.finish()
    return made


def schedule(seed: int) -> Play:
    """Turns of everybody in their order, now and then disturbed."""
    rng = random.Random(seed)
    acts: list[str] = []
    for _ in range(rng.randrange(3, 12)):
        turn = list(USUAL) if rng.random() < 0.8 else rng.sample(USUAL, 5)
        acts += [a for a in turn for _ in range(rng.choice((1, 1, 1, 2)))]
        if rng.random() < 0.5:
            acts.append("wait")
        if rng.random() < 0.5:
            acts.insert(rng.randrange(len(acts)), rng.choice(SELDOM))
            acts.append("open")
    return play(rng.choice(_TERMS), acts)


def main(count: int) -> int:
    """Exit code 1 and the seed where a bound broke."""
    seen: Counter[str] = Counter()
    most, circuits, carried = 0.0, 0, 0
    for seed in range(count):
        try:
            done = schedule(seed)
        except BrokenBoundError as error:
            print(f"seed {seed}: {error}")
            return 1
        seen += done.seen
        circuits += len(done.circuits)
        carried += sum(c.relay.total for c in done.circuits)
        most = max(most, done.unpaid / (done.terms.credit * (1 + done.relay_crashes)))
    print(f"{count} schedules, {circuits} circuits, {carried >> 20} MiB; every bound held")
    print(f"the most that a relay lost: {most:.2f} of the credit")
    for name, times in sorted(seen.items()):
        print(f"{times:7} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
