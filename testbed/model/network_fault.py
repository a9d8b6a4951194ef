"""What happens to a path in the middle of its life, as frozen values.

They are read by two: `testbed.lab.network_faults` does them to a lab, and
`testbed.predict.life` to a model of it.  Times are seconds.
"""

from dataclasses import dataclass

from testbed.model.topology import Link


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


@dataclass(frozen=True)
class Switch:
    """The node goes by its interface on ``network`` from then on: a tunnel's, or an uplink."""

    node: str
    network: str


@dataclass(frozen=True)
class LinkChange:
    """The node's wire has the conditions of ``link``, which is called ``name``, from then on."""

    node: str
    name: str
    link: Link


@dataclass(frozen=True)
class LossBurst:
    """The node's wire loses so many of the frames; ``link`` is what it is then."""

    node: str
    loss: float  # a share, 0..1
    link: Link


@dataclass(frozen=True)
class LossOver:
    """The node's wire is as it was: ``link``."""

    node: str
    link: Link


@dataclass(frozen=True)
class Sleep:
    """The host sleeps: its programs stand still, and its wire is dead."""

    host: str


@dataclass(frozen=True)
class Wake:
    """The host goes on where it was."""

    host: str


@dataclass(frozen=True)
class RelayRestart:
    """The relay's program ends, is away for ``down`` seconds, and knows nothing of before."""

    down: float


Fault = (
    MappingTimeout
    | NatReboot
    | WanAddressChange
    | Rebinding
    | LinkDown
    | LinkUp
    | LinkChange
    | LossBurst
    | LossOver
    | Roaming
    | Switch
    | Sleep
    | Wake
    | RelayRestart
)


_WORDS = {
    MappingTimeout: "silence for {silence:g} s",
    NatReboot: "{router} reboots",
    WanAddressChange: "{router} gets another address",
    Rebinding: "{router} renumbers its mappings",
    LinkDown: "{node}'s wire is cut",
    LinkUp: "{node}'s wire is mended",
    LinkChange: "{node}'s wire becomes {name}",
    LossBurst: "{node}'s wire loses {loss:.0%} of the frames",
    LossOver: "{node}'s wire is as it was before",
    Roaming: "{host} moves to {network}",
    Switch: "{node} goes by {network}",
    Sleep: "{host} sleeps",
    Wake: "{host} wakes",
    RelayRestart: "the relay restarts, and is away for {down:g} s",
}


def words(fault: Fault) -> str:
    """What happens, in a few words."""
    return _WORDS[type(fault)].format(**vars(fault))


def lasts(fault: Fault) -> float:
    """Seconds from its beginning to its end; 0 of a change that is made at once."""
    match fault:
        case MappingTimeout(silence):
            return silence
        case NatReboot(_, down) | RelayRestart(down):
            return down
        case _:
            return 0.0
