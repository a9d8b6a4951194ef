"""What was too long for a link: lost in a black hole, as RFC 2923 section 2.1 calls it, or refused.

A router that refuses it says so (RFC 1191), to a sender who may go on as before.
"""

from collections.abc import Iterable

from testbed.explain.causes.finding import Finding, line
from testbed.explain.narrow import narrow, told_too_long
from testbed.explain.scene import Scene
from testbed.model.explanation import Cause
from testbed.model.journey import Journey
from testbed.model.outcome import Outcome
from testbed.model.path import Swallowed
from testbed.model.statement.lengths import EchoVanished, Unheeded, Vanished
from testbed.verdict.wire import read_path


def echo(scene: Scene) -> Finding | None:
    """Of peers that are connected and do not hear each other's echo; None if it is not for that."""
    read = read_path(scene.account, scene.dialer.node, scene.listener.node)
    if not isinstance(read.path, Swallowed):
        return None
    cited = frozenset(read.packets)
    found = among(scene, (j for j in scene.journeys if j.last.number in cited))
    if found is None or not isinstance(found.headline, Vanished):
        return found
    told = EchoVanished(read.path.by is Outcome.RELAYED, found.headline)
    return Finding(found.cause, found.node, told, found.lines, found.decisive)


def among(scene: Scene, journeys: Iterable[Journey]) -> Finding | None:
    """The first of ``journeys`` that was lost for its length; None if none was.

    The link does that to each, so that nothing need be recorded behind it.
    """
    for journey in journeys:
        largest = scene.account.swallowed_over(journey)
        if largest is None:
            continue
        packet = journey.last
        told = Vanished(journey.sender, packet.vantage, packet.length, largest)
        return Finding(Cause.TOO_LONG, packet.node, told, (line(told, packet),), (packet,))
    return None


def refused(scene: Scene, journeys: Iterable[Journey]) -> Finding | None:
    """The first of ``journeys`` that a router refused for its length; None if none was."""
    for journey in journeys:
        end, packet = journey.end, journey.end.inward
        mtu = narrow(scene.plan, end.node)
        if packet is None or mtu is None or packet.length <= mtu or not told_too_long(end):
            continue
        said = Unheeded(journey.sender, end.node, packet.length, mtu)
        return Finding(Cause.TOO_LONG, end.node, said, (line(said, packet, end.answer),), (packet,))
    return None
