"""All NATs between a host and its peer, as the one that they amount to."""

from collections.abc import Mapping

from testbed.model.behaviour import (
    Allocation,
    Behaviour,
    Filtering,
    Hairpin,
    Protocol,
    Transport,
)
from testbed.model.behaviour import Mapping as Axis
from testbed.model.topology import INTERNET, Router, Topology

NO_NAT = Transport(mapping=Axis.NONE, filtering=Filtering.ENDPOINT_INDEPENDENT)
_MAPPINGS, _FILTERINGS = tuple(Axis), tuple(Filtering)  # each from the kindest to the strictest


def as_one(
    topology: Topology,
    behaviours: Mapping[str, Behaviour],
    protocol: Protocol,
    ends: tuple[str, str],
) -> Transport:
    """What the NATs of ``ends[0]`` do to packets between the two ends, taken together.

    A mapping changes if one of them changes it, and a packet gets in if all let it in.  A NAT
    that both ends are behind maps, but does not filter what turns back inside of it.
    """
    here, there = (topology.path_out(node) for node in ends)
    all_of = [(router, behaviours[router.name].transport(protocol)) for router in here]
    behind = (ends[0], *(router.name for router in here))  # what each of them has inside
    if not all_of:
        return NO_NAT
    mapping = max((nat.mapping for _, nat in all_of), key=_MAPPINGS.index)
    filtering = max(
        (
            behaviours[router.name].filters(protocol, inside(topology, router, node))
            for router, node in zip(here, behind, strict=False)
            if router not in there
        ),
        key=_FILTERINGS.index,
        default=NO_NAT.filtering,
    )
    changes = (n for _, n in all_of if n.allocation is not Allocation.PRESERVING)
    allocation = next((nat.allocation for nat in changes), Allocation.PRESERVING)
    return Transport(mapping=mapping, filtering=filtering, allocation=allocation)


def inside(topology: Topology, router: Router, node: str) -> int:
    """The number of ``node`` in the LAN of ``router``, as profiles count hosts."""
    return [one.name for one in topology.attached(router.lan)].index(node)


def leads(topology: Topology, behaviours: Mapping[str, Behaviour], ends: tuple[str, str]) -> bool:
    """Whether a packet to the address by which one end is seen can come to it from the other.

    Behind a NAT that both share it has to turn back inside of the nearest one (RFC 4787, REQ-9).
    """
    there = topology.path_out(ends[1])
    turning = next((router for router in topology.path_out(ends[0]) if router in there), None)
    if turning is None or not behaviours[turning.name].translates:
        return True
    return behaviours[turning.name].hairpin is not Hairpin.NONE


def reached(topology: Topology, ends: tuple[str, str]) -> bool:
    """Whether the own address of ``ends[1]`` leads ``ends[0]`` to it, and no NAT of it is passed.

    So it is on the internet, and in each network that the other is in or crosses on its way out.
    """
    crossed = {one.network for one in topology.host(ends[0]).interfaces}
    crossed |= {router.interfaces[0].network for router in topology.path_out(ends[0])}
    return topology.host(ends[1]).interfaces[0].network in crossed


def is_public(topology: Topology, host: str) -> bool:
    """Whether the own address of ``host`` is one on the internet."""
    return topology.host(host).interfaces[0].network == INTERNET
