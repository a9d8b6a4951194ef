"""A cell's topology in a few lines of text, with the way that the echo took."""

from collections.abc import Iterator, Mapping, Sequence

from rich.text import Text

from testbed.model.frozen import FrozenValue
from testbed.model.topology import Topology
from testbed.report.glyphs import UNICODE, Glyphs

CORE = "core"
_LINK = 5  # columns of a link between two nodes
_LONGEST = 18  # columns of a profile's name
_MARGIN = "  "
_STYLES = {"direct": "bold green", "relayed": "bold yellow", "none": "bold red"}


class _Strokes(FrozenValue):
    """What links are drawn with: those of the way, and the others."""

    way: str
    rest: str
    way_down: str
    rest_down: str


_FINE = _Strokes("═", "─", "║", "│")
_PLAIN = _Strokes("=", "-", "#", "|")


class Route(FrozenValue):
    """Who stands between two hosts: ``row`` from one to the other, ``below`` the server's side.

    ``turn`` is the node of the row at which both ways out meet.
    """

    row: tuple[str, ...]
    turn: str
    below: tuple[str, ...]


def route(
    topology: Topology, one: str, other: str, server: str, passed: frozenset[str] = frozenset()
) -> Route:
    """The nodes between ``one`` and ``other``, and from where they meet to ``server``.

    ``passed`` are nodes that the echo passed: of a host's several interfaces they tell which one
    is meant.  Else it is the preferred one.
    """
    ways = [_way_out(topology, host, passed) for host in (one, other)]
    shared: list[str] = []
    while all(ways) and ways[0][-1] == ways[1][-1]:
        shared.insert(0, ways[0].pop())
        ways[1].pop()
    turn, *up = [*shared, CORE]
    row = (one, *ways[0], turn, *reversed(ways[1]), other)
    before = [router.name for router in reversed(topology.path_out(server))]
    return Route(row, turn, (*up, *(name for name in before if name not in row), server))


def _way_out(topology: Topology, host: str, passed: frozenset[str]) -> list[str]:
    ways = [[router.name for router in way] for way in topology.ways_out(host)]
    return list(next((way for way in ways if way and passed.issuperset(way)), ways[0]))


def draw(
    path: Route, profiles: Mapping[str, str], outcome: str, stopped: str | None, glyphs: Glyphs
) -> list[Text]:
    """The drawing's lines.  ``profiles`` are routers' NATs, ``stopped`` is where it ended."""
    strokes = _FINE if glyphs is UNICODE else _PLAIN
    names = {node: _short(profiles.get(node, ""), glyphs) for node in path.row}
    widths = [max(len(node), len(names[node])) for node in path.row]
    turn = path.row.index(path.turn)
    column = sum(widths[:turn]) + _LINK * turn + widths[turn] // 2 + len(_MARGIN)
    style = _STYLES.get(outcome, "")
    lines = [_row(path, widths, outcome, stopped, strokes, glyphs)]
    if any(names.values()):
        cells = (names[n].center(w) for n, w in zip(path.row, widths, strict=True))
        below = _MARGIN + (" " * _LINK).join(cells)
        lines.append(Text(below.rstrip(), style="dim"))
    relayed = outcome == "relayed"
    down = strokes.way_down if relayed else strokes.rest_down
    for node in path.below:
        lines.append(Text(" " * column + down, style=style if relayed else "dim"))
        start = max(0, column - len(node) // 2)
        shown = Text(" " * start + node, style="bold" if relayed else "")
        if profile := profiles.get(node):
            shown.append(f"  {profile}", style="dim")
        lines.append(shown)
    return [*lines, Text(), _legend(outcome, stopped, strokes, style)]


def _row(
    path: Route,
    widths: Sequence[int],
    outcome: str,
    stopped: str | None,
    strokes: _Strokes,
    glyphs: Glyphs,
) -> Text:
    style = _STYLES.get(outcome, "")
    went = outcome in ("direct", "relayed")
    line = Text(_MARGIN)
    for number, (node, width) in enumerate(zip(path.row, widths, strict=True)):
        shown = f"{glyphs.stopped}{node}" if node == stopped and not went else node
        if number:
            last = path.row[number - 1]
            left = (widths[number - 1] - len(last)) - (widths[number - 1] - len(last)) // 2
            right = (width - len(shown)) // 2
            stroke = strokes.way if went else strokes.rest
            gap = left + _LINK + right
            line.append(f" {stroke * (gap - 2)} ", style=style if went else "dim")
        else:
            line.append(" " * ((width - len(node)) // 2))
        line.append(shown, style=style if node == stopped and not went else "bold")
    return line


def _legend(outcome: str, stopped: str | None, strokes: _Strokes, style: str) -> Text:
    line = Text(_MARGIN)
    if outcome in ("direct", "relayed"):
        line.append(strokes.way * 3, style=style)
        line.append(f" the way of the echo: {outcome}, by the packets")
    else:
        line.append("no way was found", style=style)
        if stopped is not None:
            line.append(f": what decided it is at {stopped}")
    return line


def _short(name: str, glyphs: Glyphs) -> str:
    if len(name) <= _LONGEST:
        return name
    return glyphs.words(name[: _LONGEST - 1] + "…")


def lines(
    topology: Topology,
    ends: tuple[str, str, str],
    outcome: str,
    stopped: str | None,
    glyphs: Glyphs,
    passed: frozenset[str] = frozenset(),
) -> Iterator[Text]:
    """The drawing of a cell between ``ends``: the dialer, the listener, and the server.

    ``passed``: see `route`.
    """
    path = route(topology, *ends, passed)
    profiles = {router.name: router.profile for router in topology.routers}
    yield from draw(path, profiles, outcome, stopped if stopped in path.row else None, glyphs)
