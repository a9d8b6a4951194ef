"""The plot of an experiment with hard NATs: theory's curves, measured points, SVG.

One file that refers to nothing else, and follows the reader's choice of dark or light.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import escape
from math import ceil, log10

from testbed.model.details import OddsDetails
from testbed.model.frozen import FrozenValue
from testbed.model.result import Result
from testbed.studies.odds.cases import Case, cases
from testbed.studies.odds.study import DOUBT
from testbed.traversal.hard_nat import Birthday, Prediction

_WIDTH, _HEIGHT = 300, 210  # of a panel's axes
_LEFT, _TOP, _GAP, _BELOW = 56, 78, 64, 108
_STEPS = 120  # points of a curve at most
_NO_QUOTA = 65535  # more than a NAT has ports
_COLOURS = ("one", "two", "three", "four")
_STYLE = """
  svg { --paper: #ffffff; --ink: #1f2328; --faint: #d5d9de; --quiet: #59636e;
        --one: #2563c9; --two: #c2570c; --three: #1a7f4b; --four: #8a3fb5; }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #0d1117; --ink: #e6edf3; --faint: #30363d; --quiet: #9198a1;
          --one: #6ea8fe; --two: #f0a35e; --three: #56c98a; --four: #c79af0; }
  }
  text { font: 12px system-ui, sans-serif; fill: var(--ink); }
  .title { font-size: 16px; font-weight: 600; }
  .name { font-weight: 600; }
  .quiet { fill: var(--quiet); }
  .grid { stroke: var(--faint); fill: none; }
  .curve { fill: none; stroke-width: 1.6; }
  .without { fill: none; stroke-width: 1.2; stroke-dasharray: 4 4; }
  .bar { stroke-width: 1.6; }
  .point { stroke: var(--paper); stroke-width: 1; }
"""


class _Point(FrozenValue):
    """A case, and what was measured of it."""

    case: Case
    found: OddsDetails


class _Panel(FrozenValue):
    """Curves over one axis, and where they are on the sheet."""

    title: str
    axis: str
    curves: tuple[tuple[_Point, ...], ...]
    left: float

    @property
    def most(self) -> int:
        """Where the axis ends."""
        top = 1.15 * max(point.case.x for curve in self.curves for point in curve)
        return _tick(top) * ceil(top / _tick(top))

    def x(self, value: float) -> float:
        return self.left + _WIDTH * value / self.most

    def y(self, chance: float) -> float:
        return _TOP + _HEIGHT * (1 - chance)


def plot(results: Sequence[Result]) -> str:
    """The SVG document; a panel for each kind of series with two points or more."""
    points = _points(results)
    panels = _panels(points)
    width = _LEFT + len(panels) * (_WIDTH + _GAP) - _GAP + 24
    height = _TOP + _HEIGHT + _BELOW
    runs = max((point.found.runs for point in points), default=0)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="var(--paper)"/>',
        _text(_LEFT, 26, "Through hard NATs: chance of a hit", "title"),
        _text(_LEFT, 45, f"Lines: theory. Points: {runs} runs each in a lab, with Wilson's "
              f"intervals ({1 - DOUBT:.0%} for all points together).", "quiet"),
        *(line for panel in panels for line in _drawn(panel)),
        "</svg>",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _points(results: Sequence[Result]) -> list[_Point]:
    """Those whose cases this version knows: a curve is drawn from the case."""
    known = {case.name: case for case in cases()}
    return [
        _Point(known[result.name], result.details)
        for result in results
        if result.name in known and isinstance(result.details, OddsDetails)
    ]


def _panels(points: Sequence[_Point]) -> list[_Panel]:
    series: dict[str, list[_Point]] = {}
    for point in points:
        series.setdefault(point.case.series, []).append(point)
    found: dict[tuple[str, str], list[tuple[_Point, ...]]] = {}
    for one in series.values():
        if len(one) > 1:
            found.setdefault(_kind(one[0].case), []).append(tuple(one))
    return [
        _Panel(title, axis, tuple(curves), _LEFT + number * (_WIDTH + _GAP))
        for number, ((title, axis), curves) in enumerate(found.items())
    ]


def _kind(case: Case) -> tuple[str, str]:
    if isinstance(case.strategy, Prediction):
        return "Port prediction", "candidates"
    if case.quota is not None:
        return "Birthday probing under a quota", "sockets on the hard side"
    return "Birthday probing", "probes by the easy side"


def _drawn(panel: _Panel) -> Iterator[str]:
    yield _text(panel.left, _TOP - 10, panel.title, "name")
    for tenth in range(0, 11, 2):
        y = panel.y(tenth / 10)
        yield f'<path class="grid" d="M{panel.left:.1f} {y:.1f}h{_WIDTH}"/>'
        yield _text(panel.left - 8, y + 4, f"{tenth / 10:g}", "quiet", "end")
    step = _tick(panel.most)
    for value in range(0, panel.most + 1, step):
        yield _text(panel.x(value), _TOP + _HEIGHT + 17, str(value), "quiet", "middle")
    middle, below = panel.left + _WIDTH / 2, _TOP + _HEIGHT + 34
    yield _text(middle, below, panel.axis, "quiet", "middle")
    for number, (curve, colour) in enumerate(zip(panel.curves, _COLOURS, strict=False)):
        yield from _curve(panel, curve, f"var(--{colour})")
        yield from _legend(panel, curve[0].case, f"var(--{colour})", below + 20 + 17 * number)


def _curve(panel: _Panel, curve: tuple[_Point, ...], colour: str) -> Iterator[str]:
    case = curve[0].case
    yield f'<path class="curve" stroke="{colour}" d="{_line(panel, case)}"/>'
    if case.quota is not None:
        line = _line(panel, replace(case, quota=_NO_QUOTA))
        yield f'<path class="without" stroke="{colour}" d="{line}"/>'
    for point in curve:
        found = point.found
        if found.bounds is None:
            continue
        x, rate = panel.x(point.case.x), found.hits / found.runs
        low, high = (panel.y(bound) for bound in found.bounds)
        yield (
            f'<path class="bar" stroke="{colour}" d="M{x:.1f} {low:.1f}V{high:.1f}'
            f'M{x - 4:.1f} {low:.1f}h8M{x - 4:.1f} {high:.1f}h8"/>'
        )
        words = f"{point.case.title}: {found.hits} of {found.runs}"
        yield (
            f'<circle class="point" fill="{colour}" cx="{x:.1f}" cy="{panel.y(rate):.1f}" r="4">'
            f"<title>{escape(words)}, theory {point.case.theory:.3f}</title></circle>"
        )


def _line(panel: _Panel, case: Case) -> str:
    """The theory along a case's curve; also where no point was measured."""
    step = max(1, panel.most // _STEPS)
    points = [(x, case.at(x).theory) for x in range(1, panel.most + 1, step)]
    return "M" + "L".join(f"{panel.x(x):.1f} {panel.y(chance):.1f}" for x, chance in points)


def _legend(panel: _Panel, case: Case, colour: str, y: float) -> Iterator[str]:
    """What a curve is of, without the words that the panel's title has."""
    words = case.series.partition(", ")[2]
    yield f'<path class="curve" stroke="{colour}" d="M{panel.left:.1f} {y - 4:.1f}h18"/>'
    yield _text(panel.left + 24, y, words)
    if case.quota is not None and isinstance(case.strategy, Birthday):
        yield f'<path class="without" stroke="{colour}" d="M{panel.left:.1f} {y + 13:.1f}h18"/>'
        yield _text(panel.left + 24, y + 17, "the same without the quota")
        probed = f"{case.strategy.ports.size} ports, {case.strategy.probes} probes"
        yield _text(panel.left + 24, y + 34, probed, "quiet")


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def _tick(top: float) -> int:
    """A round step that divides 0 to ``top`` into four to ten parts."""
    power = 10 ** int(log10(top))
    return next((int(power * f) for f in (1, 0.5, 0.2) if top / (power * f) >= 4), 1) or 1
