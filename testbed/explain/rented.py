"""Which contract carried the bytes, where a relay was paid."""

from collections.abc import Iterator

from testbed.evidence.rent import read_rent
from testbed.explain.causes.finding import line
from testbed.explain.scene import Scene
from testbed.model.explanation import Line
from testbed.model.statement import relays


def rented(scene: Scene) -> Iterator[Line]:
    """A line for each circuit that the dialer paid for."""
    found = read_rent(scene.account, (scene.dialer.node, scene.listener.node))
    for carriage in found.carried if found is not None else ():
        yield line(relays.Rented(scene.evidence.server, carriage))
