"""What a study is to the engine: a frozen value that says how one of its cases is run."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import AF_PACKET, SOCK_RAW
from typing import Generic, Protocol, TypeVar

from testbed.capture.recorder import Recorder, record
from testbed.lab.audit import require_closed
from testbed.model.lab import Backend, Lab
from testbed.model.plan import Vantage
from testbed.model.profile import Profile
from testbed.model.result import Details, Result
from testbed.model.topology import Topology
from testbed.model.verdict import Judgement
from testbed.plan.planner import plan

CAPTURE = "capture.pcapng"  # in the folder of a case


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
        """Axis -> value, in the order in which a reader wants them.

        The first two are the lines and the columns of a study's grid in the reports.
        """

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

    @contextmanager
    def lab(
        self, topology: Topology, profiles: Mapping[str, Profile], seed: int = 0
    ) -> Iterator[Lab]:
        """A lab of ``topology`` that is proven closed; ``profiles`` by name.

        What its NATs leave to chance follows from ``seed``.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.backend.start(plan(topology, profiles, self.number, seed)) as lab:
            require_closed(lab)
            yield lab

    @contextmanager
    def recorded(self, lab: Lab, vantages: Sequence[Vantage] | None = None) -> Iterator[Recorder]:
        """Record ``vantages`` of ``lab`` (all, if None) into the folder, for as long as it lasts.

        CaptureError where packets were lost.
        """
        chosen = lab.plan.vantages if vantages is None else vantages
        with record(
            lambda vantage: lab.socket(vantage.node, AF_PACKET, SOCK_RAW),
            chosen,
            self.folder / CAPTURE,
        ) as recorder:
            yield recorder


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
    files: tuple[str, ...] = (CAPTURE,)  # that a case may write into its folder


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
