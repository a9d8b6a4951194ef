"""How much a hole punch may send, and to whom: the addresses are a stranger's word.

In DCUtR (libp2p relay/DCUtR.md) the other side names addresses over a relay, where nobody sees
what its own are.  So three small messages could have us send to whomever they name.  Sans-io.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from .multiaddr import Multiaddr


@dataclass(frozen=True)
class PunchLimits:
    """Counts of packets (datagrams, and dials) within `window` seconds, and of addresses.

    `parties` are IPv4 addresses, and IPv6 prefixes, each counted by itself: a peer has one or two.
    `per_party` lets a dozen peers behind one carrier's address be punched at once.
    """

    addresses: int = 8
    parties: int = 2
    per_attempt: int = 128
    per_party: int = 1536
    overall: int = 4096
    window: float = 60.0


class PunchBudget:
    """The books of one node."""

    def __init__(self, limits: PunchLimits) -> None:
        self.limits = limits
        self._sent: deque[tuple[float, str]] = deque()
        self._by_party: Counter[str] = Counter()

    def attempt(self, addresses: Iterable[Multiaddr]) -> "Attempt":
        """One round towards the first of the addresses that the limits allow."""
        return Attempt(self, _few(addresses, self.limits))

    def take(self, party: str, now: float) -> bool:
        """Book a packet to a party; False, and it must not be sent, where that is too many."""
        limits = self.limits
        while self._sent and self._sent[0][0] <= now - limits.window:
            _, old = self._sent.popleft()
            self._by_party[old] -= 1
            if not self._by_party[old]:
                del self._by_party[old]
        if len(self._sent) >= limits.overall or self._by_party[party] >= limits.per_party:
            return False
        self._sent.append((now, party))
        self._by_party[party] += 1
        return True


class Attempt:
    """`targets` are what may be tried in this round."""

    def __init__(self, budget: PunchBudget, targets: tuple[Multiaddr, ...]) -> None:
        self.targets = targets
        self._budget = budget
        self._left = budget.limits.per_attempt

    def take(self, address: Multiaddr, now: float) -> bool:
        """Whether one more packet may go to this address."""
        if not self._left or not self._budget.take(address.party, now):
            return False
        self._left -= 1
        return True


def _few(addresses: Iterable[Multiaddr], limits: PunchLimits) -> tuple[Multiaddr, ...]:
    chosen: list[Multiaddr] = []
    parties: dict[int, set[str]] = {4: set(), 6: set()}
    for address in addresses:
        if address.ip is None or len(chosen) >= limits.addresses:
            continue
        mine = parties[address.ip.version]
        if address.party in mine or len(mine) < limits.parties:
            mine.add(address.party)
            chosen.append(address)
    return tuple(chosen)
