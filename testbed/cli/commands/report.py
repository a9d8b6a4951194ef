"""`testbed report`: the reports of a matrix again, from its results.json."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from testbed.errors import UsageError
from testbed.files import require_writable
from testbed.model.outcome import Outcome
from testbed.report.html import write_html
from testbed.report.recorded import RESULTS, where
from testbed.run.record import RunRecord

PAGE = "report.html"
_REMEDY = "name the results.json that `testbed matrix` has written, or its folder"


class _Tried(BaseModel):
    reason: str


class _Explanation(BaseModel):
    cause: str
    node: str | None
    headline: str


class _Row(BaseModel):
    """What the reports need of a row; the rest may be anything."""

    name: str = Field(pattern=r"^.+/\d+$")
    peer: str
    profiles: list[str] = Field(min_length=1)
    topology: str
    mode: str
    repeat: int
    judgement: Literal["pass", "fail", "inconclusive"]
    measured: Outcome | None
    predicted: Outcome | None
    reason: str
    findings: list[str]
    packets: int
    seconds: float
    up_ms: float | None
    connect_ms: float | None
    folder: str
    earlier_tries: list[_Tried] = []
    explanation: _Explanation | None = None


class _Document(BaseModel):
    format: Literal[1]
    run: RunRecord | None = None  # None: older versions recorded none
    facts: dict[str, str]
    profiles: dict[str, str] = {}
    total: int
    passed: int
    failed: int
    inconclusive: int
    mixed: list[str]
    retried: int
    certified: bool
    cells: list[_Row]


def report(results: Path, html: Path | None) -> int:
    """Write the page of ``results``, by default beside it; the exit code."""
    document = load_document(results)
    file = results / RESULTS if results.is_dir() else results
    page = html or file.with_name(PAGE)
    require_writable(page)
    write_html(page, document)
    print(page)
    return 0


def load_document(results: Path) -> dict[str, Any]:
    """A results.json (or that of a folder) whose folders are where they are now.

    UsageError naming the file, and the field that is damaged.
    """
    file = results / RESULTS if results.is_dir() else results
    try:
        text = file.read_bytes()
        value: dict[str, Any] = json.loads(text)
        _Document.model_validate_json(text)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}", remedy=_REMEDY) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise UsageError(f"{file}: {place}: {first['msg']}", remedy=_REMEDY) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file}: not JSON: {error}", remedy=_REMEDY) from None
    for row in value["cells"]:
        row["folder"] = str(where(Path(row["folder"]), row["name"], file.parent))
    return value
