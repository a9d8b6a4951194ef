"""What one peer sent towards the other, and what stopped it."""

from functools import cached_property

from testbed.explain.causes import closed, refused, too_long, unsent
from testbed.explain.causes.finding import Finding, line, unknown
from testbed.explain.scene import Scene, outer, stopped
from testbed.explain.sides import Side
from testbed.model.explanation import Cause
from testbed.model.frozen import FrozenValue
from testbed.model.journey import Fate, Journey
from testbed.model.statement.filters import KnownPrivate, LastSeen, NeverCame, NoRoute
from testbed.model.statement.lacks import AfterVantage


class Direction(FrozenValue):
    """All tries of ``source`` towards ``target``, by where they ended."""

    scene: Scene
    source: Side
    target: Side

    @cached_property
    def tries(self) -> list[Journey]:
        return self.scene.tries(self.source)

    @cached_property
    def arrived(self) -> list[Journey]:
        return [j for j in self.tries if j.arrived and j.end.node == self.target.node]

    @cached_property
    def far(self) -> list[Journey]:
        """Came to a router of the target's from outside, and got no further."""
        routers = self.target.routers
        return [j for j in self._stopped if j.end.node in routers and outer(j.end)]

    @cached_property
    def own(self) -> list[Journey]:
        """Came to a router of the source's from inside, and got no further."""
        routers = self.source.routers
        return [j for j in self._stopped if j.end.node in routers and not outer(j.end)]

    @cached_property
    def astray(self) -> list[Journey]:
        """Ended where neither peer is: there is no way to that address."""
        near = {*self.source.routers, *self.target.routers, self.target.node}
        return [j for j in self._stopped if j.end.node not in near]

    @cached_property
    def lost(self) -> list[Journey]:
        return [j for j in self.tries if j.end.fate is Fate.LOST]

    @cached_property
    def _stopped(self) -> list[Journey]:
        return [j for j in self.tries if stopped(j)]

    def obstacle(self) -> Finding | None:
        """Why nothing of ``source`` came to ``target``; None if something did."""
        if self.arrived:
            return None
        if not self.tries:
            return unsent.why(self.scene, self.source)
        if self.far:
            return closed.why(self.scene, self.source, self.target, self.far)
        if self.lost:
            return _lost(self.scene, self.source, self.target, self.lost)
        if self.own:
            return refused.why(self.scene, self.source, self.own)
        if self.astray:
            return _private(self.scene, self.source, self.target, self.astray)
        return unknown(
            LastSeen(self.source.node, self.target.node),
            AfterVantage(self.tries[-1].last.vantage),
        )


def _lost(scene: Scene, source: Side, target: Side, lost: list[Journey]) -> Finding:
    if finding := too_long.among(scene, lost):
        return finding
    journey = lost[0]
    if lacking := scene.whole.unsure(journey.end):
        seen = LastSeen(source.node, target.node, journey.last.vantage)
        return unknown(seen, *lacking)
    never = NeverCame(len(lost), source.node, journey.last.vantage, journey.end.node)
    return Finding(
        Cause.LOST_ON_LINK,
        journey.end.node,
        never,
        (line(never, journey.last, lost[-1].last),),
        (journey.last,),
    )


def _private(scene: Scene, source: Side, target: Side, astray: list[Journey]) -> Finding:
    journey = astray[0]
    if lacking := scene.whole.absent(journey.end.node, *target.routers):
        return unknown(LastSeen(source.node, vantage=journey.last.vantage), *lacking)
    addresses = tuple(sorted({j.first.destination for j in astray}, key=str))
    return Finding(
        Cause.SIGNALLED_PRIVATE,
        target.node,
        KnownPrivate(target.node, source.node, addresses),
        (line(NoRoute(source.node, addresses), journey.first, journey.last),),
        (journey.last,),
    )
