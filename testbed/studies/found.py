"""The studies that are there: found by their files, so that there is nothing to register."""

import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from testbed import studies
from testbed.errors import UsageError
from testbed.naming import instead
from testbed.studies.base import Study

NAME = "STUDY"  # of the value in the module


@cache
def known() -> Mapping[str, Study[Any]]:
    """Each module of `testbed.studies`, or module ``study`` of a package there, with a `Study`."""
    found = {}
    for info in pkgutil.iter_modules(studies.__path__):
        place = f"{studies.__name__}.{info.name}" + (".study" if info.ispkg else "")
        if importlib.util.find_spec(place) is not None:
            study = getattr(importlib.import_module(place), NAME, None)
            if isinstance(study, Study):
                found[study.name] = study
    return found


def study(name: str) -> Study[Any]:
    """That of this name, or of a file of the user's; UsageError where there is none.

    Only those that can say their own cases are meant.
    """
    if name.endswith(".py"):
        return _of_file(Path(name))
    general = {key: one for key, one in known().items() if one.cases is not None}
    if name not in general:
        own = "name a Python file with a STUDY in it"
        remedy = f"{instead(name, general)}; or {own}" if general else own
        raise UsageError(f"unknown study {name!r}", remedy=remedy)
    return general[name]


def _of_file(path: Path) -> Study[Any]:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UsageError(f"{path}: no such file", remedy="name a Python file with a STUDY")
    module: ModuleType = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{path}: {type(error).__name__}: {error}") from error
    found = getattr(module, NAME, None)
    if not isinstance(found, Study) or found.cases is None:
        raise UsageError(
            f"{path}: {NAME} is missing, or cannot say its cases",
            remedy="STUDY = Study(..., cases=...), as in testbed/studies/base.py",
        )
    return found
