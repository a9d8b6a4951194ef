"""`testbed report`: the reports of a run again, from its results."""

from pathlib import Path

from testbed.files import require_writable
from testbed.model.result import Document
from testbed.report.html import PAGE, write_html
from testbed.report.terminal import tell
from testbed.run.folder import say
from testbed.run.store import load


def report(results: Path, html: Path | None) -> int:
    """Write the page of ``results``, by default beside it; the exit code."""
    document = taken_up(results)
    page = html or (results if results.is_dir() else results.parent) / PAGE
    require_writable(page)
    write_html(page, document)
    tell(str(page))
    return 0


def taken_up(results: Path) -> Document:
    """The document of ``results``; says so if its run was interrupted."""
    document = load(results)
    if missing := document.asked - len(document.results):
        say(
            f"{results}: the {document.run.words} was interrupted; "
            f"{missing} of its {document.asked} cells were not run"
        )
    return document
