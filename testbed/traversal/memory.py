"""How many bytes may wait: for a reader, or for the remote; of one connection, one peer, one node.

A window bounds one stream; many streams of many connections each fill theirs.  What windows grow
by is promised beforehand, and is never more than half of each limit.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from .peer_id import PeerId

_MIB = 2**20


@dataclass(frozen=True)
class MemoryLimits:
    """Bytes that have been received and not been read, or written and not been delivered.

    A connection may send `assured` bytes at a time also where others hold all the rest.
    """

    connection: int = 8 * _MIB
    peer: int = 16 * _MIB
    node: int = 128 * _MIB
    assured: int = 64 * 1024


class Memory:
    """The books of one node."""

    def __init__(self, limits: MemoryLimits) -> None:
        self.limits = limits
        self.held = 0
        self.by_peer: Counter[PeerId] = Counter()
        self.promised = 0  # to windows that grew
        self.promised_by_peer: Counter[PeerId] = Counter()
        self.waiting: dict[Account, None] = {}  # for room, the longest first

    def account(self, peer: PeerId) -> "Account":
        """For one connection of the peer."""
        return Account(self, peer)


class Account:
    """What one connection holds."""

    def __init__(self, memory: Memory, peer: PeerId) -> None:
        self._memory, self._peer = memory, peer
        self.held = 0
        self.promised = 0
        self.on_room: Callable[[], None] = lambda: None
        self._closed = False

    @property
    def room(self) -> int:
        """Bytes that may be booked now."""
        memory, limits = self._memory, self._memory.limits
        free = min(
            limits.connection - self.held,
            limits.peer - memory.by_peer[self._peer],
            limits.node - memory.held,
        )
        return max(0, free, limits.assured - self.held)

    def settle(self, held: int) -> None:
        """It holds so many bytes now.  Who waits for room is told."""
        if self._closed:
            return
        freed = held < self.held
        self._book(held - self.held)
        if freed:
            for account in tuple(self._memory.waiting):
                account.on_room()

    def wait(self, waits: bool) -> None:
        """Whether `on_room` is to be called when any account gives back."""
        if waits and not self._closed:
            self._memory.waiting[self] = None
        else:
            self._memory.waiting.pop(self, None)

    def take(self, count: int) -> bool:
        """Book bytes that came in; False, and nothing is booked, where that is too many."""
        memory, limits = self._memory, self._memory.limits
        if (
            self.held + count > limits.connection
            or memory.by_peer[self._peer] + count > limits.peer
            or memory.held + count > limits.node
        ):
            return False
        self._book(count)
        return True

    def promise(self, count: int) -> bool:
        """Let windows grow by so much; False, and nothing is promised, where that is too much."""
        memory, limits = self._memory, self._memory.limits
        if self._closed or (
            2 * (self.promised + count) > limits.connection
            or 2 * (memory.promised_by_peer[self._peer] + count) > limits.peer
            or 2 * (memory.promised + count) > limits.node
        ):
            return False
        self._promise(count)
        return True

    def keep(self, count: int) -> None:
        """Windows that had grown by so much are no more."""
        if not self._closed:
            self._promise(-count)

    def give(self, count: int) -> None:
        """Bytes were read or dropped."""
        if not self._closed:
            self._book(-count)

    def close(self) -> None:
        """The connection is gone, and nothing more comes in; readers only empty what is there."""
        self.wait(False)
        self.settle(0)
        self._promise(-self.promised)
        self._closed = True

    def _promise(self, count: int) -> None:
        memory = self._memory
        self.promised += count
        memory.promised += count
        memory.promised_by_peer[self._peer] += count
        if memory.promised_by_peer[self._peer] <= 0:
            del memory.promised_by_peer[self._peer]

    def _book(self, count: int) -> None:
        memory = self._memory
        self.held += count
        memory.held += count
        memory.by_peer[self._peer] += count
        if memory.by_peer[self._peer] <= 0:
            del memory.by_peer[self._peer]
