"""How each study is shown on a terminal and as an SVG picture."""

from collections.abc import Callable, Mapping

from rich.console import RenderableType

from testbed.model.frozen import FrozenValue
from testbed.model.result import Document
from testbed.report import autonat, life, plain
from testbed.report.grid import export_svg, grid

SVG_WIDTH = 84  # columns of a table that is exported


class Picture(FrozenValue):
    """``table`` takes seconds and columns; ``plot``, where there is one, is the SVG.

    ``head`` is HTML for the head of a study's page, and ``style`` what it is styled by.
    """

    table: Callable[[Document, float, int], RenderableType]
    plot: Callable[[Document], str] | None = None
    head: Callable[[Document], str] | None = None
    style: str = ""

    def drawn(self, document: Document, seconds: float) -> str:
        """The SVG."""
        if self.plot is not None:
            return self.plot(document)
        shown = self.table(document, seconds, SVG_WIDTH)
        return export_svg(shown, f"testbed {document.run.study}", SVG_WIDTH)


_PLAIN = Picture(plain.picture)
_OWN: Mapping[str, Picture] = {
    "punch": Picture(grid),
    "autonat": Picture(autonat.picture),
    "life": Picture(life.picture),
}


def picture_of(document: Document) -> Picture:
    """That of the study whose results the document has; a plain table if it has none of its own."""
    study = document.results[0].study if document.results else document.run.study
    made = _MADE.get(study)
    return made() if made is not None else _OWN.get(study, _PLAIN)


def _odds() -> Picture:
    """Imported where it is drawn: its theory is that of the whole traversal library."""
    from testbed.report import odds, odds_plot

    return Picture(odds.picture, lambda document: odds_plot.plot(document.results))


def _relays() -> Picture:
    """Imported where it is drawn, as it knows the stacks."""
    from testbed.report import relays, relays_plot

    return Picture(
        relays.picture,
        lambda document: relays_plot.plot(document.results),
        lambda document: relays_plot.page_head(document.results),
        relays_plot.COLOURS,
    )


_MADE: Mapping[str, Callable[[], Picture]] = {"odds": _odds, "relays": _relays}
