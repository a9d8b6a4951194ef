"""Faults as JSON values and back: ``kind`` tells which type it is."""

from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from testbed.model.fault import Fault


@cache
def _faults() -> TypeAdapter[tuple[Fault, ...]]:
    return TypeAdapter(tuple[Annotated[Fault, Field(discriminator="kind")], ...])


def warm() -> None:
    """Before many forks: making the schema takes longer than using it."""
    _faults()


def faults_to_json(faults: Iterable[Fault]) -> list[dict[str, Any]]:
    """One object for each."""
    return list(_faults().dump_python(tuple(faults), mode="json"))


def faults_from_json(value: object) -> tuple[Fault, ...]:
    """What `faults_to_json` made; ValueError for anything else."""
    return _faults().validate_python(value)
