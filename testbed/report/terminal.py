"""The terminal: it shows words as they are, and no word gives it, or a CI's log, an order."""

import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.segment import Segment

from testbed import foreign


def terminal(**more: Any) -> Console:
    """A console as rich makes it of ``more``, for which brackets and colons are but characters.

    What strangers say, such as ``[/x]``, breaks one that looks for styles in it.
    """
    console = Console(markup=False, emoji=False, **more)
    console.push_render_hook(_Cleaning())
    return console


def tell(text: str, *, error: bool = False) -> None:
    """Print lines that may have words of strangers in them; ``error``: on standard error."""
    print(foreign.words(text), file=sys.stderr if error else sys.stdout, flush=True)


class _Cleaning(RenderHook):
    """Cleans what is to be shown when it is made into characters; its styles stay."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Cleaned(one) for one in renderables]


class _Cleaned:
    def __init__(self, shown: ConsoleRenderable) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        made = list(console.render(self._shown, options))
        shown = "".join(one.text for one in made if not one.control)
        said, at = foreign.words(shown), 0  # as long as it was
        for one in made:
            if one.control:
                yield one
                continue
            yield Segment(said[at : at + len(one.text)], one.style)
            at += len(one.text)
