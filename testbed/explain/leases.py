"""Ports that a router gave to somebody inside who asked: NAT-PMP, PCP, UPnP IGD."""

from collections.abc import Mapping, Sequence

from testbed.model.frozen import FrozenValue
from testbed.model.journey import Journey, Label
from testbed.model.packet import Packet


class Lease(FrozenValue):
    """An external port of ``router``, given at ``packet``; ``seconds`` 0: for good."""

    router: str
    external_port: int
    seconds: int
    packet: Packet

    def ended(self, time_ns: int) -> bool:
        return bool(self.seconds) and time_ns > self.packet.time_ns + self.seconds * 10**9


def leases(
    journeys: Sequence[Journey], labels: Mapping[int, Label], routers: Mapping[str, object]
) -> tuple[Lease, ...]:
    """All that the packets tell of, in order of time.

    NAT-PMP's and PCP's answers say what was given; of UPnP the question counts, since
    its answer says nothing but that it was heard.
    """
    found: list[Lease] = []
    for journey in journeys:
        said = labels.get(journey.first.number)
        if said is None or said.lease is None:
            continue
        lease, router = said.lease, journey.sender if said.lease.given else journey.end.node
        if router in routers and (lease.seconds or not lease.given):
            found.append(Lease(router, lease.external_port, lease.seconds, journey.first))
    return tuple(found)
