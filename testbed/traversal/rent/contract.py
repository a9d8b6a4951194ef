"""Offers of relays, and the contracts that payers make of them."""

# ruff: noqa: RUF009 - protobuf.message is a field specifier, like dataclasses.field

from dataclasses import dataclass
from typing import Self

from .. import protobuf
from ..errors import ProtocolError
from ..peer_id import PeerId
from ..relay import Limit
from .signed import Signed, Statement, demand_all, payload_type, peer

MIB = 2**20
_LEAST_CREDIT = 64 * 1024
_MOST = 2**53  # of any number here: products of two stay exact, and SQLite holds each


@dataclass(frozen=True)
class Terms(protobuf.Message):
    """What a relay asks and promises.  Prices are whole units of the ledger's.

    `credit` bytes may pass beyond the last receipt, one is due each `every` bytes; `patience` is
    the milliseconds within which a receipt that is due comes, what the relay claims to have
    delivered is there, and clocks agree.  `rate` is the bytes a second that the relay carries at
    least when it is asked to.  `data` bytes (both ways) and `duration` seconds end a circuit.
    0 is no promise, or no limit.
    """

    price_mib: int = protobuf.uint(1)
    price_minute: int = protobuf.uint(2)
    credit: int = protobuf.uint(3)
    every: int = protobuf.uint(4)
    patience: int = protobuf.uint(5)
    rate: int = protobuf.uint(6)
    data: int = protobuf.uint(7)
    duration: int = protobuf.uint(8)

    def cost(self, count: int, seconds: int) -> int:
        """Of bytes, both ways together, and of time; rounded down, so that it never sinks."""
        return self.price_mib * count // MIB + self.price_minute * seconds // 60

    @property
    def credit_seconds(self) -> int:
        """Time that may pass beyond the last receipt."""
        return -(-2 * self.patience // 1000)

    @property
    def most_at_risk(self) -> int:
        """What a relay can lose by a contract: the price of the credit.

        Time is looked at each second, and each of the two prices is rounded down.
        """
        return self.cost(self.credit, self.credit_seconds + 1) + 2

    @property
    def limit(self) -> Limit | None:
        """As plain relay v2 tells it to the ends."""
        return Limit(self.duration, self.data) or None

    def check(self) -> None:
        """Raises ProtocolError where the terms cannot be kept."""
        demand_all(self, "terms")
        if any(getattr(self, name) > _MOST for name in self.__dataclass_fields__):
            raise ProtocolError("terms", "a number is out of bounds")
        if self.credit < _LEAST_CREDIT or not 0 < self.every <= self.credit // 2:
            raise ProtocolError("terms", f"credit {self.credit}, a receipt each {self.every}")
        if not 100 <= self.patience <= 600_000:
            raise ProtocolError("terms", f"patience of {self.patience} ms")


def terms(
    price_mib: int = 100,
    price_minute: int = 0,
    *,
    credit: int = 4 * MIB,
    every: int = 512 * 1024,
    patience: int = 10_000,
    rate: int = 0,
    data: int = 0,
    duration: int = 0,
) -> Terms:
    """Terms with the library's defaults.  Raises ProtocolError."""
    made = Terms(price_mib, price_minute, credit, every, patience, rate, data, duration)
    made.check()
    return made


@dataclass(frozen=True)
class Offer(Statement):
    """The relay's, signed by it: these terms hold for contracts made before `valid_until` (ms)."""

    relay: bytes = protobuf.blob(1)
    terms: Terms = protobuf.message(2, Terms)
    valid_until: int = protobuf.uint(3)

    domain = "testbed-relay-rent-offer"
    code = payload_type(1)


@dataclass(frozen=True)
class Contract(Statement):
    """The payer's, signed by it: an offer (its envelope) taken for one circuit to `target`.

    `serial` is used once by a payer; `budget` is the most that its receipts come to.  `made` and
    `expires` are UNIX milliseconds; receipts are redeemed until `expires`.
    """

    offer: bytes = protobuf.blob(1)
    payer: bytes = protobuf.blob(2)
    target: bytes = protobuf.blob(3)
    serial: int = protobuf.uint(4)
    budget: int = protobuf.uint(5)
    made: int = protobuf.uint(6)
    expires: int = protobuf.uint(7)

    domain = "testbed-relay-rent-contract"
    code = payload_type(2)


@dataclass(frozen=True)
class Deal:
    """A contract that holds: both signed, and what they signed fits together."""

    id: bytes
    data: bytes
    relay: PeerId
    payer: PeerId
    target: PeerId
    terms: Terms
    contract: Contract

    @classmethod
    def open(cls, data: bytes) -> Self:
        """Raises ProtocolError."""
        signed = Contract.open(data)
        contract = signed.value
        offer = open_offer(contract.offer)
        name = "contract"
        if peer(contract.payer, name) != signed.signer:
            raise ProtocolError(name, "not signed by the payer that it names")
        if not contract.made <= offer.value.valid_until:
            raise ProtocolError(name, "made after the offer ran out")
        if max(contract.budget, contract.expires, contract.serial) > _MOST:
            raise ProtocolError(name, "a number is out of bounds")
        target = peer(contract.target, name)
        if len({signed.signer, offer.signer, target}) < 3:
            raise ProtocolError(name, "one peer in two roles")
        return cls(
            contract.digest, data, offer.signer, signed.signer, target,
            offer.value.terms, contract,
        )  # fmt: skip

    def check_open(self, now: int) -> None:
        """Raises ProtocolError where the contract cannot begin now.

        Who finds it older or newer than a patience has another time than the payer, and what the
        two sign would look as if somebody had cheated.
        """
        patience = self.terms.patience
        if abs(now - self.contract.made) > patience or now >= self.contract.expires:
            raise ProtocolError("contract", "is not of this time")
        if now > open_offer(self.contract.offer).value.valid_until + patience:
            raise ProtocolError("contract", "its offer has run out")


def open_offer(data: bytes) -> Signed[Offer]:
    """An offer that its own relay signed, with terms that can be kept.  Raises ProtocolError."""
    signed = Offer.open(data)
    if peer(signed.value.relay, "offer") != signed.signer:
        raise ProtocolError("offer", "not signed by the relay that it names")
    signed.value.terms.check()
    return signed
