"""Who dials from another port than the one it listens on learns nothing of that one.

DCUtR signals what public nodes have observed (libp2p relay/DCUtR.md), which is an address
of the socket that dialed them.
"""

from testbed.explain.causes.finding import Finding, line
from testbed.explain.scene import Scene
from testbed.explain.sides import Side
from testbed.model.contract import Listening
from testbed.model.explanation import Cause
from testbed.model.journey import Journey
from testbed.model.statement.relays import Asks
from testbed.model.statement.runs import DialsApart


def why(scene: Scene) -> list[Finding]:
    """What keeps a punch from being possible at all, of each side for which it holds."""
    if not scene.circuits:
        return []
    return [_apart(side, asked) for side in scene.sides if (asked := _from_elsewhere(scene, side))]


def _from_elsewhere(scene: Scene, side: Side) -> list[Journey]:
    """What ``side`` sent to public nodes, if nothing at all left from where it listens.

    Where it does, it says; of one that does not say it, nothing follows.
    """
    listening = side.last(Listening)
    if listening is None:
        return []
    asked = [j for j in scene.asked(side) if j.first.protocol == scene.protocol]
    sent = (*asked, *scene.tries(side))  # py-libp2p punches from there, and from there alone
    return [] if any(j.first.source.port == listening.local.port for j in sent) else asked


def _apart(side: Side, asked: list[Journey]) -> Finding:
    first, listening = asked[0].first, side.last(Listening)
    assert listening is not None  # `_from_elsewhere` found it
    port, others = listening.local.port, len({j.first.source.port for j in asked})
    return Finding(
        Cause.PORT_NOT_SHARED,
        side.node,
        DialsApart(side.node, port, others),
        (line(Asks(side.node, first.destination, first.source), first),),
        (first,),
    )
