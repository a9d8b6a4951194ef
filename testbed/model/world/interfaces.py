"""The interfaces of a host and the uplinks of a router in a world, where there are several."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from testbed.model.table import Table, wrong
from testbed.model.topology import TUNNEL_PORT, Interface, Link

Addresses = Annotated[int, Field(ge=1, le=12)]
Links = Callable[[str, str | None], Link]  # of a network and a link's name


class InterfaceTable(Table):
    """A host's attachment to a network."""

    network: str = Field(description="internet, or a router's inside.")
    addresses: Addresses = Field(default=1, description="On this network.")
    link: str | None = Field(default=None, description="Of `links`: the way to its network.")
    over: str | None = Field(
        default=None,
        description="It is a tunnel to the router that serves `network`: another network of the "
        "host, which carries it.",
    )

    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        default=None, description="Of a tunnel: the UDP port of the router; 4789, if none."
    )

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.port is not None and self.over is None:
            raise wrong("it is that of a tunnel, which says over what it goes", "port")
        if self.over is not None and self.link is not None:
            raise wrong("a tunnel's delays and losses are those of what carries it", "link")
        return self


class UplinkTable(Table):
    """A router's attachment to a network outside."""

    wan: str = Field(description="The network outside: internet, or another router's inside.")
    addresses: Addresses = Field(default=1, description="External addresses there.")
    link: str | None = Field(default=None, description="Of `links`: the way to the network.")

    @property
    def interface(self) -> InterfaceTable:
        return InterfaceTable(network=self.wan, addresses=self.addresses, link=self.link)


def require_one_way(
    table: Table, single: str, several: str, others: Sequence[str], written: Mapping[str, object]
) -> None:
    """The error where a node says ``several`` and what is of one alone, or neither."""
    if single not in written and several not in written:
        raise wrong(f"missing key {single!r}, or {several!r} for two or more")
    if several not in written:
        return
    for key in (single, *others):
        if key in written:
            raise wrong(f"write it in each of {several!r}, where there are several", key)
    if len(getattr(table, several)) < 2:
        raise wrong(f"of one, write {single!r} and so on in its place", several)


def links_of(
    interfaces: Sequence[InterfaceTable], key: str
) -> Iterator[tuple[tuple[str, ...], str]]:
    """The links that are named, each with its place below the node; ``key`` is the list's."""
    several = len(interfaces) > 1
    for number, one in enumerate(interfaces):
        if one.link is not None:
            yield ((key, str(number), "link") if several else ("link",)), one.link


def read(interfaces: Sequence[InterfaceTable], link: Links) -> tuple[Interface, ...]:
    """As a topology has them."""
    return tuple(
        Interface(
            one.network,
            one.addresses,
            link(one.network, one.link),
            one.over,
            one.port or TUNNEL_PORT,
        )
        for one in interfaces
    )
