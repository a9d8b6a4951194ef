"""Messages that follow one another, on a stream or in one datagram.

A framing is a function that reads the message at the head of some bytes.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

from testbed.model.journey import Label, Weight

MAX_FRAMES = 128  # read of one segment
MAX_FIELDS = 256  # kept of one segment
_NAMED = 6  # messages named in one text; the rest are counted


class Frame(NamedTuple):
    """One message: what it says, and its whole length in bytes, were it all there."""

    label: Label
    length: int


Framing = Callable[[bytes], Frame | None]


class Read(NamedTuple):
    """``end``: up to where the messages reach; beyond the data if the last was cut short."""

    labels: tuple[Label, ...]
    end: int


def frames(data: bytes, framing: Framing, start: int = 0) -> Read:
    """The messages of ``data`` from ``start`` on, until something else comes."""
    found: list[Label] = []
    at = start
    while at < len(data) and len(found) < MAX_FRAMES:
        frame = framing(data[at:] if at else data)
        if frame is None or frame.length <= 0:
            break
        found.append(frame.label)
        at += frame.length
    return Read(tuple(found), at)


def joined(labels: tuple[Label, ...]) -> Label:
    """One label for at least one message: texts in order, equal neighbours counted."""
    if len(labels) == 1:
        return labels[0]
    runs = [(text, len(list(same))) for text, same in groupby(label.own for label in labels)]
    texts = [f"{text} x{count}" if count > 1 else text for text, count in runs]
    if len(texts) > _NAMED:
        texts = [*texts[:_NAMED], f"{len(texts) - _NAMED} more"]
    fields = tuple(field for label in labels for field in label.fields)
    error = next((label.error for label in labels if label.error is not None), None)
    counted = [label.weight for at, label in enumerate(labels) if _counts(label, first=not at)]
    return replace(
        labels[0],
        own=" + ".join(texts),
        fields=fields[:MAX_FIELDS],
        error=error,
        weight=max(counted, default=Weight.TELLING),
        filler=False,
        sealed=False,
    )


def _counts(label: Label, *, first: bool) -> bool:
    """Of what fills up a segment only what comes first says what the segment is for."""
    return not label.filler or (first and not label.sealed)
