"""The mappings of a gateway.  Pure: time is passed in."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

UDP, TCP = 17, 6  # IANA's numbers
FIRST, LAST = 1024, 65535  # ports that the gateway chooses from


@dataclass
class Entry:
    """One mapping.  ``until`` is None of a static one; ``nonce`` is PCP's."""

    protocol: int
    external_port: int
    address: IPv4Address
    internal_port: int
    until: float | None
    nonce: bytes = b""
    description: str = ""

    def left(self, now: float) -> int:
        """Whole seconds of its lease; 0 of a static one, as UPnP says it."""
        return 0 if self.until is None else max(1, round(self.until - now))


class Table:
    """By protocol and external port, which belongs to one internal endpoint."""

    def __init__(self) -> None:
        self._entries: dict[tuple[int, int], Entry] = {}

    def __iter__(self) -> Iterator[Entry]:
        """The oldest first."""
        return iter(tuple(self._entries.values()))

    def at(self, protocol: int, external_port: int) -> Entry | None:
        """The mapping of an external port."""
        return self._entries.get((protocol, external_port))

    def of(self, protocol: int, address: IPv4Address, internal_port: int) -> Entry | None:
        """The first mapping of an internal endpoint."""
        wanted = (protocol, address, internal_port)
        for entry in self:
            if (entry.protocol, entry.address, entry.internal_port) == wanted:
                return entry
        return None

    def put(self, entry: Entry) -> Entry:
        """Make it, or replace the one of its external port."""
        self._entries[entry.protocol, entry.external_port] = entry
        return entry

    def remove(self, entry: Entry) -> None:
        """End it."""
        del self._entries[entry.protocol, entry.external_port]

    def expire(self, now: float) -> bool:
        """End those whose lease is over; whether there were any."""
        over = [e for e in self if e.until is not None and e.until <= now]
        for entry in over:
            self.remove(entry)
        return bool(over)

    def next_end(self) -> float | None:
        """When the next lease is over."""
        return min((e.until for e in self if e.until is not None), default=None)

    def free(self, protocol: int, wanted: int, address: IPv4Address) -> int | None:
        """An external port for a host: the wanted one, else the next above; None if all are taken.

        A port whose other transport is another host's is not free (RFC 6886 section 3.3).
        """
        start = wanted if FIRST <= wanted <= LAST else FIRST
        candidates = (*((wanted,) if wanted else ()), *range(start, LAST + 1), *range(FIRST, start))
        return next((p for p in candidates if self._is_free(protocol, p, address)), None)

    def _is_free(self, protocol: int, port: int, address: IPv4Address) -> bool:
        other = self.at(TCP if protocol == UDP else UDP, port)
        return self.at(protocol, port) is None and (other is None or other.address == address)
