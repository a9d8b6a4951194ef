"""What a run was: the record that its folder, its results and every report carry."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from testbed.model.frozen import FrozenValue


class RunRecord(FrozenValue):
    """One run.  ``study`` is the command's word: what is asked, and which files come of it."""

    study: str
    command: str  # as a shell takes it
    started: str  # ISO 8601 with its zone, in UTC; ValueError if it is no such time
    seed: int | None  # None where the study has none
    version: str  # of the testbed

    def __post_init__(self) -> None:
        datetime.fromisoformat(self.started)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def date(self) -> str:
        """``2026-11-29 07:40:58 UTC``."""
        return f"{datetime.fromisoformat(self.started):%Y-%m-%d %H:%M:%S %Z}"

    @property
    def words(self) -> str:
        """``matrix of 2026-11-29 07:40:58 UTC``."""
        return f"{self.study} of {self.date}"
