"""Rows, exit codes and words of `testbed life`, without a lab."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from testbed.cli.commands.life import lives
from testbed.errors import Exit, PeerError, TestbedError, UsageError
from testbed.model.life import StillOpen
from testbed.model.network_fault import LinkDown, NatReboot, lasts, words
from testbed.nat.load import DEFAULT
from testbed.predict.life import Expected, Fate, Transport
from testbed.report.life import table, to_json
from testbed.studies.life import run as life
from testbed.studies.life.row import Row
from testbed.studies.life.run import Led
from testbed.studies.life.stories import STORIES
from testbed.studies.life.wire import Seen
from testbed.words import sentence

WANTED = Expected(Fate.DIRECT, 2.0, 6.0, StillOpen())
CLOSED = {"at": 1.0, "what": "closed", "relayed": False, "reason": ""}


def row(
    fate: Fate = Fate.DIRECT,
    gap: float = 3.0,
    *,
    wanted: Expected = WANTED,
    late: float = 0.0,
    slow: float = 0.0,
    diary: tuple[dict[str, Any], ...] = (CLOSED,),
) -> Row:
    seen = Seen(fate, gap, 12, 40, (1, 2))
    led = Led("reboot", Transport.TCP, wanted, seen, diary, slow, late, Path("capture.pcapng"))
    return Row("reboot", Transport.TCP, wanted, led)


def test_a_life_as_expected_agrees() -> None:
    assert row().exit_code is Exit.AGREED
    assert row().notes == ()


@pytest.mark.parametrize("gap", [1.0, 7.0])
def test_a_recovery_outside_its_bounds_differs(gap: float) -> None:
    assert row(gap=gap).exit_code is Exit.DIFFERS


def test_another_fate_differs_and_says_what_was_expected() -> None:
    one = row(Fate.RELAYED)
    assert one.exit_code is Exit.DIFFERS
    assert one.notes == (f"relayed, expected direct: {sentence(StillOpen())}",)


def test_a_fault_that_the_wire_does_not_show_is_noticed() -> None:
    survives = Expected(Fate.SURVIVES, 0.2, 1.5, StillOpen())
    one = row(Fate.SURVIVES, 0.05, wanted=survives, diary=())
    assert one.exit_code is Exit.DIFFERS
    assert "expected at least 0.20 s" in one.notes[0]


def test_a_change_of_address_that_did_not_happen_is_noticed() -> None:
    survives = Expected(Fate.SURVIVES, 0.0, 1.0, StillOpen(), moved=True)
    one = row(Fate.SURVIVES, 0.05, wanted=survives, diary=())
    assert one.notes == ("the dialer is seen where it was before, and was to be elsewhere",)


def test_a_dialer_that_says_otherwise_than_the_wire_is_a_finding() -> None:
    survives = Expected(Fate.SURVIVES, 0.0, 1.5, StillOpen())
    assert row(Fate.SURVIVES, 0.05, wanted=survives).exit_code is Exit.DIFFERS
    assert row(diary=()).exit_code is Exit.DIFFERS


def test_a_busy_machine_makes_a_difference_inconclusive_and_leaves_an_agreement() -> None:
    assert row(gap=7.0, late=1.0).exit_code is Exit.INCONCLUSIVE
    assert row(gap=9.0, slow=1.0).exit_code is Exit.INCONCLUSIVE
    assert row(late=1.0).exit_code is Exit.AGREED


def test_the_time_that_a_fault_took_too_long_is_not_the_stacks() -> None:
    assert row(gap=7.0, slow=0.6).exit_code is Exit.AGREED


def test_a_life_that_was_not_led_is_inconclusive() -> None:
    one = Row("reboot", Transport.TCP, WANTED, None, "peer [a]: waited for its diary")
    assert one.exit_code is Exit.INCONCLUSIVE
    assert "waited for its diary" in json.dumps(to_json(one))


def test_the_table_fits_a_terminal_and_says_why_it_differs() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table([row(), row(Fate.RELAYED)]))
    shown = console.export_text()
    assert "direct in 2.0-6.0 s" in shown
    assert "3000" in shown
    assert f"relayed, expected direct: {sentence(StillOpen())}" in shown


def test_without_names_all_lives_are_led() -> None:
    assert len(lives([], "all")) == len(STORIES) * len(Transport)
    assert lives(["steady"], "udp,tcp") == [
        (STORIES["steady"], Transport.UDP), (STORIES["steady"], Transport.TCP),
    ]  # fmt: skip


@pytest.mark.parametrize(("names", "peers"), [(["stedy"], "all"), ([], "sctp"), ([], "")])
def test_words_that_name_no_life_are_refused(names: list[str], peers: str) -> None:
    with pytest.raises(UsageError):
        lives(names, peers)


def test_other_nats_take_the_place_of_the_scenarios(tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text((DEFAULT / "full-cone.toml").read_text())
    ((told, _),) = lives(["reboot"], "udp", (str(own), None))
    assert told.profiles["nat-a"].name == "mine"
    assert told.profiles["nat-b"].name == STORIES["reboot"].b


@pytest.mark.parametrize(
    ("nats", "words"),
    [
        (("nosuch", None), "unknown profile"),
        (("symmetric", "symmetric"), "steady over quic between symmetric and symmetric: the model"),
    ],
)
def test_nats_that_have_no_path_to_follow_are_refused(nats: tuple[str, str], words: str) -> None:
    with pytest.raises(TestbedError, match=words):
        lives(["steady"], "quic", nats)


def test_a_deadline_says_what_was_waited_for() -> None:
    class Mute:
        name = "a"

        def ask(self, **_: Any) -> Any:
            raise PeerError("no answer for 60 s", node="a")

        answer = ask

    with pytest.raises(PeerError, match="waited for its diary: no answer for 60 s"):
        life._asked(Mute(), "its diary", do="report")  # type: ignore[arg-type]
    with pytest.raises(PeerError, match="waited for a reservation"):
        life._said(Mute(), "a reservation")  # type: ignore[arg-type]


def test_faults_say_what_they_are_and_how_long() -> None:
    assert words(LinkDown("nat-a")) == "nat-a's wire is cut"
    assert (lasts(LinkDown("nat-a")), lasts(NatReboot("nat-a", 0.3))) == (0.0, 0.3)
