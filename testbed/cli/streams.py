"""Standard streams that cannot break the work they report on.

One rule for every command: its exit code is that of the work, and 0 where words were
all there was to do.  A reader that has seen enough (`testbed plan | head -1`) and a
stream that was closed from the start (`>&-`) change nothing about it.  Output that is
lost against the caller's will, on a full disk say, turns a 0 into INCONCLUSIVE.

Words are in the encoding of the user's locale.  A character that it lacks becomes an ASCII one of
the same meaning, or an escape: no locale makes a command fail.  Names of files are UTF-8
everywhere, as what is in them: `read_names_as_utf8`.
"""

import codecs
import errno
import io
import os
import sys
from typing import Any

from testbed.errors import Exit
from testbed.report.glyphs import PLAIN

_FALLBACK = "testbed.plain"  # the name of the error handler


def read_names_as_utf8() -> None:
    """Begin again in Python's UTF-8 mode where the locale has another encoding.

    Else a path of the command line would be one that no UTF-8 file can hold, and a path of a
    file one that cannot be opened.  The standard streams keep the encoding of the locale.
    """
    if sys.getfilesystemencoding() == "utf-8":
        return
    if sys.stdout is not None:
        os.environ.setdefault("PYTHONIOENCODING", sys.stdout.encoding)
    program, *words = sys.orig_argv
    os.execv(sys.executable, [program, "-X", "utf8", *words])


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
    codecs.register_error(_FALLBACK, _plain)
    return io.TextIOWrapper(
        io.BufferedWriter(stream),
        encoding=before.encoding if before else "utf-8",
        errors=_FALLBACK,
        line_buffering=line_buffering or stream.isatty(),
    )


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """What is written for characters that an encoding lacks, and where to go on."""
    if isinstance(error, UnicodeEncodeError) and (found := PLAIN.get(error.object[error.start])):
        return found, error.start + 1
    return codecs.backslashreplace_errors(error)
