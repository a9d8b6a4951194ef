"""The folder of a cell, which is enough to run it again.

``cell.json`` is what, ``profiles/`` the claims, as files, and ``plan.txt`` every step with the
rules.  Beside them is what came of it, which README lists.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from testbed import foreign
from testbed.errors import UsageError
from testbed.files import json_text
from testbed.model.presets import find
from testbed.model.profile import Profile
from testbed.model.topology import Conditions
from testbed.nat.load import load
from testbed.studies.kept import CRASH
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.external import own, recall
from testbed.studies.punch.meeting import Meeting
from testbed.studies.punch.sound import require_sane, whole

WORLDS = "worlds"  # in a cell's folder: the file of its world
FORMAT = 3
RESULTS = (
    "result.json",
    "explanation.json",
    "run.json",
    "events.jsonl",
    "conntrack.jsonl",
    "drops.json",
    "capture.pcapng",
    "plan.txt",
    CRASH,
)


def own_names(profiles: Iterable[str], worlds: Iterable[str]) -> tuple[str, ...]:
    """The files of a cell's folder, whatever came of it.

    ``profiles`` and ``worlds`` are the names of those that it may have been run with.
    """
    kept = {"profiles": profiles, WORLDS: worlds}
    files = (f"{folder}/{name}.toml" for folder, names in kept.items() for name in names)
    return ("cell.json", *RESULTS, *files)


def save_cell(
    cell: Cell, profiles: Mapping[str, Profile], folder: Path, number: int, facts: Any
) -> None:
    """Write what is needed to run ``cell`` again, and take away what an earlier run left.

    ``number`` is the lab's, from which its addresses follow; ``facts``: versions and
    the like.
    """
    for name in RESULTS:
        (folder / name).unlink(missing_ok=True)
    world = folder / WORLDS / f"{cell.world.name}.toml"
    world.parent.mkdir(parents=True, exist_ok=True)
    world.write_text(cell.world.text, encoding="utf-8")
    kept = folder / "profiles"
    kept.mkdir(parents=True, exist_ok=True)
    for router in cell.build().routers:
        (kept / f"{router.profile}.toml").write_text(
            profiles[router.profile].text, encoding="utf-8"
        )
    told = asdict(cell) | {"topology": cell.world.name}
    value = {"format": FORMAT, "cell": told, "number": number, "facts": facts}
    cast = [*(end.name for end in cell.stacks.both), cell.relay, *dict(cell.observers).values()]
    if users := own(cast):
        value["own"] = users
    (folder / "cell.json").write_text(json_text(value), encoding="utf-8")


def load_cell(folder: Path) -> tuple[Cell, dict[str, Profile], int]:
    """The cell of a folder, the profiles it was run with, and the lab's number.

    UsageError naming the file.
    """
    file = folder / "cell.json"
    try:
        data = json.loads(foreign.read_text(file))
        if data["format"] != FORMAT:
            raise UsageError(f"{file}: format {data['format']}, this version reads {FORMAT}")
        fields, number = data["cell"], data["number"]
        recall(data.get("own", {}))
        names = fields["profiles"]
        read: dict[str, Any] = {"profiles": tuple(names) if isinstance(names, list) else names}
        read["topology"] = _own_world(folder, fields["topology"])
        if "conditions" in fields:
            read["conditions"] = Conditions(**fields["conditions"])
        read["observers"] = tuple((str(h), str(s)) for h, s in fields.get("observers", ()))
        if fields.get("meeting") is not None:
            read["meeting"] = Meeting.from_json(fields["meeting"])
        cell = Cell(**(fields | read))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{file}: not a cell that can be run again ({error})",
            remedy="name a folder that `testbed run` or `testbed matrix` has written",
        ) from error
    require_sane(cell, f"{file}: ")
    if not whole(number) or number > 255:
        raise UsageError(f"{file}: number must be whole, 0 to 255, not {number!r}")
    return cell, _own_profiles(folder, cell), number


def _own_world(folder: Path, name: Any) -> Any:
    """The word for the world that is kept in the folder; one of ours where there is none."""
    if not isinstance(name, str):  # which `require_sane` tells
        return name
    if Path(name).name != name:
        raise ValueError(f"topology {name!r} is no name")
    if not (world := folder / WORLDS / f"{name}.toml").exists():
        return name
    foreign.require_within(world)
    return find(str(world)).word


def _own_profiles(folder: Path, cell: Cell) -> dict[str, Profile]:
    """Those that are kept in the folder."""
    kept = folder / "profiles"
    used = {router.profile for router in cell.build().routers}
    if missing := sorted(used - {path.stem for path in kept.glob("*.toml")}):
        raise UsageError(f"{kept / missing[0]}.toml: missing", remedy="run the cell anew")
    try:
        for name in used:
            foreign.require_within(kept / f"{name}.toml")
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from error
    return {name: load(kept / f"{name}.toml") for name in sorted(used)}


def load_versions(folder: Path) -> Mapping[str, str]:
    """The versions that the cell of a folder was run with; empty if it does not say."""
    facts = json.loads(foreign.read_text(folder / "cell.json")).get("facts")
    return facts if isinstance(facts, dict) else {}
