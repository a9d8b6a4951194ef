"""What happens in a world is said in its file, and what cannot happen is refused with its line."""

from pathlib import Path

import pytest

from testbed.cli import app
from testbed.cli.cell_words import MatrixWords
from testbed.cli.commands.chosen import Request
from testbed.errors import TopologyError, UsageError
from testbed.model.events import KINDS
from testbed.model.life import Timers
from testbed.model.network_fault import (
    LinkChange,
    LinkDown,
    LinkUp,
    LossBurst,
    LossOver,
    Roaming,
)
from testbed.model.presets import FOLDER
from testbed.model.topology import Link
from testbed.model.world import World, parse
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.sound import require_sane

HOMES = (FOLDER / "two-homes.toml").read_text(encoding="utf-8").rstrip("\n")
REBOOT = '[[events]]\nkind = "nat-reboot"\nnode = "nat-a"\nat_s = 0'
FIRST = len(HOMES.splitlines()) + 1  # the line of what follows


def world(*tables: str) -> World:
    return parse("\n".join([HOMES, *tables]), "mine", "mine.toml")


def test_events_come_in_the_order_of_time() -> None:
    found = world(
        '[[events]]\nkind = "link-up"\nnode = "nat-a"\nat_s = 5',
        '[[events]]\nkind = "link-down"\nnode = "nat-a"\nat_s = 0',
        '[[events]]\nkind = "roam"\nnode = "a"\nto = "lan-b"\nat_s = 2.5',
    )
    assert found.timeline() == (
        (0.0, LinkDown("nat-a")),
        (2.5, Roaming("a", "lan-b")),
        (5.0, LinkUp("nat-a")),
    )


def test_an_event_may_wait_until_a_stack_has_lost_its_patience() -> None:
    found = world('[[events]]\nkind = "link-up"\nnode = "b"\npast_patience_s = 3')
    assert found.timeline(Timers(patience=10.0)) == ((13.0, LinkUp("b")),)


def test_a_burst_ends_with_what_the_wire_is_by_then() -> None:
    found = world(
        "[links.slow]\ndelay_ms = 90",
        '[[events]]\nkind = "loss-burst"\nnode = "nat-a"\nat_s = 0\nfor_s = 2\nloss = 0.5',
        '[[events]]\nkind = "link-change"\nnode = "nat-a"\nat_s = 1\nlink = "slow"',
    )
    slow = Link.both(delay_ms=90)
    assert found.timeline() == (
        (0.0, LossBurst("nat-a", 0.5, Link.both(delay_ms=10, loss=0.5))),
        (1.0, LinkChange("nat-a", "slow", slow)),
        (2.0, LossOver("nat-a", slow)),
    )


@pytest.mark.parametrize(
    ("table", "line", "said"),
    [
        ('[[events]]\nkind = "nat-reboot"\nat_s = 1', 0, "events.0: missing key 'node'"),
        ('[[events]]\nkind = "nat-rebot"\nat_s = 1', 1, "events.0.kind: unknown kind 'nat-rebot'"),
        ('[[events]]\nnode = "a"', 0, "events.0: missing key 'kind'"),
        ('[[events]]\nkind = "link-up"\nnode = "a"', 0, "events.0: it happens at_s or past_pat"),
        (
            '[[events]]\nkind = "link-up"\nnode = "a"\nat_s = 1\n'
            '[[events]]\nkind = "rebinding"\nat_s = 2\nnode = "a"',
            7,
            "events.1.node: no router is called 'a'",
        ),
        (
            '[[events]]\nkind = "roam"\nnode = "a"\nat_s = 2\nto = "lan-c"',
            4,
            "events.0.to: unknown network 'lan-c'",
        ),
        (
            '[[events]]\nkind = "silence"\nfor_s = 1\nat_s = 2\nnode = "a"',
            4,
            "events.0.node: unknown key",
        ),
        (
            '[expect]\noutcome = "direct"\nrecovers_within_s = 3',
            2,
            "expect.recovers_within_s: it ha",
        ),
        (f'[expect]\noutcome = "direct"\n{REBOOT}', 1, "expect.outcome: recovers_within_s is nee"),
        (f'[expect]\noutcome = "none"\nwithin_s = 3\n{REBOOT}', 2, "expect.within_s: it has no "),
        (
            '[links.slow]\nmtu = 1400\n[[events]]\nkind = "link-change"\nnode = "a"\nat_s = 0\n'
            'link = "slow"',
            6,
            "events.0.link: a link with an mtu",
        ),
        (
            '[[events]]\nkind = "switch"\nnode = "a"\nat_s = 0\nto = "lan-b"',
            4,
            "events.0.to: a has no interface on 'lan-b'; did you mean lan-a?",
        ),
        ('[life]\nrandom_ports = ["nat-z"]', 1, "life.random_ports: no router is called 'nat-z'"),
        ("[life]\npatience_s = 0", 1, "life.patience_s: Input should be greater than 0"),
    ],
)
def test_what_cannot_happen_is_refused_with_its_line(table: str, line: int, said: str) -> None:
    with pytest.raises(TopologyError) as error:
        world(table)
    assert f"mine.toml:{FIRST + line}: {said}" in error.value.message


def test_a_world_is_shown_with_what_happens_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'{HOMES}\n[[events]]\nkind = "nat-reboot"\nnode = "nat-b"\nat_s = 2.5\n')
    app(args=["world", "show", str(file)], standalone_mode=False)
    assert "after 2.5 s: nat-b reboots" in capsys.readouterr().out
    app(args=["world", "check", str(file)], standalone_mode=False)
    assert "; 1 events" in capsys.readouterr().out


def test_no_single_connection_is_made_in_a_world_in_which_something_happens(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'{HOMES}\n[[events]]\nkind = "nat-reboot"\nnode = "nat-b"\nat_s = 0\n')
    matrix = Request(MatrixWords(peers="ice", topology=str(file)))
    for asked in (lambda: require_sane(Cell("ice", (), str(file))), matrix.cells):
        with pytest.raises(UsageError, match="happens to an established path"):
            asked()


def test_the_documentation_tells_of_every_kind_of_event() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for kind in KINDS:
        assert f"`{kind}`" in page


# Of a node with several wires, each event names one


TWO_UPLINKS = (
    (FOLDER / "two-homes.toml")
    .read_text(encoding="utf-8")
    .replace(
        '[routers.nat-a]\nwan = "internet"',
        '[routers.nat-a]\nuplinks = [{ wan = "internet" }, { wan = "internet", link = "slow" }]',
    )
    .replace('option = "a"\nlink = "access"', 'option = "a"', 1)
)
SLOW = "[links.slow]\ndelay_ms = 90"


def two_uplinks(event: str) -> World:
    return parse("\n".join([TWO_UPLINKS.rstrip("\n"), SLOW, event]), "mine", "mine.toml")


def test_an_event_says_which_of_several_wires_it_befalls() -> None:
    cut = two_uplinks(
        '[[events]]\nkind = "link-down"\nnode = "nat-a"\ninterface = "wan1"\nat_s = 0\n'
        '[[events]]\nkind = "loss-burst"\nnode = "nat-a"\ninterface = "wan1"\nat_s = 1\nfor_s = 1'
    )
    slow = Link.both(delay_ms=90)
    lossy = Link.both(delay_ms=90, loss=1.0)
    assert cut.timeline() == (
        (0.0, LinkDown("nat-a", "wan1")),
        (1.0, LossBurst("nat-a", 1.0, lossy, "wan1")),
        (2.0, LossOver("nat-a", slow, "wan1")),
    )


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ('kind = "link-down"\nnode = "nat-a"', "nat-a has several wires: say interface, one of"),
        ('kind = "link-down"\nnode = "nat-a"\ninterface = "internet"', "several there; name one"),
        ('kind = "link-down"\nnode = "nat-a"\ninterface = "wan7"', "no interface on 'wan7'"),
        (
            'kind = "switch"\nnode = "nat-a"\nto = "internet"',
            "several there; name one of wan, wan1",
        ),
        ('kind = "dns-restart"', "no host answers names"),
    ],
)
def test_an_ambiguous_wire_is_refused_at_its_line(event: str, said: str) -> None:
    with pytest.raises(TopologyError, match=said) as error:
        two_uplinks(f"[[events]]\nat_s = 0\n{event}")
    assert "mine.toml:" in error.value.message


def test_a_router_switches_to_the_second_of_two_uplinks_on_one_network() -> None:
    found = two_uplinks('[[events]]\nkind = "switch"\nnode = "nat-a"\nto = "wan1"\nat_s = 0')
    there = found.topology("mine")
    assert there.interface("nat-a", "wan1").number == 1
    assert there.switched("nat-a", "wan1").node("nat-a").interfaces[0].name == "wan1"


def test_the_wire_of_a_tunnel_is_that_of_what_carries_it() -> None:
    vpn = (FOLDER / "life" / "vpn-goes-on.toml").read_text(encoding="utf-8")
    cut = '\n[[events]]\nat_s = 5.0\nkind = "link-down"\nnode = "laptop"'
    assert parse(vpn + cut, "mine", "mine.toml").timeline()[-1] == (5.0, LinkDown("laptop"))
    with pytest.raises(TopologyError, match="vpn is a tunnel, which has no wire of its own"):
        parse(vpn + cut + '\ninterface = "vpn"', "mine", "mine.toml")
