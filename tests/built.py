"""Which stacks can be tried here: the programs among them need `make peers`."""

from collections.abc import Iterable

import pytest

from testbed.errors import UnfitError
from testbed.stacks.registry import stacks


def lack(name: str) -> str:
    """What is missing for a cell of ``name``; empty if nothing is."""
    try:
        for one in stacks(name).both:
            one.command()
    except UnfitError as error:
        return error.message
    return ""


def built(names: Iterable[str]) -> list[object]:
    """``names`` as pytest's parameters; those that are not built are skipped, and told."""
    return [
        pytest.param(name, marks=pytest.mark.skipif(bool(lack(name)), reason=lack(name)))
        for name in names
    ]
