"""HTTP's start line and headers, as UPnP has them over UDP and TCP (RFC 9112 section 2)."""

from typing import NamedTuple

MAX_HEAD = 4096  # bytes read of the start line and the headers
MAX_VALUE = 256  # characters kept of a line
_METHODS = (b"GET ", b"POST ", b"M-POST ", b"M-SEARCH ", b"NOTIFY ", b"SUBSCRIBE ", b"HTTP/1.")


class Head(NamedTuple):
    """``headers`` by lower-case name, the first of each; ``body``: what followed in the packet."""

    start: str
    headers: dict[str, str]
    body: bytes


def head(data: bytes) -> Head | None:
    """The head of a message; None if ``data`` does not begin with one.

    A head that is not all there is read as far as it goes.
    """
    if not data.startswith(_METHODS):
        return None
    taken, _blank, body = data.partition(b"\r\n\r\n")
    start, *lines = taken[:MAX_HEAD].split(b"\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _colon, value = line.partition(b":")
        headers.setdefault(_plain(name).strip().lower(), _plain(value).strip())
    return Head(_plain(start), headers, body)


def _plain(text: bytes) -> str:
    """Printable, and not too long."""
    characters = text[:MAX_VALUE].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "?" for c in characters)
