"""What tests of whole cells share: a cell tried as `testbed run` does, and a peer's first words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from patience import repeated, too_busy

from testbed.lab.namespaces import Namespaces
from testbed.model.lab import Backend
from testbed.model.profile import Profile
from testbed.nat.load import catalogue
from testbed.run.cell import Ran, run_cell
from testbed.run.matrix import TRIES
from testbed.studies.punch.cell import Cell
from testbed.words import sentence

CATALOGUE = catalogue()


def ran(
    cell: Cell,
    folder: Path,
    profiles: Mapping[str, Profile] = CATALOGUE,
    backend: Backend | None = None,
) -> Ran:
    """One cell, again while this machine is too busy with other tests for a verdict."""
    for left in reversed(range(TRIES)):
        result = run_cell(cell, profiles, backend or Namespaces(), folder)
        if not result.late:
            break
        if left:
            repeated(sentence(result.verdict.because))
    return result


def sure(result: Ran) -> Ran:
    """The result, if there is one: a machine that stayed too busy is told as a skip."""
    if result.late:
        too_busy(sentence(result.verdict.because))
    return result


def libp2p_cell(peer: str, a: str, b: str, mode: str = "punch", **more: Any) -> Cell:
    return Cell(peer, (a, b), "libp2p", mode, **more)


def configure(**more: Any) -> dict[str, Any]:
    """The contract's first line, for a dialer that knows no relay."""
    return {
        "command": "configure", "version": 2, "role": "dialer", "transport": "tcp",
        "local_address": "127.0.0.1", "port": 4001, "stun": None, "turn": None,
        "relays": [], "observers": [], "session": "0" * 32, "seed": 1,
        "options": {"mode": "punch", "relay_only": False},
    } | more  # fmt: skip
