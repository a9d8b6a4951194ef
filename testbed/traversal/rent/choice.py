"""Which relay to pay: by price, round trip, and how it kept its word."""

from dataclasses import dataclass, field

from ..peer_id import PeerId
from .contract import MIB, Offer, Terms
from .signed import Signed

_SHUNNED = 3600_000  # ms after a relay broke its word in which it is paid nothing
_WEIGHT = 8  # kept contracts that make up for a broken one


@dataclass(frozen=True)
class Bounds:
    """Prices that are accepted at most, and what a circuit is reckoned with.

    `second` is what a second of round trip is worth: units that one would pay to have it away.
    """

    price_mib: int = 1000
    price_minute: int = 1000
    size: int = 10 * MIB
    seconds: int = 60
    second: int = 1000


@dataclass
class _Known:
    offer: Signed[Offer]
    round_trip: float
    kept: int = 0
    broken: int = 0
    shunned_until: int = 0


@dataclass
class Choice:
    """What is known of relays.  Times are UNIX milliseconds, round trips seconds."""

    bounds: Bounds = field(default_factory=Bounds)
    _known: dict[PeerId, _Known] = field(default_factory=dict)

    def learn(self, offer: Signed[Offer], round_trip: float) -> None:
        """A relay's newest offer; what it did before is remembered."""
        known = self._known.setdefault(offer.signer, _Known(offer, round_trip))
        known.offer, known.round_trip = offer, round_trip

    def offer(self, relay: PeerId, now: int) -> Signed[Offer] | None:
        """The relay's offer, while contracts can be made of it."""
        known = self._known.get(relay)
        return known.offer if known and now < known.offer.value.valid_until else None

    def accepts(self, relay: PeerId, terms: Terms, now: int) -> bool:
        """Whether to pay these prices to this relay."""
        known, bounds = self._known.get(relay), self.bounds
        shunned = known is not None and now < known.shunned_until
        dear = terms.price_mib > bounds.price_mib or terms.price_minute > bounds.price_minute
        return not (shunned or dear)

    def ended(self, relay: PeerId, now: int, *, kept: bool) -> None:
        """A contract is over, and the relay kept its word or did not."""
        if (known := self._known.get(relay)) is None:
            return
        if kept:
            known.kept += 1
        else:
            known.broken += 1
            known.shunned_until = now + _SHUNNED

    def rank(self, relay: PeerId | None, now: int) -> tuple[int, float]:
        """A key to sort by: the best first, then relays unknown, then those not to be paid."""
        known = self._known.get(relay) if relay is not None else None
        if known is None:
            return 1, 0.0
        terms, bounds = known.offer.value.terms, self.bounds
        if not self.accepts(known.offer.signer, terms, now):
            return 2, 0.0
        cost = terms.cost(bounds.size, bounds.seconds) + bounds.second * known.round_trip
        share = (known.kept + 1) / (known.kept + 1 + _WEIGHT * known.broken)
        return 0, (cost + 1) / share
