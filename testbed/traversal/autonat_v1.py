"""AutoNAT v1: "dial me back and say whether it worked" (libp2p autonat-v1 spec)."""

# ruff: noqa: RUF009 - protobuf.message is a field specifier, like dataclasses.field

from collections import Counter, deque
from dataclasses import dataclass
from enum import IntEnum

from . import protobuf
from .errors import ProtocolError
from .ip_scope import IpAddress, is_public, party
from .multiaddr import Multiaddr, decode_all
from .peer_id import PeerId

PROTOCOL = "/libp2p/autonat/1.0.0"
MAX_MESSAGE = 8192
_DIAL, _DIAL_RESPONSE = 0, 1
_MAX_DIALS = 8


class Status(IntEnum):
    """`ResponseStatus`."""

    OK = 0
    DIAL_ERROR = 100
    DIAL_REFUSED = 101
    BAD_REQUEST = 200
    INTERNAL_ERROR = 300


@dataclass(frozen=True)
class _PeerInfo(protobuf.Message):
    id: bytes | None = protobuf.blob(1)
    addrs: tuple[bytes, ...] = protobuf.blobs(2)


@dataclass(frozen=True)
class _Dial(protobuf.Message):
    peer: _PeerInfo | None = protobuf.message(1, _PeerInfo)


@dataclass(frozen=True)
class _Response(protobuf.Message):
    status: int | None = protobuf.uint(1)
    text: str | None = protobuf.text(2)
    addr: bytes | None = protobuf.blob(3)


@dataclass(frozen=True)
class _Message(protobuf.Message):
    type: int | None = protobuf.uint(1)
    dial: _Dial | None = protobuf.message(2, _Dial)
    response: _Response | None = protobuf.message(3, _Response)


@dataclass(frozen=True)
class Answer:
    """A server's word: the status, and the address that it reached."""

    status: Status
    address: Multiaddr | None = None
    text: str = ""


def encode_request(peer: PeerId, addresses: tuple[Multiaddr, ...]) -> bytes:
    """Ask to be dialed back."""
    info = _PeerInfo(peer.multihash, tuple(a.encode() for a in addresses))
    return _Message(_DIAL, dial=_Dial(info)).encode()


def decode_request(data: bytes, peer: PeerId) -> tuple[Multiaddr, ...]:
    """The addresses asked for.  Raises ProtocolError when the request speaks of another peer."""
    message = _Message.decode(data)
    info = message.dial.peer if message.dial else None
    if message.type not in (None, _DIAL) or info is None or info.id != peer.multihash:
        raise ProtocolError("autonat", "not a dial request of this peer for itself")
    return decode_all(info.addrs)


def encode_answer(answer: Answer) -> bytes:
    """What the server sends."""
    address = answer.address.encode() if answer.address else None
    response = _Response(answer.status, answer.text or None, address)
    return _Message(_DIAL_RESPONSE, response=response).encode()


def decode_answer(data: bytes) -> Answer:
    """Raises ProtocolError for anything but a response with a known status."""
    message = _Message.decode(data)
    response = message.response
    if message.type != _DIAL_RESPONSE or response is None:
        raise ProtocolError("autonat", "not a dial response")
    try:
        status = Status(response.status or 0)
    except ValueError as error:
        raise ProtocolError("autonat", str(error)) from error
    addresses = decode_all((response.addr,)) if response.addr else ()
    return Answer(status, next(iter(addresses), None), (response.text or "")[:256])


def addresses_to_dial(
    asked: tuple[Multiaddr, ...], observed: Multiaddr, *, allow_private: bool = False
) -> tuple[Multiaddr, ...]:
    """What a server may dial: direct addresses on the observed IP, and no other IP ever.

    An address with another IP is kept with the observed one in its place, as the field
    does: a client behind a NAT knows its port but not its public IP.
    """
    ip = observed.ip
    if observed.is_relayed or ip is None or not (allow_private or is_public(ip)):
        return ()
    candidates = [_on_ip(a, ip) for a in asked if a.transport in ("tcp", "quic-v1")]
    if observed.transport in ("tcp", "quic-v1"):
        candidates.append(observed)
    unique = dict.fromkeys(c for c in candidates if c is not None)
    return tuple(unique)[:_MAX_DIALS]


def _on_ip(address: Multiaddr, ip: IpAddress) -> Multiaddr | None:
    if address.ip is None or address.ip.version != ip.version or address.port is None:
        return None
    return Multiaddr.from_socket(str(ip), address.port, address.transport or "")


@dataclass(frozen=True)
class RateLimits:
    """Requests served within `window` seconds: in all, for one peer, and for one party.

    Identities cost nothing, so those of one address (`Multiaddr.party`) get half of all at most.
    """

    overall: int = 30
    per_peer: int = 3
    window: float = 60.0

    @property
    def per_party(self) -> int:
        """Half of all, and one at least."""
        return max(1, self.overall // 2)


class RateLimiter:
    """A sliding window."""

    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits
        self._served: deque[tuple[float, PeerId, str]] = deque()

    def admit(self, peer: PeerId, now: float, party: str = "") -> bool:
        """Count a request if it may be served; without a party, as over a circuit, none counts."""
        while self._served and self._served[0][0] <= now - self._limits.window:
            self._served.popleft()
        own = sum(who == peer for _, who, _ in self._served)
        near = sum(there == party for _, _, there in self._served) if party else 0
        if len(self._served) >= self._limits.overall or own >= self._limits.per_peer:
            return False
        if near >= self._limits.per_party:
            return False
        self._served.append((now, peer, party))
        return True


class Reachability(IntEnum):
    """A node's or an address's verdict."""

    UNKNOWN = 0
    PUBLIC = 1
    PRIVATE = 2


class Votes:
    """The latest answer of each server; more than three that agree are a verdict.

    Servers are counted by IP (IPv6: by prefix), so that a machine with many identities has one
    vote.
    """

    def __init__(self, threshold: int = 4) -> None:
        self.threshold = threshold
        self._votes: dict[str, Reachability] = {}

    def add(self, server: IpAddress, status: Status) -> None:
        """Only success and dial errors say something about us."""
        verdict = {Status.OK: Reachability.PUBLIC, Status.DIAL_ERROR: Reachability.PRIVATE}
        if status in verdict:
            self._votes[party(server)] = verdict[status]

    @property
    def verdict(self) -> Reachability:
        """UNKNOWN until `threshold` servers agree, and while both sides reach it."""
        counts = Counter(self._votes.values())
        reached = [kind for kind, count in counts.items() if count >= self.threshold]
        return reached[0] if len(reached) == 1 else Reachability.UNKNOWN
