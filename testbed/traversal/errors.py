"""The errors of the traversal library: one type for each thing a caller can act on.

Those of a path are OSErrors, too, and those of a deadline TimeoutErrors: a program that was
written for sockets handles them as it handles theirs.
"""

from enum import StrEnum


class TraversalError(Exception):
    """Base of every error this library raises on purpose."""


class AddressError(TraversalError, ValueError):
    """A multiaddr, peer id or key that cannot be parsed or used."""


class ProtocolError(TraversalError):
    """The remote broke a protocol; `protocol` names which one."""

    def __init__(self, protocol: str, message: str) -> None:
        super().__init__(f"{protocol}: {message}")
        self.protocol = protocol


class FrameTooLargeError(ProtocolError):
    """A length prefix asks for more than the protocol's limit; nothing was buffered for it."""


class HandshakeError(ProtocolError):
    """The secure channel could not be set up."""


class PeerIdMismatchError(HandshakeError):
    """The remote proved an identity, but not the one that was dialed."""


class NegotiationError(ProtocolError):
    """No common protocol (multistream-select answered `na` to all)."""


class SecurityRefusedError(NegotiationError):
    """The remote does not speak the security protocol that was proposed with its first message."""


class LimitError(TraversalError):
    """A local limit on connections, streams or memory is reached."""


class ConnectionClosedError(TraversalError, ConnectionError):
    """The connection under a stream or request is gone."""


class PathLostError(ConnectionClosedError):
    """Nothing is heard any more of the connection under a stream: its path died without a word."""


class LimitedConnectionError(ConnectionClosedError):
    """There is only a relayed connection with a limit, and the stream was not meant for one."""


class StreamResetError(TraversalError, ConnectionResetError):
    """One side reset the stream; what was in flight is lost."""


class DeadlineError(TraversalError, TimeoutError):
    """A wait passed its deadline; the message says what was waited for."""


class DialFailure(StrEnum):
    """Why a dial failed, as a class a report can count."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    ADDRESS_IN_USE = "address_in_use"
    HANDSHAKE = "handshake"
    WRONG_PEER = "wrong_peer"
    RELAY_REFUSED = "relay_refused"
    UNSUPPORTED = "unsupported"
    LIMIT = "limit"
    DENIED = "denied"  # by the user's `Gater`


class DialError(TraversalError, OSError):
    """A dial failed: `address` was tried and `failure` says how it ended."""

    def __init__(self, address: object, failure: DialFailure, reason: str) -> None:
        super().__init__(f"dial {address}: {failure}: {reason}")
        self.address = address
        self.failure = failure
        self.reason = reason


class DialTimeoutError(DialError, TimeoutError):
    """A dial got no answer in its time."""

    def __init__(self, address: object, reason: str) -> None:
        super().__init__(address, DialFailure.TIMEOUT, reason)


class RelayRefusedError(TraversalError):
    """A relay answered RESERVE or CONNECT with a status other than OK."""

    def __init__(self, status: int, name: str) -> None:
        super().__init__(f"relay answered {name} ({status})")
        self.status = status
