"""NAT traversal on libp2p's wire formats: TCP, QUIC, WebSocket, AutoNAT, circuit relay v2, DCUtR.

A library of its own: nothing here imports the rest of the testbed.  Protocol cores
(`noise`, `yamux`, `dcutr`, `relay`, ...) take bytes and time and know no socket; `aio`
holds the edge; `Node` is what a program uses.
"""

from typing import TYPE_CHECKING

from . import errors, events
from .aio.autonat_server import AutonatOptions
from .aio.connection import Connection, Direction
from .aio.host import HostLimits
from .aio.path_watch import PathOptions
from .aio.quic_timers import QuicTimers
from .aio.relay_client import Held
from .aio.rent_client import Rent
from .aio.rent_server import RentOut
from .aio.resumable import ResumableStream, ResumeOptions
from .aio.stream import Stream
from .aio.upgrade_service import UpgradeOptions
from .aio.websocket import WebSocketOptions
from .autonat_v1 import Reachability
from .errors import (
    AddressError,
    ConnectionClosedError,
    DeadlineError,
    DialError,
    DialFailure,
    DialTimeoutError,
    FrameTooLargeError,
    HandshakeError,
    LimitedConnectionError,
    LimitError,
    NegotiationError,
    PathLostError,
    PeerIdMismatchError,
    ProtocolError,
    RelayRefusedError,
    SecurityRefusedError,
    StreamResetError,
    TraversalError,
)
from .events import Event
from .gater import Gater, RelayAcl
from .keys import PrivateKey, PublicKey
from .ladder import AT_ONCE, ONE_BY_ONE, LadderOptions, Prospects, Rung, Step
from .memory import MemoryLimits
from .multiaddr import Multiaddr
from .node import Node
from .observed import Mapping
from .options import NodeOptions
from .peer_id import PeerId
from .portmap.mapping import PortMapError
from .portmap.options import PortMapOptions
from .punch_budget import PunchLimits
from .relay import RelayLimits
from .resources import Resources
from .version import __version__
from .yamux import Limits as StreamLimits

if TYPE_CHECKING:
    from .aio.portmap import PortMapper

__all__ = [
    "AT_ONCE",
    "ONE_BY_ONE",
    "AddressError",
    "AutonatOptions",
    "Connection",
    "ConnectionClosedError",
    "DeadlineError",
    "DialError",
    "DialFailure",
    "DialTimeoutError",
    "Direction",
    "Event",
    "FrameTooLargeError",
    "Gater",
    "HandshakeError",
    "Held",
    "HostLimits",
    "LadderOptions",
    "LimitError",
    "LimitedConnectionError",
    "Mapping",
    "MemoryLimits",
    "Multiaddr",
    "NegotiationError",
    "Node",
    "NodeOptions",
    "PathLostError",
    "PathOptions",
    "PeerId",
    "PeerIdMismatchError",
    "PortMapError",
    "PortMapOptions",
    "PortMapper",
    "PrivateKey",
    "Prospects",
    "ProtocolError",
    "PublicKey",
    "PunchLimits",
    "QuicTimers",
    "Reachability",
    "RelayAcl",
    "RelayLimits",
    "RelayRefusedError",
    "Rent",
    "RentOut",
    "Resources",
    "ResumableStream",
    "ResumeOptions",
    "Rung",
    "SecurityRefusedError",
    "Step",
    "Stream",
    "StreamLimits",
    "StreamResetError",
    "TraversalError",
    "UpgradeOptions",
    "WebSocketOptions",
    "__version__",
    "errors",
    "events",
]


def __getattr__(name: str) -> type:
    """What few programs need is imported by those."""
    if name == "PortMapper":
        from .aio.portmap import PortMapper

        return PortMapper
    raise AttributeError(name)
