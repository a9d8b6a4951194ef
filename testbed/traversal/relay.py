"""Circuit relay v2: messages, vouchers and the relay's books (libp2p circuit-v2 spec).

`Ledger` decides who may reserve and connect; it is pure but for the time it is given.
"""

# ruff: noqa: RUF009 - protobuf.message is a field specifier, like dataclasses.field

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum

from . import protobuf
from .envelope import open_envelope, seal
from .errors import ProtocolError
from .keys import PrivateKey
from .peer_id import PeerId

HOP_PROTOCOL = "/libp2p/circuit/relay/0.2.0/hop"
STOP_PROTOCOL = "/libp2p/circuit/relay/0.2.0/stop"
MAX_MESSAGE = 4096
_VOUCHER_DOMAIN = "libp2p-relay-rsvp"
_VOUCHER_TYPE = bytes([0x03, 0x02])


class Status(IntEnum):
    """Answers of a relay."""

    UNUSED = 0
    OK = 100
    RESERVATION_REFUSED = 200
    RESOURCE_LIMIT_EXCEEDED = 201
    PERMISSION_DENIED = 202
    CONNECTION_FAILED = 203
    NO_RESERVATION = 204
    MALFORMED_MESSAGE = 400
    UNEXPECTED_MESSAGE = 401


def status_name(status: int) -> str:
    """A status's name, also for a number we do not know."""
    return Status(status).name if status in Status._value2member_map_ else "an unknown status"


class HopType(IntEnum):
    """`HopMessage.Type`."""

    RESERVE = 0
    CONNECT = 1
    STATUS = 2


class StopType(IntEnum):
    """`StopMessage.Type`."""

    CONNECT = 0
    STATUS = 1


@dataclass(frozen=True)
class Peer(protobuf.Message):
    """A peer by id; the addresses are for active relays, which nobody runs."""

    id: bytes | None = protobuf.blob(1)
    addrs: tuple[bytes, ...] = protobuf.blobs(2)


@dataclass(frozen=True)
class Reservation(protobuf.Message):
    """Expiry in UNIX seconds UTC, the relay's addresses, the sealed voucher."""

    expire: int | None = protobuf.uint(1)
    addrs: tuple[bytes, ...] = protobuf.blobs(2)
    voucher: bytes | None = protobuf.blob(3)


@dataclass(frozen=True)
class Limit(protobuf.Message):
    """Seconds a circuit may live and bytes it may carry each way; 0 or absent is no limit."""

    duration: int | None = protobuf.uint(1)
    data: int | None = protobuf.uint(2)

    def __bool__(self) -> bool:
        return bool(self.duration or self.data)


@dataclass(frozen=True)
class HopMessage(protobuf.Message):
    """Between a client and the relay."""

    type: int | None = protobuf.uint(1)
    peer: Peer | None = protobuf.message(2, Peer)
    reservation: Reservation | None = protobuf.message(3, Reservation)
    limit: Limit | None = protobuf.message(4, Limit)
    status: int | None = protobuf.uint(5)


@dataclass(frozen=True)
class StopMessage(protobuf.Message):
    """Between the relay and a circuit's target."""

    type: int | None = protobuf.uint(1)
    peer: Peer | None = protobuf.message(2, Peer)
    limit: Limit | None = protobuf.message(3, Limit)
    status: int | None = protobuf.uint(4)


@dataclass(frozen=True)
class _Voucher(protobuf.Message):
    relay: bytes | None = protobuf.blob(1)
    peer: bytes | None = protobuf.blob(2)
    expiration: int | None = protobuf.uint(3)


def seal_voucher(key: PrivateKey, relay: PeerId, peer: PeerId, expiration: int) -> bytes:
    """The relay's signed promise to serve `peer` until `expiration` (UNIX seconds)."""
    payload = _Voucher(relay.multihash, peer.multihash, expiration).encode()
    return seal(key, _VOUCHER_DOMAIN, _VOUCHER_TYPE, payload)


def check_voucher(data: bytes, relay: PeerId, peer: PeerId, expire: int) -> None:
    """Raises ProtocolError unless `relay` itself promised `peer` exactly this reservation.

    Comparing the expiration with the reservation's refuses a replayed older voucher.
    """
    opened = open_envelope(data, _VOUCHER_DOMAIN, _VOUCHER_TYPE)
    voucher = _Voucher.decode(opened.payload)
    if PeerId.from_public_key(opened.signer) != relay or voucher.relay != relay.multihash:
        raise ProtocolError("voucher", "not issued by this relay")
    if voucher.peer != peer.multihash:
        raise ProtocolError("voucher", "issued to another peer")
    if voucher.expiration != expire:
        raise ProtocolError("voucher", "expiration differs from the reservation's")


@dataclass(frozen=True)
class RelayLimits:
    """Seconds, bytes and counts; the defaults are those of the field.

    `reservations_per_ip` counts IP addresses and IPv6 prefixes: peers behind one NAT share it.
    `duration` and `data` of 0 mean no limit on a circuit.
    """

    reservation_ttl: int = 3600
    reservations: int = 128
    reservations_per_ip: int = 8
    circuits: int = 1024
    circuits_per_peer: int = 16
    duration: int = 120
    data: int = 128 * 1024

    @property
    def message(self) -> Limit | None:
        """What the relay tells the ends of a circuit."""
        return Limit(self.duration, self.data) or None


@dataclass
class _Entry:
    party: str
    expire: float


class Ledger:
    """Reservations and circuits of one relay.  Times are UNIX seconds."""

    def __init__(self, limits: RelayLimits) -> None:
        self.limits = limits
        self._reservations: dict[PeerId, _Entry] = {}
        self._circuits: Counter[PeerId] = Counter()
        self._total_circuits = 0

    def reserve(self, peer: PeerId, party: str, now: float) -> tuple[Status, int]:
        """Grant or refresh; the expiry is 0 unless OK.  A refresh never counts twice.

        `party` is who the peer's address counts with (`Multiaddr.party`).
        """
        self.expire(now)
        others = [entry for holder, entry in self._reservations.items() if holder != peer]
        if len(others) >= self.limits.reservations:
            return Status.RESERVATION_REFUSED, 0
        if sum(entry.party == party for entry in others) >= self.limits.reservations_per_ip:
            return Status.RESERVATION_REFUSED, 0
        expire = int(now) + self.limits.reservation_ttl
        self._reservations[peer] = _Entry(party, expire)
        return Status.OK, expire

    def connect(self, source: PeerId, target: PeerId, now: float) -> Status:
        """May `source` open a circuit to `target`?  OK books it: call `close` afterwards."""
        self.expire(now)
        if target not in self._reservations:
            return Status.NO_RESERVATION
        busy = max(self._circuits[source], self._circuits[target])
        limits = self.limits
        if busy >= limits.circuits_per_peer or self._total_circuits >= limits.circuits:
            return Status.RESOURCE_LIMIT_EXCEEDED
        self._total_circuits += 1
        self._circuits[source] += 1
        self._circuits[target] += 1
        return Status.OK

    def close(self, source: PeerId, target: PeerId) -> None:
        """A circuit that `connect` booked has ended."""
        self._total_circuits -= 1
        for peer in (source, target):
            self._circuits[peer] -= 1
            if self._circuits[peer] <= 0:
                del self._circuits[peer]

    def disconnected(self, peer: PeerId) -> None:
        """The peer's last connection is gone, and with it its reservation."""
        self._reservations.pop(peer, None)

    def expire(self, now: float) -> None:
        """Drop what has run out."""
        for peer in [p for p, e in self._reservations.items() if e.expire <= now]:
            del self._reservations[peer]

    @property
    def circuits(self) -> int:
        """How many are open."""
        return self._total_circuits

    def holders(self, now: float) -> tuple[PeerId, ...]:
        """Who holds a reservation."""
        self.expire(now)
        return tuple(self._reservations)


class Allowance:
    """How many bytes one direction of a circuit may still carry; 0 at the start is no limit."""

    def __init__(self, limit: int) -> None:
        self._left = limit if limit else None

    def take(self, count: int) -> int:
        """Of `count` bytes, how many may pass; fewer than asked means the circuit must end."""
        if self._left is None:
            return count
        passed = min(count, self._left)
        self._left -= passed
        return passed
