"""What happens to a path in the middle of its life, as frozen values.

They are read by two: `testbed.lab.network_faults` does them to a lab, and
`testbed.predict.life` to a model of it.  Times are seconds.
"""

from testbed.model.frozen import FrozenValue
from testbed.model.topology import Link


class MappingTimeout(FrozenValue):
    """The application says nothing for ``silence`` seconds; the NATs' timers do the rest."""

    silence: float


class NatReboot(FrozenValue):
    """The router forwards nothing for ``down`` seconds, and then knows no flow of before.

    Its rules are loaded anew; where it chooses ports at random, it draws others.
    """

    router: str
    down: float = 0.3


class WanAddressChange(FrozenValue):
    """The provider gives the router another external address; the old one is gone."""

    router: str


class Rebinding(FrozenValue):
    """The NAT forgets the mappings of one protocol, flows and all, and makes new ones."""

    router: str


class LinkDown(FrozenValue):
    """A wire of the node is cut: a router's to a network outside, a host's own.

    ``interface`` is its end at the node, as the kernel calls it; empty: its first, here and below.
    """

    node: str
    interface: str = ""


class LinkUp(FrozenValue):
    """The wire is mended."""

    node: str
    interface: str = ""


class Roaming(FrozenValue):
    """The host leaves its network, and has an address in ``network`` from then on."""

    host: str
    network: str


class Switch(FrozenValue):
    """The node goes by its interface on ``network`` from then on: a tunnel's, or an uplink.

    Where it has several there, ``network`` is the interface's name.
    """

    node: str
    network: str


class LinkChange(FrozenValue):
    """The node's wire has the conditions of ``link``, which is called ``name``, from then on."""

    node: str
    name: str
    link: Link
    interface: str = ""


class LossBurst(FrozenValue):
    """The node's wire loses so many of the frames; ``link`` is what it is then."""

    node: str
    loss: float  # a share, 0..1
    link: Link
    interface: str = ""


class LossOver(FrozenValue):
    """The node's wire is as it was: ``link``."""

    node: str
    link: Link
    interface: str = ""


class Sleep(FrozenValue):
    """The host sleeps: its programs stand still, and its wire is dead."""

    host: str


class Wake(FrozenValue):
    """The host goes on where it was."""

    host: str


class RelayRestart(FrozenValue):
    """The relay's program ends, is away for ``down`` seconds, and knows nothing of before."""

    down: float


class DnsRestart(FrozenValue):
    """The DNS server's program ends, is away for ``down`` seconds, and begins anew."""

    down: float


class LeaseLost(FrozenValue):
    """The router's gateway has lost what it had mapped, and does not know; flows go on.

    So does a firewall that is reloaded without a word to the gateway's program.
    """

    router: str


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
    | DnsRestart
    | LeaseLost
)


_WORDS = {
    MappingTimeout: "silence for {silence:g} s",
    NatReboot: "{router} reboots",
    WanAddressChange: "{router} gets another address",
    Rebinding: "{router} renumbers its mappings",
    LinkDown: "{wire}'s wire is cut",
    LinkUp: "{wire}'s wire is mended",
    LinkChange: "{wire}'s wire becomes {name}",
    LossBurst: "{wire}'s wire loses {loss:.0%} of the frames",
    LossOver: "{wire}'s wire is as it was before",
    Roaming: "{host} moves to {network}",
    Switch: "{node} goes by {network}",
    Sleep: "{host} sleeps",
    Wake: "{host} wakes",
    RelayRestart: "the relay restarts, and is away for {down:g} s",
    DnsRestart: "the DNS server restarts, and is away for {down:g} s",
    LeaseLost: "{router}'s gateway loses its mappings",
}


def dock(network: str) -> str:
    """The host that waits in ``network`` for who roams there, and leaves it its address."""
    return f"dock-{network}"


def words(fault: Fault) -> str:
    """What happens, in a few words."""
    told = vars(fault)
    wire = f"{told['node']}:{told['interface']}" if told.get("interface") else told.get("node")
    return _WORDS[type(fault)].format(**told, wire=wire)


def lasts(fault: Fault) -> float:
    """Seconds from its beginning to its end; 0 of a change that is made at once."""
    match fault:
        case MappingTimeout(silence):
            return silence
        case NatReboot(_, down) | RelayRestart(down) | DnsRestart(down):
            return down
        case _:
            return 0.0
