"""What became of the echo, read off the wire: its gap, its way, who shook hands anew."""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address
from itertools import pairwise

from testbed.model.details import Spell
from testbed.model.frozen import FrozenValue
from testbed.model.life import Fate, Transport
from testbed.model.packet import Packet
from testbed.studies.life.application import BROKEN, SIZE
from testbed.studies.life.seat import Seat

SHAPE = range(SIZE, SIZE + 150)  # bytes of payload that carry one echo, encrypted or not
ENDED = 1.5  # seconds without an echo at the end of a recording: nothing comes any more
_QUIC_LONG, _QUIC_TYPE = 0xC0, 0x30  # RFC 9000 section 17.2: a long header; 0 of its type: Initial


class Seen(FrozenValue):
    """``gap``: the longest time without an echo that ended after the first fault, seconds.

    It is that since the last echo where the connection was lost.  ``packets`` passed
    the dialer's wire in it.  ``cited``: numbers of the packets at its two ends.
    ``moved``: the last echo left the dialer's NAT from another address or port than the
    last one before the fault; None, if it could not be seen there.
    """

    fate: Fate
    gap: float
    packets: int
    echoes: int
    cited: tuple[int, ...]
    moved: bool | None = False
    spells: tuple[Spell, ...] = ()


def read_life(
    packets: Sequence[Packet],
    dialer: Seat,
    relay: IPv4Address,
    transport: Transport,
    fault_ns: int,
    end_ns: int,
    given_up_ns: int | None = None,
) -> Seen:
    """The life of an echo of the ``dialer``.

    ``fault_ns`` and ``end_ns`` are times of the capture.  What comes back after the dialer
    has given up at ``given_up_ns`` is of no use to anybody.
    """
    here = [p for p in packets if dialer.sees(p)]
    heeded_ns = end_ns if given_up_ns is None else min(given_up_ns, end_ns)
    back = [p for p in here if echoed(p, dialer) and p.time_ns <= heeded_ns]
    before = [p for p in back if p.time_ns <= fault_ns][-1:]
    after = [p for p in back if p.time_ns > fault_ns]
    marks = [*before, *after]
    moved = _moved(packets, dialer, fault_ns)
    told = tuple(spells([p for p in here if echoed(p, dialer)], dialer, relay, fault_ns))
    last_ns = marks[-1].time_ns if marks else fault_ns
    if end_ns - last_ns > ENDED * 1e9:
        passed = sum(last_ns < p.time_ns <= end_ns for p in here)
        cited = tuple(p.number for p in marks[-1:])
        return Seen(Fate.LOST, (end_ns - last_ns) / 1e9, passed, len(after), cited, moved, told)
    start, stop = max(pairwise(marks), key=lambda pair: pair[1].time_ns - pair[0].time_ns)
    passed = sum(start.time_ns < p.time_ns < stop.time_ns for p in here)
    fate = _fate(after, here, relay, transport, fault_ns)
    gap = (stop.time_ns - start.time_ns) / 1e9
    return Seen(fate, gap, passed, len(after), (start.number, stop.number), moved, told)


def spells(
    echoes: Sequence[Packet], dialer: Seat, relay: IPv4Address, fault_ns: int
) -> Iterator[Spell]:
    """Who was connected when, and by which path: the runs of ``echoes`` in order of time."""

    def way(packet: Packet) -> tuple[bool, str]:
        return packet.source.address == relay, dialer.network(packet)

    run: list[Packet] = []
    for packet in [*echoes, None]:
        broken = run and (
            packet is None
            or way(packet) != way(run[-1])
            or packet.time_ns - run[-1].time_ns > BROKEN * 1e9
        )
        if broken:
            start, end = ((one.time_ns - fault_ns) / 1e9 for one in (run[0], run[-1]))
            relayed, at = way(run[0])
            yield Spell(start=round(start, 3), end=round(end, 3), relayed=relayed, at=at)
            run = []
        if packet is not None:
            run.append(packet)


def echoed(packet: Packet, dialer: Seat) -> bool:
    """Whether it is an echo that comes back to the dialer."""
    return dialer.got(packet) and len(packet.payload) in SHAPE


def _moved(packets: Sequence[Packet], dialer: Seat, fault_ns: int) -> bool | None:
    """Other hosts may share the edge: what the dialer has sent is known by its payload.

    None: it goes on sending, and nothing of that enters the internet any more.
    """
    own = [p for p in packets if dialer.sent(p) and len(p.payload) in SHAPE]
    asked = {p.payload for p in own}
    sent = [p for p in packets if dialer.enters(p) and p.payload in asked]
    before = [p.source for p in sent if p.time_ns <= fault_ns]
    after = [p.source for p in sent if p.time_ns > fault_ns]
    if sent and own[-1].time_ns > max(sent[-1].time_ns, fault_ns) + BROKEN * 1e9:
        return None
    return bool(before and after) and before[-1] != after[-1]


def _fate(
    echoes: Sequence[Packet],
    here: Iterable[Packet],
    relay: IPv4Address,
    transport: Transport,
    fault_ns: int,
) -> Fate:
    if echoes[-1].source.address == relay:
        return Fate.RELAYED
    anew = any(
        p.time_ns > fault_ns
        and relay not in (p.source.address, p.destination.address)
        and opens(p, transport)
        for p in here
    )
    relayed = any(p.source.address == relay for p in echoes)
    return Fate.DIRECT if anew or relayed else Fate.SURVIVES


def opens(packet: Packet, transport: Transport) -> bool:
    """Whether it begins a connection: a SYN, an Initial."""
    if transport is Transport.TCP:
        return packet.is_syn
    if transport is Transport.UDP or not packet.payload:
        return False
    first = packet.payload[0]
    return len(packet.payload) >= 1200 and first & (_QUIC_LONG | _QUIC_TYPE) == _QUIC_LONG
