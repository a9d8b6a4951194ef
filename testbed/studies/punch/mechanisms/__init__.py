"""The mechanisms by name.  Each module of this folder has one, and is called as it is."""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from testbed.errors import UsageError
from testbed.naming import instead
from testbed.stacks.registry import Contract, Stacks
from testbed.studies.punch.mechanism import PUNCH, Mechanism, no_steps


def _found() -> Mapping[str, Mechanism]:
    """The ``MECHANISM`` of each module in this folder."""
    by_name: dict[str, Mechanism] = {}
    for module in pkgutil.iter_modules(__path__):
        one: Mechanism = importlib.import_module(f"{__name__}.{module.name}").MECHANISM
        if one.name != module.name:
            raise ValueError(f"{__name__}.{module.name} has the mechanism {one.name!r}")
        by_name[one.name] = one
    return MappingProxyType(by_name)


MECHANISMS = _found()


def mechanism(name: str, contract: Contract = "lines") -> Mechanism:
    """The mechanism ``name``, as stacks go about it that follow ``contract``; UsageError."""
    if name not in MECHANISMS:
        raise UsageError(f"unknown mechanism {name!r}", remedy=instead(name, MECHANISMS))
    found = MECHANISMS[name]
    if contract not in found.contracts:
        able = [one.name for one in MECHANISMS.values() if contract in one.contracts]
        raise UsageError(
            f"the {contract}-testing contract is one of DCUtR over a relay",
            remedy=f"--mechanism {' or '.join(able)}",
        )
    return _unified(found) if contract == "unified" else found


def of(ends: Stacks) -> Mechanism:
    """The mechanism of two stacks."""
    return mechanism(ends.mechanism, ends.contract)


def _unified(found: Mechanism) -> Mechanism:
    """Peers of libp2p's unified-testing need a relay, and nobody else to see them.

    They are left to themselves: there is no control, and they say nothing of their steps.
    """
    alone = replace(found.modes[PUNCH], check=no_steps, indirect=None)
    return replace(
        found,
        needs=frozenset({"relay"}),
        modes={PUNCH: alone},
        topology="two-homes",
        roles=found.roles & {"relay"},
    )
