"""multistream-select 1.0.0: how libp2p agrees on a protocol, in clear on a fresh TCP stream.

Each message is a varint length and a line (multiformats/multistream-select).  Once
Noise is agreed on, all is encrypted, but for the lengths of messages (libp2p noise/README.md).
"""

from testbed.evidence.protocols.frames import Frame
from testbed.model.journey import Label, Weight

HEADER = "/multistream/1.0.0"
NOISE = "/noise"
NOISE_FIRST = 32  # bytes: message 1 of XX is an X25519 key alone; 2 and 3 carry a payload
MAX_LINE = 1024  # bytes, newline included
_WORDS = frozenset({"na", "ls"})
_USUAL = frozenset({"/multistream/1.0.0", NOISE, "/yamux/1.0.0"})  # agreed on in every connection


def frame(data: bytes) -> Frame | None:
    """The line at the head of a stream's bytes; None if it is not one, or not all there."""
    if len(data) < 3:
        return None
    size, at = data[0], 1
    if size & 0x80:
        size, at = (size & 0x7F) | data[1] << 7, 2
    line = data[at : at + size]
    if not 2 <= size <= MAX_LINE or len(line) < size or not line.endswith(b"\n"):
        return None
    text = line[:-1].decode("ascii", "replace")
    if not text.isprintable() or not (text.startswith("/") or text in _WORDS):
        return None
    weight = Weight.USUAL if text in _USUAL else Weight.TELLING
    return Frame(Label("multistream", text, (("protocol", text),), weight=weight), at + size)


def noise_frame(data: bytes) -> int | None:
    """The whole length of the Noise message at the head: two bytes of length, then it."""
    return 2 + int.from_bytes(data[:2], "big") if len(data) >= 2 else None
