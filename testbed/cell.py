"""A cell of the matrix: everything that says what is run, and its folder.

A cell's folder is enough to run it again: ``cell.json`` (what), ``profiles/``
(the claims, as files), ``plan.txt`` (every step with the rules), ``result.json``,
``events.jsonl`` and ``capture.pcapng``.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from testbed.errors import UsageError
from testbed.nat.load import load
from testbed.nat.profile import Profile
from testbed.peers.adapter import adapter
from testbed.topology.model import Topology
from testbed.topology.presets import preset

DIALER, LISTENER, SERVER = "a", "b", "server"
MODES = ("punch", "plain_dial", "silent", "relay_only")
FORMAT = 2
RESULTS = ("result.json", "events.jsonl", "capture.pcapng", "plan.txt")


@dataclass(frozen=True)
class Cell:
    """One pair of NATs, one stack, one try.  ``mode`` other than punch: a control."""

    peer: str
    profiles: tuple[str, ...]
    topology: str = "two-homes"
    mode: str = "punch"
    repeat: int = 0  # which of the repetitions this is
    seed: int = 0
    skew_ms: float = 0.0

    @property
    def pair(self) -> str:
        """What is the same for all repetitions: ``ice/full-cone--symmetric``."""
        suffix = "" if self.mode == "punch" else f".{self.mode}"
        place = "" if self.topology == adapter(self.peer).topology else f"{self.topology}/"
        late = f".skew-{self.skew_ms:g}" if self.skew_ms else ""
        return f"{place}{self.peer}/{'--'.join(self.profiles)}{suffix}{late}"

    @property
    def name(self) -> str:
        """Unique in a matrix, and the path of its folder."""
        return f"{self.pair}/{self.repeat}"

    @property
    def control(self) -> bool:
        return self.mode != "punch"

    def to_json(self) -> dict[str, Any]:
        """What identifies the cell in a report."""
        return {
            "name": self.name,
            "pair": self.pair,
            "peer": self.peer,
            "profiles": list(self.profiles),
            "topology": self.topology,
            "mode": self.mode,
            "repeat": self.repeat,
        }

    def build(self) -> Topology:
        return preset(self.topology, *self.profiles)


def save_cell(
    cell: Cell, profiles: Mapping[str, Profile], folder: Path, number: int, facts: Any
) -> None:
    """Write what is needed to run ``cell`` again, and take away what an earlier run left.

    ``number`` is the lab's, from which its addresses follow; ``facts``: versions and
    the like.
    """
    for name in RESULTS:
        (folder / name).unlink(missing_ok=True)
    kept = folder / "profiles"
    kept.mkdir(parents=True, exist_ok=True)
    for router in cell.build().routers:
        path = profiles[router.profile].path
        if path is not None:
            shutil.copy(path, kept / path.name)
    value = {"format": FORMAT, "cell": asdict(cell), "number": number, "facts": facts}
    (folder / "cell.json").write_text(json.dumps(value, indent=2) + "\n")


def load_cell(folder: Path) -> tuple[Cell, dict[str, Profile], int]:
    """The cell of a folder, the profiles it was run with, and the lab's number.

    UsageError naming the file.
    """
    file = folder / "cell.json"
    try:
        data = json.loads(file.read_text())
        if data["format"] != FORMAT:
            raise UsageError(f"{file}: format {data['format']}, this version reads {FORMAT}")
        fields, number = data["cell"], int(data["number"])
        cell = Cell(**(fields | {"profiles": tuple(fields["profiles"])}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{file}: not a cell that can be run again ({error})",
            remedy="name a folder that `testbed run` or `testbed matrix` has written",
        ) from error
    loaded = [load(path) for path in sorted((folder / "profiles").glob("*.toml"))]
    return cell, {profile.name: profile for profile in loaded}, number
