"""The three curves of swarms and their relays: bandwidth, latency, share.  SVG.

A row for each population and stack; the size of a swarm doubles from left to right.  The shades
are what the population foresees.  The document refers to nothing else, and follows the reader's
choice of dark or light.
"""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from math import log2

from testbed.model.details import Foreseen
from testbed.model.frozen import FrozenValue
from testbed.model.result import Result
from testbed.studies.relays.curves import MEGA, Curve, Point, claims, curves
from testbed.studies.relays.swarm import OFF, ON
from testbed.words.claims import sentence

_WIDTH, _HEIGHT = 250, 130  # of a panel's axes
_LEFT, _TOP, _GAP, _ROW = 62, 92, 74, 230
_EDGE = 18  # between an axis's ends and the first and last size
COLOURS = """
  svg.swarms { --off: #c2570c; --on: #2563c9; --paper: #ffffff; --text: #1f2328;
               --faint: #d5d9de; --quiet: #59636e; }
  @media screen and (prefers-color-scheme: dark) {
    svg.swarms { --off: #f0a35e; --on: #6ea8fe; --paper: #0d1117; --text: #e6edf3;
                 --faint: #30363d; --quiet: #9198a1; }
  }
  svg.swarms { display: block; max-width: 100%; height: auto; margin: 1rem 0; border-radius: 8px; }
  svg.swarms text { font: 12px system-ui, sans-serif; fill: var(--text); }
  svg.swarms .title { font-size: 16px; font-weight: 600; }
  svg.swarms .name { font-weight: 600; }
  svg.swarms .quiet { fill: var(--quiet); }
  svg.swarms .end { text-anchor: end; }
  svg.swarms .middle { text-anchor: middle; }
  svg.swarms .paper { fill: var(--paper); }
  svg.swarms .grid { stroke: var(--faint); fill: none; }
  svg.swarms .curve { fill: none; stroke-width: 1.8; }
  svg.swarms .off { stroke: var(--off); }
  svg.swarms .on { stroke: var(--on); }
  div.swarms { overflow-x: auto; }
  div.swarms svg { min-width: 640px; }
  ul.claims { max-width: 62rem; margin: 1rem 0 2rem; padding-left: 1.2rem; }
  ul.claims li { margin: 0.3rem 0; }
  svg.swarms .shade { stroke: none; opacity: 0.22; }
  svg.swarms .shade.off, svg.swarms .point.off { fill: var(--off); }
  svg.swarms .shade.on, svg.swarms .point.on { fill: var(--on); }
"""
_NAMES = {OFF: "upgrades off", ON: "upgrades on"}
_HEADINGS = ("MB through the relays", "ms a round trip, of pairs that can go direct", "direct, %")

Band = tuple[float, float]


class _Panel(FrozenValue):
    """One curve's axes, and where they are."""

    left: float
    top: float
    most: float  # where the upright axis ends
    sizes: tuple[int, ...]

    def x(self, peers: int) -> float:
        low, high = log2(self.sizes[0]), log2(self.sizes[-1])
        part = (log2(peers) - low) / (high - low) if high > low else 0.5
        return self.left + _EDGE + (_WIDTH - 2 * _EDGE) * part

    def y(self, value: float) -> float:
        return self.top + _HEIGHT * (1 - value / self.most)


class _Series(FrozenValue):
    """The values of one curve at some sizes, and the bounds that are foreseen of it."""

    upgrades: str
    values: tuple[tuple[int, float], ...]
    bands: tuple[tuple[int, Band], ...] = ()

    @property
    def top(self) -> float:
        """The largest figure of it."""
        return max([value for _, value in self.values] + [high for _, (_, high) in self.bands])


def plot(results: Sequence[Result]) -> str:
    """The SVG document."""
    return drawn(results, f"<style>{COLOURS}</style>")


def page_head(results: Sequence[Result]) -> str:
    """The same for the head of a page that has `COLOURS`, with the claims below it."""
    told = "".join(f"<li>{escape(sentence(claim))}</li>" for claim in claims(results))
    figure = f'<div class="swarms">{drawn(results)}</div>'
    return f'{figure}<ul class="claims">{told}</ul>' if told else ""


def drawn(results: Sequence[Result], style: str = "") -> str:
    """A picture with its own ``style``."""
    found = curves(results)
    width = _LEFT + 3 * (_WIDTH + _GAP) - _GAP + 24
    height = _TOP + len(found) * _ROW + 8
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="swarms" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">',
        style,
        f'<rect class="paper" width="{width}" height="{height}"/>',
        _text(_LEFT, 26, "What swarms cost their relays", "title"),
        *_legend(),
        *(line for number, one in enumerate(found) for line in _row(one, _TOP + number * _ROW)),
        "</svg>",
    ]
    return "\n".join(filter(None, lines)) + "\n"


def _legend() -> Iterator[str]:
    for number, (end, name) in enumerate(_NAMES.items()):
        left = _LEFT + 130 * number
        yield f'<path class="curve {end}" d="M{left} 44h18"/>'
        yield _text(left + 24, 48, name)
    words = "points: measured, off the packets; shades: foreseen from the population and the model"
    yield _text(_LEFT + 280, 48, words, "quiet")


def _row(curve: Curve, top: float) -> Iterator[str]:
    yield _text(_LEFT, top - 8, f"{curve.population}, {curve.stack}", "name")
    sizes = tuple(point.peers for point in curve.points)
    for number, (heading, series) in enumerate(zip(_HEADINGS, _series(curve), strict=True)):
        left = _LEFT + number * (_WIDTH + _GAP)
        most = 100.0 if number == 2 else _round_up(max((one.top for one in series), default=1))
        panel = _Panel(left, top + 22, most, sizes)
        yield _text(left, top + 12, heading, "quiet")
        yield from _axes(panel)
        for one in series:
            yield from _drawn(panel, one)


def _series(curve: Curve) -> tuple[list[_Series], list[_Series], list[_Series]]:
    """Of bandwidth, latency and share."""
    points = curve.points
    passed = [_passed(points, end) for end in (OFF, ON)]
    trips = [_trips(points, end) for end in (OFF, ON)]
    share = tuple((point.peers, 100 * point.share(ON)) for point in points)
    shares = [_Series(ON, share, _bands(points, ON, _sharing))]
    return passed, [one for one in trips if one.values], shares


def _passed(points: Sequence[Point], upgrades: str) -> _Series:
    values = tuple((point.peers, point.megabytes(upgrades)) for point in points)
    return _Series(upgrades, values, _bands(points, upgrades, _passing))


def _trips(points: Sequence[Point], upgrades: str) -> _Series:
    known = ((point.peers, point.trip(upgrades)) for point in points)
    return _Series(upgrades, tuple((peers, ms) for peers, ms in known if ms is not None))


def _bands(
    points: Sequence[Point], upgrades: str, bounds: Callable[[Foreseen, Point], Band]
) -> tuple[tuple[int, Band], ...]:
    known = ((point, point.foreseen(upgrades)) for point in points)
    return tuple((point.peers, bounds(told, point)) for point, told in known if told is not None)


def _passing(told: Foreseen, _point: Point) -> Band:
    low, high = told.relay_bytes
    return low / MEGA, high / MEGA


def _sharing(told: Foreseen, point: Point) -> Band:
    pairs = point.peers / 2
    low, high = told.direct
    return 100 * low / pairs, 100 * high / pairs


def _axes(panel: _Panel) -> Iterator[str]:
    for quarter in range(5):
        value = panel.most * quarter / 4
        y = panel.y(value)
        yield f'<path class="grid" d="M{panel.left:.1f} {y:.1f}h{_WIDTH}"/>'
        yield _text(panel.left - 8, y + 4, f"{value:g}", "quiet end")
    for peers in panel.sizes:
        yield _text(panel.x(peers), panel.top + _HEIGHT + 17, str(peers), "quiet middle")
    middle = panel.left + _WIDTH / 2
    yield _text(middle, panel.top + _HEIGHT + 33, "peers", "quiet middle")


def _drawn(panel: _Panel, series: _Series) -> Iterator[str]:
    kind = series.upgrades
    if series.bands:
        upper = [_at(panel, peers, high) for peers, (_, high) in series.bands]
        lower = [_at(panel, peers, low) for peers, (low, _) in reversed(series.bands)]
        if len(series.bands) == 1:  # a shade has to have a width
            (x, high), (_, low) = upper[0], lower[0]
            upper, lower = [(x - 8, high), (x + 8, high)], [(x + 8, low), (x - 8, low)]
        yield f'<path class="shade {kind}" d="{_line([*upper, *lower])}Z"/>'
    points = [_at(panel, *one) for one in series.values]
    if points:
        yield f'<path class="curve {kind}" d="{_line(points)}"/>'
    for (peers, value), (x, y) in zip(series.values, points, strict=True):
        words = f"{peers} peers, {_NAMES[kind]}: {value:.1f}"
        yield (
            f'<circle class="point {kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5">'
            f"<title>{escape(words)}</title></circle>"
        )


def _at(panel: _Panel, peers: int, value: float) -> tuple[float, float]:
    return panel.x(peers), panel.y(value)


def _line(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(words)}</text>'


def _round_up(top: float) -> float:
    """A round figure that is not below ``top`` > 0, and of which a quarter is round, too."""
    power = 1.0
    while power * 10 <= top:
        power *= 10
    while power > top:
        power /= 10
    return next(power * step for step in (1, 2, 4, 6, 8, 10) if power * step >= top)
