"""Packets that a router refuses for their length, and says so: path MTU discovery (RFC 1191)."""

from testbed.model.journey import Hop
from testbed.model.plan import AddLink, Plan

FRAGMENTATION_NEEDED = (3, 4)  # ICMP type and code, RFC 792


def narrow(plan: Plan, router: str) -> int | None:
    """The least MTU of the router's links; None where all are Ethernet's."""
    links = (one for one in plan.of(AddLink) if router in (one.a.node, one.b.node))
    return min((one.mtu for one in links if one.mtu is not None), default=None)


def told_too_long(hop: Hop) -> bool:
    """Whether who sent the packet that ends at ``hop`` was told that it is too long."""
    answer = hop.answer
    return answer is not None and (answer.icmp_type, answer.icmp_code) == FRAGMENTATION_NEEDED
