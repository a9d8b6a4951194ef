"""The prober's hands: sockets on both sides of one NAT, and contacts between them.

All sockets of the lab are held by this one process, so an experiment is a plain
script: one end sends, the other says from where it came.  The bench's links have
no delay; a packet that was let through has arrived when the send returns, or a
moment later on a busy machine.
"""

import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

from testbed.certify.prober.packets import Endpoint
from testbed.errors import BusyError, ProbeError
from testbed.model.behaviour import Protocol
from testbed.model.frozen import FrozenValue
from testbed.model.lab import Lab
from testbed.model.topology import FIRST_PORT, PORTS_APART

SILENCE = 0.04  # seconds after which nothing more is expected
_CONTROL = 2.0  # deadline of a control exchange, in seconds
STALL = 1.2  # seconds within which an experiment on a fresh mapping must end

ROUTER, SERVER, STRANGER = "nat-a", "server", "stranger"
LAN = ("a", "b")
PUNCH = FIRST_PORT  # where the first peer of a lab listens and dials from
REAL = (3478, 3479, PUNCH, 443)  # ports that the labs' servers and peers use


@dataclass
class End:
    """One transport endpoint of a node: a UDP socket, or a TCP listener."""

    protocol: Protocol
    node: str
    endpoint: Endpoint
    socket: socket.socket
    inbox: dict[bytes, Endpoint] = field(default_factory=dict)


class Contact(FrozenValue):
    """A packet (or connection) that arrived.

    ``source`` is what the called end saw; ``answered`` is True when the answer
    came back to the caller from the endpoint that it had called.
    """

    caller: End
    called: End
    target: Endpoint
    source: Endpoint
    answered: bool
    near: socket.socket | None = None  # TCP: the connection's two ends
    far: socket.socket | None = None


class Bench:
    """Opens ends in a started lab of the preset ``probe_bench``; a context manager."""

    def __init__(self, lab: Lab, after: "Bench | None" = None) -> None:
        """``after``: an earlier one, none of whose ports and tokens are used again."""
        self.lab = lab
        self._stack = ExitStack()
        self._ports: Iterator[int] = after._ports if after else count()
        self._peers: Iterator[int] = after._peers if after else count(FIRST_PORT, PORTS_APART)
        self._tokens: Iterator[int] = after._tokens if after else count(1)
        self._taken: set[int] = after._taken if after else set()

    def __enter__(self) -> "Bench":
        pairs = ((LAN[0], LAN[1]), (STRANGER, SERVER))
        self._fences = [tuple(self.end(Protocol.UDP, node) for node in pair) for pair in pairs]
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def count(self, node: str) -> int:
        """How many addresses ``node`` has."""
        return len(self.lab.plan.addresses[node])

    def address(self, node: str, index: int = 0) -> str:
        return str(self.lab.plan.address(node, index))

    def port(self) -> int:
        """A source port that no experiment has used.

        Scattered over 20001..60000, so that a sequence is the NAT's own doing.
        """
        ports = (20001 + number * 37 % 40000 for number in self._ports)
        return next(port for port in ports if port not in self._taken)

    def peer_port(self) -> int:
        """As `port`, but one where the peers of a lab listen.

        A port that was used before has connections that a kernel may still remember: it keeps
        a mapping for them, or has to choose another one towards some of the same remotes.
        """
        return next(port for port in self._peers if port not in self._taken)

    def keep_free(self, ports: Iterable[int]) -> None:
        """From now on `port` gives none of ``ports``: they have a meaning of their own."""
        self._taken.update(ports)

    def token(self, size: int = 8) -> bytes:
        """Unique content of ``size`` bytes."""
        return next(self._tokens).to_bytes(8, "big").ljust(size, b"\0")

    def raw(self, node: str, protocol: int) -> socket.socket:
        """A non-blocking raw socket; IPPROTO_RAW sends, others show what comes in."""
        return self._keep(self.lab.socket(node, socket.AF_INET, socket.SOCK_RAW, protocol))

    def end(self, protocol: Protocol, node: str, port: int | None = None, index: int = 0) -> End:
        """An end at the node's ``index``-th address, on a fresh port if None is given."""
        endpoint = (self.address(node, index), port or self.port())
        kind = socket.SOCK_DGRAM if protocol is Protocol.UDP else socket.SOCK_STREAM
        made = self._bound(node, kind, endpoint)
        if protocol is Protocol.TCP:
            made.listen(1024)
        return End(protocol, node, endpoint, made)

    def contact(
        self, caller: End, called: End, target: Endpoint | None = None, *, answer: bool = True
    ) -> Contact | None:
        """Call ``target`` (default: the called end's own endpoint) and look at ``called``.

        None when nothing arrives there.  ``answer`` False sends nothing back (UDP).
        """
        target = target or called.endpoint
        if caller.protocol is Protocol.TCP:
            return self._connect(caller, called, target)
        token = self.send(caller, target)
        source = self.got(called, token)
        if source is None:
            return None
        answered = answer and self.got(caller, self.send(called, source)) == target
        return Contact(caller, called, target, source, answered)

    def echoes(self, contact: Contact, size: int) -> bool:
        """Do ``size`` bytes come to the called end in one packet, and as many back?"""
        if contact.near is not None and contact.far is not None:
            there = _carries(contact.near, contact.far, self.token(size))
            return there and _carries(contact.far, contact.near, self.token(size))
        source = self.got(contact.called, self.send(contact.caller, contact.target, size))
        if source is None:
            return False
        back = self.send(contact.called, source, size)
        return self.got(contact.caller, back) == contact.target

    def replies(self, contact: Contact) -> bool:
        """Does the called end's packet still come back to the caller?"""
        if contact.near is None or contact.far is None:
            return self.got(contact.caller, self.send(contact.called, contact.source)) == (
                contact.target
            )
        return _carries(contact.far, contact.near, self.token())

    def send(self, end: End, target: Endpoint, size: int = 8) -> bytes:
        """Send a datagram; its unique content.  ProbeError if the node has no way to."""
        token = self.token(size)
        try:
            end.socket.sendto(token, target)
        except OSError as error:
            raise ProbeError(f"cannot send to {target}: {error}", node=end.node) from error
        return token

    def got(self, end: End, token: bytes, within: float = SILENCE) -> Endpoint | None:
        """Where the datagram ``token`` came from, or None if it did not come."""
        deadline = time.monotonic() + within
        while token not in end.inbox:
            try:
                data, source = end.socket.recvfrom(2048)
                end.inbox[data] = source
            except BlockingIOError:
                if not wait(end.socket, select.POLLIN, deadline):
                    return None
        return end.inbox.pop(token)

    def fence(self) -> None:
        """A control exchange on either side of the NAT.

        ProbeError if it fails: then silence elsewhere proves nothing.
        """
        for one, other in self._fences:
            for sender, receiver in ((one, other), (other, one)):
                token = self.send(sender, receiver.endpoint)
                if self.got(receiver, token, _CONTROL) is None:
                    raise _lost(sender, receiver)

    def ready(self) -> None:
        """Wait until control datagrams pass: new bridge ports take a moment to forward.

        ProbeError if they still do not after some seconds.
        """
        deadline = time.monotonic() + _CONTROL
        for one, other in self._fences:
            for sender, receiver in ((one, other), (other, one)):
                while self.got(receiver, self.send(sender, receiver.endpoint)) is None:
                    if time.monotonic() > deadline:
                        raise _lost(sender, receiver)

    def settle(self) -> None:
        """Let arrive what is under way, and prove that it would have arrived."""
        time.sleep(SILENCE)
        self.fence()

    @contextmanager
    def brisk(self, what: str, within: float = STALL) -> Iterator[None]:
        """An experiment that presumes living mappings, fenced at its end.

        ProbeError where the machine took so long that a mapping may have expired.
        """
        start = time.monotonic()
        yield
        took = time.monotonic() - start
        self.fence()
        if took > within:
            raise BusyError(f"{what} took {took:.1f} s: the machine is too busy to measure")

    def _connect(self, caller: End, called: End, target: Endpoint) -> Contact | None:
        near = self._bound(caller.node, socket.SOCK_STREAM, caller.endpoint)
        near.connect_ex(target)
        deadline = time.monotonic() + SILENCE
        established = wait(near, select.POLLOUT, deadline) and not near.getsockopt(
            socket.SOL_SOCKET, socket.SO_ERROR
        )
        if not established:
            near.close()
            return None
        token = self.token()
        with suppress(OSError):  # reset at once
            near.send(token)
        while wait(called.socket, select.POLLIN, time.monotonic() + SILENCE):
            far, source = called.socket.accept()
            self._keep(far)
            if _received(far, token):
                answered = _carries(far, near, self.token())
                return Contact(caller, called, target, source, answered, near, far)
        near.close()  # somebody else has accepted it
        return None

    def _bound(self, node: str, kind: int, endpoint: Endpoint) -> socket.socket:
        made = self._keep(self.lab.socket(node, socket.AF_INET, kind))
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            # Closed at once, and what it has accepted too: no endpoint is held for a minute.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        made.bind(endpoint)
        return made

    def _keep(self, made: socket.socket) -> socket.socket:
        self._stack.callback(made.close)
        made.setblocking(False)
        return made


def _lost(sender: End, receiver: End) -> ProbeError:
    return ProbeError(
        f"the control datagram from {sender.node} did not come to {receiver.node} "
        f"within {_CONTROL} s"
    )


def wait(watched: socket.socket, events: int, deadline: float) -> bool:
    """True when one of ``events`` (or an error) is there before ``deadline``."""
    poll = select.poll()
    poll.register(watched, events)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def _carries(sender: socket.socket, receiver: socket.socket, token: bytes) -> bool:
    try:
        sender.send(token)
    except OSError:
        return False
    return _received(receiver, token)


def _received(receiver: socket.socket, token: bytes) -> bool:
    """Whether ``token`` comes next on a connection."""
    if not wait(receiver, select.POLLIN, time.monotonic() + SILENCE):
        return False
    with suppress(OSError):
        return receiver.recv(len(token)) == token
    return False
