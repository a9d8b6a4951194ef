"""What happens to a path in the middle of its life, as frozen values.

They are read by two: `testbed.lab.network_faults` does them to a lab, and
`testbed.predict.life` to a model of it.  Times are seconds.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class MappingTimeout:
    """The application says nothing for ``silence`` seconds; the NATs' timers do the rest."""

    silence: float


@dataclass(frozen=True)
class NatReboot:
    """The router forwards nothing for ``down`` seconds, and then knows no flow of before.

    Its rules are loaded anew; where it chooses ports at random, it draws others.
    """

    router: str
    down: float = 0.3


@dataclass(frozen=True)
class WanAddressChange:
    """The provider gives the router another external address; the old one is gone."""

    router: str


@dataclass(frozen=True)
class Rebinding:
    """The NAT forgets the mappings of one protocol, flows and all, and makes new ones."""

    router: str


@dataclass(frozen=True)
class LinkDown:
    """The node's wire is cut: a router's to the network outside, a host's own."""

    node: str


@dataclass(frozen=True)
class LinkUp:
    """The wire is mended."""

    node: str


@dataclass(frozen=True)
class Roaming:
    """The host leaves its network, and has an address in ``network`` from then on."""

    host: str
    network: str


Fault = MappingTimeout | NatReboot | WanAddressChange | Rebinding | LinkDown | LinkUp | Roaming


def words(fault: Fault) -> str:
    """What happens, in a few words."""
    match fault:
        case MappingTimeout(silence):
            return f"silence for {silence:g} s"
        case NatReboot(router):
            return f"{router} reboots"
        case WanAddressChange(router):
            return f"{router} gets another address"
        case Rebinding(router):
            return f"{router} renumbers its mappings"
        case LinkDown(node):
            return f"{node}'s wire is cut"
        case LinkUp(node):
            return f"{node}'s wire is mended"
        case Roaming(host, network):
            return f"{host} moves to {network}"


def lasts(fault: Fault) -> float:
    """Seconds from its beginning to its end; 0 of a change that is made at once."""
    match fault:
        case MappingTimeout(silence):
            return silence
        case NatReboot(_, down):
            return down
        case _:
            return 0.0
