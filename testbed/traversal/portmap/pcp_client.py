"""PCP, the client's side: retransmission, matching, epoch (RFC 6887 sections 8, 9 and 14).

`Client` takes datagrams and time, and gives datagrams and events; it knows no socket.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from ..errors import ProtocolError
from .exchange import Answered, Failed, Outbox, Restarted
from .mapping import Endpoint, NoServiceError, Service, UnsupportedVersionError
from .pcp import (
    NONCE_SIZE,
    SERVER_PORT,
    VERSION,
    Announce,
    Peer,
    Request,
    Response,
    Result,
    decode_response,
    encode,
    opcode_of,
    refusal,
)

INITIAL_INTERVAL = 3.0  # seconds, IRT (section 8.1.1)
MAX_INTERVAL = 1024.0  # seconds, MRT


@dataclass(frozen=True)
class Announced(Answered[Request]):
    """There is a server, and it speaks our version."""


@dataclass(frozen=True)
class Mapped(Answered[Request]):
    """A mapping was made, or ended when `lifetime` (seconds) is 0."""

    external: Endpoint
    lifetime: int


Event = Announced | Mapped | Failed[Request] | Restarted


class Epoch:
    """Does the server still know our mappings?  (Section 8.5.)"""

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None

    def restarted(self, epoch: int, now: float) -> bool:
        """Whether its clock went back, or at another pace than ours by more than 1/16."""
        last, self._last = self._last, (epoch, now)
        if last is None:
            return False
        server, client = epoch - last[0], now - last[1]
        if server < -1:
            return True
        return client + 2 < server - server / 16 or server + 2 < client - client / 16


def intervals(
    rng: random.Random, initial: float = INITIAL_INTERVAL, longest: float = MAX_INTERVAL
) -> Iterator[float]:
    """How long to wait after each transmission, in seconds, without end (section 8.1.1)."""
    interval = initial
    while True:
        interval *= 1 + rng.uniform(-0.1, 0.1)
        yield interval
        interval = min(2 * interval, longest)


def new_nonce(rng: random.Random) -> bytes:
    """96 bits that nobody on the LAN can guess, if `rng` is the system's."""
    return rng.randbytes(NONCE_SIZE)


class Client:
    """One host's requests to one server, any number at a time.

    `address` is the source of our datagrams: the server compares it (section 8.1).
    """

    def __init__(
        self, gateway: IPv4Address, address: IPv4Address, rng: random.Random | None = None
    ) -> None:
        self._server = Endpoint(gateway, SERVER_PORT)
        self._address = address
        self._rng = rng or random.SystemRandom()
        self._outbox: Outbox[Request] = Outbox()
        self._epoch = Epoch()

    def request(self, request: Request, now: float) -> None:
        """Ask, until answered or withdrawn: PCP itself never gives up."""
        self._outbox.take_if(lambda old: _same_target(old, request))
        self._outbox.add(request, encode(request, self._address), intervals(self._rng), now)

    def withdraw(self, request: Request) -> None:
        """Nobody waits for this answer any more."""
        self._outbox.take(request)

    def receive_datagram(self, data: bytes, source: Endpoint, now: float) -> list[Event]:
        """Take an answer or an announcement; what a stranger or a fault sent is ignored."""
        if source != self._server:
            return []
        if (offers := _other_version(data)) is not None:
            return self._renegotiate(offers)
        try:
            response = decode_response(data)
        except ProtocolError:
            return []
        if not self._expected(response):
            return []
        events: list[Event] = [Restarted()] if self._epoch.restarted(response.epoch, now) else []
        return events + self._answers(response)

    def _expected(self, response: Response) -> bool:
        """Announcements come unasked; all else proves by its nonce that it is an answer."""
        return response.body is None or any(_fits(request, response) for request in self._outbox)

    def _answers(self, response: Response) -> list[Event]:
        answered = self._outbox.take_if(lambda request: _fits(request, response))
        if response.result != Result.SUCCESS:
            return [Failed(request, refusal(response)) for request in answered]
        if response.body is None:
            return [Announced(request) for request in answered]
        granted = response.body
        return [Mapped(request, granted.external, response.lifetime) for request in answered]

    def _renegotiate(self, offers: int) -> list[Event]:
        """We have one version: a server of another ends all requests (section 9)."""
        code, name = Result.UNSUPP_VERSION, Result.UNSUPP_VERSION.name
        error = UnsupportedVersionError(Service.PCP, code, name, offers)
        return [Failed(request, error) for request in self._outbox.take_if(lambda _: True)]

    def unreachable(self) -> list[Event]:
        """The network says that nobody listens there: all requests fail."""
        error = NoServiceError(f"{self._server} is unreachable")
        return [Failed(request, error) for request in self._outbox.take_if(lambda _: True)]

    def tick(self, now: float) -> list[Event]:
        """Time has passed: send again."""
        self._outbox.tick(now)
        return []

    def datagrams_to_send(self) -> list[bytes]:
        """For the server's port 5351; each only once."""
        return self._outbox.datagrams_to_send()

    @property
    def next_timer(self) -> float | None:
        """When to call `tick`."""
        return self._outbox.next_timer


def _other_version(data: bytes) -> int | None:
    """The version that a server wants instead of ours; NAT-PMP is version 0.

    Both protocols have the response bit and UNSUPP_VERSION at the same place.
    """
    wants = len(data) >= 4 and data[1] >= 128 and data[3] == Result.UNSUPP_VERSION
    return data[0] if wants and data[0] != VERSION else None


def _same_target(one: Request, other: Request) -> bool:
    if isinstance(one, Announce) or isinstance(other, Announce):
        return one == other
    return (opcode_of(one), one.nonce) == (opcode_of(other), other.nonce)


def _fits(request: Request, response: Response) -> bool:
    """Is this the answer to that request?  (Sections 11.4 and 12.4.)"""
    if opcode_of(request) is not response.opcode:
        return False
    if isinstance(request, Announce):
        return True
    body, wanted = response.body, request.wanted
    if body is None or body.nonce != request.nonce:
        return False
    if (body.protocol, body.internal_port) != (wanted.transport.number, wanted.internal_port):
        return False
    if isinstance(request, Peer) and body.remote != request.remote:
        return False
    if response.result != Result.SUCCESS:
        return True
    if wanted.lifetime == 0:
        return response.lifetime == 0
    return response.lifetime > 0 and (body.external.port > 0 or wanted.internal_port == 0)
