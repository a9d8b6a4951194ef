"""Writes the JSON Schema of worlds anew."""

from testbed.model.world import SCHEMA, schema

SCHEMA.write_text(schema(), encoding="utf-8")
