"""UPnP Internet Gateway Device, versions 1 and 2: the description and the calls.

WANIPConnection:1 and WANPPPConnection:1 (UPnP Forum 2001), WANIPConnection:2 (2010);
how PCP sees them is RFC 6970.  Text in, text out: `aio.portmap_upnp` talks.
"""

from collections.abc import Mapping as Dictionary
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address
from xml.sax.saxutils import escape

from ..errors import ProtocolError
from . import xmltree
from .http import Response
from .mapping import (
    ActionFailedError,
    Address,
    ConflictError,
    MalformedRequestError,
    NoResourcesError,
    NoSuchMappingError,
    NotAuthorizedError,
    PermanentOnlyError,
    RefusedError,
    SamePortError,
    Service,
    Transport,
    UnsupportedRequestError,
    Wanted,
    WildcardError,
)
from .ssdp import Location, resolve

MAX_CONNECTIONS = 8
_ENVELOPE = (
    '<?xml version="1.0"?>\r\n'
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
    's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
    '<u:{action} xmlns:u="{kind}">{arguments}</u:{action}>'
    "</s:Body></s:Envelope>\r\n"
)
# Best first: version 2 chooses another port by itself; PPP is the same by another name.
_KINDS = tuple(
    f"urn:schemas-upnp-org:service:{name}"
    for name in ("WANIPConnection:2", "WANIPConnection:1", "WANPPPConnection:1")
)


class Action(StrEnum):
    """What we ask of a connection."""

    GET_ADDRESS = "GetExternalIPAddress"
    ADD = "AddPortMapping"
    ADD_ANY = "AddAnyPortMapping"
    DELETE = "DeletePortMapping"
    GET = "GetSpecificPortMappingEntry"


# code: name, type; WANIPConnection:2 section 2.5 and UDA 1.1 section 3.2.2
_ERRORS: dict[int, tuple[str, type[RefusedError]]] = {
    401: ("InvalidAction", UnsupportedRequestError),
    402: ("InvalidArgs", MalformedRequestError),
    501: ("ActionFailed", ActionFailedError),
    600: ("ArgumentValueInvalid", MalformedRequestError),
    601: ("ArgumentValueOutOfRange", MalformedRequestError),
    602: ("OptionalActionNotImplemented", UnsupportedRequestError),
    603: ("OutOfMemory", NoResourcesError),
    605: ("StringArgumentTooLong", MalformedRequestError),
    606: ("ActionNotAuthorized", NotAuthorizedError),
    713: ("SpecifiedArrayIndexInvalid", NoSuchMappingError),
    714: ("NoSuchEntryInArray", NoSuchMappingError),
    715: ("WildCardNotPermittedInSrcIP", WildcardError),
    716: ("WildCardNotPermittedInExtPort", WildcardError),
    718: ("ConflictInMappingEntry", ConflictError),
    724: ("SamePortValuesRequired", SamePortError),
    725: ("OnlyPermanentLeasesSupported", PermanentOnlyError),
    726: ("RemoteHostOnlySupportsWildcard", WildcardError),
    727: ("ExternalPortOnlySupportsWildcard", WildcardError),
    728: ("NoPortMapsAvailable", NoResourcesError),
    729: ("ConflictWithOtherMechanisms", ConflictError),
    730: ("PortMappingNotFound", NoSuchMappingError),
    732: ("WildCardNotPermittedInIntPort", WildcardError),
    733: ("InconsistentParameters", MalformedRequestError),
}


@dataclass(frozen=True)
class Connection:
    """A service of the gateway that maps ports: its type, and where it takes calls."""

    kind: str
    control: Location

    @property
    def service(self) -> Service:
        """Which version it is."""
        return Service.UPNP_V2 if self.kind.endswith(":2") else Service.UPNP_V1


@dataclass(frozen=True)
class Entry:
    """A mapping as the gateway has it.  `lifetime` in seconds, None without an end."""

    internal_address: IPv4Address
    internal_port: int
    lifetime: int | None


def connections(description: bytes, base: Location) -> tuple[Connection, ...]:
    """The description's connections that map ports, best first.  Raises ProtocolError."""
    root = xmltree.parse(description)
    found: list[Connection] = []
    for service in root.walk():
        kind, path = service.find("serviceType"), service.find("controlURL")
        if service.name == "service" and kind in _KINDS and path:
            found.append(Connection(kind, resolve(path, base)))
    if not found:
        raise ProtocolError("igd", "the description has no connection that maps ports")
    return tuple(sorted(found, key=lambda c: _KINDS.index(c.kind))[:MAX_CONNECTIONS])


def headers(connection: Connection, action: Action) -> dict[str, str]:
    """Of a call, which is a POST."""
    return {
        "Content-Type": 'text/xml; charset="utf-8"',
        "SOAPAction": f'"{connection.kind}#{action}"',
    }


def encode(connection: Connection, action: Action, arguments: Dictionary[str, str]) -> bytes:
    """The body of a call; arguments in the order that the standard has them."""
    words = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in arguments.items())
    return _ENVELOPE.format(action=action, kind=connection.kind, arguments=words).encode()


def key(transport: Transport, external_port: int) -> dict[str, str]:
    """What names a mapping; the empty remote host is anyone."""
    return {
        "NewRemoteHost": "",
        "NewExternalPort": str(external_port),
        "NewProtocol": transport.upper(),
    }


def addition(wanted: Wanted, internal: Address, description: str) -> dict[str, str]:
    """The arguments of `ADD` and `ADD_ANY`."""
    return key(wanted.transport, wanted.external_port) | {
        "NewInternalPort": str(wanted.internal_port),
        "NewInternalClient": str(internal),
        "NewEnabled": "1",
        "NewPortMappingDescription": description,
        "NewLeaseDuration": str(wanted.lifetime),
    }


def decode(response: Response, action: Action) -> dict[str, str]:
    """The values that a call returned.

    Raises RefusedError with the gateway's code, ProtocolError for what is no answer.
    """
    root = xmltree.parse(response.body)
    for element in root.walk():
        if element.name == "UPnPError":
            raise refusal(_number(element.find("errorCode"), 9999, "error code"))
        if element.name == f"{action}Response" and response.status == 200:
            return {child.name: child.text.strip() for child in element.children}
    raise ProtocolError("igd", f"{action}: neither an answer nor an error ({response.status})")


def refusal(code: int) -> RefusedError:
    """The error for a code, also for one of the vendor's own."""
    name, kind = _ERRORS.get(code, ("an unknown error", RefusedError))
    return kind("upnp", code, name)


def external_address(values: Dictionary[str, str]) -> IPv4Address:
    """What `GET_ADDRESS` returned; unspecified when the gateway says that it has none."""
    text = values.get("NewExternalIPAddress", "")
    try:
        return IPv4Address(text or 0)
    except AddressValueError as error:
        raise ProtocolError("igd", f"external address {text[:40]!r}") from error


def reserved_port(values: Dictionary[str, str]) -> int:
    """What `ADD_ANY` returned."""
    port = _number(values.get("NewReservedPort", ""), 65535, "reserved port")
    if port == 0:
        raise ProtocolError("igd", "reserved port 0")
    return port


def entry(values: Dictionary[str, str]) -> Entry:
    """What `GET` returned."""
    text = values.get("NewInternalClient", "")
    try:
        client = IPv4Address(text)
    except AddressValueError as error:
        raise ProtocolError("igd", f"internal client {text[:40]!r}") from error
    lease = _number(values.get("NewLeaseDuration", "0"), 2**32 - 1, "lease")
    port = _number(values.get("NewInternalPort", ""), 65535, "internal port")
    return Entry(client, port, lease or None)


def _number(text: str, largest: int, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10) or int(text) > largest:
        raise ProtocolError("igd", f"{what} {text[:40]!r}")
    return int(text)
