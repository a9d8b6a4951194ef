"""What a study is to the engine: a frozen value that says how one of its cases is run."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import AF_PACKET, SOCK_RAW
from typing import Any, Generic, Protocol, TypeVar

from testbed.capture.recorder import Recorder, record
from testbed.evidence.account import WireAccount
from testbed.explain.crossings import crossings
from testbed.lab.audit import require_closed
from testbed.lab.sentry import Guard, unchanged
from testbed.lab.services.watch import served
from testbed.model.details import Details, OwnDetails
from testbed.model.explanation import Explanation
from testbed.model.frozen import FrozenValue
from testbed.model.lab import Backend, Lab
from testbed.model.plan import Vantage
from testbed.model.profile import Profile
from testbed.model.result import Result
from testbed.model.topology import Topology
from testbed.model.verdict import Judgement
from testbed.plan.planner import plan
from testbed.studies.kept import CAPTURE, CASE, Kept
from testbed.words import Fact, sentences

RESULT, EXPLANATION = "result.json", "explanation.json"  # in the folder of a case


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


class Site(FrozenValue):
    """Where one try of a case is run: the backend, the lab's number, and the folder."""

    backend: Backend
    number: int
    folder: Path

    @contextmanager
    def lab(
        self, topology: Topology, profiles: Mapping[str, Profile], seed: int = 0
    ) -> Iterator[Lab]:
        """A lab of ``topology`` that is proven closed; ``profiles`` by name.

        What its NATs leave to chance follows from ``seed``.  On leaving it is a ServiceError if
        a program of the lab did not serve all the time, a ChangedError if somebody changed a
        router.
        """
        with self.guarded_lab(topology, profiles, seed) as (lab, _):
            yield lab

    @contextmanager
    def guarded_lab(
        self, topology: Topology, profiles: Mapping[str, Profile], seed: int = 0
    ) -> Iterator[tuple[Lab, Guard]]:
        """The same, and who watches the routers, for a study that changes some itself."""
        self.folder.mkdir(parents=True, exist_ok=True)
        Kept(topology, profiles, self.number, seed).save(self.folder)
        with self.backend.start(plan(topology, profiles, self.number, seed)) as lab:
            require_closed(lab)
            with unchanged(lab) as guard, served(lab):
                yield lab, guard

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
FEWER = 2


class Request(FrozenValue):
    """What the user asks a study for: behind which NATs, and how often."""

    profiles: Sequence[Profile] = ()
    repeat: int = 1
    seed: int = 0


class NatCase(FrozenValue):
    """A case of a study that asks the same behind each NAT, as ``study``."""

    study: str
    nat: Profile
    repeat: int = 0
    seed: int = 0

    @property
    def group(self) -> str:
        """``discovery/full-cone``."""
        return f"{self.study}/{self.nat.name}"

    @property
    def name(self) -> str:
        """With its repetition."""
        return f"{self.group}/{self.repeat}"

    @property
    def labels(self) -> Mapping[str, str]:
        """Axis -> value."""
        return {"profile": self.nat.name, "study": self.study}

    @property
    def profiles(self) -> tuple[str, ...]:
        """The one NAT."""
        return (self.nat.name,)


def nat_cases(study: str) -> Callable[[Request], Sequence[NatCase]]:
    """What gives the cases of ``study``: one for each NAT that is asked for, as often as asked."""

    def cases(request: Request) -> Sequence[NatCase]:
        return [
            NatCase(study, nat, repeat, request.seed)
            for nat in request.profiles
            for repeat in range(request.repeat)
        ]

    return cases


@dataclass(frozen=True)
class Together(Generic[C]):
    """Cases that share a lab.  ``lab`` is the same name for those of one; it is its folder, too.

    ``run`` gets them, where the lab is run, and their own folders; it gives their results in
    their order.
    """

    lab: Callable[[C], str]
    run: Callable[[Sequence[C], Site, Sequence[Path]], Sequence[Result]]


@dataclass(frozen=True)
class Study(Generic[C]):
    """How each case is run, judged and explained; everything else is the engine's."""

    name: str
    run: Callable[[C, Site], Result]  # in a process of its own; whatever it raises is told
    details: Callable[[], Details] | None = None  # of a case that came to no result
    deadline_s: float = 90.0  # of one try; every wait inside has its own
    tries: int = 3  # of a case that was late
    # By which the number of labs at a time, and of cases that share one, is divided for each
    # further try.
    fewer: int = FEWER
    files: tuple[str, ...] = (CAPTURE, CASE, RESULT, EXPLANATION)  # of a case, in its folder
    cases: Callable[[Request], Sequence[C]] | None = None  # None: its own command makes them
    explain: Callable[[Result, WireAccount], Explanation] = crossings
    together: Together[C] | None = None  # None: each case has a lab of its own


def judged(
    study: str,
    case: Case,
    folder: Path,
    measured: str | None,
    predicted: str | None,
    *,
    judgement: Judgement | None = None,
    details: Details | None = None,
    because: Iterable[Fact] = (),
    **more: Any,
) -> Result:
    """The result of a case for the reason ``because``; ``more`` are other fields of it.

    Without a ``judgement`` it is a pass where ``measured`` is as ``predicted``.
    """
    if judgement is None:
        agrees = Judgement.PASS if measured == predicted else Judgement.FAIL
        judgement = Judgement.INCONCLUSIVE if measured is None else agrees
    return Result(
        study=study,
        name=case.name,
        group=case.group,
        labels=dict(case.labels),
        profiles=case.profiles,
        repeat=case.repeat,
        judgement=judgement,
        measured=measured,
        predicted=predicted,
        folder=str(folder),
        details=details or OwnDetails(study=study),
        **({"reason": sentences(because)} | more),
    )
