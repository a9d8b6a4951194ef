"""multistream-select 1.0: agree on a protocol at the head of a byte stream.

Sans-io.  A machine offers `receive_data`, `data_to_send`, `done` and `trailing_data`;
so do the Noise handshake and whatever else runs before a stream belongs to its user.
"""

from collections.abc import Collection, Sequence

from . import varint
from .errors import NegotiationError, ProtocolError

HEADER = "/multistream/1.0.0"
MAX_LINE = 1024
MAX_PROPOSALS = 32
_NAME = "multistream"
_NOT_AVAILABLE = "na"


def _line(text: str) -> bytes:
    return varint.frame(text.encode() + b"\n")


class _Lines:
    """Header first, then one line at a time."""

    def __init__(self) -> None:
        self._frames = varint.FrameDecoder(MAX_LINE, _NAME)
        self._out = bytearray(_line(HEADER))
        self._header_seen = False
        self.selected: str | None = None

    @property
    def done(self) -> bool:
        """Whether a protocol is agreed on."""
        return self.selected is not None

    @property
    def trailing_data(self) -> bytes:
        """Received bytes that already belong to the selected protocol."""
        return self._frames.trailing_data

    def data_to_send(self) -> bytes:
        """Bytes to write; each is returned once."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def receive_data(self, data: bytes) -> None:
        """Feed received bytes.  Raises ProtocolError or NegotiationError."""
        self._frames.feed(data)
        while not self.done and (frame := self._frames.next_frame()) is not None:
            if not frame.endswith(b"\n"):
                raise ProtocolError(_NAME, "line without a newline")
            line = frame[:-1].decode("utf-8", "replace")
            if self._header_seen:
                self._handle(line)
            elif line == HEADER:
                self._header_seen = True
            else:
                raise ProtocolError(_NAME, f"unexpected header {line[:40]!r}")

    def _handle(self, line: str) -> None:
        raise NotImplementedError


class Dialer(_Lines):
    """Proposes protocols in order of preference."""

    def __init__(self, protocols: Sequence[str]) -> None:
        super().__init__()
        self._proposals = list(protocols)
        self._out += _line(self._proposals[0])

    def _handle(self, line: str) -> None:
        if line == self._proposals[0]:
            self.selected = line
        elif line == _NOT_AVAILABLE:
            del self._proposals[0]
            if not self._proposals:
                raise NegotiationError(_NAME, "the remote supports none of the protocols")
            self._out += _line(self._proposals[0])
        else:
            raise ProtocolError(_NAME, f"unexpected answer {line[:40]!r}")


class Listener(_Lines):
    """Accepts the first proposal that is supported."""

    def __init__(self, protocols: Collection[str]) -> None:
        super().__init__()
        self._protocols = protocols
        self._proposals = 0
        self.refused = False  # the last proposal

    def _handle(self, line: str) -> None:
        self._proposals += 1
        if line in self._protocols:
            self._out += _line(line)
            self.selected = line
            self.refused = False
        elif self._proposals >= MAX_PROPOSALS:
            raise NegotiationError(_NAME, f"{MAX_PROPOSALS} proposals, none supported")
        else:
            # `ls` is answered like an unknown protocol, as go does since 2022.
            self._out += _line(_NOT_AVAILABLE)
            self.refused = True
