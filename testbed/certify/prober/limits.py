"""How many mappings the NAT allows one LAN host, and all of them together."""

import socket
from itertools import chain

from testbed.certify.allowance import ENOUGH, Allowance, small
from testbed.certify.measured import Finding, unseen
from testbed.certify.prober.bench import REAL, SERVER, End
from testbed.certify.prober.packets import SYN, segments, send_raw, swallow, tcp_packet, udp_packet
from testbed.certify.prober.rounds import Rounds
from testbed.certify.prober.subject import A, B, Subject
from testbed.model.behaviour import Forward, Protocol
from testbed.model.frozen import FrozenValue
from testbed.model.statement import probing

_BATCH = 100  # packets that a raw socket's buffer certainly holds
_TIME = 1.8  # seconds: the first mappings must still count when the last is refused


class LookFor(FrozenValue):
    """What cannot be found by trying everything; none of it says what to find there."""

    ports: tuple[int, ...] = ()  # further destination ports that might be let out
    forwards: tuple[Forward, ...] = ()  # external ports that might be forwarded, and whereto
    mappings: int = 600  # how many mappings of one host to try

    @property
    def known(self) -> set[int]:
        """The ports that are named."""
        ends = ((forward.external_port, forward.internal_port) for forward in self.forwards)
        return {*self.ports, *chain.from_iterable(ends)}

    @property
    def tried(self) -> tuple[int, ...]:
        """The destination ports that contact is tried with."""
        return tuple(dict.fromkeys((*REAL, *self.ports)))


class Limits(FrozenValue):
    """Of one protocol: the findings, and what the experiments make of them."""

    protocol: Protocol
    quota: Finding  # int, or "none" up to the number tried
    pool: Finding  # the same
    allowance: Allowance = ENOUGH


def limit(rounds: Rounds, protocol: Protocol, look_for: LookFor) -> Limits:
    """Measured on a bench of its own.

    One host opens mappings, up to the number of ``look_for``, until one is refused.  Then the
    other does: if it gets as many, each has a quota; if it gets none or fewer, both share a pool.
    """
    bench, own = rounds.bench()
    with own:
        subject = Subject(bench, protocol, rounds, tried=look_for.tried)
        found = next(filter(None, (_first(subject, port) for port in subject.tried)), None)
        if found is None:
            why = unseen(probing.NotLetOut(protocol))
            return Limits(protocol, why, why)
        if found == bench.address(B):
            why = unseen(probing.Circumstance.NO_TRANSLATION)
            return Limits(protocol, why, why)
        with bench.brisk(f"{protocol} quota", _TIME):
            return _counted(subject, look_for.mappings)


def _first(subject: Subject, port: int) -> str | None:
    """The address that a first contact with ``port`` is seen from, if it is let out."""
    contact = subject.bench.contact(subject.local(B), subject.at(SERVER, port))
    if contact is None:
        return None
    subject.ports = (port,)
    return contact.source[0]


def _counted(subject: Subject, bound: int) -> Limits:
    called = subject.public()  # for all: some NATs have each port once for each destination
    if subject.protocol is Protocol.TCP:
        swallow(called.socket)
    protocol, mine = subject.protocol, 1 + _opened(subject, called, B, bound - 1)
    if mine == bound:
        none = Finding("none", probing.NoneRefused(mine))
        return Limits(protocol, none, none)
    others = _opened(subject, called, A, mine)
    shown, hidden = probing.NextRefused(mine, others), probing.Circumstance.NO_QUOTA_SHOWN
    quota = Finding(mine, shown)
    if not others:
        quota = unseen(probing.Besides(shown, probing.Met(hidden)))
    if others == mine:
        pool = Finding("none", shown)
        return Limits(protocol, quota, pool, small(mine, None))
    pool = Finding(mine + others, shown)
    return Limits(protocol, quota, pool, small(mine, mine + others))


def _opened(subject: Subject, called: End, node: str, most: int) -> int:
    """How many of ``most`` first packets from fresh ports of ``node`` reach ``called``."""
    opened = 0
    while opened < most:
        size = min(_BATCH, most - opened)
        arrived = _batch(subject, called, node, size)
        opened += arrived
        if arrived < size:
            break
    return opened


def _batch(subject: Subject, called: End, node: str, size: int) -> int:
    bench = subject.bench
    sender = bench.raw(node, socket.IPPROTO_RAW)
    sniffer = bench.raw(SERVER, socket.IPPROTO_TCP)
    packets: dict[bytes, bytes] = {}
    for _ in range(size):
        source, token = (bench.address(node), subject.unused()), bench.token()
        if subject.protocol is Protocol.UDP:
            packets[token] = udp_packet(source, called.endpoint, token)
        else:
            sequence = int.from_bytes(token, "big")
            packets[token] = tcp_packet(source, called.endpoint, SYN, sequence)
    seen: set[bytes] = set()
    for _ in range(2):  # a kernel under load drops packets; what is refused is so again
        missing = [token for token in packets if token not in seen]
        for token in missing:
            send_raw(sender, packets[token])
        bench.settle()
        if subject.protocol is Protocol.UDP:
            seen |= {token for token in missing if bench.got(called, token, 0.0) is not None}
        else:
            seen |= {segment.sequence.to_bytes(8, "big") for segment in segments(sniffer)}
        if seen >= packets.keys():
            break
    return len(seen & packets.keys())
