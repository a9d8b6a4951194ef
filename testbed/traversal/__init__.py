"""NAT traversal on libp2p's wire formats: TCP and QUIC, AutoNAT, circuit relay v2, DCUtR.

A library of its own: nothing here imports the rest of the testbed.  Protocol cores
(`noise`, `yamux`, `dcutr`, `relay`, ...) take bytes and time and know no socket; `aio`
holds the edge; `Node` is what a program uses.
"""

from .errors import DialError, DialFailure, TraversalError
from .events import Event
from .keys import PrivateKey, PublicKey
from .multiaddr import Multiaddr
from .node import Node
from .options import NodeOptions
from .peer_id import PeerId
from .relay import RelayLimits

__all__ = [
    "DialError",
    "DialFailure",
    "Event",
    "Multiaddr",
    "Node",
    "NodeOptions",
    "PeerId",
    "PrivateKey",
    "PublicKey",
    "RelayLimits",
    "TraversalError",
]
