"""A world's file is read: an error names file, line and key."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from testbed.errors import TopologyError
from testbed.model.events import KINDS, LifeTable, known_keys
from testbed.model.links import LinkTable, WayTable
from testbed.model.table import WRONG
from testbed.model.toml_lines import broken_at, line_of
from testbed.model.world.file import World
from testbed.model.world.interfaces import InterfaceTable, UplinkTable
from testbed.model.world.tables import ExpectTable, HostTable, RolesTable, RouterTable
from testbed.naming import instead


def parse(text: str, name: str, where: str) -> World:
    """The world of a file's ``text``; TopologyError with ``where`` it came from, and the line."""
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise TopologyError(f"{where}:{broken_at(text, error)}: {error}") from None
    try:
        world = World.model_validate_json(json.dumps(tables, default=str))
    except ValidationError as error:
        faults = [_fault(text, where, one) for one in error.errors()]
        raise TopologyError("\n".join(dict.fromkeys(faults))) from None
    try:
        world.topology(name)
    except TopologyError as error:
        at_node = _place(world, error.node) if error.node else ()
        line = line_of(text, at_node)
        said = ".".join(at_node)
        message = f"{where}:{line}: {said + ': ' if said else ''}{error.message}"
        raise TopologyError(message, remedy=error.remedy) from None
    return world


def _place(world: World, node: str) -> tuple[str, ...]:
    return ("routers" if node in world.routers else "hosts", node)


def _fault(text: str, where: str, error: Mapping[str, Any]) -> str:
    """One line: where, which key, what was expected, what stands there."""
    place = tuple(str(part) for part in error["loc"])
    message = str(error["msg"])
    if error["type"] == "union_tag_invalid":
        said = str(error["ctx"]["tag"])
        place, message = (*place, "kind"), f"unknown kind {said!r}; {instead(said, KINDS)}"
    elif error["type"] == "union_tag_not_found":
        message = "missing key 'kind'"
    elif error["type"] == "extra_forbidden":
        known = _known(place[:-1])
        message = f"unknown key; {instead(place[-1], known)}" if known else "unknown key"
    elif error["type"] == "missing":
        place, message = place[:-1], f"missing key {place[-1]!r}"
    elif error["type"] == WRONG:
        place = (*place, *error["ctx"]["place"])
    else:
        message += f", not {error['input']!r}"
    if place[:1] == ("events",) and len(place) > 2 and place[2] in KINDS:
        place = (*place[:2], *place[3:])
    key_words = f" {'.'.join(place)}:" if place else ""
    return f"{where}:{line_of(text, place)}:{key_words} {message}"


_TABLES: Mapping[str, type[BaseModel]] = {
    "routers": RouterTable,
    "hosts": HostTable,
    "links": LinkTable,
    "roles": RolesTable,
    "expect": ExpectTable,
    "life": LifeTable,
}


def _known(place: Sequence[str]) -> list[str]:
    """The keys that a table has."""
    if not place:
        return list(World.model_fields)
    if "interfaces" in place:
        return list(InterfaceTable.model_fields)
    if "uplinks" in place:
        return list(UplinkTable.model_fields)
    if place[-1] in ("up", "down"):
        return list(WayTable.model_fields)
    if place[0] == "events":
        return known_keys(place)
    kind = _TABLES.get(place[0])
    return list(kind.model_fields) if kind else []
