"""What a study is to the engine: a frozen value that says how one of its cases is run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from testbed.model.lab import Backend
from testbed.model.result import Details, Result
from testbed.model.verdict import Judgement


class Case(Protocol):
    """One instance of a study's question."""

    @property
    def name(self) -> str:
        """Unique in a run, and the path of the folder of the case."""

    @property
    def group(self) -> str:
        """The same for all repetitions of the case."""

    @property
    def labels(self) -> Mapping[str, str]:
        """Axis -> value, in the order in which a reader wants them."""

    @property
    def profiles(self) -> tuple[str, ...]:
        """The NATs of the case."""

    @property
    def repeat(self) -> int:
        """Which of the repetitions this is, from 0."""


@dataclass(frozen=True)
class Site:
    """Where one try of a case is run: the backend, the lab's number, and the folder."""

    backend: Backend
    number: int
    folder: Path


C = TypeVar("C", bound=Case)


@dataclass(frozen=True)
class Study(Generic[C]):
    """How each case is run and judged; everything else is the engine's."""

    name: str
    run: Callable[[C, Site], Result]  # in a process of its own; whatever it raises is told
    details: Callable[[], Details]  # of a case that came to no result
    deadline_s: float = 90.0  # of one try; every wait inside has its own
    tries: int = 3  # of a case that was late
    fewer: int = 2  # by which the number of labs at a time is divided for each further try


def unjudged(study: str, case: Case, details: Details, reason: str, folder: Path) -> Result:
    """The result of a case that the harness could not judge."""
    return Result(
        study=study,
        name=case.name,
        group=case.group,
        labels=dict(case.labels),
        profiles=case.profiles,
        repeat=case.repeat,
        judgement=Judgement.INCONCLUSIVE,
        measured=None,
        predicted=None,
        reason=reason,
        folder=str(folder),
        details=details,
    )
