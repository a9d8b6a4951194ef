"""The results of a run on disk: whole as ``results.json``, or line by line while it goes on.

``results.jsonl`` begins with the document without its results; then comes a line for each case
that has ended.  It stays until ``results.json`` takes its place, so that a run which is
interrupted, even by SIGKILL, keeps what it has done.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from testbed import foreign
from testbed.errors import TestbedError, UsageError
from testbed.files import write_json, write_text
from testbed.model.result import FORMAT, Document, Result, summarize

RESULTS = "results.json"
JOURNAL = "results.jsonl"
_REMEDY = "name the results.json that a run has written, or its folder"


class Journal:
    """``results.jsonl`` of a run that goes on."""

    def __init__(self, folder: Path, head: Document) -> None:
        """Begin anew with ``head``, and the results that it has already."""
        self.folder = folder
        self.count = len(head.results)
        self._file = folder / JOURNAL
        lines = [head.model_copy(update={"results": ()}), *head.results]
        write_text(self._file, "".join(f"{line.model_dump_json()}\n" for line in lines))

    def append(self, result: Result) -> None:
        """One whole line; TestbedError where the disk does not take it."""
        try:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(f"{result.model_dump_json()}\n")
        except OSError as error:
            reason = f"{self._file} was not written: {error.strerror}"
            raise TestbedError(reason, remedy="make room there, and use --resume") from error
        self.count += 1

    def finish(self, document: Document) -> None:
        """Write the whole document in place of the lines."""
        write_json(self.folder / RESULTS, document.to_json())
        self._file.unlink(missing_ok=True)


def load(path: Path) -> Document:
    """A results.json or results.jsonl, or that of a folder; its folders are where they are now.

    UsageError naming the file, and the field that is damaged.
    """
    file = path
    if path.is_dir():
        file = path / RESULTS
        if not file.exists() and (path / JOURNAL).exists():
            file = path / JOURNAL
    try:
        text = foreign.read_bytes(file, named=True)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}", remedy=_REMEDY) from error
    return parsed(text, file)


def parsed(text: bytes, file: Path) -> Document:
    """The document that is the ``text`` of ``file``; as `load`."""
    try:
        found = _from_lines(text) if file.suffix == ".jsonl" else _from_json(text)
    except ValidationError as error:
        raise UsageError(f"{file}: {foreign.complaint(error)}", remedy=_REMEDY) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file}: not JSON: {error}", remedy=_REMEDY) from None
    except _OldFormatError as error:
        raise UsageError(
            f"{file}: format {error.format!r}; this version reads format {FORMAT}",
            remedy="run it again, or read it with the version of the testbed that wrote it",
        ) from None
    moved = (_moved(one, file.parent) for one in found.results)
    return found.model_copy(update={"results": tuple(moved)})


class _OldFormatError(Exception):
    def __init__(self, format: object) -> None:
        super().__init__()
        self.format = format


def _from_json(text: bytes) -> Document:
    value = json.loads(text)
    _require_format(value)
    return Document.model_validate_json(text)


def _from_lines(text: bytes) -> Document:
    """Of a run that was interrupted; its last line may be torn."""
    first, *lines = text.split(b"\n")[:-1] or [b""]
    _require_format(json.loads(first))
    head = Document.model_validate_json(first)
    results = tuple(Result.model_validate_json(line) for line in lines)
    summary = summarize(results, certified=head.summary.certified)
    return head.model_copy(update={"results": results, "summary": summary})


def _require_format(value: Any) -> None:
    if isinstance(value, dict) and "format" in value and value["format"] != FORMAT:
        raise _OldFormatError(value["format"])


def _moved(result: Result, beside: Path) -> Result:
    return result.model_copy(
        update={"folder": str(where(Path(result.folder), result.name, beside))}
    )


def where(folder: Path, name: str, beside: Path) -> Path:
    """A case's folder, also when the whole run was moved, or is read from elsewhere.

    ``folder`` is as the run that is called ``name`` recorded it, from where that was called.
    """
    below = folder.name if folder.name.startswith("try-") else ""
    moved = beside / "cells" / name / below
    return moved if moved.is_dir() else folder
