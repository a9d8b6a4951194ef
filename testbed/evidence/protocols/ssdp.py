"""SSDP, how UPnP devices are found (UPnP Device Architecture 1.1, section 1)."""

from testbed.evidence.protocols import http
from testbed.model.journey import Label

PORT = 1900
_KEPT = ("st", "nt", "nts", "usn", "location", "server", "man", "mx")


def read(data: bytes) -> Label | None:
    """A search (1.3.2), its answer (1.3.3) or an announcement (1.2); else None."""
    head = http.head(data)
    if head is None:
        return None
    method = head.start.split(" ", 1)[0]
    target = head.headers.get("st") or head.headers.get("nt") or "nothing named"
    if method == "M-SEARCH":
        text = f"M-SEARCH for {target}"
    elif method == "NOTIFY":
        text = f"NOTIFY {head.headers.get('nts', '')} {target}"
    elif method.startswith("HTTP/"):
        text = f"M-SEARCH response: {head.headers.get('location') or 'no location'}"
    else:
        return None
    fields = tuple((key.upper(), head.headers[key]) for key in _KEPT if key in head.headers)
    return Label("ssdp", text, fields)
