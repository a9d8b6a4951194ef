"""What a program wrote to its stderr: how it begins and how it ends.

Some put the reason first, and a trace of every thread after it; others put it last.
"""

from testbed import foreign

KEPT = 1500  # bytes of each end


class Remarks:
    """Grows as it is read, to no more than twice `KEPT`."""

    def __init__(self) -> None:
        self._first = b""
        self._last = b""
        self._between = 0  # bytes that are not kept

    def take(self, data: bytes) -> None:
        """More of it."""
        room = KEPT - len(self._first)
        self._first += data[:room]
        rest = self._last + data[room:]
        self._last = rest[-KEPT:]
        self._between += len(rest) - len(self._last)

    def __str__(self) -> str:
        if not self._between:
            return foreign.words((self._first + self._last).decode(errors="replace").strip())
        first, last = (part.decode(errors="replace") for part in (self._first, self._last))
        text = f"{first}\n[{self._between} bytes are left out here]\n{last}".strip()
        return foreign.words(text)
