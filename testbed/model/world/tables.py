"""The tables of a world's file: routers, hosts, roles, and what is expected."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from testbed.model.events import Attached
from testbed.model.table import Table, wrong
from testbed.model.topology import host_names, router_names
from testbed.model.world.forwards import Inside, Outside, require_possible
from testbed.model.world.interfaces import InterfaceTable, UplinkTable, require_one_way
from testbed.model.world.regions import Name
from testbed.naming import instead

Option = Literal["a", "b"]


class RouterTable(Table):
    """A NAT or a firewall between two networks."""

    wan: str | None = Field(
        default=None, description="The network outside: internet, or another router's inside."
    )
    lan: str = Field(description="The network inside, which no other router serves.")
    profile: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")] = Field(
        description="A NAT profile's name, as `testbed nat list` has them; of your own, too."
    )
    option: Option | None = Field(
        default=None,
        description="-a or -b of the command line names another profile for this router.",
    )
    addresses: Annotated[int, Field(ge=1, le=12)] = Field(
        default=1,
        description="External addresses: profiles with `pooling` map to all, others to the first.",
    )
    link: str | None = Field(
        default=None,
        description="Of `links`, or of `testbed world links`: the way to the network outside.",
    )
    region: Name | None = Field(
        default=None, description="Of `regions`: where it is on the internet."
    )
    forwards: dict[Outside, Inside] = Field(
        default={},
        description='Ports that lead inside: "udp/3478" = "server", "tcp/8443" = "server:443", '
        '"udp/49152-49159" = "server". A node on the network inside, as a router of its own.',
    )

    uplinks: tuple[UplinkTable, ...] = Field(
        default=(),
        description="In place of `wan`, where there are several: the first is in use, and the "
        "others stand by.",
    )

    @property
    def attached(self) -> tuple[InterfaceTable, ...]:
        """Its uplinks, one or more."""
        if self.uplinks:
            return tuple(one.interface for one in self.uplinks)
        one = InterfaceTable(network=self.wan or "", addresses=self.addresses, link=self.link)
        return (one,)

    @property
    def interfaces_named(self) -> tuple[Attached, ...]:
        """The same, with their names."""
        names = router_names(len(self.attached))
        return tuple(Attached(n, o.network) for n, o in zip(names, self.attached, strict=True))

    @model_validator(mode="after")
    def _readable(self) -> Self:
        others, written = ("addresses", "link"), self.model_dump(exclude_unset=True)
        require_one_way(self, "wan", "uplinks", others, written)
        require_possible(self.forwards)
        return self


class HostTable(Table):
    """An end system."""

    network: str | None = Field(default=None, description="internet, or a router's inside.")
    addresses: Annotated[int, Field(ge=1, le=12)] = Field(
        default=1, description="A STUN server that can tell NATs apart (RFC 5780) has two."
    )
    link: str | None = Field(
        default=None, description="Of `links`, or of `testbed world links`: the way to its network."
    )
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        default=None,
        description="Where its programs listen, no other host's port; else one is chosen.",
    )
    region: Name | None = Field(
        default=None, description="Of `regions`: where it is on the internet."
    )
    interfaces: tuple[InterfaceTable, ...] = Field(
        default=(),
        description="In place of `network`, where there are several. The default route leads by "
        "the first; a socket that is bound to an address leaves by its interface.",
    )
    default: str | None = Field(
        default=None,
        description="The network that the default route leads to, if not the first interface's: "
        "that of a tunnel, say.",
    )

    @property
    def attached(self) -> tuple[InterfaceTable, ...]:
        """Its interfaces, one or more."""
        one = InterfaceTable(network=self.network or "", addresses=self.addresses, link=self.link)
        return self.interfaces or (one,)

    @property
    def interfaces_named(self) -> tuple[Attached, ...]:
        """The same, with their names."""
        names = host_names([one.over for one in self.attached])
        return tuple(
            Attached(name, one.network, one.over is not None)
            for name, one in zip(names, self.attached, strict=True)
        )

    @property
    def preferred(self) -> int:
        """The number of the interface by which the default route leads."""
        networks = [one.network for one in self.attached]
        return networks.index(self.default) if self.default is not None else 0

    @model_validator(mode="after")
    def _readable(self) -> Self:
        others, written = ("addresses", "link"), self.model_dump(exclude_unset=True)
        require_one_way(self, "network", "interfaces", others, written)
        networks = [one.network for one in self.attached]
        if self.default is not None and self.default not in networks:
            raise wrong(
                f"no interface is on {self.default!r}; {instead(self.default, networks)}", "default"
            )
        if self.default == networks[0]:
            raise wrong("the first interface's is the default, leave it out", "default")
        return self


class RolesTable(Table):
    """Which host plays which part; those that are left out fall to the hosts called so."""

    a: str | None = Field(default=None, description="The dialer, if it is not the host called a.")
    b: str | None = Field(default=None, description="The listener, if it is not the host called b.")
    relay: str | None = Field(
        default=None, description="STUN and TURN server, libp2p relay; else the host called server."
    )
    observers: tuple[str, ...] | None = Field(
        default=None,
        description="They tell peers their addresses; else the hosts called observer-...",
    )
    dns: str | None = Field(
        default=None,
        description="On the internet: it answers every host's questions for names (RFC 1035).",
    )
    at: dict[str, str] = Field(
        default={},
        description="Which stack a host runs, of those that dial, listen, relay, or are peers of a "
        "mesh; --at HOST=STACK of the command line wins.",
    )
    peers: Annotated[tuple[str, ...], Field(min_length=3)] | None = Field(
        default=None,
        description="Of a mesh, three hosts or more: each meets each, who is named earlier dials.",
    )


class ExpectTable(Table):
    """What is expected where the model of the NATs cannot tell: of rates and MTUs.

    It holds for punching between the NATs that the file names; else the model's prediction does.
    """

    outcome: Literal["direct", "relayed", "none"] = Field(description="How the peers end.")
    within_s: Annotated[float, Field(gt=0, le=60)] | None = Field(
        default=None, description="The later peer says so by then, from the common start."
    )
    recovers_within_s: Annotated[float, Field(gt=0, le=600)] | None = Field(
        default=None, description="No longer is the connection gone, whatever happens to it."
    )
