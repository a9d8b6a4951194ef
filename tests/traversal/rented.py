"""Keys, contracts and statements of rented forwarding, for tests."""

from typing import Any

from testbed.traversal import PeerId, PrivateKey
from testbed.traversal.rent.contract import Contract, Deal, Offer, Terms, terms
from testbed.traversal.rent.signed import Signed
from testbed.traversal.rent.statements import Claim, Count, Receipt

KIB = 1024
START = 1_800_000_000_000  # UNIX ms
DAY = 86_400_000
RELAY_KEY, PAYER_KEY, TARGET_KEY, OTHER_KEY = (
    PrivateKey.from_seed(bytes([n]) * 32) for n in (11, 12, 13, 14)
)
RELAY, PAYER, TARGET, OTHER = (
    PeerId.from_public_key(k.public) for k in (RELAY_KEY, PAYER_KEY, TARGET_KEY, OTHER_KEY)
)
TERMS = terms(1000, credit=128 * KIB, every=32 * KIB, patience=1000, rate=50_000)


def offer(asked: Terms = TERMS, key: PrivateKey = RELAY_KEY) -> Signed[Offer]:
    relay = PeerId.from_public_key(key.public)
    return Offer(relay.multihash, asked, START + DAY).seal(key)


def contract(
    asked: Terms = TERMS, serial: int = 1, budget: int = 100_000, **words: Any
) -> Signed[Contract]:
    made: dict[str, Any] = {"payer": PAYER.multihash, "made": START, "expires": START + DAY} | words
    key = made.pop("key", PAYER_KEY)
    relay_key = made.pop("relay_key", RELAY_KEY)
    return Contract(
        offer(asked, relay_key).data, target=TARGET.multihash, serial=serial, budget=budget, **made
    ).seal(key)


def deal(asked: Terms = TERMS, serial: int = 1, **words: Any) -> Deal:
    return Deal.open(contract(asked, serial, **words).data)


def receipt(of: Deal, seq: int, at: int, **words: Any) -> Signed[Receipt]:
    """At so many ms from the start."""
    key = words.pop("key", PAYER_KEY)
    plain = dict.fromkeys(("up", "down", "seconds", "offered", "got", "final"), 0) | words
    return Receipt(of.id, seq, START + at, **plain).seal(key)


def count(of: Deal, seq: int, at: int, received: int, sent: int = 0, **words: Any) -> Signed[Count]:
    key = words.pop("key", TARGET_KEY)
    final = words.pop("final", 0)
    return Count(of.id, seq, START + at, received, sent, final).seal(key)


def claim(
    of: Deal, seq: int, at: int, up: int, down: int = 0, said: Signed[Count] | None = None
) -> Signed[Claim]:
    data = said.data if said else b""
    return Claim(of.id, seq, START + at, up, down, data).seal(RELAY_KEY)
