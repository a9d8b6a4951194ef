"""What a port mapping is, whether it is of any use, and why there is none."""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import NamedTuple

from ..errors import TraversalError

Address = IPv4Address | IPv6Address
ANY: Address = IPv4Address(0)


class Transport(StrEnum):
    """What is mapped."""

    UDP = "udp"
    TCP = "tcp"

    @property
    def number(self) -> int:
        """IANA's protocol number."""
        return 17 if self is Transport.UDP else 6


class Service(StrEnum):
    """Who maps."""

    PCP = "pcp"
    NAT_PMP = "nat-pmp"
    UPNP_V2 = "upnp-v2"
    UPNP_V1 = "upnp-v1"


class Endpoint(NamedTuple):
    """An address and a port."""

    address: Address
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


class Useless(StrEnum):
    """Why nobody on the internet can reach an external address."""

    UNKNOWN = "the gateway does not know its external address"
    LOOPBACK = "loopback (RFC 1122)"
    LINK_LOCAL = "link-local (RFC 3927)"
    PRIVATE = "private: there is another NAT behind the gateway (RFC 1918)"
    SHARED = "shared: the gateway is behind a carrier's NAT (RFC 6598)"
    RESERVED = "reserved, not on the internet (RFC 6890)"


_NOWHERE = tuple(
    (IPv4Network(network), why)
    for network, why in (
        ("0.0.0.0/32", Useless.UNKNOWN),
        ("127.0.0.0/8", Useless.LOOPBACK),
        ("169.254.0.0/16", Useless.LINK_LOCAL),
        ("10.0.0.0/8", Useless.PRIVATE),
        ("172.16.0.0/12", Useless.PRIVATE),
        ("192.168.0.0/16", Useless.PRIVATE),
        ("100.64.0.0/10", Useless.SHARED),
        ("0.0.0.0/8", Useless.RESERVED),
        ("192.0.0.0/24", Useless.RESERVED),
        ("192.0.2.0/24", Useless.RESERVED),
        ("198.18.0.0/15", Useless.RESERVED),
        ("198.51.100.0/24", Useless.RESERVED),
        ("203.0.113.0/24", Useless.RESERVED),
        ("224.0.0.0/3", Useless.RESERVED),
    )
)


def why_useless(address: Address) -> Useless | None:
    """Why a mapping to this external address is in vain; None when it may work."""
    if address.version == 4:
        return next((why for network, why in _NOWHERE if address in network), None)
    return None if address.is_global else Useless.RESERVED


@dataclass(frozen=True)
class Wanted:
    """A mapping to ask for: `external_port` 0 leaves the choice to the gateway.

    `lifetime` in seconds; 0 asks for the mapping's end.
    """

    transport: Transport
    internal_port: int
    external_port: int = 0
    lifetime: int = 7200


@dataclass(frozen=True)
class Mapping:
    """What the gateway granted.  `lifetime` in seconds from then on, None without an end.

    A mapping is reported also when it is `useless`, and then says why.
    """

    transport: Transport
    internal: Endpoint
    external: Endpoint
    lifetime: int | None
    service: Service
    gateway: Address

    @property
    def useless(self) -> Useless | None:
        """Why no stranger can use it; None when one may."""
        return why_useless(self.external.address)

    def to_dict(self) -> dict[str, str | int | None]:
        """JSON-ready: everything but the lifetime as text."""
        words = {name: str(value) for name, value in vars(self).items()}
        useless = str(self.useless) if self.useless else None
        return words | {"lifetime": self.lifetime, "useless": useless}


class PortMapError(TraversalError):
    """Base: there is no mapping, and the type says why."""


class NoGatewayError(PortMapError):
    """This host has no default gateway to ask."""


class NoServiceError(PortMapError):
    """Nobody answered in time, or the gateway said that nobody listens."""


class RefusedError(PortMapError):
    """The gateway said no.  `code` is the service's own number.

    `retry_after` is how long the refusal holds, in seconds, where the service says so.
    """

    def __init__(self, service: str, code: int, name: str, retry_after: int = 0) -> None:
        super().__init__(f"{service} answered {name} ({code})")
        self.service = service
        self.code = code
        self.retry_after = retry_after


class UnsupportedVersionError(RefusedError):
    """It speaks another version of the protocol: `code` is the result, `offers` the version."""

    def __init__(self, service: str, code: int, name: str, offers: int = -1) -> None:
        super().__init__(service, code, name)
        self.offers = offers


class NotAuthorizedError(RefusedError):
    """Mapping is switched off, or not for this host or port."""


class UnsupportedRequestError(RefusedError):
    """It does not know the operation, the option or the transport."""


class MalformedRequestError(RefusedError):
    """It takes our request for a wrong one."""


class NetworkFailureError(RefusedError):
    """It has no usable external address itself."""


class NoResourcesError(RefusedError):
    """It has no port or memory left."""


class QuotaError(RefusedError):
    """This host has as many mappings as it may have."""


class ConflictError(RefusedError):
    """The external port is taken."""


class AddressMismatchError(RefusedError):
    """Our address changed on the way: there is a NAT between us and the gateway."""


class TooManyPeersError(RefusedError):
    """The filters name more remote peers than it can hold."""


class NoSuchMappingError(RefusedError):
    """There is no such mapping."""


class PermanentOnlyError(RefusedError):
    """It grants no lease that ends."""


class WildcardError(RefusedError):
    """A field must, or must not, be a wildcard."""


class SamePortError(RefusedError):
    """It maps only to the same external port."""


class ActionFailedError(RefusedError):
    """It failed and does not say why."""
