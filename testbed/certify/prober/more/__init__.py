"""Axes of which each is one file: a module here with ``measure``, whose name is the axis.

``measure(subjects)`` looks at both protocols through the NAT and gives a `Finding`.  The axis is
a field of `testbed.model.behaviour.Behaviour` that `claimed` has made, and is held against it.
"""

import importlib
import pkgutil
from collections.abc import Sequence

from testbed.certify.measured import Finding
from testbed.certify.prober.subject import Subject


def measured(subjects: Sequence[Subject]) -> dict[str, Finding]:
    """Each of these axes by name."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__))
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return {name: module.measure(subjects) for name, module in modules.items()}
