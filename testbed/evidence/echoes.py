"""Which payloads of an echo tell by which way they went, and of how many bytes."""

from collections.abc import Iterable

from testbed.model.window import Window
from testbed.stacks.wire import MAGIC, Kind

_ECHO = tuple(MAGIC + bytes([kind]) for kind in (Kind.DATA, Kind.BACK))


def tells(payload: bytes, window: Window) -> bool:
    """True of what is too long to be a probe or a keep-alive, and of a frame of an echo.

    A frame is unlike all others by its number, however short it is.  A relay may have put
    it into something else.  Where the echo is known by its nonce, it is what holds that; a segment
    between two of its frames may hold none, but most do.
    """
    if window.nonce:
        return bytes.fromhex(window.nonce) in payload
    return len(payload) >= window.shortest or any(head in payload for head in _ECHO)


def volume(payloads: Iterable[bytes], window: Window) -> int:
    """Bytes of those that differ: what is sent again counts once.

    Where the echo is known by its nonce they have to differ from there on, and not in the
    number of a frame before it.
    """
    if not window.nonce:
        return sum(map(len, set(payloads)))
    nonce = bytes.fromhex(window.nonce)
    contents = {payload[payload.find(nonce) :]: len(payload) for payload in payloads}
    return sum(contents.values())
