"""UPnP IGD's WANIPConnection, versions 1 and 2: an action and its arguments, and the answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from .settings import Settings
from .table import TCP, UDP, Entry, Table

INVALID_ACTION, INVALID_ARGS, ACTION_FAILED, NOT_AUTHORIZED = 401, 402, 501, 606
INVALID_INDEX, NO_SUCH_ENTRY, WILDCARD_PORT, CONFLICT = 713, 714, 716, 718
PERMANENT_ONLY, WILDCARD_HOST_ONLY, NO_PORT_LEFT = 725, 726, 728
LONGEST = 604800  # seconds: what version 2 makes of a lease of 0 (RFC 6970 section 4.1)
_PROTOCOLS = {"UDP": UDP, "TCP": TCP}
_NAMES = {number: name for name, number in _PROTOCOLS.items()}

Arguments = Mapping[str, str]


class UpnpError(Exception):
    """The code that an action ends with."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Call:
    """One action of a host of the LAN."""

    settings: Settings
    table: Table
    client: IPv4Address
    now: float
    words: Arguments

    def text(self, name: str) -> str:
        """An argument; 402 without it."""
        try:
            return self.words[name].strip()
        except KeyError:
            raise UpnpError(INVALID_ARGS) from None

    def number(self, name: str, highest: int) -> int:
        """An argument that is a number."""
        text = self.text(name)
        if not (text.isascii() and text.isdigit()) or int(text) > highest:
            raise UpnpError(INVALID_ARGS)
        return int(text)

    def key(self) -> tuple[int, int]:
        """Protocol and external port, of any remote host: no other can be named."""
        if self.text("NewRemoteHost"):
            raise UpnpError(WILDCARD_HOST_ONLY)
        protocol = _PROTOCOLS.get(self.text("NewProtocol").upper())
        if protocol is None:
            raise UpnpError(INVALID_ARGS)
        return protocol, self.number("NewExternalPort", 65535)


def perform(
    settings: Settings, table: Table, client: IPv4Address, now: float, action: str, words: Arguments
) -> dict[str, str]:
    """The values that the action answers; UpnpError otherwise."""
    if action not in _ACTIONS:
        raise UpnpError(INVALID_ACTION)
    return _ACTIONS[action](Call(settings, table, client, now, words))


def _add(call: Call) -> dict[str, str]:
    protocol, external = call.key()
    if external == 0:
        raise UpnpError(WILDCARD_PORT)
    entry = _new(call, protocol, external)
    held = call.table.at(protocol, external)
    if held is not None and held.address != entry.address:
        raise UpnpError(CONFLICT)
    call.table.put(entry)
    return {}


def _add_any(call: Call) -> dict[str, str]:
    if call.settings.upnp_igd < 2 and not call.settings.any_port:
        raise UpnpError(INVALID_ACTION)
    protocol, external = call.key()
    entry = _new(call, protocol, external)
    held = call.table.at(protocol, external)
    if held is None or held.address != entry.address:
        free = call.table.free(protocol, external, entry.address)
        if free is None:
            raise UpnpError(NO_PORT_LEFT)
        entry.external_port = free
    call.table.put(entry)
    return {"NewReservedPort": str(entry.external_port)}


def _new(call: Call, protocol: int, external: int) -> Entry:
    """The entry that the arguments ask for, as far as it may be."""
    settings = call.settings
    internal = call.number("NewInternalPort", 65535)
    try:
        address = IPv4Address(call.text("NewInternalClient"))
    except ValueError:
        raise UpnpError(INVALID_ARGS) from None
    if internal == 0:
        raise UpnpError(INVALID_ARGS)
    lease = call.number("NewLeaseDuration", 2**32 - 1)
    if settings.secure_mode and address != call.client:
        raise UpnpError(NOT_AUTHORIZED)
    if lease and settings.permanent_only:
        raise UpnpError(PERMANENT_ONLY)
    if not settings.grants:
        raise UpnpError(ACTION_FAILED)
    if settings.upnp_igd > 1 or not settings.static_lease:
        lease = min(lease or LONGEST, LONGEST)
    until = call.now + lease if lease else None
    description = call.words.get("NewPortMappingDescription", "")
    return Entry(protocol, external, address, internal, until, description=description)


def _delete(call: Call) -> dict[str, str]:
    if not call.settings.absent_refused and call.table.at(*call.key()) is None:
        return {}
    entry = _existing(call)
    if call.settings.secure_mode and entry.address != call.client:
        raise UpnpError(NOT_AUTHORIZED)
    call.table.remove(entry)
    return {}


def _existing(call: Call) -> Entry:
    entry = call.table.at(*call.key())
    if entry is None:
        raise UpnpError(NO_SUCH_ENTRY)
    return entry


def _specific(call: Call) -> dict[str, str]:
    return _told(_existing(call), call.now)


def _generic(call: Call) -> dict[str, str]:
    entries = tuple(call.table)
    index = call.number("NewPortMappingIndex", 65535)
    if index >= len(entries):
        raise UpnpError(INVALID_INDEX)
    entry = entries[index]
    return {
        "NewRemoteHost": "",
        "NewExternalPort": str(entry.external_port),
        "NewProtocol": _NAMES[entry.protocol],
    } | _told(entry, call.now)


def _told(entry: Entry, now: float) -> dict[str, str]:
    return {
        "NewInternalPort": str(entry.internal_port),
        "NewInternalClient": str(entry.address),
        "NewEnabled": "1",
        "NewPortMappingDescription": entry.description,
        "NewLeaseDuration": str(entry.left(now)),
    }


def _address(call: Call) -> dict[str, str]:
    return {"NewExternalIPAddress": str(call.settings.told)}


def _status(_: Call) -> dict[str, str]:
    return {"NewConnectionStatus": "Connected", "NewLastConnectionError": "ERROR_NONE",
            "NewUptime": "1"}  # fmt: skip


def _type(_: Call) -> dict[str, str]:
    return {"NewConnectionType": "IP_Routed", "NewPossibleConnectionTypes": "IP_Routed"}


def _link(_: Call) -> dict[str, str]:
    """WANCommonInterfaceConfig's one answer that clients ask for."""
    return {"NewWANAccessType": "Ethernet", "NewLayer1UpstreamMaxBitRate": "100000000",
            "NewLayer1DownstreamMaxBitRate": "100000000",
            "NewPhysicalLinkStatus": "Up"}  # fmt: skip


_ACTIONS: dict[str, Callable[[Call], dict[str, str]]] = {
    "AddPortMapping": _add,
    "AddAnyPortMapping": _add_any,
    "DeletePortMapping": _delete,
    "GetSpecificPortMappingEntry": _specific,
    "GetGenericPortMappingEntry": _generic,
    "GetExternalIPAddress": _address,
    "GetStatusInfo": _status,
    "GetConnectionTypeInfo": _type,
    "GetCommonLinkProperties": _link,
}
