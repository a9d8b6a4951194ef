"""Did every NAT do what its profile declares, in this very capture?

Asked of the journeys alone, without the oracle's model: that one may be what is wrong.
An axis is checked where packets happened to show it; what nobody tried stays unknown.
"""

from collections.abc import Callable, Iterator

from testbed.explain.axes import blocking, filtering, hairpin, mapping, unsolicited
from testbed.explain.axes.view import Shown, View
from testbed.explain.causes.finding import line
from testbed.explain.scene import Scene
from testbed.model.explanation import Line
from testbed.model.frozen import FrozenValue
from testbed.model.packet import Protocol

_AXES: tuple[tuple[str, Callable[[View], Shown]], ...] = (
    ("blocked", blocking.check),
    ("mapping", mapping.check),
    ("allocation", mapping.check_ports),
    ("quota", mapping.check_quota),
    ("filtering", filtering.check),
    ("unsolicited", unsolicited.check),
    ("hairpin", hairpin.check),
)
_PROTOCOLS: tuple[Protocol, ...] = ("udp", "tcp")


class Violation(FrozenValue):
    """A router did what its profile denies, or did not what it declares."""

    node: str
    axis: str  # a word of `testbed.model.behaviour`
    line: Line  # what it did, and the packets that show it


def violations(scene: Scene) -> tuple[Violation, ...]:
    """One for each router, axis and protocol at the most; none where all was as declared.

    A capture that is not whole proves nothing against a router.
    """
    return tuple(_violations(scene)) if not scene.whole.trouble else ()


def _violations(scene: Scene) -> Iterator[Violation]:
    for router in scene.evidence.behaviours:
        if scene.whole.absent(router) and scene.evidence.drops is None:
            continue
        for protocol in _PROTOCOLS:
            view = View(scene, router, protocol)
            for axis, check in _AXES:
                for fact, packets in check(view):
                    yield Violation(router, axis, line(fact, *packets))
                    break
