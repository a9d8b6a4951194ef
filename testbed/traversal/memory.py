"""How many received bytes may wait for a reader: of one connection, one peer, one node.

A window bounds one stream; many streams of many connections each fill theirs.
"""

from collections import Counter
from dataclasses import dataclass

from .peer_id import PeerId

_MIB = 2**20


@dataclass(frozen=True)
class MemoryLimits:
    """Bytes that have been received and not been read."""

    connection: int = 8 * _MIB
    peer: int = 16 * _MIB
    node: int = 128 * _MIB


class Memory:
    """The books of one node."""

    def __init__(self, limits: MemoryLimits) -> None:
        self.limits = limits
        self.held = 0
        self.by_peer: Counter[PeerId] = Counter()

    def account(self, peer: PeerId) -> "Account":
        """For one connection of the peer."""
        return Account(self, peer)


class Account:
    """What one connection holds."""

    def __init__(self, memory: Memory, peer: PeerId) -> None:
        self._memory, self._peer = memory, peer
        self.held = 0
        self._closed = False

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

    def give(self, count: int) -> None:
        """Bytes were read or dropped."""
        if not self._closed:
            self._book(-count)

    def close(self) -> None:
        """The connection is gone, and nothing more comes in; readers only empty what is there."""
        self.give(self.held)
        self._closed = True

    def _book(self, count: int) -> None:
        memory = self._memory
        self.held += count
        memory.held += count
        memory.by_peer[self._peer] += count
        if memory.by_peer[self._peer] <= 0:
            del memory.by_peer[self._peer]
