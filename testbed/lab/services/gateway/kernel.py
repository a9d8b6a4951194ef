"""The table as nft's rules: one transaction, so that no packet meets a half of it."""

from collections.abc import Iterator

from .settings import Settings
from .table import TCP, UDP, Entry, Table

NAMES = {UDP: "udp", TCP: "tcp"}


def rules(settings: Settings, table: Table) -> str:
    """For ``nft -f``, in place of all that was there.

    A mapped port is that of its internal endpoint outwards, too, and towards everybody
    (RFC 6886 section 3.9, RFC 6887 section 11): of several, the oldest.
    """
    return "\n".join([*_flushes(settings), *_mappings(settings, table), ""])


def _flushes(settings: Settings) -> Iterator[str]:
    for chain in ("mapped", "peers"):
        yield f"flush chain inet portmap {chain}"
    for name in NAMES.values() if settings.reserved else ():
        yield f"flush set {settings.reserved} mapped_{name}"


def _mappings(settings: Settings, table: Table) -> Iterator[str]:
    first: set[tuple[object, ...]] = set()
    for entry in table if settings.forwards else ():
        name, port = NAMES[entry.protocol], entry.external_port
        yield (
            f"add rule inet portmap mapped {name} dport {port} "
            f"dnat ip to {entry.address}:{entry.internal_port}"
        )
        if settings.reserved:
            yield f"add element {settings.reserved} mapped_{name} {{ {port} }}"
        inside = (entry.protocol, entry.address, entry.internal_port)
        if settings.mapped_outward and inside not in first:
            yield _outwards(settings, entry, name)
        first.add(inside)


def _outwards(settings: Settings, entry: Entry, name: str) -> str:
    return (
        f"add rule inet portmap peers ip saddr {entry.address} {name} sport {entry.internal_port} "
        f"ct mark set {settings.mark} masquerade to :{entry.external_port}"
    )
