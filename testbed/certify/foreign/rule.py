"""One rule of a rule set, of either tool: as much of it as tells where the router stands."""

from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, summarize_address_range

from testbed.model.behaviour import Protocol
from testbed.model.frozen import FrozenValue
from testbed.model.plan import Engine

Addresses = tuple[IPv4Network, ...]
_MOST_OF_A_RANGE = 1 << 16


class Action(StrEnum):
    """What a rule does with a packet that it matches."""

    MASQUERADE = "masquerade"
    SNAT = "snat"
    DNAT = "dnat"
    REDIRECT = "redirect"
    TPROXY = "tproxy"
    QUEUE = "queue"
    OFFLOAD = "offload"
    JUMP = "jump"
    ACCEPT = "accept"
    OTHER = "other"


SOURCE = (Action.MASQUERADE, Action.SNAT)  # give a packet from inside an external address
TRANSLATING = (*SOURCE, Action.DNAT)
# What hands packets to something that is in the user's router, and not in the bench.
BEYOND = {
    Action.REDIRECT: "a program in the router that listens on the port of the redirection",
    Action.TPROXY: "a transparent proxy in the router",
    Action.QUEUE: "a program in the router that reads the queue",
    Action.OFFLOAD: "a network card with hardware offload, or a kernel with flow tables",
}


class Rule(FrozenValue):
    """``text`` is the rule as its tool prints it; ``key`` tells it from others in `counts`.

    An interface or a network in ``not_...`` is one that must not match.
    """

    key: str
    chain: str  # with its table, so that two chains of one name are told apart
    text: str
    action: Action
    jumps_to: str | None = None
    came_in: tuple[str, ...] = ()
    goes_out: tuple[str, ...] = ()
    not_in: tuple[str, ...] = ()
    not_out: tuple[str, ...] = ()
    source: Addresses = ()
    destination: Addresses = ()
    to: Addresses = ()  # of SNAT and DNAT
    to_port: int | None = None
    protocol: Protocol | None = None
    ports: tuple[int, ...] = ()  # destination ports that it names

    @property
    def port(self) -> int | None:
        """The destination port that it matches, if it is one."""
        return self.ports[0] if len(self.ports) == 1 else None

    @property
    def interfaces(self) -> set[str]:
        """Every interface that the rule names."""
        return {*self.came_in, *self.goes_out, *self.not_in, *self.not_out}


class Ruleset(FrozenValue):
    """What a file holds: ``text`` is what the tool of ``engine`` is given."""

    engine: Engine
    text: str
    rules: tuple[Rule, ...]


def network(text: str) -> IPv4Network | None:
    """An address or a network in the usual notations; None for what is neither."""
    try:
        return IPv4Network(text, strict=False)
    except ValueError:
        return None


def span(first: str, last: str) -> Addresses:
    """The networks that make up a range; nothing where it is no range of IPv4."""
    try:
        low, high = IPv4Address(first), IPv4Address(last)
    except ValueError:
        return ()
    if not 0 <= int(high) - int(low) < _MOST_OF_A_RANGE:
        return ()
    return tuple(summarize_address_range(low, high))


def spelled(text: str) -> Addresses:
    """``10.0.0.1``, ``10.0.0.0/24`` or ``10.0.0.1-10.0.0.9``."""
    first, dash, last = text.partition("-")
    if dash:
        return span(first, last)
    found = network(text)
    return (found,) if found is not None else ()
