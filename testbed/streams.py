"""Standard streams that cannot break the work they report on.

One rule for every command: its exit code is that of the work, and 0 where words were
all there was to do.  A reader that has seen enough (`testbed plan | head -1`) and a
stream that was closed from the start (`>&-`) change nothing about it.  Output that is
lost against the caller's will, on a full disk say, turns a 0 into INCONCLUSIVE.
"""

import errno
import io
import os
import sys
from typing import Any

from testbed.errors import Exit


class _Stream(io.RawIOBase):
    """A descriptor; what it no longer takes is dropped, and why is remembered."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                return os.write(self._fd, data)
            except OSError as error:
                self.error = error
        return len(data)


class Streams:
    """Put such streams in the place of Python's; call once, before anything is opened."""

    def __init__(self) -> None:
        for fd in (0, 1, 2):  # a closed one would be given to the next socket
            try:
                os.fstat(fd)
            except OSError:
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        self._out = _Stream(1)
        sys.stdout = _text(self._out, sys.stdout)
        sys.stderr = _text(_Stream(2), sys.stderr, line_buffering=True)

    def finish(self, code: int) -> int:
        """Write what is left; ``code``, or the code for output that was lost."""
        sys.stdout.flush()
        error = self._out.error
        if error is not None and error.errno != errno.EPIPE:
            print(f"testbed: the output was lost: {error.strerror}", file=sys.stderr)
            code = code or int(Exit.INCONCLUSIVE)
        sys.stderr.flush()
        return code


def _text(
    stream: _Stream, before: io.TextIOBase | Any, line_buffering: bool = False
) -> io.TextIOWrapper:
    """``stream`` for words, in the encoding that Python chose; no word is refused."""
    return io.TextIOWrapper(
        io.BufferedWriter(stream),
        encoding=before.encoding if before else "utf-8",
        errors="backslashreplace",
        line_buffering=line_buffering or stream.isatty(),
    )
