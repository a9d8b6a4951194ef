"""The sequence diagram of a run: which packets it shows, and between which nodes.

Time goes down.  The dialer's side is on the left, the listener's on the right, and
what is public between them.  A packet that says what an earlier one said is folded
into its arrow, usual traffic is left out, and however long the run was, the diagram
stays short enough to be read.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from testbed.explain.worth import GONE, Worth, alike, words, worth
from testbed.model.explanation import Diagram, Evidence, Message, Segment, Stage
from testbed.model.journey import Fate, Hop, Journey, Label
from testbed.model.packet import Packet
from testbed.model.statement import Statement
from testbed.model.statement.filters import Answered, Dropped, LostOnWay, TakenByRouter
from testbed.model.topology import Topology

LIMIT = 60  # messages, where fewer packets than that are decisive
COMFORT = 30  # messages; of a longer diagram what is usual is left out


def diagram(
    evidence: Evidence | Stage,
    journeys: Sequence[Journey],
    labels: Mapping[int, Label],
    decisive: Collection[int],
) -> Diagram:
    """The diagram of ``journeys``, which are in order of time.

    ``labels`` are by the number of a journey's first packet.  Journeys with a packet
    whose number is in ``decisive`` are shown each on a message of its own, whatever they are.
    """
    involved = _involved(evidence)
    wanted = frozenset(decisive)
    folding = _Folding()
    omitted = 0
    zero, cores = evidence.start_ns, evidence.plan.topology.cores
    for journey in journeys:
        if zero is None:
            zero = journey.first.time_ns
        first = journey.first
        label = labels.get(first.number) or Label(first.protocol, first.protocol.upper())
        value, decides = worth(journey, label), not wanted.isdisjoint(journey.packets)
        if decides or (value < Worth.NOTHING and _ends(journey) <= involved):
            segments = _segments(journey, labels, cores)
            time_ms = (first.time_ns - zero) / 1e6
            message = Message(time_ms, words(label), segments, decisive=decides)
            way = tuple((s.start, s.to, s.source, s.destination, s.end, s.note) for s in segments)
            key = (first.protocol, label.protocol, alike(label), way)
            folding.add(_Step(message, value, key))
        else:
            omitted += 1
    steps, left_out = _shortened(folding.folded())
    messages = tuple(step.message for step in steps)
    seen = {
        node for message in messages for part in message.segments for node in (part.start, part.to)
    }
    order = columns(evidence.plan.topology, evidence.dialer, evidence.listener)
    return Diagram(tuple(node for node in order if node in seen), messages, omitted + left_out)


def columns(topology: Topology, dialer: str, listener: str) -> tuple[str, ...]:
    """All nodes, from the dialer's side by way of the public ones to the listener's."""
    near, far = list(topology.around(dialer)), list(topology.around(listener))
    far = [node for node in far if node not in near]
    middle: list[str] = []
    for host in topology.hosts:
        if host.name not in (dialer, listener):
            _settle(list(topology.around(host.name)), (near, far, middle))
    others = [r.name for r in topology.routers if r.name not in (*near, *middle, *far)]
    return (*near, *topology.cores, *middle, *others, *reversed(far))


def _settle(way: list[str], sides: Sequence[list[str]]) -> None:
    """Put a host and its routers in before the first router that has a place already."""
    for index, node in enumerate(way):
        for side in sides:
            if node in side:
                place = side.index(node)
                side[place:place] = way[:index]
                return
    sides[-1].extend(way)


@dataclass(frozen=True, slots=True)
class _Step:
    """One journey on its way to a message."""

    message: Message
    worth: Worth
    key: tuple[object, ...]  # equal for packets that say the same and fare the same


@dataclass
class _Folding:
    """Messages so far.  A repeat joins its like, until something new ends what was repeating."""

    steps: list[_Step] = field(default_factory=list)
    _open: dict[tuple[object, ...], int] = field(default_factory=dict)  # key -> position
    _repeating: set[tuple[object, ...]] = field(default_factory=set)
    _told: set[tuple[object, ...]] = field(default_factory=set)
    _repeats: Counter[int] = field(default_factory=Counter)  # of the step at each position

    def folded(self) -> list[_Step]:
        """The steps, each with how many it stands for."""
        for position, more in self._repeats.items():
            like = self.steps[position]
            message = replace(like.message, count=like.message.count + more)
            self.steps[position] = replace(like, message=message)
        self._repeats.clear()
        return self.steps

    def add(self, step: _Step) -> None:
        decisive = step.message.decisive
        position = self._open.get(step.key)
        if position is not None and not decisive:
            self._repeats[position] += 1
            self._repeating.add(step.key)
            return
        if decisive:
            self._open.clear()
        elif step.worth < Worth.USUAL and step.key not in self._told:
            for key in self._repeating:
                self._open.pop(key, None)
            self._repeating.clear()
        if not decisive:
            self._open[step.key] = len(self.steps)
        self._told.add(step.key)
        self.steps.append(step)


def _shortened(steps: Sequence[_Step]) -> tuple[list[_Step], int]:
    """Every decisive one and the best of the rest; with how many packets that left out.

    First goes what is worth least, and of that what came before in the same words.
    """
    told: Counter[tuple[object, ...]] = Counter()
    ranked = []
    for position, step in enumerate(steps):
        if step.message.decisive or step.worth < Worth.USUAL or len(steps) <= COMFORT:
            ranked.append((not step.message.decisive, step.worth, told[step.key], position))
            told[step.key] += 1
    certain = sum(step.message.decisive for step in steps)
    kept = {position for *_, position in sorted(ranked)[: max(LIMIT, certain)]}
    left_out = sum(step.message.count for i, step in enumerate(steps) if i not in kept)
    return [step for i, step in enumerate(steps) if i in kept], left_out


def _involved(evidence: Evidence | Stage) -> frozenset[str]:
    """The peers, the NATs before them, and the server; others are bystanders of a punch."""
    topology = evidence.plan.topology
    if isinstance(evidence, Stage):
        hosts = (host.name for host in topology.hosts)
        return frozenset([*topology.cores, *hosts, *(router.name for router in topology.routers)])
    peers = (evidence.dialer, evidence.listener)
    near = [node for name in peers for node in topology.around(name)]
    return frozenset([*near, evidence.server, *topology.cores])


def _ends(journey: Journey) -> set[str]:
    return {journey.sender, journey.end.node}


def _segments(
    journey: Journey, labels: Mapping[int, Label], cores: Collection[str]
) -> tuple[Segment, ...]:
    """Its arrows.  The core only forwards, so it is no stop, but where a way ends there.

    Of a packet that was seen at one node only the arrow stays at that node.
    """
    hops = journey.hops
    ended = len(hops) - 1 if hops[-1].fate in GONE else None
    stops = [i for i, hop in enumerate(hops) if hop.node not in cores or i == ended] or [0]
    if len(stops) == 1:
        stops *= 2
    parts = []
    for start, to in pairwise(stops):
        sights = _between(hops, start, to)
        packet = sights[0] if sights else journey.last
        part = Segment(
            start=hops[start].node,
            to=hops[to].node,
            source=packet.source,
            destination=packet.destination,
            end=hops[to].fate,
            packets=tuple(dict.fromkeys(sight.number for sight in sights)),
            note=_note(hops[to], labels),
        )
        parts.append(part)
    return tuple(parts)


def _between(hops: Sequence[Hop], start: int, to: int) -> list[Packet]:
    """What was seen of a packet from leaving one stop until it came in at the next."""
    if start == to:
        sights = [hops[to].inward, hops[to].outward]
    else:
        sights = [hops[start].outward]
        for hop in hops[start + 1 : to]:
            sights += [hop.inward, hop.outward]
        sights.append(hops[to].inward)
    return [sight for sight in sights if sight is not None]


def _note(hop: Hop, labels: Mapping[int, Label]) -> Statement | None:
    """What became of it, where that is worth a word."""
    match hop.fate:
        case Fate.DROPPED:
            private = hop.inward and not hop.inward.destination.address.is_global
            return Dropped(hop.rules, private=bool(private and not hop.rules))
        case Fate.REJECTED if hop.answer is not None:
            label = labels.get(hop.answer.number)
            return Answered(label.text if label else None, hop.answer.protocol)
        case Fate.REJECTED:
            return Answered()
        case Fate.LOST:
            return LostOnWay()
        case Fate.TAKEN:
            return TakenByRouter()
        case _:
            return None
