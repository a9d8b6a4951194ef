"""A diagram drawn with characters: two lines a packet, what it is and the way it went.

    +104.7  │  punch  #28  10.0.0.6:4001 → 29.0.0.67:4011           │
            │──────────────▶│─ from 29.0.0.2:35968 ──┼─────────────▶✗

An arrow says only what a NAT changed; the line above it has the addresses as the
sender wrote them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.text import Text

from testbed.model.explanation import Diagram, Message, Segment
from testbed.model.frozen import FrozenValue
from testbed.model.journey import Fate
from testbed.model.packet import Endpoint
from testbed.report.glyphs import Glyphs
from testbed.words import sentence

_MARGIN = 11  # where the first line is; left of it a decisive message's mark, and the time
_NARROWEST, _WIDEST = 12, 36  # columns from one line to the next
_STOPPED = (Fate.DROPPED, Fate.REJECTED, Fate.LOST)
_FAINT, _BAD, _GOOD, _DECISIVE = "dim", "bold red", "green", "bold yellow"


def draw(
    diagram: Diagram, width: int, glyphs: Glyphs, addresses: Mapping[str, str]
) -> Iterator[Text]:
    """The lines of ``diagram`` for ``width`` columns; more where it has too many nodes for them.

    ``addresses`` has what is written below a node's name.
    """
    if not diagram.columns:
        return
    sheet = _Sheet(_places(diagram.columns, width), width, glyphs)
    yield from _head(diagram.columns, sheet, addresses)
    for message in diagram.messages:
        yield from _message(message, sheet)


def legend(diagram: Diagram, glyphs: Glyphs) -> Text:
    """What the signs mean, of those that are there, and what is not shown."""
    words = []
    if any(message.decisive for message in diagram.messages):
        words.append(f"{glyphs.decisive} decisive")
    if any(part.end in _STOPPED for message in diagram.messages for part in message.segments):
        words.append(f"{glyphs.stopped} came no further")
    if any(message.count > 1 for message in diagram.messages):
        words.append(f"{glyphs.times}N so many alike")
    words.append("ms since both were to start")
    if diagram.omitted:
        words.append(f"{diagram.omitted} usual packets left out")
    return Text("; ".join(words), style=_FAINT)


class _Sheet(FrozenValue):
    """Where the lines of the nodes are."""

    places: Mapping[str, int]
    width: int
    glyphs: Glyphs

    def line(self) -> "_Line":
        line = _Line()
        for place in self.places.values():
            line.put(place, self.glyphs.lifeline, _FAINT)
        return line


@dataclass
class _Line:
    """Characters at columns, later ones over earlier ones."""

    cells: dict[int, tuple[str, str]] = field(default_factory=dict)

    def put(self, column: int, text: str, style: str = "") -> None:
        for offset, character in enumerate(text):
            self.cells[max(0, column) + offset] = character, style

    def text(self) -> Text:
        text = Text(no_wrap=True, overflow="ignore", end="\n")
        for column in range(max(self.cells, default=-1) + 1):
            text.append(*self.cells.get(column, (" ", "")))
        text.rstrip()
        return text


def _places(columns: Sequence[str], width: int) -> dict[str, int]:
    gaps = len(columns) - 1
    room = width - 2 - _MARGIN
    gap = min(max(room // gaps, _NARROWEST), _WIDEST) if gaps else 0
    return {node: _MARGIN + index * gap for index, node in enumerate(columns)}


def _head(columns: Sequence[str], sheet: _Sheet, addresses: Mapping[str, str]) -> Iterator[Text]:
    names, below = _Line(), _Line()
    names.put(_MARGIN - 3, "ms", _FAINT)
    for node in columns:
        name, address = sheet.glyphs.words(node), addresses.get(node, "")
        names.put(_under(node, name, sheet), name, "bold")
        below.put(_under(node, address, sheet), address, _FAINT)
    yield names.text()
    yield below.text()


def _under(node: str, text: str, sheet: _Sheet) -> int:
    """Where ``text`` begins: about the node's line, and within the sheet."""
    place = sheet.places[node]
    if place == _MARGIN:
        return place - 1 if len(text) > 1 else place
    return max(_MARGIN, min(place - len(text) // 2, sheet.width - len(text)))


def _message(message: Message, sheet: _Sheet) -> Iterator[Text]:
    """Its words, its arrows, and below them what would not fit beside them."""
    if not message.segments:
        return
    first, last = message.segments[0], message.segments[-1]
    words = sheet.line()
    if message.decisive:
        words.put(0, sheet.glyphs.decisive, _DECISIVE)
    words.put(1, f"{message.time_ms:+8.1f}")
    rightwards = sheet.places[first.to] >= sheet.places[first.start]
    _describe(message, sheet, words, rightwards)
    yield words.text()
    *turns, arrows = _arrows(message, sheet)
    yield from (line.text() for line in turns)
    note = _note(last, sheet.glyphs)
    beside = _beside(last, len(note), sheet)
    if note and beside is not None:
        arrows.put(beside, f"{note} ", _BAD)
    yield arrows.text()
    if note and beside is None:
        under = sheet.line()
        place = min(sheet.places[last.to], sheet.width - len(note))
        under.put(place, f"{note} ", _BAD)
        yield under.text()


def _arrows(message: Message, sheet: _Sheet) -> list[_Line]:
    """One line, and one more wherever the way turns back over itself."""
    lines = [sheet.line()]
    low = high = sheet.places[message.segments[0].start]
    before: Segment | None = None
    for part in message.segments:
        ends = sorted((sheet.places[part.start], sheet.places[part.to]))
        if ends[0] < high and ends[1] > low:
            lines.append(sheet.line())
            low, high = ends
        low, high = min(low, ends[0]), max(high, ends[1])
        _arrow(part, before, sheet, lines[-1])
        before = part
    return lines


def _describe(message: Message, sheet: _Sheet, line: _Line, rightwards: bool) -> None:
    """The words above the arrows, from the sender's side on; without addresses if too long."""
    first, glyphs = message.segments[0], sheet.glyphs
    count = f" {glyphs.times}{message.count}" if message.count > 1 else ""
    pieces = [
        (glyphs.words(message.label) + count, _DECISIVE if message.decisive else "bold"),
        (f"#{first.packets[0]}" if first.packets else "", "cyan"),
        (f"{first.source} {glyphs.to} {first.destination}", _FAINT),
    ]
    pieces = [piece for piece in pieces if piece[0]]
    room = sheet.width - _MARGIN - 1
    if _length(pieces) > room and len(pieces) > 1:
        pieces.pop()
    if (over := _length(pieces) - room) > 0:
        text, style = pieces[0]
        pieces[0] = f"{text[: -over - 3]}...", style
    length = _length(pieces)
    start = sheet.places[first.start]
    column = start + 2 if rightwards else start - 1 - length
    column = max(_MARGIN + 1, min(column, sheet.width - length))
    line.put(column - 1, " ")
    for text, style in pieces:
        line.put(column, text + "  ", style)
        column += len(text) + 2


def _length(pieces: Sequence[tuple[str, str]]) -> int:
    return sum(len(text) + 2 for text, _ in pieces) - 2


def _arrow(part: Segment, before: Segment | None, sheet: _Sheet, line: _Line) -> None:
    glyphs = sheet.glyphs
    start, end = sheet.places[part.start], sheet.places[part.to]
    stopped = part.end in _STOPPED
    style = _BAD if stopped else _GOOD
    if start == end:
        line.put(start, glyphs.stopped if stopped else glyphs.here, style)
        return
    low, high = sorted((start, end))
    line.put(low + 1, glyphs.line * (high - low - 1), style)
    for place in sheet.places.values():
        if low < place < high:
            line.put(place, glyphs.across, style)
    head = high - 1 if end > start else low + 1
    line.put(head, glyphs.right if end > start else glyphs.left, style)
    if stopped:
        line.put(end, glyphs.stopped, style)
    change = _change(part, before, high - low - 5)
    if change:
        words = f" {change} "
        line.put(low + 2 if end > start else high - 1 - len(words), words)


def _change(part: Segment, before: Segment | None, room: int) -> str:
    """What a NAT made of the addresses, as long as there is room for."""
    if before is None:
        return ""
    changed: list[tuple[str, Endpoint]] = []
    if part.source != before.source:
        changed.append(("from", part.source))
    if part.destination != before.destination:
        changed.append(("to", part.destination))
    ways = (
        " ".join(f"{word} {end}" for word, end in changed),
        " ".join(f"{word} :{end.port}" for word, end in changed),
        " ".join(f":{end.port}" for _, end in changed),
    )
    return next((words for words in ways if len(words) <= room), "")


def _note(part: Segment, glyphs: Glyphs) -> str:
    if part.note is None:
        return ""
    seen = f"#{part.packets[-1]} " if part.packets else ""
    return f"{seen}{glyphs.words(sentence(part.note))}"


def _beside(part: Segment, length: int, sheet: _Sheet) -> int | None:
    """Where a note goes on the far side of an arrow's head; None where it would not fit."""
    end = sheet.places[part.to]
    if sheet.places[part.start] <= end:
        return end + 2 if end + 2 + length <= sheet.width else None
    return end - 1 - length if end - 1 - length >= _MARGIN else None
