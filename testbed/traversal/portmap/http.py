"""As much HTTP/1.1 as UPnP needs: one request, one bounded response, then close (RFC 9112)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from ..errors import ProtocolError
from .mapping import Endpoint

MAX_HEAD = 8 * 1024  # bytes
MAX_BODY = 64 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?")
_SIZE = re.compile(rb"[0-9]{1,9}")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?")


@dataclass(frozen=True)
class Response:
    """Status and body."""

    status: int
    body: bytes


def request(
    method: str, server: Endpoint, path: str, headers: Mapping[str, str], body: bytes = b""
) -> bytes:
    """A request after which the server closes."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {server}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode() + body


class _Framing(Enum):
    LENGTH = auto()
    CHUNKS = auto()
    UNTIL_CLOSE = auto()


class ResponseReader:
    """Bytes in; `response` is set when it is complete.  Raises ProtocolError, also past a bound."""

    def __init__(self, max_body: int = MAX_BODY) -> None:
        self.response: Response | None = None
        self._max_body = max_body
        self._buffer = bytearray()
        self._body = bytearray()
        self._status = 0
        self._framing = _Framing.UNTIL_CLOSE
        self._left: int | None = None  # of the body, or of the current chunk

    def feed(self, data: bytes) -> None:
        """More has come."""
        self._buffer += data
        while self.response is None and self._step():
            pass

    def close(self) -> None:
        """No more will come."""
        if self.response is not None:
            return
        if not self._status or self._framing is not _Framing.UNTIL_CLOSE:
            raise ProtocolError("http", "the response is cut short")
        self._finish()

    def _step(self) -> bool:
        if not self._status:
            return self._read_head()
        if self._framing is not _Framing.CHUNKS:
            return self._read_body()
        return self._read_chunk_size() if self._left is None else self._read_chunk(self._left)

    def _line(self, end: bytes, limit: int) -> bytes | None:
        """What comes before `end`, which is consumed too; None while it is not there."""
        at = self._buffer.find(end, 0, limit)
        if at < 0:
            if len(self._buffer) >= limit:
                raise ProtocolError("http", f"a head or line of more than {limit} bytes")
            return None
        line = bytes(self._buffer[:at])
        del self._buffer[: at + len(end)]
        return line

    def _read_head(self) -> bool:
        head = self._line(b"\r\n\r\n", MAX_HEAD)
        if head is None:
            return False
        first, *lines = head.split(b"\r\n")
        if (status := _STATUS.fullmatch(first)) is None:
            raise ProtocolError("http", "no status line")
        if int(status[1]) < 200:
            return True  # 100 Continue: the real head follows
        self._status = int(status[1])
        self._choose_framing(lines)
        return True

    def _choose_framing(self, lines: list[bytes]) -> None:
        headers: dict[bytes, set[bytes]] = {}
        for line in lines:
            name, _, value = line.partition(b":")
            headers.setdefault(name.strip().lower(), set()).add(value.strip().lower())
        if coding := headers.get(b"transfer-encoding"):
            if coding != {b"chunked"}:
                raise ProtocolError("http", f"transfer coding {coding}")
            self._framing = _Framing.CHUNKS
        elif lengths := headers.get(b"content-length"):
            length, *others = lengths
            if others or not _SIZE.fullmatch(length):
                raise ProtocolError("http", f"content length {lengths}")
            self._framing, self._left = _Framing.LENGTH, int(length)
            self._check_size(int(length))

    def _check_size(self, size: int) -> None:
        if size > self._max_body:
            raise ProtocolError("http", f"a body of more than {self._max_body} bytes")

    def _read_body(self) -> bool:
        size = len(self._buffer) if self._left is None else self._left
        self._check_size(size)
        if self._left is not None and len(self._buffer) >= self._left:
            self._body += self._buffer[: self._left]
            self._finish()
        elif self._left is None:
            self._body += self._buffer
            self._buffer.clear()
            self._check_size(len(self._body))
        return False

    def _read_chunk_size(self) -> bool:
        line = self._line(b"\r\n", 256)
        if line is None:
            return False
        if (size := _CHUNK.fullmatch(line)) is None:
            raise ProtocolError("http", "no chunk size")
        self._left = int(size[1], 16)
        self._check_size(len(self._body) + self._left)
        if self._left == 0:
            self._finish()  # trailers say nothing that we need
        return True

    def _read_chunk(self, size: int) -> bool:
        if len(self._buffer) < size + 2:
            return False
        if self._buffer[size : size + 2] != b"\r\n":
            raise ProtocolError("http", "a chunk is longer than it says")
        self._body += self._buffer[:size]
        del self._buffer[: size + 2]
        self._left = None
        return True

    def _finish(self) -> None:
        self.response = Response(self._status, bytes(self._body))
