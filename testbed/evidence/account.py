"""One reading of a run: its packets as journeys, labelled once, for the judge and the explanation.

Both ask the same account.  Nothing of it is made before it is asked for, and nothing twice.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from testbed.evidence.hops import Lab
from testbed.evidence.labels import labels
from testbed.evidence.stitch import stitch
from testbed.model.batch import collector_off
from testbed.model.contract import Event
from testbed.model.explanation import Evidence
from testbed.model.journey import Fate, FlowEvent, Journey, Label
from testbed.model.packet import Packet
from testbed.model.plan import Plan
from testbed.model.window import Window


@dataclass(frozen=True, eq=False)
class WireAccount:
    """What was recorded of one run, and what the packets show.

    The fields are as `testbed.model.explanation.Evidence` has them; None: not recorded.
    """

    plan: Plan
    packets: Sequence[Packet] | None
    events: tuple[tuple[str, Event], ...] | None = None
    flows: tuple[FlowEvent, ...] | None = None
    drops: Mapping[str, Mapping[str, int]] | None = None
    clock_ns: int | None = None
    start_ns: int | None = None
    window: Window | None = None

    @classmethod
    def of(cls, evidence: Evidence) -> "WireAccount":
        """The account of a run that is read back from its folder."""
        return cls(
            evidence.plan,
            evidence.packets,
            evidence.events,
            evidence.flows,
            evidence.drops,
            evidence.clock_ns,
            evidence.start_ns,
            evidence.window,
        )

    @cached_property
    def journeys(self) -> tuple[Journey, ...]:
        """Of all IPv4 packets, in order of their first sight."""
        with collector_off():
            return stitch(self.packets or (), self.plan, self.drops)

    @cached_property
    def labels(self) -> Mapping[int, Label]:
        """What the first packet of each journey says, by its number."""
        journeys = self.journeys
        with collector_off():
            return labels(journeys, self.events or (), self.clock_ns)

    def swallowed_over(self, journey: Journey) -> int | None:
        """How long a packet may be on the link on which ``journey`` is lost for its length.

        None where that is not what becomes of it.
        """
        return None if journey.arrived else self._lab.swallows_over(journey.last)

    @cached_property
    def _lab(self) -> Lab:
        return Lab(self.plan)

    def sent(self, node: str) -> Sequence[Journey]:
        """The datagrams and segments that begin at ``node``, in order of time."""
        return self._sent.get(node, ())

    def came(self, node: str) -> Sequence[Journey]:
        """The datagrams and segments that arrived at ``node``, in order of their arrival."""
        return self._came.get(node, ())

    def seen(self, node: str) -> Sequence[Packet]:
        """The packets that were recorded at ``node``, in order of time; no tunnel's datagrams."""
        return self._seen.get(node, ())

    @cached_property
    def _seen(self) -> Mapping[str, Sequence[Packet]]:
        found: dict[str, list[Packet]] = defaultdict(list)
        for packet in self.packets or ():
            if not self._lab.carries(packet):
                found[packet.node].append(packet)
        return found

    @cached_property
    def _sent(self) -> Mapping[str, Sequence[Journey]]:
        found: dict[str, list[Journey]] = defaultdict(list)
        for journey in self.journeys:
            if journey.hops[0].outward is not None and journey.first.protocol in ("udp", "tcp"):
                found[journey.sender].append(journey)  # else it was first seen where it came in
        return found

    @cached_property
    def _came(self) -> Mapping[str, Sequence[Journey]]:
        found: dict[str, list[Journey]] = defaultdict(list)
        for journey in self.journeys:
            if journey.arrived and journey.first.protocol in ("udp", "tcp"):
                found[journey.end.node].append(journey)
        for arrivals in found.values():
            arrivals.sort(key=lambda journey: journey.last.time_ns)
        return found


def is_whole(journey: Journey) -> bool:
    """True if every step from the host that sent it to the host that it was for was seen.

    Each router takes one from the TTL, so that a router at which nothing was seen is missed.
    """
    between = journey.hops[1:-1]
    return (
        journey.hops[0].fate is Fate.SENT
        and journey.arrived
        and all(hop.inward is not None and hop.outward is not None for hop in between)
        and journey.first.ttl - journey.last.ttl == len(between)
    )
