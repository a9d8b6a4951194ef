"""The folders of stacks: ``images/NAME`` with a manifest, and what is known of the stack.

``python -m testbed.stacks.folders`` writes the JSON Schemas of both files beside them.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from testbed import places
from testbed.model.autonat_agent import UNREAD_AUTONAT
from testbed.model.deviation import Deviation, DeviationFile
from testbed.model.ice_agent import UNREAD
from testbed.stacks.adapter import Adapter, Main, Opening, Warm
from testbed.stacks.manifest import Entry, Manifest
from testbed.stacks.programs import Program
from testbed.stacks.tables import read_table

MANIFEST = "stack.toml"
DEVIATIONS = "deviations.toml"
SCHEMAS: dict[str, type[BaseModel]] = {
    "stack.schema.json": Manifest,
    "deviations.schema.json": DeviationFile,
}


def adapters(images: Path | None = None) -> tuple[Adapter, ...]:
    """The stacks in ``images``, our own in Python first.

    UsageError for a file that is not as it should be, with the line.
    """
    found = [
        _adapter(path.parent.name, manifest, entry)
        for path in sorted((images or places.shared("images")).glob(f"*/{MANIFEST}"))
        for manifest in [read_table(path, Manifest)]
        for entry in manifest.stack
    ]
    return tuple(sorted(found, key=lambda one: isinstance(one.entry, Program)))


def _adapter(folder: str, manifest: Manifest, entry: Entry) -> Adapter:
    found = Adapter(
        entry.name,
        entry.mechanism,
        entry.transport,
        Program(entry.program or folder, manifest.toolchain),
        needs=manifest.needs,
        agent=replace(manifest.agent or UNREAD, every_interface="also" in entry.features),
        opening=Opening(manifest.datagram, manifest.whole, manifest.elsewhere),
        autonat=UNREAD_AUTONAT if entry.older else manifest.autonat or UNREAD_AUTONAT,
        older=entry.older,
        roles=manifest.roles if entry.roles is None else entry.roles,
        features=entry.features,
        folder=folder,
        reads=manifest.reads,
        capabilities=manifest.capabilities,
    )
    if entry.module is None:
        return found
    return replace(found, entry=Main(entry.module), warm=Warm(entry.module))


def deviations(images: Path | None = None) -> tuple[Deviation, ...]:
    """What the stacks in ``images`` do otherwise, by the order in which it is tried.

    UsageError for a file that is not as it should be, with the line.
    """
    found = list(_deviations(images or places.shared("images")))
    return tuple(sorted(found, key=lambda one: one.order))


def _deviations(images: Path) -> Iterator[Deviation]:
    for path in sorted(images.glob(f"*/{DEVIATIONS}")):
        for one in read_table(path, DeviationFile).deviation:
            yield one.model_copy(update={"stack": path.parent.name})


def schema(name: str) -> str:
    """The JSON Schema of one of `SCHEMAS`, as it is kept."""
    return json.dumps(SCHEMAS[name].model_json_schema(by_alias=True), indent=2) + "\n"


if __name__ == "__main__":
    for name in SCHEMAS:
        (places.shared("images") / name).write_text(schema(name), encoding="utf-8")
