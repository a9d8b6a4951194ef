"""How a life is judged, and which lives the words of `testbed life` mean, without a lab."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from testbed.cli.commands.life import DEFAULT_PEERS, cases
from testbed.errors import PeerError, TestbedError, UsageError
from testbed.lab.namespaces import Namespaces
from testbed.model.breach import (
    BreachKind,
    FateDiffers,
    GapDiffers,
    LossClaimed,
    LossUntold,
    PlaceDiffers,
)
from testbed.model.life import Fate, FileExpects, StillOpen, Timers, Transport
from testbed.model.network_fault import LinkDown, LinkUp, NatReboot, lasts, words
from testbed.model.presets import LIVES
from testbed.model.result import Result
from testbed.model.verdict import Judgement
from testbed.nat.load import DEFAULT
from testbed.predict.life import Expected
from testbed.report.life import table
from testbed.stacks.registry import ADAPTERS
from testbed.studies.base import Site
from testbed.studies.life.case import PATIENCE, LifeCase
from testbed.studies.life.run import Led
from testbed.studies.life.scenarios import scenario
from testbed.studies.life.study import judged
from testbed.studies.life.wire import Seen
from testbed.words import sentence

WANTED = Expected(Fate.DIRECT, 2.0, 6.0, StillOpen())
SURVIVES = Expected(Fate.SURVIVES, 0.2, 1.5, StillOpen())
SITE = Site(Namespaces(), 0, Path("cells/x"))
REBOOT = LifeCase(scenario("reboot"), "traversal-tcp")


def result(
    fate: Fate = Fate.DIRECT,
    gap: float = 3.0,
    *,
    wanted: Expected = WANTED,
    busy: float = 0.0,
    slow: float = 0.0,
    idle: float = 0.0,
    lost: bool = True,
    case: LifeCase = REBOOT,
) -> Result:
    seen = Seen(fate, gap, 12, 40, (1, 2))
    return judged(case, wanted, Led(seen, (), lost, slow, busy, idle, 100), SITE)


def test_a_life_as_expected_passes() -> None:
    one = result()
    assert (one.judgement, one.measured, one.predicted) == (Judgement.PASS, "direct", "direct")
    assert one.reason == sentence(WANTED.why)
    assert one.packets_cited == (1, 2)


@pytest.mark.parametrize("gap", [1.0, 7.0])
def test_a_recovery_outside_its_bounds_fails(gap: float) -> None:
    one = result(gap=gap)
    assert one.judgement is Judgement.FAIL
    assert one.finding_values == (GapDiffers(gap, 2.0, 6.0),)


def test_another_fate_fails() -> None:
    one = result(Fate.RELAYED)
    assert one.judgement is Judgement.FAIL
    assert one.finding_values == (FateDiffers(Fate.RELAYED, Fate.DIRECT),)


def test_a_change_of_address_that_did_not_happen_is_noticed() -> None:
    wanted = Expected(Fate.SURVIVES, 0.0, 1.0, StillOpen(), moved=True)
    one = result(Fate.SURVIVES, 0.05, wanted=wanted, lost=False)
    assert one.finding_values == (PlaceDiffers(moved=False),)


def test_what_a_file_expects_says_by_which_path_and_how_soon_and_nothing_else() -> None:
    stated = Expected(Fate.DIRECT, 0.0, 4.0, FileExpects(None, None))
    assert result(Fate.SURVIVES, 1.0, wanted=stated, lost=False).judgement is Judgement.PASS
    assert result(Fate.DIRECT, 3.0, wanted=stated).judgement is Judgement.PASS
    late = result(Fate.DIRECT, 5.0, wanted=stated)
    assert late.finding_values == (GapDiffers(5.0, 0.0, 4.0),)
    assert result(Fate.RELAYED, wanted=stated).judgement is Judgement.FAIL


def test_where_a_lost_connection_would_have_gone_is_asked_of_datagrams_alone() -> None:
    wanted = Expected(Fate.LOST, 0.0, 0.0, StillOpen(), moved=True)
    datagrams = LifeCase(scenario("reboot"), "punch-udp")
    assert result(Fate.LOST, wanted=wanted).finding_values == ()
    found = result(Fate.LOST, wanted=wanted, case=datagrams).finding_values
    assert found == (PlaceDiffers(moved=False),)


def test_a_dialer_that_says_otherwise_than_the_wire_is_a_finding() -> None:
    assert result(Fate.SURVIVES, 1.0, wanted=SURVIVES).finding_values == (LossClaimed("a"),)
    assert result(lost=False).finding_values == (LossUntold("a"),)


def test_a_busy_machine_makes_a_difference_inconclusive_and_leaves_an_agreement() -> None:
    for one in (result(gap=7.0, busy=1.0), result(gap=9.0, slow=1.0)):
        assert (one.judgement, one.late) == (Judgement.INCONCLUSIVE, True)
    assert result(busy=1.0).judgement is Judgement.PASS


def test_keepalives_that_keep_a_mapping_by_chance_cast_a_doubt_on_a_silence() -> None:
    slow = LifeCase(scenario("slow-keepalive"), "traversal-tcp")
    fast = LifeCase(scenario("keepalive"), "traversal-tcp")
    assert result(Fate.SURVIVES, idle=2.2, case=slow).judgement is Judgement.INCONCLUSIVE
    assert result(Fate.SURVIVES, idle=3.5, case=slow).judgement is Judgement.FAIL
    assert result(Fate.LOST, idle=1.0, case=fast).judgement is Judgement.FAIL
    assert result(Fate.RELAYED, idle=0.0).judgement is Judgement.FAIL


def test_the_time_that_a_fault_took_too_long_is_not_the_stacks() -> None:
    assert result(gap=6.4).judgement is Judgement.FAIL
    assert result(gap=6.4, slow=0.25).judgement is Judgement.PASS


def test_a_life_that_was_not_led_is_inconclusive() -> None:
    one = judged(REBOOT, WANTED, None, SITE, PeerError("no direct connection", node="a"))
    assert (one.judgement, one.measured, one.late) == (Judgement.INCONCLUSIVE, None, False)
    assert one.reason == "peer [a]: no direct connection"


def test_a_result_survives_its_json() -> None:
    one = result(Fate.RELAYED)
    again = Result.model_validate_json(one.model_dump_json())
    assert again == one
    assert again.finding_values[0].kind is BreachKind.FATE_DIFFERS


def test_the_table_has_a_line_for_each_and_says_why_one_differs() -> None:
    console = Console(width=90, record=True, file=io.StringIO())
    console.print(table([result(), result(Fate.RELAYED)]))
    shown = console.export_text()
    assert "direct in 2.0-6.0 s" in shown
    assert "3000" in shown
    assert sentence(FateDiffers(Fate.RELAYED, Fate.DIRECT)) in " ".join(shown.split())


# The words


def test_without_names_all_scenarios_are_led() -> None:
    assert len(cases([], DEFAULT_PEERS)) == len(LIVES) * len(Transport)
    assert [one.group for one in cases(["steady"], "punch-udp,traversal-tcp")] == [
        "punch-udp/steady",
        "traversal-tcp/steady",
    ]


@pytest.mark.parametrize(
    ("names", "peers"), [(["stedy"], DEFAULT_PEERS), ([], "nosuch"), ([], ""), (["steady"], "ice")]
)
def test_words_that_name_no_life_are_refused(names: list[str], peers: str) -> None:
    with pytest.raises(UsageError):
        cases(names, peers)


def test_a_stack_whose_timers_cannot_be_set_is_not_asked_for_a_silence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(UsageError, match="go-quic lacks the feature keep"):
        cases(["keepalive"], "go-quic")
    found = cases([], "go-quic")
    assert len(found) == len(LIVES) - 4
    assert not any(one.scenario.silent or one.scenario.sleeps for one in found)
    assert "left out: no-keepalive" in capsys.readouterr().err


def test_a_stack_that_does_not_dial_again_is_expected_to_lose_its_connection() -> None:
    (ours,) = cases(["reboot-new-ports"], "traversal-quic")
    (theirs,) = cases(["reboot-new-ports"], "go-quic")
    assert (ours.expected().fate, theirs.expected().fate) == (Fate.DIRECT, Fate.LOST)
    assert "keep" not in ADAPTERS["go-quic"].features


def test_two_stacks_keep_a_connection_only_if_both_can() -> None:
    (mixed,) = cases(["reboot"], "traversal-quic+go-quic")
    assert not mixed.keeps


def test_a_cut_outlasts_the_patience_of_any_stack() -> None:
    course = scenario("outage").course(Timers(patience=PATIENCE))
    assert course.faults[-1] == (PATIENCE + 3.0, LinkUp("nat-a"))
    assert scenario("blip").course(Timers(patience=PATIENCE)).faults[-1][0] == 0.7


def test_only_stacks_without_the_feature_have_observers() -> None:
    hosts = {
        peer: {host.name for host in cases(["reboot"], peer)[0].topology.hosts}
        for peer in ("go-quic", "traversal-quic", "punch-udp")
    }
    assert "observer-1" in hosts["go-quic"]
    assert hosts["traversal-quic"] == hosts["punch-udp"] == {"a", "b", "server"}


def test_other_nats_take_the_place_of_the_scenarios(tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text((DEFAULT / "full-cone.toml").read_text())
    (one,) = cases(["reboot"], "punch-udp", (str(own), None))
    assert one.routers["nat-a"].name == "mine"
    assert one.routers["nat-b"].name == "port-restricted"
    assert one.group == "punch-udp/reboot/mine--port-restricted"


@pytest.mark.parametrize(
    ("nats", "told"),
    [
        (("nosuch", None), "unknown profile"),
        (("symmetric", "symmetric"), "steady with traversal-quic between symmetric and symmetric"),
    ],
)
def test_nats_that_have_no_path_to_follow_are_refused(nats: tuple[str, str], told: str) -> None:
    with pytest.raises(TestbedError, match=told):
        cases(["steady"], "traversal-quic", nats)


def test_faults_say_what_they_are_and_how_long() -> None:
    assert words(LinkDown("nat-a")) == "nat-a's wire is cut"
    assert (lasts(LinkDown("nat-a")), lasts(NatReboot("nat-a", 0.3))) == (0.0, 0.3)


@pytest.mark.parametrize(
    ("names", "nats", "said"),
    [
        (["rebinding"], ("linux-random", None), "nat-a: a NAT of iptables cannot be renumbered"),
        (["lease-lost"], (None, "port-restricted"), "nat-b: it has no gateway"),
    ],
)
def test_what_cannot_be_done_to_a_nat_is_refused_before_there_is_a_lab(
    names: list[str], nats: tuple[str | None, str | None], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        cases(names, "punch-udp", nats)
