"""The record of a run that begins."""

import shlex
import sys
from datetime import UTC, datetime

from testbed import __version__
from testbed.model.record import RunRecord


def begun(study: str, seed: int | None = None, program: str = "testbed") -> RunRecord:
    """The record of the run that this process, of this ``program``, begins now."""
    command = shlex.join([program, *sys.argv[1:]])
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return RunRecord(study, command, started, seed, __version__)
