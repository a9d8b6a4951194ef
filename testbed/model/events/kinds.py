"""The tables of ``[[events]]``, one for each kind."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, get_args

from pydantic import Field

from testbed.model.events.base import CALLED, EventTable, Names, Span, event_wrong
from testbed.model.network_fault import (
    DnsRestart,
    Fault,
    LeaseLost,
    LinkChange,
    LinkDown,
    LinkUp,
    LossBurst,
    LossOver,
    MappingTimeout,
    NatReboot,
    Rebinding,
    RelayRestart,
    Roaming,
    Sleep,
    Switch,
    Wake,
    WanAddressChange,
)
from testbed.model.topology import Link
from testbed.naming import instead


class Silence(EventTable):
    """The application says nothing: what keeps the path open is the stacks' own timers."""

    kind: Literal["silence"]
    for_s: Span = Field(description="Seconds without a word of the application.")

    def fault(self) -> Fault:
        return MappingTimeout(self.for_s)


class Reboot(EventTable):
    """A NAT forwards nothing for a while, and then knows no flow of before."""

    NODE = "router"

    kind: Literal["nat-reboot"]
    node: str = Field(description=CALLED)
    down_s: Span = Field(default=0.3, description="Seconds in which nothing is forwarded.")

    def fault(self) -> Fault:
        return NatReboot(self.node, self.down_s)


class NewAddress(EventTable):
    """The provider gives a router another external address."""

    NODE = "router"

    kind: Literal["new-address"]
    node: str = Field(description=CALLED)

    def fault(self) -> Fault:
        return WanAddressChange(self.node)


class Renumbered(EventTable):
    """A NAT forgets its mappings and makes new ones."""

    NODE = "router"

    kind: Literal["rebinding"]
    node: str = Field(description=CALLED)

    def fault(self) -> Fault:
        return Rebinding(self.node)


class WireTable(EventTable):
    """What happens to one wire of a node."""

    node: str = Field(description=CALLED)
    interface: str | None = Field(
        default=None,
        description="Of a node with several wires: which, by its network or as `wan1`, `eth1`.",
    )

    @property
    def wire(self) -> str:
        """The interface as the file says it; empty where there is one."""
        return self.interface or ""

    def require_known(self, names: Names, number: int) -> None:
        """As of every event, and for a wire that is not there, or is one of several."""
        super().require_known(names, number)
        wires = [one.name for one in names.attached[self.node] if not one.tunnel]
        if self.interface is not None:
            self.require_interface(names, number, self.interface, "interface", wire=True)
        elif len(wires) > 1:
            message = f"{self.node} has several wires: say interface, one of {', '.join(wires)}"
            raise event_wrong(message, number, "node")


class Down(WireTable):
    """A node's wire is cut: a router's to a network outside, a host's own."""

    kind: Literal["link-down"]

    def fault(self) -> Fault:
        return LinkDown(self.node, self.wire)


class Up(WireTable):
    """A wire that was cut is mended."""

    kind: Literal["link-up"]

    def fault(self) -> Fault:
        return LinkUp(self.node, self.wire)


class Changed(WireTable):
    """A node's wire has other conditions from then on: those of a link of the file."""

    kind: Literal["link-change"]
    link: str = Field(description="Of `links`: what the wire is from then on.")

    def fault(self) -> Fault:
        return LinkChange(self.node, self.link, Link(), self.wire)

    def require_known(self, names: Names, number: int) -> None:
        """As of every wire, and for a link that is not there, or changes interfaces."""
        super().require_known(names, number)
        if self.link not in names.links:
            said = f"unknown link {self.link!r}; {instead(self.link, names.links)}"
            raise event_wrong(said, number, "link")
        if names.links[self.link].mtu is not None:
            said = "a link with an mtu: that is the interfaces', and stays"
            raise event_wrong(said, number, "link")


class Burst(WireTable):
    """A node's wire loses frames for a while, in both directions."""

    kind: Literal["loss-burst"]
    for_s: Span = Field(description="Seconds until it is as it was.")
    loss: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, description="The share of frames that is lost, 0 to 1."
    )

    def fault(self) -> Fault:
        return LossBurst(self.node, self.loss, Link(), self.wire)

    @property
    def later(self) -> tuple[tuple[float, Fault], ...]:
        """It is over."""
        return ((self.for_s, LossOver(self.node, Link(), self.wire)),)


class Switched(EventTable):
    """The default route of a host leads by another of its interfaces, which may be a tunnel's.

    A router uses another of its uplinks.
    """

    kind: Literal["switch"]
    node: str = Field(description=CALLED)
    to: str = Field(
        description="The network of the interface that it goes by from then on, or its name: wan1."
    )

    def fault(self) -> Fault:
        return Switch(self.node, self.to)

    def require_known(self, names: Names, number: int) -> None:
        """As of every event, and for a network that the node has no interface on."""
        super().require_known(names, number)
        self.require_interface(names, number, self.to, "to")


class Asleep(EventTable):
    """A host sleeps: its programs stand still, and its wire is dead."""

    NODE = "host"

    kind: Literal["sleep"]
    node: str = Field(description=CALLED)

    def fault(self) -> Fault:
        return Sleep(self.node)


class Awake(EventTable):
    """A host that slept goes on where it was."""

    NODE = "host"

    kind: Literal["wake"]
    node: str = Field(description=CALLED)

    def fault(self) -> Fault:
        return Wake(self.node)


class RelayRestarted(EventTable):
    """The relay's program ends, and begins anew a while later, knowing nothing of before."""

    kind: Literal["relay-restart"]
    down_s: Span = Field(default=0.5, description="Seconds in which nobody relays.")

    def fault(self) -> Fault:
        return RelayRestart(self.down_s)


class DnsRestarted(EventTable):
    """The DNS server's program ends, and begins anew a while later."""

    kind: Literal["dns-restart"]
    down_s: Span = Field(default=0.5, description="Seconds in which nobody answers names.")

    def fault(self) -> Fault:
        return DnsRestart(self.down_s)

    def require_known(self, names: Names, number: int) -> None:
        """As of every event, and for a world without a DNS server."""
        super().require_known(names, number)
        if names.dns is None:
            raise event_wrong("no host answers names: say which, roles.dns", number, "kind")


class LostLease(EventTable):
    """A router's gateway loses the ports that it has mapped for hosts, and tells nobody."""

    NODE = "router"

    kind: Literal["lease-lost"]
    node: str = Field(description=CALLED)

    def fault(self) -> Fault:
        return LeaseLost(self.node)


class Roam(EventTable):
    """A host leaves its network for another one, where it has another address."""

    NODE = "host"

    kind: Literal["roam"]
    node: str = Field(description=CALLED)
    to: str = Field(description="The network where it is from then on.")

    def fault(self) -> Fault:
        return Roaming(self.node, self.to)

    def require_known(self, names: Names, number: int) -> None:
        """As of every event, and for a network that is not there."""
        super().require_known(names, number)
        if self.to not in names.networks:
            message = f"unknown network {self.to!r}; {instead(self.to, names.networks)}"
            raise event_wrong(message, number, "to")


Event = Annotated[
    Silence
    | Reboot
    | NewAddress
    | Renumbered
    | Down
    | Up
    | Changed
    | Burst
    | Roam
    | Switched
    | Asleep
    | Awake
    | RelayRestarted
    | DnsRestarted
    | LostLease,
    Field(discriminator="kind"),
]
KINDS: Mapping[str, type[EventTable]] = {
    get_args(one.model_fields["kind"].annotation)[0]: one for one in get_args(get_args(Event)[0])
}


def known_keys(place: Sequence[str]) -> list[str]:
    """The keys of the event at ``place``, which has its kind behind its number."""
    kind = KINDS.get(place[2]) if len(place) > 2 else None
    return list(kind.model_fields) if kind else []
