"""The testbed's own punchers: probes, their answers, and the echo (`testbed.stacks.wire`)."""

import struct

from testbed.evidence.protocols.frames import Frame
from testbed.model.journey import Label

MAGIC = b"\xf5tb1"
HEADER_LENGTH = 28
_HEADER = struct.Struct("!4sBB16sIH")
_ROLES = ("dialer", "listener")
QUESTIONS = frozenset({"probe", "selection", "echo"})
ANSWERS = frozenset({"ACK", "echo back"})
_KINDS = {1: "probe", 2: "ACK", 3: "selection", 4: "echo", 5: "echo back"}


def read(data: bytes) -> Label | None:
    """The frame that a datagram is; None if it is not exactly one."""
    found = frame(data)
    return found.label if found and found.length >= len(data) else None


def frame(data: bytes) -> Frame | None:
    """The frame at the head of a stream's bytes."""
    if len(data) < HEADER_LENGTH or not data.startswith(MAGIC):
        return None
    _magic, kind, role, session, number, size = _HEADER.unpack_from(data)
    if kind not in _KINDS or role >= len(_ROLES):
        return None
    fields = (
        ("kind", _KINDS[kind]),
        ("role", _ROLES[role]),
        ("session", session.hex()),
        ("number", str(number)),
        ("length", str(size)),
    )
    text = f"{_KINDS[kind]} {number}"
    return Frame(Label("punch", text, fields), HEADER_LENGTH + size)
