"""What the harness leaves of an error that nobody foresaw: its traceback, in the case's folder."""

import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from testbed import foreign
from testbed.model.failure import fault_of
from testbed.model.fault import Crashed, Fault
from testbed.studies.kept import CRASH

LONGEST = 64 << 10  # characters: the last ones, which have the place


def crash_of(error: Exception, folder: Path) -> Fault:
    """The fault that ``error`` is of the case that is kept in ``folder``.

    Where that is a crash, the folder has its traceback, unless the disk does not take it.
    """
    fault = fault_of(error)
    if not isinstance(fault, Crashed):
        return fault
    return replace(fault, kept=kept(error, folder))


def kept(error: Exception, folder: Path) -> str:
    """The name of the file in ``folder`` with the traceback of ``error``; empty where none is."""
    text = foreign.words("".join(traceback.format_exception(error)))
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / CRASH
        file.unlink(missing_ok=True)
        file.write_text(text[-LONGEST:], encoding="utf-8", errors="backslashreplace")
        return CRASH
    return ""
