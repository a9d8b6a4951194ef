"""A connection of our stack that is kept (`Configure.keep`): its timers, an echo that dials again.

The end does as an application does: it uses the best connection that there is, and when that is
lost, it dials again by the same addresses.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from testbed.model.contract import Keeping
from testbed.traversal import Multiaddr, Node, PeerId, TraversalError
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.host import HostLimits
from testbed.traversal.aio.quic_timers import QuicTimers
from testbed.traversal.aio.stream import Stream
from testbed.traversal.aio.upgrade_service import UpgradeOptions
from testbed.traversal.errors import ConnectionClosedError

NEVER = 1e6  # seconds
PAUSE = 0.7  # seconds before a lost connection is dialed again
# Seconds: a lost SYN is repeated after one, and a dead connection has to be found out soon.
UPGRADE = UpgradeOptions(punch_timeout=1.2, relay_grace=1.0, proof_timeout=1.0)


def kept(limits: HostLimits, keep: Keeping | None) -> HostLimits:
    """``limits`` with the timers of ``keep``, if there are any."""
    if keep is None:
        return limits
    every = NEVER if keep.keepalive is None else keep.keepalive
    streams = replace(limits.streams, keepalive=every, keepalive_timeout=keep.patience)
    return replace(limits, streams=streams, quic=QuicTimers(keep.patience, every))


class KeptEcho:
    """Echoes of one end, each over the best connection, on one stream for each connection."""

    def __init__(
        self, node: Node, peer: PeerId, targets: Sequence[Multiaddr], protocol: str
    ) -> None:
        self._node, self._peer, self._targets = node, peer, targets
        self._protocol = protocol
        self._open: tuple[Connection, Stream] | None = None

    async def run(self, data: bytes) -> bytes:
        """What comes back of ``data``; nothing if the connection is lost meanwhile."""
        try:
            stream = await self._stream()
            await stream.write(data)
            return await stream.read_exactly(len(data))
        except (TraversalError, TimeoutError):
            self._open = None
            await asyncio.sleep(PAUSE)
            return b""

    async def _stream(self) -> Stream:
        if not self._node.host.connections_to(self._peer):
            await self._node.dial(*self._targets)
        best = next(iter(self._node.host.connections_to(self._peer)), None)
        if best is None:
            raise ConnectionClosedError("no connection is left")
        if self._open is not None:
            connection, stream = self._open
            if connection is best:
                return stream
            await stream.close()
        stream = await self._node.host.open_stream(best, [self._protocol])
        self._open = best, stream
        return stream
