"""What the three parties of a circuit sign while it lives.  Times are UNIX milliseconds.

All counts are cumulative, of the circuit's own bytes: `up` from the payer to the target.
"""

# ruff: noqa: RUF009 - protobuf.message is a field specifier, like dataclasses.field

from dataclasses import dataclass

from .. import protobuf
from .signed import Statement, demand_all, payload_type


@dataclass(frozen=True)
class Receipt(Statement):
    """The payer's: it owes for `up`, `down` and `seconds`.

    `offered` and `got` are what it gave to the relay and had from it: no promise to pay, but
    what evidence is made of.  After `final` it offers no more.
    """

    contract: bytes = protobuf.blob(1)
    seq: int = protobuf.uint(2)
    at: int = protobuf.uint(3)
    up: int = protobuf.uint(4)
    down: int = protobuf.uint(5)
    seconds: int = protobuf.uint(6)
    offered: int = protobuf.uint(7)
    got: int = protobuf.uint(8)
    final: int = protobuf.uint(9)

    domain = "testbed-relay-rent-receipt"
    code = payload_type(3)

    @property
    def total(self) -> int:
        """Bytes that are paid."""
        return self.up + self.down


@dataclass(frozen=True)
class Count(Statement):
    """The target's: what it had from the relay and gave to it.  After `final` it sends no more."""

    contract: bytes = protobuf.blob(1)
    seq: int = protobuf.uint(2)
    at: int = protobuf.uint(3)
    received: int = protobuf.uint(4)
    sent: int = protobuf.uint(5)
    final: int = protobuf.uint(6)

    domain = "testbed-relay-rent-count"
    code = payload_type(4)


@dataclass(frozen=True)
class Claim(Statement):
    """The relay's: what has arrived at the other machine, and the newest count (or nothing yet).

    By passing the count on within its own statement the relay says whom it forwards to.
    """

    contract: bytes = protobuf.blob(1)
    seq: int = protobuf.uint(2)
    at: int = protobuf.uint(3)
    up: int = protobuf.uint(4)
    down: int = protobuf.uint(5)
    count: bytes = protobuf.blob(6)

    domain = "testbed-relay-rent-claim"
    code = payload_type(5)


@dataclass(frozen=True)
class Entry(protobuf.Message):
    """A contract and its receipt, both in their envelopes."""

    contract: bytes = protobuf.blob(1)
    receipt: bytes = protobuf.blob(2)


@dataclass(frozen=True)
class Redemption(Statement):
    """The relay's: it asks a ledger to pay these.  Signed, so that a false one has an author."""

    at: int = protobuf.uint(1)
    entry: Entry = protobuf.message(2, Entry)

    domain = "testbed-relay-rent-redemption"
    code = payload_type(6)

    def demand(self) -> Entry:
        """The entry, complete.  Raises ProtocolError."""
        demand_all(self.entry, "redemption")
        return self.entry
