"""Why an answer does not find back: it went past the NAT that had turned the question in."""

from collections.abc import Sequence

from testbed.explain.causes.finding import Finding, line
from testbed.explain.scene import Scene
from testbed.explain.sides import Side
from testbed.model.explanation import Cause
from testbed.model.journey import Journey
from testbed.model.statement import relays


def why(scene: Scene, side: Side, asked: Sequence[Journey]) -> Finding | None:
    """The server answered ``asked``, from where ``side`` had asked nobody.

    Its NAT hairpins and leaves the source as it is, so a server in the same network answers by its
    own address (RFC 4787 section 6 asks for the external one).
    """
    for journey in asked:
        turned = (scene.crossing(hop.node, journey) for hop in journey.hops)
        hairpin = next((one for one in turned if one is not None and one.hairpin), None)
        if hairpin is None:
            continue
        for back in scene.journeys:
            straight = back.first.source == back.last.source  # by no NAT
            meant = straight and back.last.destination == journey.first.source
            if scene.from_server(back) and meant and back.last.time_ns > journey.first.time_ns:
                relay = scene.evidence.server
                told = relays.AnsweredPast(hairpin.router, relay, side.node, back.last.source)
                shown = (journey.last, back.last)
                return Finding(
                    Cause.HAIRPIN_MISSING, hairpin.router, told, (line(told, *shown),), shown[1:]
                )
    return None
