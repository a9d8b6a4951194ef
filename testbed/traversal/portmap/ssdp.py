"""SSDP, the control point's side: find the gateway's description (UPnP Device Architecture 1.1).

Anyone on the LAN can answer a search.  Only what the gateway itself sends counts, and
only a description on that same address: `check_location`.
"""

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from urllib.parse import SplitResult, urlsplit

from ..errors import ProtocolError
from .mapping import Address, Endpoint

PORT = 1900
GROUP = Endpoint(IPv4Address("239.255.255.250"), PORT)
GATEWAYS = tuple(f"urn:schemas-upnp-org:device:InternetGatewayDevice:{n}" for n in (2, 1))
MAX_SIZE = 4096
MAX_HEADERS = 64


@dataclass(frozen=True)
class Location:
    """Where a document is, on the gateway; `path` has the query, too."""

    server: Endpoint
    path: str


@dataclass(frozen=True)
class Found:
    """An answer to a search.  `boot_id` changes when the device starts anew; not all tell it."""

    location: str
    target: str
    boot_id: int | None


@dataclass(frozen=True)
class Notice:
    """An announcement: the device is there (`alive`), or goes."""

    target: str
    alive: bool
    boot_id: int | None


def search(target: str, host: Endpoint = GROUP, wait: int = 1) -> bytes:
    """A search; devices may take `wait` seconds to answer, so that not all do at once."""
    lines = (
        "M-SEARCH * HTTP/1.1",
        f"HOST: {host}",
        'MAN: "ssdp:discover"',
        f"MX: {wait}",
        f"ST: {target}",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def decode(data: bytes) -> Found | Notice:
    """Read an answer or an announcement.  Raises ProtocolError."""
    if len(data) > MAX_SIZE:
        raise ProtocolError("ssdp", f"{len(data)} bytes")
    first, *lines = data.decode("latin-1").split("\r\n")
    headers = _headers(lines)
    boot_id = headers.get("bootid.upnp.org", "")
    boot = int(boot_id) if boot_id.isascii() and boot_id.isdigit() and len(boot_id) < 20 else None
    if first.startswith("NOTIFY "):
        state = headers.get("nts", "")
        if state not in ("ssdp:alive", "ssdp:byebye"):
            raise ProtocolError("ssdp", f"a notice of {state!r}")
        return Notice(headers.get("nt", ""), state == "ssdp:alive", boot)
    if first.startswith("HTTP/1.") and first.split(" ")[1:2] == ["200"]:
        return Found(headers.get("location", ""), headers.get("st", ""), boot)
    raise ProtocolError("ssdp", "neither an answer nor a notice")


def _headers(lines: list[str]) -> dict[str, str]:
    if len(lines) > MAX_HEADERS:
        raise ProtocolError("ssdp", f"{len(lines)} headers")
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def check_location(location: str, gateway: Address) -> Location:
    """Where the description is.  Raises ProtocolError unless that is on the private gateway."""
    return _on_gateway(_split(location), gateway)


def resolve(path: str, base: Location) -> Location:
    """A control URL, whole or relative to its description; it too must be on the gateway."""
    url = _split(path)
    if url.scheme or url.netloc:
        return _on_gateway(url, base.server.address)
    return Location(base.server, _absolute(url, base.path.rpartition("/")[0]))


def _split(text: str) -> SplitResult:
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ProtocolError("ssdp", "a location with characters that no URL has")
    try:
        url = urlsplit(text)
        _ = url.port  # checked only when it is asked for
    except ValueError as error:
        raise ProtocolError("ssdp", f"location {text!r}: {error}") from error
    return url


def _on_gateway(url: SplitResult, gateway: Address) -> Location:
    try:
        host = IPv4Address(url.hostname or "")
    except AddressValueError as error:
        raise ProtocolError("ssdp", f"{url.hostname!r} is no IPv4 address") from error
    if url.scheme != "http" or url.username is not None:
        raise ProtocolError("ssdp", f"location {url.geturl()!r} is not plain HTTP")
    if host != gateway or not host.is_private:
        raise ProtocolError("ssdp", f"the location is on {host}, not on the gateway {gateway}")
    return Location(Endpoint(host, url.port or 80), _absolute(url, ""))


def _absolute(url: SplitResult, folder: str) -> str:
    path = url.path if url.path.startswith("/") else f"{folder}/{url.path}"
    return path + (f"?{url.query}" if url.query else "")


class Presence:
    """Did the gateway start anew?  Told by its boot id, or by a farewell before it came back."""

    def __init__(self, boot_id: int | None) -> None:
        self._boot_id = boot_id
        self._gone = False

    def restarted(self, notice: Notice) -> bool:
        """Take a notice that came from the gateway."""
        if not notice.alive:
            self._gone = True
            return False
        known, gone = self._boot_id, self._gone
        self._boot_id, self._gone = notice.boot_id, False
        return gone or (None not in (known, notice.boot_id) and known != notice.boot_id)
