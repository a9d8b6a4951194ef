"""Dial-backs of the AutoNAT servers: another port and another identity than the node's own.

From the listening port a dial could pass through the hole that the client's own
connection has opened, and prove nothing.
"""

import contextlib
from collections.abc import AsyncIterator

from ..errors import DialError, DialFailure
from ..gater import Gater
from ..keys import PrivateKey
from ..multiaddr import Multiaddr
from ..peer_id import PeerId
from ..security import Security
from .connection import Connection
from .sockets import Sockets


@contextlib.asynccontextmanager
async def fresh_dial(
    address: Multiaddr, peer: PeerId, timeout: float, gater: Gater
) -> AsyncIterator[Connection]:
    """A connection for the time of the block, there within `timeout` seconds.

    Raises DialError.
    """
    if not gater.may_dial(address, peer):
        raise DialError(address, DialFailure.DENIED, "the gater does not let us")
    identity = PrivateKey.generate()
    if address.transport == "tcp":
        connection = await Sockets(Security(identity)).dial(address, None, peer, timeout)
        connection.start()
        try:
            yield connection
        finally:
            await connection.close("dial-back is over")
        return
    if address.transport != "quic-v1" or address.ip is None:
        raise DialError(address, DialFailure.UNSUPPORTED, "transport is not spoken here")
    from .quic import QuicEndpoint  # see Transports

    wildcard = "::" if address.ip.version == 6 else "0.0.0.0"
    endpoint = await QuicEndpoint.bind(identity, Multiaddr.from_socket(wildcard, 0, "quic-v1"))
    endpoint.accepting = False
    try:
        dialed = await endpoint.dial(address, peer, timeout)
        dialed.start()
        yield dialed
    finally:
        endpoint.close()
