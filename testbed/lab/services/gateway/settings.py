"""What a gateway is told before it starts."""

import json
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

_NOT_PUBLIC = tuple(  # RFC 1918 and RFC 6598
    IPv4Network(one) for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)
UNKNOWN = IPv4Address(0)


@dataclass(frozen=True)
class Settings:
    """Where it serves, what it offers, and its character.

    ``upnp_igd``: the version that it describes, 0 for no UPnP.  Leases are seconds of PCP and
    NAT-PMP.  Each field from ``mapped_outward`` on is right where it has its default.
    """

    wan: str  # interfaces
    lan: str
    uuid: str
    http_port: int
    mark: int  # of conntrack, for flows that a mapping lets in or out
    inside: str = ""  # addresses: what the interfaces have while it serves
    external: str = ""
    reserved: str = ""  # the NAT's own table, where it has sets of mapped ports
    upnp_igd: int = 0
    nat_pmp: bool = False
    pcp: bool = False
    secure_mode: bool = True
    min_lease: int = 120
    max_lease: int = 86400
    mapped_outward: bool = True
    first_mapping_kept: bool = True
    prefer_failure: bool = True
    nonce: bool = True
    any_port: bool = False
    static_lease: bool = True
    permanent_only: bool = False
    absent_refused: bool = True
    private_wan: bool = False
    version_errors: bool = True
    forwards: bool = True
    address_known: bool = True
    epoch_counts: bool = True

    @property
    def public(self) -> bool:
        """Does the external address belong to the internet?"""
        address = IPv4Address(self.external)
        return address != UNKNOWN and not any(address in network for network in _NOT_PUBLIC)

    @property
    def grants(self) -> bool:
        """Does it map at all on the address that it has?"""
        return self.public or self.private_wan

    @property
    def told(self) -> IPv4Address:
        """The external address, as clients are told."""
        return IPv4Address(self.external) if self.address_known else UNKNOWN

    def lease(self, seconds: int) -> int:
        """What is granted of what was asked."""
        return min(max(seconds, self.min_lease), self.max_lease)


def read(text: str) -> Settings:
    """From JSON."""
    return Settings(**json.loads(text))
