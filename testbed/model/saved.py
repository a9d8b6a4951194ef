"""Faults and gaps as JSON values and back: ``kind`` tells which type it is."""

from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from testbed.model.fault import Fault
from testbed.model.gap import Gap


@cache
def _faults() -> TypeAdapter[tuple[Fault, ...]]:
    return TypeAdapter(tuple[Annotated[Fault, Field(discriminator="kind")], ...])


@cache
def _gaps() -> TypeAdapter[tuple[Gap, ...]]:
    return TypeAdapter(tuple[Annotated[Gap, Field(discriminator="kind")], ...])


def warm() -> None:
    """Before many forks: making the schema takes longer than using it."""
    _faults()
    _gaps()


def faults_to_json(faults: Iterable[Fault]) -> list[dict[str, Any]]:
    """One object for each."""
    return list(_faults().dump_python(tuple(faults), mode="json"))


def faults_from_json(value: object) -> tuple[Fault, ...]:
    """What `faults_to_json` made; ValueError for anything else."""
    return _faults().validate_python(value)


def gaps_to_json(gaps: Iterable[Gap]) -> list[dict[str, Any]]:
    """One object for each."""
    return list(_gaps().dump_python(tuple(gaps), mode="json"))


def gaps_from_json(value: object) -> tuple[Gap, ...]:
    """What `gaps_to_json` made; ValueError for anything else."""
    return _gaps().validate_python(value)
