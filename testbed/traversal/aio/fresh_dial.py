"""Dial-backs of the AutoNAT servers: another port and another identity than the node's own.

From the listening port a dial could pass through the hole that the client's own
connection has opened, and prove nothing.
"""

import contextlib
from collections.abc import AsyncIterator

from ..errors import DialError, DialFailure
from ..keys import PrivateKey
from ..multiaddr import Multiaddr
from ..peer_id import PeerId
from .connection import Connection
from .quic import QuicEndpoint
from .transports import dial_tcp


@contextlib.asynccontextmanager
async def fresh_dial(address: Multiaddr, peer: PeerId, timeout: float) -> AsyncIterator[Connection]:
    """A connection for the time of the block, there within `timeout` seconds.

    Raises DialError.
    """
    identity = PrivateKey.generate()
    if address.transport == "tcp":
        connection = await dial_tcp(address, None, identity, peer, timeout)
        connection.start()
        try:
            yield connection
        finally:
            await connection.close("dial-back is over")
        return
    if address.transport != "quic-v1" or address.ip is None:
        raise DialError(address, DialFailure.UNSUPPORTED, "transport is not spoken here")
    wildcard = "::" if address.ip.version == 6 else "0.0.0.0"
    endpoint = await QuicEndpoint.bind(identity, Multiaddr.from_socket(wildcard, 0, "quic-v1"))
    endpoint.accepting = False
    try:
        yield await endpoint.dial(address, peer, timeout)
    finally:
        endpoint.close()
