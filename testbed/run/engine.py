"""The engine: it runs the cases of any study, and keeps each result as its case ends."""

import gc
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from testbed.errors import TestbedError, UnfitError
from testbed.lab.forked import forked
from testbed.model.lab import Backend
from testbed.model.result import Result, Try
from testbed.run.explaining import explained_case
from testbed.studies.base import C, Case, Site, Study, judged

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
    """Run all ``cases`` but those that are ``done``, ``jobs`` at a time; results in their order.

    Each case runs in a fork of this process, which must be warm and have one thread.  A
    worker that dies or hangs gives an INCONCLUSIVE result.  Cases that were late
    (`Result.late`), or not done in time, are tried again at the end, with fewer at a time.
    ``progress`` is called with each result that will not be tried again.
    """
    gc.collect()
    gc.freeze()  # what the forks share stays shared
    results = dict(done or {})
    earlier: dict[str, tuple[Try, ...]] = {}
    todo = [case for case in cases if case.name not in results]
    for tries in range(1, study.tries + 1):
        late = []
        tasks = [partial(_work, study, backend, out, case, tries) for case in todo]
        for index, output, seconds in forked(tasks, jobs, study.deadline_s):
            case = todo[index]
            found = _result(study, case, out / folder_of(case, tries), output, seconds)
            if found.late and tries < study.tries:
                late.append(case)
                tried = Try(measured=found.measured, reason=found.reason, folder=found.folder)
                earlier[case.name] = (*earlier.get(case.name, ()), tried)
                continue
            known: dict[str, Any] = {"earlier_tries": earlier.get(case.name, ())}
            if not found.seconds:  # the study did not tell its own time
                known |= {"seconds": round(seconds, 3)}
            found = found.model_copy(update=known)
            results[case.name] = found
            progress(found, len(results), len(cases))
        todo, jobs = late, max(1, jobs // study.fewer)
    return [results[case.name] for case in cases]


def folder_of(case: Case, tries: int) -> str:
    """Where in a run's folder a try of ``case`` is kept."""
    return f"cells/{case.name}" + (f"/try-{tries}" if tries > 1 else "")


def _work(study: Study[C], backend: Backend, out: Path, case: C, tries: int, slot: int) -> bytes:
    """One try of one case, in a fork: its result as JSON."""
    folder = out / folder_of(case, tries)
    try:
        result = study.run(case, Site(backend, slot, folder))
        return explained_case(study, result, folder).model_dump_json().encode()
    except UnfitError as error:
        return json.dumps({"unfit": [error.message, error.remedy]}).encode()
    except Exception as error:  # a harness that crashes has measured nothing
        ours = isinstance(error, TestbedError)
        crashed = str(error) if ours else f"{type(error).__name__}: {error}"
        return _lost(study, case, folder, crashed).model_dump_json().encode()


def _result(study: Study[C], case: C, folder: Path, output: bytes, seconds: float) -> Result:
    """The result that a worker gave; UnfitError if no case can do better on this machine."""
    try:
        return Result.model_validate_json(output)
    except ValidationError:
        if output.startswith(b'{"unfit"'):
            message, remedy = json.loads(output)["unfit"]
            raise UnfitError(message, remedy=remedy) from None
        reason = f"the worker ended without a result after {seconds:.0f} s"
        late = seconds >= study.deadline_s  # it was ended, and might have come to its end
        return _lost(study, case, folder, reason).model_copy(update={"late": late})


def _lost(study: Study[C], case: C, folder: Path, reason: str) -> Result:
    """The result of a case that the harness could not judge."""
    details = study.details() if study.details is not None else None
    return judged(study.name, case, folder, None, None, details=details, reason=reason)
