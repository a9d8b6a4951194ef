"""What the frames of a peer say of it.  Pure."""

from collections.abc import Iterator, Sequence

from testbed.model.contract import Configure
from testbed.model.frozen import FrozenValue
from testbed.model.peer_check import Rule
from testbed.model.window import SHORTEST
from testbed.peercheck.partner import Sight
from testbed.stacks.wire import HEADER_LENGTH, MAGIC, PAYLOAD_LIMIT, Kind

_SHOWN = 40  # octets of a frame that is none
_SIZE = slice(HEADER_LENGTH - 2, HEADER_LENGTH)


class FrameFault(FrozenValue):
    """A rule that a frame breaks, with the facts of a `BrokenRule`."""

    rule: Rule
    field: str = ""
    expected: str | int | None = None
    found: str | int | None = None


def faults(sights: Sequence[Sight], partner: Configure) -> Iterator[FrameFault]:
    """Frames that are none, or not from the other side of this session.

    ``partner`` is what our own side was told.
    """
    for sight in sights:
        frame = sight.frame
        if frame is None:
            yield _no_frame(sight.data)
        elif frame.session.hex() != partner.session:
            yield FrameFault(Rule.FRAME_FOREIGN, "session", partner.session, frame.session.hex())
        elif frame.role is partner.role:
            yield FrameFault(Rule.FRAME_FOREIGN, "role", found=str(frame.role))


def _no_frame(data: bytes) -> FrameFault:
    if data.startswith(MAGIC) and len(data) >= HEADER_LENGTH:
        size = int.from_bytes(data[_SIZE])
        if size > PAYLOAD_LIMIT:
            return FrameFault(Rule.FRAME_LARGE, "size", PAYLOAD_LIMIT, size)
    return FrameFault(Rule.FRAME_MALFORMED, found=data[:_SHOWN].hex())


def asked(sights: Sequence[Sight]) -> int:
    """Bytes that the peer sent to be sent back, each number once."""
    payloads = {s.frame.number: s.frame.payload for s in sights if s.frame and _is(s, Kind.DATA)}
    return sum(map(len, payloads.values()))


def first_probe(sights: Sequence[Sight]) -> int | None:
    """When the first probe came (nanoseconds); None: none has."""
    return next((sight.at for sight in sights if _is(sight, Kind.PROBE)), None)


def too_small(sights: Sequence[Sight], count: int) -> FrameFault | None:
    """The verdict knows payloads by themselves, and the short ones prove nothing."""
    sizes = {
        s.frame.number: HEADER_LENGTH + len(s.frame.payload)
        for s in sights
        if s.frame and _is(s, Kind.DATA)
    }
    known = sum(size for size in sizes.values() if size >= SHORTEST)
    if not sizes or known * 2 >= count:
        return None
    return FrameFault(Rule.FRAME_SMALL, "size", SHORTEST, max(sizes.values()))


def unmarked(sights: Sequence[Sight], nonce: bytes) -> FrameFault | None:
    """The first frame of an echo whose payload does not begin with what it was told."""
    for sight in sights:
        if sight.frame is None or not _is(sight, Kind.DATA):
            continue
        payload = sight.frame.payload
        if not payload.startswith(nonce[: len(payload)]):
            found = payload[: len(nonce)].hex()
            return FrameFault(Rule.NONCE_MISSING, "payload", nonce.hex(), found)
    return None


def altered(sights: Sequence[Sight], sent: Sequence[bytes]) -> FrameFault | None:
    """Something came back for a frame of ours, and it is not what was in it.

    ``sent``: our payloads by their numbers.
    """
    for sight in sights:
        frame = sight.frame
        if frame is None or not _is(sight, Kind.BACK):
            continue
        if frame.number >= len(sent) or frame.payload != sent[frame.number]:
            return FrameFault(Rule.ECHO_ALTERED, "payload", found=frame.number)
    return None


def _is(sight: Sight, kind: Kind) -> bool:
    return sight.frame is not None and sight.frame.kind is kind
