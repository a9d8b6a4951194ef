"""Which broken cases are for want of room: those alone are tried again, or excused."""

from pathlib import Path
from typing import Any, NoReturn

import pytest

from testbed.errors import (
    BackendError,
    CaptureError,
    LossError,
    PeerError,
    ServiceError,
    StarvedError,
    StarvedServiceError,
    TestbedError,
)
from testbed.lab.namespaces import Namespaces
from testbed.model.verdict import Judgement
from testbed.nat.load import catalogue
from testbed.studies.autonat.study import STUDY as AUTONAT
from testbed.studies.autonat.study import AutonatCase
from testbed.studies.base import Site, Study
from testbed.studies.life.case import LifeCase
from testbed.studies.life.scenarios import scenario
from testbed.studies.life.study import STUDY as LIFE
from testbed.studies.odds.cases import cases as odds_cases
from testbed.studies.odds.study import odds
from testbed.studies.relays.populations import population
from testbed.studies.relays.study import STUDY as RELAYS
from testbed.studies.relays.swarm import Swarm

CASES: dict[str, tuple[Study[Any], Any]] = {
    "autonat": (AUTONAT, AutonatCase(catalogue()["port-restricted"])),
    "life": (LIFE, LifeCase(scenario("reboot"), "punch-udp")),
    "odds": (odds(8), odds_cases(8, 1)[0]),
    "relays": (RELAYS, Swarm(population("carriers"), 4, "traversal-tcp", True)),
}


class Breaking(Namespaces):
    """No lab comes up: ``error`` is raised in its place."""

    def __init__(self, error: TestbedError) -> None:
        self.error = error

    def start(self, *_: object, **__: object) -> NoReturn:
        raise self.error


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    ("error", "late"),
    [
        (BackendError("a wire fell off"), False),
        (ServiceError("coturn", "was not ready in time", node="server"), False),
        (StarvedServiceError("coturn was not ready in time"), True),
        (PeerError("ended with 1"), False),
        (CaptureError("the disk is full"), False),
        (StarvedError("2 s without a processor"), True),
        (LossError("7 packets were not recorded"), True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_breaks_for_want_of_room_alone_is_tried_again(
    name: str, error: TestbedError, late: bool, tmp_path: Path
) -> None:
    study, case = CASES[name]
    result = study.run(case, Site(Breaking(error), 0, tmp_path))
    assert (result.judgement, result.late) == (Judgement.INCONCLUSIVE, late)
