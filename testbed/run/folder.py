"""A run's own folder: one run at a time writes there, and what an earlier one left is not mixed in.

``testbed-run.json`` names the run that a folder belongs to, and the files that are its own.
A new run of the same study replaces these files and no others, and only where it writes in all of
their folders again, unless it is told to replace what it does not.  Files that no run of ours has
recorded as its own are the user's: they are never removed and never written over.
"""

import fcntl
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from testbed import foreign
from testbed.errors import UsageError
from testbed.files import require_utf8, write_json
from testbed.model.frozen import FrozenValue
from testbed.model.record import RunRecord

RECORD = "testbed-run.json"
_REMEDY = "choose another --out, or move it away"


class Files(FrozenValue):
    """Every one of ``names`` in every one of ``folders``, all relative to the run's folder."""

    folders: tuple[str, ...]
    names: tuple[str, ...]

    def __iter__(self) -> Iterator[PurePosixPath]:
        return (PurePosixPath(folder, name) for folder in self.folders for name in self.names)


class _Own(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    folders: list[str]
    names: list[str]


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: int
    run: RunRecord
    ended: bool
    own: list[_Own]


class Left(FrozenValue):
    """What a folder says of the run that was there last."""

    run: RunRecord
    ended: bool  # False: it was interrupted, or still runs
    own: tuple[Files, ...]

    @property
    def folders(self) -> tuple[str, ...]:
        """Those that it had for its own files."""
        return tuple(folder for files in self.own for folder in files.folders)


def left_in(folder: Path) -> Left | None:
    """The last run in ``folder``; None where there was none.  UsageError naming a damaged file."""
    file = folder / RECORD
    try:
        found = _Manifest.model_validate_json(foreign.read_bytes(file))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}", remedy=_REMEDY) from error
    except ValidationError as error:
        raise UsageError(f"{file}: {foreign.complaint(error)}", remedy=_REMEDY) from None
    own = tuple(Files(tuple(one.folders), tuple(one.names)) for one in found.own)
    return Left(found.run, found.ended, own)


class RunFolder:
    """The folder of a run that is about to begin, held for it alone until `release`.

    UsageError where another run holds it, where one of another study has left its results, where
    results would be lost that this run does not make again (unless ``replace``), or where a file
    of somebody else has a name that this run would write.
    """

    def __init__(
        self, path: Path, run: RunRecord, own: Iterable[Files], *, replace: bool = True
    ) -> None:
        require_utf8(path)
        self.path = path
        self.run = run
        self._own = tuple(own)
        self._held: int | None = _held(path)
        try:
            self.earlier = left_in(path)
            self._refuse_another_study()
            if not replace:
                self._refuse_loss()
            self._refuse_strangers()
        except BaseException:
            self.release()
            raise

    def begin(self, *, keep: bool = False) -> str | None:
        """Take away the files of the earlier run, unless they are to ``keep``; record the new one.

        The words that tell the user what became of it; None where there was nothing.
        """
        if self.earlier is not None and not keep:
            _remove(self.path, self.earlier.own)
        self._write(ended=False)
        if self.earlier is None:
            return None
        if keep:
            return f"{self.path}: takes up the {self.earlier.run.words}"
        how = "" if self.earlier.ended else ", which did not come to its end"
        return f"{self.path}: replaces the {self.earlier.run.words}{how}"

    def records(self, files: Files) -> None:
        """These were written, too: files of whose names nobody knew before."""
        self._own = (*self._own, files)
        self._write(ended=False)

    def end(self) -> None:
        """Record that the results are whole, and let go of the folder."""
        self._write(ended=True)
        self.release()

    def release(self) -> None:
        """Let others have the folder."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _write(self, *, ended: bool) -> None:
        own = [{"folders": list(f.folders), "names": list(f.names)} for f in self._own]
        manifest: dict[str, Any] = {"format": 1, "run": self.run.to_json(), "ended": ended}
        write_json(self.path / RECORD, manifest | {"own": own})

    def _refuse_another_study(self) -> None:
        if self.earlier is not None and self.earlier.run.study != self.run.study:
            raise UsageError(
                f"{self.path} has the results of another study: the {self.earlier.run.words}",
                remedy=_REMEDY,
            )

    def _refuse_loss(self) -> None:
        """Of what the earlier run left, all must be in folders that this run writes, too."""
        again = {folder for files in self._own for folder in files.folders}
        if self.earlier is None:
            return
        lost = [
            folder
            for files in self.earlier.own
            for folder in files.folders
            if folder not in again
            and any(os.path.lexists(self.path / folder / name) for name in files.names)
        ]
        if lost:
            raise UsageError(
                f"{self.path} has the {self.earlier.run.words} (`{self.earlier.run.command}`), "
                f"and this run would not make {len(lost)} of its folders again, as {lost[0]}",
                remedy="choose another --out, or say --replace",
            )

    def _refuse_strangers(self) -> None:
        ours = {file for files in (self.earlier.own if self.earlier else ()) for file in files}
        for file in (file for files in self._own for file in files):
            if file not in ours and os.path.lexists(self.path / file):
                raise UsageError(
                    f"{self.path / file} is there already, and {RECORD} beside the results "
                    "does not say that a run made it",
                    remedy=_REMEDY,
                )


def say(words: str | None) -> None:
    """Tell the user what `RunFolder.begin` found, on stderr."""
    if words is not None:
        print(f"testbed: {foreign.words(words)}", file=sys.stderr, flush=True)


def _held(path: Path) -> int:
    """A lock on the folder itself, which is gone with the process; its descriptor."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", remedy="choose another --out") from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise UsageError(
            f"{path}: another run writes there", remedy="choose another --out"
        ) from None
    return held


def _remove(root: Path, own: Iterable[Files]) -> None:
    """The files, and the folders that are empty without them.

    A path that leads out of the folder, by ``..`` or a symbolic link, is left alone.
    """
    inside = root.resolve()
    emptied: set[Path] = set()
    for relative in (file for files in own for file in files):
        file = root / relative
        if not file.parent.resolve().is_relative_to(inside):
            continue
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            file.unlink()
        emptied.update(root / parent for parent in relative.parents)
    for folder in sorted(emptied - {root}, key=lambda folder: -len(folder.parts)):
        with suppress(OSError):  # it is not empty, or was never made
            folder.rmdir()
