"""The table ``forwards`` of a router in a world: which of its ports lead to whom on its LAN.

A key is ``udp/3478``, or ``udp/49152-49159`` for several; the value is a node's name, or
``server:443`` where the port inside is another one.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import Field

from testbed.errors import TopologyError
from testbed.model.behaviour import Protocol
from testbed.model.table import wrong
from testbed.model.topology import PortForward
from testbed.naming import instead

MANY = 64  # ports in a range: each is a rule, and is certified by itself

Outside = Annotated[str, Field(pattern=r"^(udp|tcp)/[0-9]{1,5}(-[0-9]{1,5})?$")]
Inside = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}(:[0-9]{1,5})?$")]
_OUTSIDE = re.compile(r"(udp|tcp)/([0-9]+)(?:-([0-9]+))?")


def read(table: Mapping[str, str]) -> tuple[PortForward, ...]:
    """The forwards of a router; TopologyError for ports that there are not."""
    return tuple(one for outside, inside in table.items() for one in _ports(outside, inside))


def require_possible(table: Mapping[str, str]) -> None:
    """The error at the line of a port that there is not, or that is forwarded twice."""
    taken: set[tuple[Protocol, int]] = set()
    for outside, inside in table.items():
        try:
            ports = {(one.protocol, one.external_port) for one in _ports(outside, inside)}
        except TopologyError as error:
            raise wrong(error.message, "forwards", outside) from None
        if ports & taken:
            raise wrong("a port of it is forwarded already", "forwards", outside)
        taken |= ports


def require_inside(router: str, table: Mapping[str, str], inside: Sequence[str]) -> None:
    """The error at the line of a node that is not one of ``inside``, those on the LAN."""
    for outside, word in table.items():
        node = word.partition(":")[0]
        if node not in inside:
            said = f"{node!r} is not on its LAN; {instead(node, inside)}"
            raise wrong(said, "routers", router, "forwards", outside)


def _ports(outside: str, inside: str) -> Iterator[PortForward]:
    """Of one line, whose patterns have matched."""
    found = _OUTSIDE.fullmatch(outside)
    assert found is not None  # by the pattern `Outside`
    protocol, first = Protocol(found[1]), int(found[2])
    last = int(found[3] or first)
    node, _, port = inside.partition(":")
    internal = int(port or first)
    for number in (first, last, internal):
        if not 0 < number < 65536:
            raise TopologyError(f"port {number}: 1 to 65535 are possible")
    if not first <= last < first + MANY:
        raise TopologyError(f"{first}-{last}: from the first port to the last, {MANY} at most")
    if internal + last - first > 65535:
        raise TopologyError(f"the last port inside is {internal + last - first}, above 65535")
    for offset in range(last - first + 1):
        yield PortForward(protocol, first + offset, node, internal + offset)
