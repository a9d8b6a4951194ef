"""DNS, the name asked for and no more (RFC 1035 section 4.1); mDNS alike (RFC 6762)."""

import struct

from testbed.model.journey import Label

PORTS = frozenset({53, 5353})
MAX_NAME = 255  # bytes, section 2.3.4
_HEADER = struct.Struct("!2xHHHHH")
_QUERY_TYPES = {1: "A", 2: "NS", 5: "CNAME", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV"}


def read(data: bytes) -> Label | None:
    """A query or a response with at least one question; None if it is neither."""
    if len(data) < 12:
        return None
    flags, questions, answers, _authorities, _additional = _HEADER.unpack_from(data)
    if not questions:
        return None
    found = _name(data)
    if found is None:
        return None
    name, at = found
    if at + 4 > len(data):
        return None
    number = int.from_bytes(data[at : at + 2], "big")
    kind = _QUERY_TYPES.get(number, f"type {number}")
    fields = (("name", name), ("type", kind))
    if not flags & 0x8000:
        return Label("dns", f"query {name} {kind}", fields)
    code = flags & 0x0F
    text = f"response {name} {kind}, {answers} answers" + (f", error {code}" if code else "")
    return Label("dns", text, (*fields, ("rcode", str(code)), ("answers", str(answers))))


def _name(data: bytes) -> tuple[str, int] | None:
    """The first question's name, and its end (section 4.1.2): no pointer can be in it."""
    labels: list[str] = []
    at = 12
    while at < len(data) and at - 12 <= MAX_NAME:
        size = data[at]
        if size == 0:
            return ".".join(labels) or ".", at + 1
        label = data[at + 1 : at + 1 + size]
        if size > 63 or len(label) < size:
            return None
        text = label.decode("ascii", "replace")
        labels.append("".join(c if c.isprintable() else "?" for c in text))
        at += 1 + size
    return None
