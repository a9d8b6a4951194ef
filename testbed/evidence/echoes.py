"""Which payloads of an echo tell by which way they went."""

from testbed.model.window import Window
from testbed.stacks.wire import MAGIC, Kind

_ECHO = tuple(MAGIC + bytes([kind]) for kind in (Kind.DATA, Kind.BACK))


def tells(payload: bytes, window: Window) -> bool:
    """True of what is too long to be a probe or a keep-alive, and of a frame of an echo.

    A frame is unlike all others by its number, however short it is.  A relay may have put
    it into something else.
    """
    return len(payload) >= window.shortest or any(head in payload for head in _ECHO)
