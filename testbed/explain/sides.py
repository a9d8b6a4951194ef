"""The two peers of a run: where each is, by what others know it, what it said."""

from collections.abc import Iterator
from functools import cached_property
from ipaddress import IPv4Address
from typing import TypeVar

from testbed.model import contract
from testbed.model.contract import Event, Failed, Observed, Offered
from testbed.model.frozen import FrozenValue
from testbed.model.packet import Endpoint

E = TypeVar("E", bound=Event)


class Side(FrozenValue):
    """One peer: where it is, by which addresses others know it, what it said."""

    node: str
    routers: tuple[str, ...]  # between it and the internet, nearest first
    own: frozenset[IPv4Address]  # its host's
    faces: frozenset[IPv4Address]  # its host's and those of its routers outside
    events: tuple[Event, ...]

    def last(self, kind: type[E]) -> E | None:
        return next((e for e in reversed(self.events) if isinstance(e, kind)), None)

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def failure(self) -> Failed | None:
        return self.last(Failed)

    @cached_property
    def observed(self) -> tuple[Endpoint, ...]:
        """By which endpoints public nodes saw it, as it says."""
        return tuple(dict.fromkeys(_endpoint(event.address) for event in self.all(Observed)))

    @cached_property
    def told(self) -> tuple[Endpoint, ...]:
        """Every endpoint that it had signalled to the other side; relays are not among them."""
        offered = [event.offer for event in self.all(Offered)]
        found = [_endpoint(address) for offer in offered for address in offer.addresses]
        for offer in offered:
            for line in offer.ice.candidates if offer.ice else ():
                found += _candidate(line)
        if any(offer.multiaddrs for offer in offered):
            found += self.observed  # DCUtR's CONNECT carries them, encrypted
        return tuple(dict.fromkeys(found))


def _endpoint(address: contract.Endpoint) -> Endpoint:
    return Endpoint(address.address, address.port)


def _candidate(line: str) -> Iterator[Endpoint]:
    """The endpoint of a candidate attribute (RFC 8839 section 5.1), unless it is a relay's."""
    words = line.removeprefix("candidate:").split()
    if len(words) >= 8 and words[7] != "relay":
        try:
            yield Endpoint(IPv4Address(words[4]), int(words[5]))
        except ValueError:
            return
