"""What two sides say of their punches, held against the packets."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from testbed.model.breach import CountDisputed, HitDisputed
from testbed.model.frozen import FrozenValue
from testbed.model.packet import Endpoint, Packet
from testbed.traversal.hard_nat import Kind, decode

EASY = "b"


class Told(FrozenValue):
    """One run, as its two sides tell it."""

    session: bytes
    hit: bool
    hard_sent: int  # packets
    easy_sent: int


@dataclass
class _Seen:
    """The packets of one run's session, at the two hosts."""

    hard_sent: int = 0
    easy_sent: int = 0
    probed: dict[int, Endpoint] = field(default_factory=dict)  # number -> where to
    answered: dict[int, Endpoint] = field(default_factory=dict)  # number -> where from
    came: Counter[tuple[Kind, int]] = field(default_factory=Counter)  # at the hard side

    @property
    def hit(self) -> bool:
        """A probe that came in, was answered from where it was sent to, and confirmed."""
        return any(
            self.came[Kind.PROBE, number]
            and self.came[Kind.CONFIRM, number]
            and self.probed.get(number) == source
            for number, source in self.answered.items()
        )


def disagreements(
    told: Sequence[Told], packets: Sequence[Packet]
) -> Iterator[HitDisputed | CountDisputed]:
    """For each run, what ``packets``, those at the hosts of both sides, deny."""
    seen = _read(packets)
    for number, run in enumerate(told):
        wire = seen[run.session]
        if wire.hit != run.hit:
            yield HitDisputed(number, run.hit)
        sent, left = (run.hard_sent, run.easy_sent), (wire.hard_sent, wire.easy_sent)
        if sent != left:
            yield CountDisputed(number, sent, left)


def _read(packets: Sequence[Packet]) -> dict[bytes, _Seen]:
    runs: dict[bytes, _Seen] = defaultdict(_Seen)
    for packet in packets:
        frame = decode(packet.payload) if packet.protocol == "udp" else None
        if frame is None:
            continue
        run, easy = runs[frame.session], packet.node == EASY
        match easy, packet.outgoing:
            case True, True:
                run.easy_sent += 1
                if frame.kind is Kind.PROBE:
                    run.probed[frame.number] = packet.destination
            case True, False:
                if frame.kind is Kind.ANSWER:
                    run.answered[frame.number] = packet.source
            case False, True:
                run.hard_sent += 1
            case False, False:
                run.came[frame.kind, frame.number] += 1
    return runs
