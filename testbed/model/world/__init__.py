"""A world: the file that describes a lab, as a frozen model, and the topology that it means.

``testbed/worlds/*.toml`` are worlds, and so is any file of the user's.  The JSON Schema is
`testbed/model/world.schema.json`, made by ``python -m testbed.model.world``; a test holds it
equal to this package.
"""

import json
from pathlib import Path

from testbed.model.world.file import Access, World
from testbed.model.world.reading import parse
from testbed.model.world.tables import Option

__all__ = ["SCHEMA", "Access", "Option", "World", "parse", "schema"]

SCHEMA = Path(__file__).parent.with_name("world.schema.json")


def schema() -> str:
    """The text of the JSON Schema of `World`."""
    return json.dumps(World.model_json_schema(), indent=1) + "\n"
