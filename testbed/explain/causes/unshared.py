"""Who dials from another port than the one it listens on learns nothing of that one.

DCUtR signals what public nodes have observed (libp2p relay/DCUtR.md), which is an address
of the socket that dialed them.
"""

from testbed.explain.causes.finding import Finding, line
from testbed.explain.scene import Scene
from testbed.explain.sides import Side
from testbed.model.contract import PUNCH_PORT
from testbed.model.explanation import Cause, Journey
from testbed.model.statement.relays import Asks
from testbed.model.statement.runs import DialsApart


def why(scene: Scene) -> list[Finding]:
    """What keeps a punch from being possible at all, of each side for which it holds."""
    if not scene.circuits:
        return []
    return [_apart(side, asked) for side in scene.sides if (asked := _from_elsewhere(scene, side))]


def _from_elsewhere(scene: Scene, side: Side) -> list[Journey]:
    """What ``side`` sent to public nodes, if nothing at all left from where it listens."""
    asked = [j for j in scene.asked(side) if j.first.protocol == scene.protocol]
    sent = (*asked, *scene.tries(side))  # py-libp2p punches from there, and from there alone
    return [] if any(j.first.source.port == PUNCH_PORT for j in sent) else asked


def _apart(side: Side, asked: list[Journey]) -> Finding:
    first = asked[0].first
    ports = len({j.first.source.port for j in asked})
    return Finding(
        Cause.PORT_NOT_SHARED,
        side.node,
        DialsApart(side.node, PUNCH_PORT, ports),
        (line(Asks(side.node, first.destination, first.source), first),),
        (first,),
    )
