"""The axes on which a NAT is described, in the words of RFC 4787, 5382 and 7857.

A `Behaviour` is at once what a profile declares, what the oracle executes and
what the prober's measurement is held against.
"""

from dataclasses import field
from enum import StrEnum
from typing import Any

from testbed.model.frozen import FrozenValue


class Mapping(StrEnum):
    """RFC 4787 section 4.1: when an internal endpoint keeps its external endpoint."""

    NONE = "none"  # no translation: a firewall or a plain router
    ENDPOINT_INDEPENDENT = "endpoint_independent"
    ADDRESS_DEPENDENT = "address_dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address_and_port_dependent"


class Filtering(StrEnum):
    """RFC 4787 section 5: from whom packets to a mapping are let in."""

    ENDPOINT_INDEPENDENT = "endpoint_independent"
    ADDRESS_DEPENDENT = "address_dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address_and_port_dependent"


class Allocation(StrEnum):
    """RFC 4787 section 4.2: how the external port of a new mapping is chosen."""

    PRESERVING = "preserving"  # the internal port, another one if that is taken
    HASHED = "hashed"  # a function of the mapping's key: the same again after expiry
    SEQUENTIAL = "sequential"  # the next port of the range
    RANDOM = "random"  # fresh for each mapping, unrelated to the last


class Unsolicited(StrEnum):
    """Answer to a packet from outside that no mapping or filter lets in."""

    DROP = "drop"
    RESET = "reset"  # TCP only
    ICMP = "icmp"  # destination unreachable, port unreachable


class WanInput(StrEnum):
    """What the router's own INPUT does with new packets from outside."""

    DROP = "drop"  # not accepted; `Unsolicited` says whether it is silent
    ACCEPT = "accept"  # taken by the router itself: its kernel answers, conntrack remembers


class Hairpin(StrEnum):
    """RFC 4787 section 6: a LAN host that sends to a mapping of its own NAT."""

    NONE = "none"
    EXTERNAL_SOURCE = "external_source"  # REQ-9a: seen from the sender's external endpoint
    INTERNAL_SOURCE = "internal_source"  # seen from the sender's LAN endpoint


class Refresh(StrEnum):
    """RFC 4787 REQ-6: which packets keep a mapping alive."""

    OUTBOUND = "outbound"
    BOTH = "both"


class Pooling(StrEnum):
    """RFC 4787 section 4.1: which of several external addresses a mapping gets."""

    PAIRED = "paired"  # a LAN host has one for all its mappings, the next host the next
    ARBITRARY = "arbitrary"  # each mapping gets the next address


class Exposed(StrEnum):
    """Which LAN host gets, at the port that was called, what nothing else in the NAT takes."""

    NONE = "none"
    FIRST_HOST = "first_host"  # the LAN's first: a DMZ host
    EACH_HOST = "each_host"  # each at an external address of its own: 1:1 NAT, RFC 2663's Basic NAT


class Gateway(StrEnum):
    """Which program answers a host that asks for a port."""

    TESTBED = "testbed"  # our own, to the RFCs; it can have each error that an axis names
    MINIUPNPD = "miniupnpd"  # Debian's daemon, with the errors that it has


class Protocol(StrEnum):
    UDP = "udp"
    TCP = "tcp"


class PortRange(FrozenValue):
    """External ports a NAT allocates from, both ends included."""

    first: int = 1024
    last: int = 65535

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    @property
    def size(self) -> int:
        return self.last - self.first + 1


class Transport(FrozenValue):
    """Behaviour for one transport protocol (UDP: RFC 4787, TCP: RFC 5382)."""

    mapping: Mapping = Mapping.ENDPOINT_INDEPENDENT
    filtering: Filtering = Filtering.ADDRESS_AND_PORT_DEPENDENT
    allocation: Allocation = Allocation.PRESERVING
    ports: PortRange = PortRange()  # for every allocation but a preserved port
    seed: int = 0  # replayable choice for hashed and random
    overloading: bool = False  # one external port for two internal endpoints (REQ-3 forbids it)
    unsolicited: Unsolicited = Unsolicited.DROP
    blocked: bool = False  # outbound is not forwarded at all
    allowed_ports: tuple[int, ...] = ()  # destination ports let out; empty: all

    @property
    def plain(self) -> bool:
        """Neither translated nor filtered: what comes is passed on."""
        open_to_all = self.filtering is Filtering.ENDPOINT_INDEPENDENT
        return self.mapping is Mapping.NONE and open_to_all and not self.blocked

    @property
    def remembers(self) -> bool:
        """Is there any state that can expire?"""
        return not self.blocked and not self.plain


class Timeouts(FrozenValue):
    """Idle lifetimes in seconds."""

    udp: float = 120.0  # until a reply has been seen for two seconds (Linux: unreplied)
    udp_stream: float = 120.0  # afterwards; equal to ``udp`` where the NAT has one timer
    tcp_transitory: float = 240.0  # handshake not complete
    tcp_established: float = 7440.0


class Forward(FrozenValue):
    """A static port forward: ``external_port`` of the WAN to the LAN's n-th host."""

    protocol: Protocol
    external_port: int
    host: int  # index of the LAN host, 0 the first
    internal_port: int


class PortMapping(FrozenValue):
    """Which port-mapping services the router offers on its LAN; by default none.

    A mapping forwards an external port to the LAN host that asked, for as long as
    its lease: whoever calls that port is let in, whatever the filtering is.  From
    ``mapped_outward`` on, the defaults are what the RFCs ask for.
    """

    gateway: Gateway = Gateway.TESTBED
    upnp_igd: int = 0  # 1 or 2: the version that the device describes; 0: none
    nat_pmp: bool = False  # RFC 6886
    pcp: bool = False  # RFC 6887
    secure_mode: bool = True  # UPnP: a host maps ports to itself alone
    # Seconds, of PCP; miniupnpd grants the others what they ask, and from 2.3.5 no less of PCP.
    min_lease: int = 120
    max_lease: int = 86400
    # The host's packets leave by the mapped port (RFC 6886 section 3.9, RFC 6887 section 11).
    mapped_outward: bool = True
    # NAT-PMP: a second mapping of one internal port returns the first (section 3.3).
    first_mapping_kept: bool = True
    prefer_failure: bool = True  # PCP's option is obeyed (section 13.2)
    nonce: bool = True  # PCP: another nonce may neither renew nor end (section 11.3)
    any_port: bool = False  # IGD 1 grants AddAnyPortMapping, which only version 2 has
    static_lease: bool = True  # IGD 1: a lease of 0 has no end
    permanent_only: bool = False  # IGD 1: error 725 for each lease that ends
    absent_refused: bool = True  # UPnP: error 714 for the end of a mapping that is not there
    private_wan: bool = False  # it maps although its external address is private or shared
    # A version of NAT-PMP or PCP that is not offered is refused, and not met with silence.
    version_errors: bool = True
    forwards: bool = True  # what it grants, it also does
    address_known: bool = True  # and not 0.0.0.0, without any error
    epoch_counts: bool = True  # of NAT-PMP and PCP: the seconds since its start, and not always 0

    @property
    def offered(self) -> bool:
        """Is there any service?"""
        return bool(self.upnp_igd or self.nat_pmp or self.pcp)

    @property
    def services(self) -> tuple[str, ...]:
        """Their names: ``upnp-igd-1`` or ``upnp-igd-2``, ``nat-pmp``, ``pcp``."""
        names = {
            f"upnp-igd-{self.upnp_igd}": bool(self.upnp_igd),
            "nat-pmp": self.nat_pmp,
            "pcp": self.pcp,
        }
        return tuple(name for name, there in names.items() if there)


CLAIMED = "claimed"


def claimed(default: Any) -> Any:
    """A field of `Behaviour` that ``testbed/certify/prober/more`` measures, and must agree with."""
    return field(default=default, metadata={CLAIMED: True})


class Behaviour(FrozenValue):
    """Everything that a router between a LAN and a WAN declares."""

    udp: Transport = Transport()
    tcp: Transport = Transport()
    hairpin: Hairpin = Hairpin.NONE
    refresh: Refresh = Refresh.BOTH
    timeouts: Timeouts = Timeouts()
    wan_input: WanInput = WanInput.DROP
    pooling: Pooling | None = None  # of the external addresses; None: the first alone is used
    quota: int | None = None  # mappings per subscriber and protocol
    forwards: tuple[Forward, ...] = ()
    port_mapping: PortMapping = PortMapping()
    exposed: Exposed = claimed(Exposed.NONE)

    def transport(self, protocol: Protocol) -> Transport:
        return self.udp if protocol is Protocol.UDP else self.tcp

    def exposes(self, number: int = 0) -> int | None:
        """The LAN host that gets what nothing else takes at the ``number``-th external address."""
        if self.exposed is Exposed.EACH_HOST:
            return number
        return 0 if self.exposed is Exposed.FIRST_HOST and number == 0 else None

    def filters(self, protocol: Protocol, host: int) -> Filtering:
        """Who is let in to a mapping of the LAN's ``host``-th host.

        What comes to an exposed one arrives at the port that was called, which is its own where
        external ports are preserved.
        """
        transport = self.transport(protocol)
        mine = host == 0 or self.exposed is Exposed.EACH_HOST
        if self.exposed is Exposed.NONE or transport.allocation is not Allocation.PRESERVING:
            mine = False
        return Filtering.ENDPOINT_INDEPENDENT if mine else transport.filtering

    @property
    def translates(self) -> bool:
        """False for a router that only filters."""
        return self.udp.mapping is not Mapping.NONE
