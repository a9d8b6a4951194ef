"""What `testbed run` draws: who stands between two hosts, and the way that was measured."""

from pathlib import Path

import pytest
from made_results import result

from testbed.model.presets import preset
from testbed.report import single
from testbed.report.drawing import lines, route
from testbed.report.glyphs import ASCII, UNICODE, Glyphs

ENDS = ("a", "b", "server")


def drawn(
    name: str,
    *profiles: str,
    outcome: str = "direct",
    stopped: str | None = None,
    glyphs: Glyphs = UNICODE,
) -> str:
    topology = preset(name, *profiles)
    return "\n".join(line.plain for line in lines(topology, ENDS, outcome, stopped, glyphs))


@pytest.mark.parametrize(
    ("name", "row", "turn", "below"),
    [
        ("two-homes", ("a", "nat-a", "core", "nat-b", "b"), "core", ("server",)),
        ("carrier", ("a", "nat-a", "cgn", "nat-b", "b"), "cgn", ("core", "server")),
        ("same-lan", ("a", "nat-a", "b"), "nat-a", ("core", "server")),
        ("home-and-public", ("a", "nat-a", "core", "b"), "core", ("server",)),
    ],
)
def test_the_way_between_two_hosts_turns_where_their_ways_out_meet(
    name: str, row: tuple[str, ...], turn: str, below: tuple[str, ...]
) -> None:
    found = route(preset(name), *ENDS)
    assert (found.row, found.turn, found.below) == (row, turn, below)


def test_a_direct_way_passes_the_nats_and_not_the_server() -> None:
    text = drawn("two-homes", "symmetric", "full-cone")
    assert "═" in text.splitlines()[0]
    assert "║" not in text
    assert "symmetric" in text


def test_a_relayed_way_goes_down_to_the_server() -> None:
    assert "║" in drawn("two-homes", "symmetric", "symmetric", outcome="relayed")


def test_where_there_is_no_way_none_is_drawn_and_the_node_that_decided_is_marked() -> None:
    text = drawn("two-homes", "symmetric", "symmetric", outcome="none", stopped="nat-b")
    assert "═" not in text
    assert "✗nat-b" in text


def test_what_is_at_no_node_of_the_row_is_not_marked() -> None:
    assert "✗" not in drawn("two-homes", outcome="none", stopped="server")


@pytest.mark.parametrize("outcome", ["direct", "relayed", "none"])
@pytest.mark.parametrize("name", ["two-homes", "carrier", "libp2p"])
def test_a_drawing_fits_80_columns_and_is_ascii_where_it_must(name: str, outcome: str) -> None:
    text = drawn(name, "all-services-home", "x" * 40, outcome=outcome, glyphs=ASCII)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80


def test_what_a_crashed_peer_said_is_told_by_line_and_that_nothing_was_measured() -> None:
    crashed = result(
        "mine/full-cone--full-cone",
        judgement="inconclusive",
        measured=None,
        reason="peer [a]: ended with 2\npanic: index out of range\n\x1b[2Jgoroutine 1",
    )
    told = single.told(crashed, preset("two-homes"), ENDS, Path("out"), UNICODE)
    assert [line.plain for line in told][:4] == [
        "inconclusive: measured nothing, predicted direct  (mine/full-cone--full-cone)",
        "  peer [a]: ended with 2",
        "  panic: index out of range",
        "  ?[2Jgoroutine 1",
    ]


def test_an_inconclusive_cell_is_not_drawn() -> None:
    unclear = result(judgement="inconclusive", measured="none", reason="the machine was busy")
    told = single.told(unclear, preset("two-homes"), ENDS, Path("out"), UNICODE)
    assert not any("nat-a" in line.plain for line in told)


def test_what_to_type_next_fits_80_columns() -> None:
    assert max(len(line.plain) for line in single.next_words(Path("out/run"))) <= 80


def test_what_to_type_next_keeps_the_users_stack() -> None:
    own = ["--stack", "mine=./my peer", "--mechanism", "punch_udp"]
    typed = [line.plain.strip() for line in single.next_words(Path("out/run"), "mine", own)]
    described = "--stack 'mine=./my peer' --mechanism punch_udp"
    again = f"testbed run {described} --peer mine -a symmetric -b port-restricted  other NATs"
    assert any(line.startswith(again) for line in typed)
    assert any(line.startswith(f"testbed matrix {described}  ") for line in typed)


def test_of_several_interfaces_that_is_drawn_by_which_the_echo_went() -> None:
    ends = ("phone", "home", "server")
    usual = route(preset("dual-homed-phone"), *ends)
    other = route(preset("dual-homed-phone"), *ends, frozenset({"cgn", "core", "nat-b", "home"}))
    assert (usual.row[1], other.row[1]) == ("nat-a", "cgn")
