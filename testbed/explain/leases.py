"""Ports that a router gave to somebody inside who asked: NAT-PMP, PCP, UPnP IGD."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from testbed.capture.packet import Packet
from testbed.explain.model import Journey, Label


@dataclass(frozen=True)
class Lease:
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
        if said is None:
            continue
        if said.protocol in ("nat-pmp", "pcp") and journey.sender in routers:
            found += _granted(journey.sender, said, journey.first)
        elif said.protocol == "upnp" and journey.end.node in routers:
            found += _asked(journey.end.node, said, journey.first)
    return tuple(found)


def _granted(router: str, said: Label, packet: Packet) -> Iterator[Lease]:
    """RFC 6886 section 3.3, RFC 6887 section 11.1."""
    external = said.field("external port") or (said.field("external") or "").rpartition(":")[2]
    seconds = (said.field("lifetime") or "").partition(" ")[0]
    good = (said.field("result") or "").startswith("0 ")
    if good and external.isdecimal() and seconds.isdecimal() and int(seconds):
        yield Lease(router, int(external), int(seconds), packet)


def _asked(router: str, said: Label, packet: Packet) -> Iterator[Lease]:
    """WANIPConnection's AddPortMapping and AddAnyPortMapping."""
    external = said.field("NewExternalPort") or ""
    seconds = said.field("NewLeaseDuration") or "0"
    adds = (said.field("action") or "").startswith("Add") or said.text.startswith("Add")
    if adds and external.isdecimal() and seconds.isdecimal():
        yield Lease(router, int(external), int(seconds), packet)
