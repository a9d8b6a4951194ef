"""First SYNs that nobody answers: TCP mappings whose handshake never completes."""

import socket
import time

from testbed.certify.prober.bench import SERVER, SILENCE
from testbed.certify.prober.packets import (
    ACK,
    SYN,
    Endpoint,
    segments,
    send_raw,
    swallow,
    tcp_packet,
)
from testbed.certify.prober.subject import Subject
from testbed.certify.prober.waiting import Sample, Waiting

REUSE = 5.0  # seconds after which an expired mapping is made anew


class Handshakes:
    """First SYNs to a server that answers nothing, made and watched as raw packets."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._server = subject.public(index=1)
        self._host = subject.quiet
        swallow(self._server.socket)
        bench = subject.bench
        self._senders = {node: bench.raw(node, socket.IPPROTO_RAW) for node in (self._host, SERVER)}
        self._sniffers = {
            node: bench.raw(node, socket.IPPROTO_TCP) for node in (self._host, SERVER)
        }
        self._seen: dict[str, dict[int, Endpoint]] = {self._host: {}, SERVER: {}}

    def syn(self, source: Endpoint, sequence: int) -> Endpoint | None:
        """Send a SYN; from where the server saw it."""
        target = self._server.endpoint
        send_raw(self._senders[self._host], tcp_packet(source, target, SYN, sequence))
        return self._arrived(SERVER, sequence)

    def answer(self, target: Endpoint, sequence: int) -> int:
        """Send the SYN-ACK to the SYN ``sequence``; its own sequence number."""
        own = int.from_bytes(self._subject.bench.token(), "big") | 1 << 30
        packet = tcp_packet(self._server.endpoint, target, SYN | ACK, own, sequence + 1)
        send_raw(self._senders[SERVER], packet)
        return own

    def _source(self) -> Endpoint:
        return self._subject.bench.address(self._host), self._subject.bench.port()

    def _sequence(self) -> int:
        return int.from_bytes(self._subject.bench.token(), "big")

    def came(self, sequence: int) -> bool:
        """Whether the segment ``sequence`` has come to the LAN host."""
        return self._arrived(self._host, sequence) is not None

    def _arrived(self, node: str, sequence: int) -> Endpoint | None:
        deadline = time.monotonic() + SILENCE
        seen = self._seen[node]
        while sequence not in seen and time.monotonic() < deadline:
            seen.update({s.sequence: s.source for s in segments(self._sniffers[node])})
        return seen.get(sequence)

    def sample(self, idle: float) -> Waiting[Sample]:
        """One unanswered SYN, then idle; the server's late SYN-ACK is the test."""
        sequence = self._sequence()
        since = time.monotonic()
        mapped = self.syn(self._source(), sequence)
        if mapped is None:
            return Sample(0.0, False)
        yield idle
        at = time.monotonic()
        own = self.answer(mapped, sequence)
        yield SILENCE
        return Sample(at - since, self.came(own))

    def half_open(self, idle: float) -> Waiting[Sample]:
        """The SYN is answered, the answer never; the server's second SYN-ACK is the test."""
        caller = self._subject.local(self._host)
        swallow(caller.socket)  # else the caller's kernel would complete the handshake
        sequence = self._sequence()
        mapped = self.syn(caller.endpoint, sequence)
        since = time.monotonic()
        if mapped is None or not self.came(self.answer(mapped, sequence)):
            return Sample(0.0, False)
        yield idle
        at = time.monotonic()
        own = self.answer(mapped, sequence)
        yield SILENCE
        return Sample(at - since, self.came(own))

    def reuse(self, others: int = 0) -> Waiting[bool | None]:
        """The same port again after expiry, and is it mapped to the same as before?

        ``others`` are mapped in between, and have expired as well by then.
        """
        source = self._source()
        before = self.syn(source, self._sequence())
        yield REUSE / 2
        for _ in range(others):
            self.syn(self._source(), self._sequence())
        yield REUSE / 2
        after = self.syn(source, self._sequence())
        return before == after if before and after else None
