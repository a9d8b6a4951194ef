"""A rented circuit without streams: three meters, bytes and statements under way, and conduct."""

from dataclasses import dataclass

from testbed.traversal import PrivateKey
from testbed.traversal.rent.cheats import Cheat, CheatError
from testbed.traversal.rent.contract import Deal
from testbed.traversal.rent.meter import PayerMeter, RelayMeter, Tab, TargetMeter
from testbed.traversal.rent.signed import Signed
from testbed.traversal.rent.statements import Claim, Receipt

from . import rented


@dataclass
class Conduct:
    """How the relay cheats; by default it does not."""

    drops_after: int = 1 << 60  # bytes
    delay: int = 0  # ms by which bytes are kept back
    rate: int = 0  # bytes a second that are carried at most
    inflates: int = 0  # bytes that are claimed and were never there
    copies: int = 1  # of each byte that is forwarded
    reaches: PrivateKey = rented.TARGET_KEY  # who is at the other end


class World:
    """Time goes by steps of 50 ms, in which statements and bytes cross once."""

    def __init__(self, deal: Deal, conduct: Conduct | None = None, tab: Tab | None = None) -> None:
        self.deal, self.conduct = deal, conduct or Conduct()
        self.now = self.began = rented.START
        self.payer = PayerMeter(deal, self.now)
        self.relay = RelayMeter(deal, tab or Tab(), self.now)
        self.target = TargetMeter(deal, self.now)
        self.wants = 0  # bytes the payer gives each step
        self.answers = 0  # bytes the target gives each step
        self.pays = True
        self.stored: Receipt | None = None
        self.caught: Cheat | None = None  # by the payer, of the relay
        self.accused: Cheat | None = None  # by the relay, of the payer
        self._up = self._down = 0  # given to the relay and not passed yet
        self._ways: list[tuple[int, int, bool]] = []  # when, how much, up?
        self._dropped = self._carried = 0

    def run(self, milliseconds: int) -> None:
        """Until then, or until somebody leaves."""
        end = self.now + milliseconds
        while self.now < end and not (self.caught or self.accused):
            self.now += 50
            self.step()

    def step(self) -> None:
        """One turn of everybody."""
        self.give(self.wants, self.answers)
        self.carry()
        self.account()

    def give(self, up: int, down: int) -> None:
        """The ends write, as far as windows of 256 KiB have room."""
        up = min(up, 256 * rented.KIB - self._up)
        down = min(down, 256 * rented.KIB - self._down)
        self.payer.offered += up
        self.target.sent += down
        self._up, self._down = self._up + up, self._down + down

    def carry(self) -> None:
        """The relay forwards, on credit."""
        for up in (True, False):
            waiting = self._up if up else self._down
            count = min(waiting, self.relay.may_pass(self.now))
            if self.conduct.rate:
                allowed = self.conduct.rate * (self.now - self.began) // 1000 - self._carried
                count = min(count, max(allowed, 0))
            self._carried += count
            self.relay.passed(**{"up" if up else "down": count})
            if up:
                self._up -= count
            else:
                self._down -= count
            arrives = 0 if self.relay.total > self.conduct.drops_after else count
            self._ways.append((self.now + self.conduct.delay, arrives * self.conduct.copies, up))
        self.arrive()

    def arrive(self) -> None:
        """What is due comes out."""
        for _, count, up in [w for w in self._ways if w[0] <= self.now]:
            if up:
                self.target.received += count
            else:
                self.payer.got += count
        self._ways = [w for w in self._ways if w[0] > self.now]

    def account(self) -> None:
        """Counts, claims and receipts cross."""
        self.counts()
        try:
            claim = self.claim()
            self.payer.take_claim(claim.data, self.now)
        except CheatError as error:
            self.caught = error.cheat
        if self.pays and (receipt := self.receipt()):
            self.store(receipt)
        if self.caught:
            self.end()
            return
        if (self.now - self.began) % 250 == 0:
            for finding in self.payer.judge()[:1]:
                self.caught = finding.cheat
        if self.payer.silent(self.now):
            self.caught = Cheat.SILENT
        self.accused = self.relay.overdue(self.now)

    def counts(self, *, final: bool = False) -> None:
        """The target's word."""
        if (value := self.target.count(self.now, final=final)) is not None:
            data = value.seal(self.conduct.reaches).data
            if self.conduct.reaches is rented.TARGET_KEY:
                self.relay.take_count(data)
            else:  # the relay does not mind
                self.relay._count = type(value).open(data)

    def claim(self) -> Signed[Claim]:
        """The relay's word."""
        self.relay.up += self.conduct.inflates
        value = self.relay.claim(self.now)
        self.relay.up -= self.conduct.inflates
        claim = value.seal(rented.RELAY_KEY)
        self.relay.claimed(claim)
        return claim

    def receipt(self, *, final: bool = False) -> Signed[Receipt] | None:
        """The payer's word."""
        value = self.payer.receipt(self.now, final=final)
        if value is None:
            return None
        signed = value.seal(rented.PAYER_KEY)
        self.payer.signed(signed)
        return signed

    def store(self, receipt: Signed[Receipt]) -> None:
        """The relay takes it, stores it, and lends anew."""
        taken = self.relay.check_receipt(receipt.data)
        self.stored = taken.value
        self.relay.credit(taken)

    def end(self) -> None:
        """The payer signs its last word, so that others can be shown."""
        if (receipt := self.receipt(final=True)) is not None:
            self.store(receipt)

    def lost_by_relay(self) -> int:
        """Units that it forwarded for and has no receipt of."""
        terms = self.deal.terms
        seconds = (self.now - self.began) // 1000
        worth = terms.cost(self.relay.total, seconds if terms.price_minute else 0)
        paid = terms.cost(self.stored.total, self.stored.seconds) if self.stored else 0
        return worth - paid

    def overpaid(self) -> int:
        """Bytes that the payer signed for and that did not come out."""
        last = self.payer.last
        if last is None:
            return 0
        return max(last.up - min(self.target.received, self.payer.offered), 0) + max(
            last.down - min(self.payer.got, self.target.sent), 0
        )
