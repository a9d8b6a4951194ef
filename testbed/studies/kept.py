"""What the folder of a case keeps, so that its packets can be read again: ``case.json``."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from testbed import foreign
from testbed.capture.reader import read
from testbed.errors import UsageError
from testbed.evidence.account import WireAccount
from testbed.files import write_json
from testbed.model.frozen import FrozenValue
from testbed.model.plan import Plan
from testbed.model.profile import Profile
from testbed.model.topology import Topology
from testbed.plan.planner import plan

CASE = "case.json"
CAPTURE = "capture.pcapng"
CRASH = "crash.txt"  # the traceback, where the harness crashed


class Kept(FrozenValue):
    """The lab of a case; all of its plan follows from it."""

    topology: Topology
    profiles: Mapping[str, Profile]
    number: int
    seed: int
    format: Literal[1] = 1

    @property
    def plan(self) -> Plan:
        """As it was carried out."""
        return plan(self.topology, self.profiles, self.number, self.seed)

    def save(self, folder: Path) -> None:
        """Write it into the folder of the case."""
        write_json(folder / CASE, _adapter().dump_python(self, mode="json"))


@cache
def _adapter() -> TypeAdapter[Kept]:
    return TypeAdapter(Kept)


def load(folder: Path) -> Kept:
    """UsageError naming the file that is missing or damaged."""
    file = folder / CASE
    try:
        return _adapter().validate_json(foreign.read_bytes(file))
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}", remedy="name the folder of a case") from error
    except ValidationError as error:
        reason = f"{file}: {foreign.complaint(error)}"
        raise UsageError(reason, remedy="run the case anew") from None


def account_of(folder: Path) -> WireAccount:
    """What was recorded of the case in ``folder``; UsageError naming a file that is damaged."""
    capture = folder / CAPTURE
    return WireAccount(load(folder).plan, read(capture) if capture.exists() else None)
