"""How far a stream's remote may write ahead of our reader: a window that follows the path.

Over a path with a round trip of R seconds a window of W bytes carries at most W / R bytes a second.
One that is too small for its path is filled and read once a round trip.  Then it is doubled, as
long as the connection's memory can promise that (`Account.promise`).  A slow reader's window stays
as it is.  A remote that delays its answers, so that the path seems long, gets no more than the
budget promises, and only for what we have read.
"""

from collections.abc import Callable

# Half a window that is consumed in fewer round trips than this was filled at the rate that the
# window allows, or at one so near that there is no room for a sender's pauses.
_BUSY = 2.0


class ReceiveWindow:
    """The window of one stream; sizes are bytes, times seconds.

    It starts with `size` bytes that are granted, and grows up to `largest`.
    """

    def __init__(self, size: int, largest: int) -> None:
        self.size, self._largest = size, largest
        self.grown = 0  # what was promised beyond the first size
        self._consumed = 0  # and not given back
        self._given_at: float | None = None

    def consume(
        self, count: int, now: float, round_trip: float, promise: Callable[[int], bool]
    ) -> int:
        """The user took `count` bytes: how many the remote may write beyond what it may now.

        0 until half a window is due.  `round_trip` is 0 where it is not known.
        """
        self._consumed += count
        since = self._given_at
        if since is None:
            self._given_at = now  # from here on it can be judged
        if self._consumed < self.size // 2:
            return 0
        given, self._consumed = self._consumed, 0
        more = min(self.size, self._largest - self.size)
        quick = since is not None and now - since < _BUSY * round_trip
        if quick and more > 0 and promise(more):
            self.size += more
            self.grown += more
            given += more
        self._given_at = now
        return given

    @property
    def waiting(self) -> int:
        """Bytes that were consumed and are not given back yet."""
        return self._consumed
