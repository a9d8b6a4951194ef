"""Which step of a prediction the wire refutes.

The oracle's trace has a line for each step of its model; what it says of a packet from
one peer to the other is looked for in the journeys.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from testbed.capture.packet import ACK, SYN
from testbed.explain.causes.finding import Finding, line
from testbed.explain.model import Citation, Journey, Line
from testbed.explain.scene import Scene, stopped
from testbed.explain.sides import Side

_DRAWN = r"(?: \(model's port\))?"  # as `testbed.oracle.packet.Drawn` has it
_STEP = re.compile(
    rf"^ *[\d.]+ ms  (?P<what>.+) (?P<source>[\w#-]+):(?P<port>\d+){_DRAWN} > "
    rf"(?P<target>[\w#-]+):\d+{_DRAWN}: (?P<fate>.+)$"
)
_LEAVES = re.compile(rf"^leaves (?P<router>[\w-]+) as (?P<external>[\w#-]+:\d+){_DRAWN}$")
_ENTERS = re.compile(r"^enters (?P<router>[\w-]+) for ")


@dataclass(frozen=True)
class _Said:
    """One line of the trace, taken apart."""

    text: str
    source: str  # node
    port: int
    target: str
    fate: str


def refuted(scene: Scene, finding: Finding) -> Line:
    """The first step that went otherwise, beside the packet that shows it."""
    said = list(_said(scene.evidence.prediction.trace))
    a, b = scene.sides
    for look in (_mapping, _entering):
        for source, target in ((a, b), (b, a)):
            if found := look(scene, said, source, target):
                return found
    prediction = scene.evidence.prediction
    return Line(
        f"the prediction ({prediction.outcome.value}) says: {prediction.reason}; "
        f"on the wire: {finding.headline}",
        tuple(Citation.of(packet) for packet in finding.decisive),
    )


def _said(trace: tuple[str, ...]) -> Iterator[_Said]:
    for text in trace:
        if step := _STEP.match(text):
            source, target = (step[end].partition("#")[0] for end in ("source", "target"))
            words = text.partition(" ms  ")[2]
            yield _Said(words, source, int(step["port"]), target, step["fate"])


def _of(said: list[_Said], source: Side, target: Side) -> list[_Said]:
    """What is said of packets from one peer, or its NATs, to the other, or its NATs."""
    here, there = ({side.node, *side.routers} for side in (source, target))
    return [one for one in said if one.source in here and one.target in there]


# -- by which endpoint a peer leaves -------------------------------------------


def _mapping(scene: Scene, said: list[_Said], source: Side, target: Side) -> Line | None:
    """Does the NAT keep the endpoint that the public nodes saw?"""
    if not source.routers:
        return None
    router = source.routers[-1]
    tries = [one for one in _of(said, source, target) if one.source == source.node]
    left = [(one, found["external"]) for one in tries if (found := _LEAVES.match(one.fate))]
    told = {
        found["external"]
        for one in said
        if one.source == source.node and one not in tries and (found := _LEAVES.match(one.fate))
    }
    sent = [c for j in scene.tries(source) if (c := scene.crossing(router, j))]
    if not left or not told or not sent:
        return None
    one, external = left[-1]
    keeps = external in told
    kept = next((c for c in sent if c.external in source.told), None)
    if keeps == (kept is not None) or not source.told:
        return None
    shown = kept or sent[0]
    how = "by the endpoint that was signalled" if kept else "by another endpoint than signalled"
    return line(
        f"the prediction says {one.text!r}; on the wire {source.node} left {router} {how}, "
        f"{shown.external}",
        *shown.packets,
    )


# -- who gets in ----------------------------------------------------------------


def _entering(scene: Scene, said: list[_Said], source: Side, target: Side) -> Line | None:
    """Does the far NAT let the packets in?"""
    if not target.routers:
        return None
    about = [one for one in _of(said, source, target) if one.target in target.routers]
    entered = [one for one in about if _ENTERS.match(one.fate)]
    barred = [one for one in about if not _ENTERS.match(one.fate) and not _LEAVES.match(one.fate)]
    tries = scene.tries(source)
    came = [j for j in tries if j.arrived and j.end.node == target.node]
    shut = [j for j in tries if stopped(j)]
    if entered and shut and not came:
        alike = [j for j in shut if _alike(entered[0], j)]
        return _unlike(entered[0], (alike or shut)[-1], "stopped")
    if barred and not entered and came:
        return _unlike(barred[-1], came[0], "came in")
    return None


def _alike(one: _Said, journey: Journey) -> bool:
    """The same step of a handshake, as far as the model's words and TCP's flags say."""
    flags = journey.first.tcp_flags & (SYN | ACK)
    return one.text.startswith("SYN-ACK ") is (flags == SYN | ACK)


def _unlike(one: _Said, journey: Journey, came: str) -> Line:
    at = journey.end.inward or journey.last
    rules = f" as {journey.end.rules[0]!r}" if journey.end.rules else ""
    end = f"{journey.end.node} stopped it{rules}" if came == "stopped" else "it came in"
    return line(
        f"the prediction says {one.text!r}; on the wire a packet from {at.source} came to "
        f"{journey.end.node} for {at.destination}, and {end}",
        at,
        journey.end.answer,
    )
