"""The engine: it runs the cases of any study, and keeps each result as its case ends."""

import gc
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from testbed.errors import UnfitError
from testbed.lab import sandbox, turns
from testbed.lab.forked import forked
from testbed.lab.namespaces import Namespaces
from testbed.model.fault import Ended, Fault, Worker
from testbed.model.lab import Backend
from testbed.model.result import Result, Try
from testbed.run.crash import crash_of
from testbed.run.explaining import explained_case
from testbed.studies.base import C, Site, Study, judged

_RESULTS = TypeAdapter(list[Result])
EACH = 50  # labs of one process: what a lab leaves in its memory ends with it
Progress = Callable[[Result, int, int], None]  # result, how many have ended, how many there are


def run_study(
    study: Study[C],
    cases: Sequence[C],
    backend: Backend,
    out: Path,
    *,
    jobs: int,
    progress: Progress,
    done: Mapping[str, Result] | None = None,
) -> list[Result]:
    """Run all ``cases`` but those that are ``done``, ``jobs`` labs at a time; results in order.

    Each lab, of one case or of those that share it, runs in a fork of this process, which must
    be warm and have one thread; a fork runs several, one after another.  A
    worker that dies or hangs gives an INCONCLUSIVE result.  Cases that were late
    (`Result.late`), or not done in time, are tried again at the end, with fewer at a time.
    ``progress`` is called with each result that will not be tried again.
    """
    gc.collect()
    gc.freeze()  # what the forks share stays shared
    with turns.shared() if sandbox.inside() else nullcontext():
        return _run(study, cases, backend, out, jobs, progress, dict(done or {}))


def _run(
    study: Study[C],
    cases: Sequence[C],
    backend: Backend,
    out: Path,
    jobs: int,
    progress: Progress,
    results: dict[str, Result],
) -> list[Result]:
    earlier: dict[str, tuple[Try, ...]] = {}
    each = EACH if isinstance(backend, Namespaces) else 1  # clients of engines live with a process
    todo = [case for case in cases if case.name not in results]
    for tries in range(1, study.tries + 1):
        late = []
        shared = _labs(study, todo, study.fewer ** (tries - 1))
        tasks = [partial(_work, study, backend, out, tries, *lab) for lab in shared.items()]
        labs = list(shared.values())
        for index, output, seconds in forked(tasks, jobs, study.deadline_s, each=each):
            ended = _results(study, labs[index], out, tries, output, seconds)
            for case, found in zip(labs[index], ended, strict=True):
                if found.late and tries < study.tries:
                    late.append(case)
                    tried = Try(measured=found.measured, reason=found.reason, folder=found.folder)
                    earlier[case.name] = (*earlier.get(case.name, ()), tried)
                    continue
                known: dict[str, Any] = {"earlier_tries": earlier.get(case.name, ())}
                if not found.seconds:  # the study did not tell its own time
                    known |= {"seconds": round(seconds, 3)}
                results[case.name] = found.model_copy(update=known)
                progress(results[case.name], len(results), len(cases))
        todo, jobs = late, max(1, jobs // study.fewer)
    return [results[case.name] for case in cases]


def _labs(study: Study[C], cases: Sequence[C], parts: int) -> dict[str, list[C]]:
    """Each lab's name and its cases: one, if the study does not say that some share it.

    Those that share one are divided among so many ``parts``: labs of their own, with fewer at once.
    """
    sharing: dict[str, list[C]] = {}
    for case in cases:
        name = study.together.lab(case) if study.together else case.name
        sharing.setdefault(name, []).append(case)
    return {
        part: some[number::parts]
        for name, some in sharing.items()
        for number, part in enumerate(parts_of(name, min(parts, len(some))))
    }


def parts_of(lab: str, parts: int) -> list[str]:
    """What the parts of a lab are called."""
    return [lab, *(f"{lab}.{number}" for number in range(2, parts + 1))]


def folder_of(name: str, tries: int) -> str:
    """Where in a run's folder a try of the case, or of the lab, ``name`` is kept."""
    return f"cells/{name}" + (f"/try-{tries}" if tries > 1 else "")


def _work(
    study: Study[C],
    backend: Backend,
    out: Path,
    tries: int,
    lab: str,
    cases: Sequence[C],
    slot: int,
) -> bytes:
    """One try of the cases of one lab, in a fork: their results as JSON."""
    folders = [out / folder_of(case.name, tries) for case in cases]
    try:
        if study.together and len(cases) > 1:
            site = Site(backend, slot, out / folder_of(lab, tries))
            results = study.together.run(cases, site, folders)
        else:
            results = [study.run(cases[0], Site(backend, slot, folders[0]))]
        told = [explained_case(study, *one) for one in zip(results, folders, strict=True)]
    except UnfitError as error:
        return json.dumps({"unfit": [error.message, error.remedy]}).encode()
    except Exception as error:  # a harness that crashes has measured nothing
        told = [
            _lost(study, *one, crash_of(error, one[1])) for one in zip(cases, folders, strict=True)
        ]
    return _RESULTS.dump_json(told)


def _results(
    study: Study[C], cases: Sequence[C], out: Path, tries: int, output: bytes, seconds: float
) -> list[Result]:
    """What a worker gave for each case; UnfitError if none can do better on this machine."""
    try:
        return _RESULTS.validate_json(output)
    except ValidationError:
        if output.startswith(b'{"unfit"'):
            message, remedy = json.loads(output)["unfit"]
            raise UnfitError(message, remedy=remedy) from None
        ended = Ended(Worker.CASE, seconds)
        late = {"late": seconds >= study.deadline_s}  # it was ended, and might have come to its end
        folders = [out / folder_of(case.name, tries) for case in cases]
        lost = [_lost(study, *one, ended) for one in zip(cases, folders, strict=True)]
        return [one.model_copy(update=late) for one in lost]


def _lost(study: Study[C], case: C, folder: Path, fault: Fault) -> Result:
    """The result of a case that the harness could not judge."""
    details = study.details() if study.details is not None else None
    return judged(study.name, case, folder, None, None, details=details, because=[fault])
