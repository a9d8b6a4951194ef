"""Lives in labs: what becomes of a direct path is what the model says.

All are led once, several at a time.
"""

from pathlib import Path

import pytest
from shared import once

from testbed.cli.commands.life import lives, rows
from testbed.errors import Exit
from testbed.lab.namespaces import NamespaceLab
from testbed.model.network_fault import Fault
from testbed.predict.life import Fate, Transport
from testbed.studies.life.row import Row
from testbed.studies.life.run import Led, lead_with
from testbed.studies.life.stories import STORIES

pytestmark = pytest.mark.timeout(900)

JOBS = 8
NAMES = [(told.name, transport) for told in STORIES.values() for transport in Transport]


@pytest.fixture(scope="module")
def led(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, Transport], Row]:
    out = tmp_path_factory.mktemp("life")
    found = once(tmp_path_factory, "life", lambda: rows(lives([], "all"), JOBS, out))
    return {(row.story, row.transport): row for row in found}


@pytest.mark.parametrize(("name", "transport"), NAMES)
def test_a_life_goes_as_expected(
    name: str, transport: Transport, led: dict[tuple[str, Transport], Row]
) -> None:
    row = led[name, transport]
    assert row.exit_code is Exit.AGREED, row.notes


# Negative controls


def _without_the_fault(name: str, transport: Transport, folder: Path) -> Led:
    def nothing(_lab: NamespaceLab, _fault: Fault) -> None:
        return

    return lead_with(STORIES[name], transport, folder, 0, nothing)


@pytest.mark.parametrize(
    ("name", "transport", "finding"),
    [
        ("blip", Transport.UDP, "expected at least"),
        ("rebinding-open", Transport.UDP, "seen where it was before"),
        ("rebinding", Transport.QUIC, "survives, expected direct"),
        ("outage", Transport.TCP, "survives, expected direct"),
    ],
)
def test_a_fault_that_nobody_did_is_noticed(
    name: str, transport: Transport, finding: str, tmp_path: Path
) -> None:
    led = _without_the_fault(name, transport, tmp_path)
    assert finding in " ".join(led.findings)


def test_keepalives_are_what_keeps_a_mapping(led: dict[tuple[str, Transport], Row]) -> None:
    fates = {}
    for name in ("keepalive", "slow-keepalive", "no-keepalive"):
        found = led[name, Transport.UDP].led
        assert found is not None
        fates[name] = found.seen.fate
    assert fates == {
        "keepalive": Fate.SURVIVES, "slow-keepalive": Fate.LOST, "no-keepalive": Fate.LOST,
    }  # fmt: skip
