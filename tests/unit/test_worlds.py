"""A world is a file; what is wrong in it is refused with its line."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from testbed.cli import app
from testbed.errors import ProfileError, TestbedError, TopologyError, UsageError
from testbed.model import world
from testbed.model.links import CATALOGUE, LinkTable
from testbed.model.outcome import Outcome
from testbed.model.prediction import Prediction
from testbed.model.presets import FOLDER, PRESETS, asked, find, preset
from testbed.model.reason import Stated, UpgradesOff
from testbed.model.topology import Conditions, Impairment, Link, Topology
from testbed.model.world import parse
from testbed.nat.load import catalogue
from testbed.plan.planner import plan
from testbed.run.judging import too_slow
from testbed.stacks import registry
from testbed.studies.punch.attempt import Account
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import prediction
from testbed.studies.punch.sound import require_sane
from testbed.words.reasons import sentence

NESTED = """\
title = "A NAT inside another home's LAN"
source = "none: an example"

[networks]
home = "private"
inner = "private"

[links.dsl]
delay_ms = 12
jitter_ms = 2
up = { rate_mbit = 1 }
down = { rate_mbit = 16, delay_ms = 14 }

[routers.outer]
wan = "internet"
lan = "home"
profile = "linux-home"
link = "dsl"

[routers.nested]
wan = "home"
lan = "inner"
profile = "symmetric"
option = "a"

[hosts.phone]
network = "inner"

[hosts.desk]
network = "home"

[hosts.vps]
network = "internet"
addresses = 2

[roles]
a = "phone"
b = "desk"
relay = "vps"
observers = []
"""


def refused(text: str) -> str:
    with pytest.raises(TestbedError) as error:
        parse(text, "nested", "nested.toml")
    return error.value.message


@pytest.mark.parametrize("name", PRESETS)
def test_every_world_is_planned_with_the_profiles_that_it_names(name: str) -> None:
    assert plan(preset(name), catalogue()).topology.name == name


def test_the_schema_on_record_is_the_models() -> None:
    remedy = "python -m testbed.model.world"
    assert world.SCHEMA.read_text(encoding="utf-8") == world.schema(), remedy
    assert json.loads(world.schema())["additionalProperties"] is False


def test_a_file_becomes_the_topology_that_it_describes() -> None:
    topology = parse(NESTED, "nested", "nested.toml").topology("nested", ["full-cone"])
    assert [one.name for one in topology.path_out("phone")] == ["nested", "outer"]
    inner, home = topology.router_serving("inner"), topology.router_serving("home")
    assert inner is not None
    assert home is not None
    assert inner.profile == "full-cone"
    assert topology.roles.a == "phone"
    assert topology.observers == ()
    dsl = home.link
    assert dsl.up == Impairment(delay_ms=12, jitter_ms=2, rate_mbit=1)
    assert dsl.down == Impairment(delay_ms=14, jitter_ms=2, rate_mbit=16)


def test_a_router_without_an_option_keeps_its_profile() -> None:
    found = parse(NESTED, "nested", "nested.toml")
    assert found.options == ("a",)
    assert found.chosen("nested", []) == ("symmetric",)
    with pytest.raises(UsageError, match="takes 1 NAT"):
        found.chosen("nested", ["full-cone", "symmetric"])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("delay_ms = 12", "delay_mss = 12", ":9: links.dsl.delay_mss: unknown key; did you mean d"),
        ("delay_ms = 12", 'delay_ms = "12"', ":9: links.dsl.delay_ms: Input should be a valid num"),
        ("delay_ms = 12", "delay_ms = nan", ":9: links.dsl.delay_ms: Input should be a finite"),
        ("jitter_ms = 2", "jitter_ms = 20", ":8: links.dsl: delay 12.0 ms +- 20.0 ms: need 0 <="),
        ('profile = "linux-home"\n', "", ":14: routers.outer: missing key 'profile'"),
        ('network = "home"', 'network = "hom"', ":29: hosts.desk: unknown network 'hom'"),
        ('link = "dsl"', "", ":8: links.dsl: no router and no host uses it"),
        (
            'link = "dsl"',
            'link = "dls"',
            ":18: routers.outer.link: unknown link 'dls'; did you mean dsl?",
        ),
        ('home = "private"', 'home = "public"', ":5: networks.home: Input should be 'private'"),
        ('option = "a"', 'option = "b"', "a router has option b, and none has option a"),
        ('a = "phone"', 'a = "fone"', ":37: roles.a: no host is called 'fone'"),
        ('a = "phone"', 'a = "outer"', ":37: roles.a: no host is called 'outer'"),
        (
            'a = "phone"',
            'peers = ["phone", "desk", "fone"]',
            ":37: roles.peers: no host is called 'fone'",
        ),
        (
            'a = "phone"',
            'peers = ["phone", "desk", "phone"]',
            ":37: roles.peers: 'phone' is named twice",
        ),
        ("[hosts.desk]", "[hosts.desk", ":29: "),
        ("[routers.outer]", '[routers."a b"]', "node name 'a b'"),
        (
            "addresses = 2",
            "addresses = true",
            ":34: hosts.vps.addresses: Input should be a valid i",
        ),
        ('wan = "home"', 'wan = "inner"', ":20: routers.nested: routers serve one another"),
        ("[roles]", "[rolls]", ":36: rolls: unknown key; did you mean roles?"),
        ('profile = "symmetric"', 'profile = "./s.toml"', ":23: routers.nested.profile: String sh"),
        ('title = "A', 'title = " "  # "A', ":1: title: "),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(old: str, new: str, said: str) -> None:
    assert old in NESTED
    assert said in refused(NESTED.replace(old, new, 1))


def test_all_faults_of_a_file_are_told_at_once() -> None:
    text = NESTED.replace("jitter_ms", "giter_ms").replace("delay_ms", "daily_ms")
    assert len(refused(text).splitlines()) == 3


def test_a_file_is_found_by_its_path_and_called_by_its_stem(tmp_path: Path) -> None:
    (tmp_path / "nested.toml").write_text(NESTED, encoding="utf-8")
    found = asked("nested.toml", tmp_path)
    assert (found.name, found.own) == ("nested", True)
    assert find(found.word) == found


def test_the_copy_of_a_world_of_ours_is_ours(tmp_path: Path) -> None:
    copy = tmp_path / "carrier.toml"
    copy.write_bytes((FOLDER / "carrier.toml").read_bytes())
    assert asked(str(copy)).word == "carrier"


def test_another_world_of_a_name_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "carrier.toml").write_text(NESTED, encoding="utf-8")
    with pytest.raises(TopologyError, match="world of the testbed's own called carrier"):
        asked(str(tmp_path / "carrier.toml"))


@pytest.mark.parametrize("name", ["two--homes.toml", "a b.toml", "-x.toml"])
def test_a_file_whose_name_does_not_do_for_a_world_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(NESTED, encoding="utf-8")
    with pytest.raises(TopologyError, match="does not do for one"):
        asked(str(tmp_path / name))


def test_a_file_that_is_not_there_is_told_by_its_path() -> None:
    with pytest.raises(TopologyError, match=r"nowhere\.toml: No such file"):
        asked("./nowhere.toml")


def test_an_unknown_name_says_how_a_file_is_named() -> None:
    with pytest.raises(UsageError, match="did you mean") as error:
        asked("carier")
    assert "./my.toml" in str(error.value.remedy)


def expecting(folder: Path, text: str, **changes: Any) -> Prediction:
    """What a cell in a lossy world is held to."""
    file = folder / "lossy.toml"
    same = (FOLDER / "two-homes.toml").read_text(encoding="utf-8")
    lossy = same.replace("delay_ms = 10", "delay_ms = 10\nloss = 0.05")
    file.write_text(f"{lossy}\n[expect]\n{text}\n", encoding="utf-8")
    cell = Cell("punch-udp", ("linux-home", "linux-home"), str(file))
    return prediction(replace(cell, **changes), catalogue())


def test_what_a_file_expects_stands_in_place_of_the_models_prediction(tmp_path: Path) -> None:
    told = expecting(tmp_path, 'outcome = "none"\nwithin_s = 3')
    assert (told.outcome, told.within_s) == (Outcome.NONE, 3)
    assert isinstance(told.reason, Stated)
    assert told.reason.model is Outcome.DIRECT
    assert "the world's file expects it within 3 s; the model says direct" in sentence(told.reason)


@pytest.mark.parametrize(
    "changes",
    [
        {"profiles": ("symmetric", "linux-home")},
        {"mode": "silent"},
        {"conditions": Conditions(delay_ms=30)},
    ],
)
def test_what_a_file_expects_holds_for_its_own_nats_and_links_alone(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert expecting(tmp_path, 'outcome = "relayed"', **changes).outcome is not Outcome.RELAYED


@pytest.mark.parametrize(
    ("took", "outcome", "found"),
    [(2.9, Outcome.DIRECT, 0), (3.1, Outcome.DIRECT, 1), (3.1, Outcome.NONE, 0)],
)
def test_what_comes_later_than_a_file_expects_is_a_breach(
    took: float, outcome: Outcome, found: int
) -> None:
    expected = Prediction(Outcome.DIRECT, UpgradesOff(), (), within_s=3)
    account = Account((), None, None, (), None, settled_s=took)
    assert len(too_slow(account, outcome, expected)) == found


def test_conditions_hold_for_all_links_to_the_internet_and_for_no_other() -> None:
    cell = Cell("ice", ("pf", "pf"), "carrier", conditions=Conditions(loss=0.1, mtu=1400))
    cgn, home, _ = cell.build().routers
    assert cgn.link.up == cgn.link.down == Impairment(delay_ms=10, loss=0.1)
    assert (cgn.link.mtu, home.link) == (1400, Link())
    assert cell.pair == "carrier/ice/pf--pf.loss-0.1.mtu-1400"


def test_the_check_tells_where_an_unknown_profile_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = NESTED.replace('"symmetric"', '"symetric"')
    (tmp_path / "nested.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError) as error:
        app(args=["world", "check", "./nested.toml"], standalone_mode=False)
    assert error.value.message.startswith("./nested.toml:23: routers.nested.profile: unknown prof")
    assert error.value.remedy == "did you mean symmetric?"


def test_a_world_is_drawn_on_a_terminal_and_as_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "carrier.svg"
    app(args=["world", "show", "carrier", "-a", "pf", "--svg", str(picture)], standalone_mode=False)
    said = capsys.readouterr().out
    for words in ("internet", "cgn  carrier-grade", "nat-a  pf (-a)", "b  listens", "[10 ms]"):
        assert words in said
    root = ElementTree.parse(picture).getroot()
    texts = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"cgn", "nat-a", "nat-b", "a", "b", "dials", "pf (-a)", "10 ms"} <= set(texts)


def test_a_relay_behind_a_router_is_of_a_stack_that_can_tell_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others would tell peers an address that nobody outside reaches."""
    mute = replace(registry.ADAPTERS["js-quic"], features=frozenset())
    file = tmp_path / "hidden.toml"
    text = NESTED.replace('[hosts.vps]\nnetwork = "internet"', '[hosts.vps]\nnetwork = "home"')
    file.write_text(text, encoding="utf-8")
    require_sane(Cell("traversal-quic", (), str(file)))
    require_sane(Cell("ice", (), str(file)))
    require_sane(Cell("traversal-quic", (), str(file), relay="js"))
    monkeypatch.setitem(registry._KNOWN, "js-quic", mute)
    with pytest.raises(UsageError, match="relay of hidden is behind outer"):
        require_sane(Cell("traversal-quic", (), str(file), relay="js"))


def test_the_example_of_the_documentation_is_a_world() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    section = page.split("## A file")[1].split("## Links")[0]
    found = parse(dedent(section), "mine", "README.md")
    topology = found.topology("mine", ["full-cone", "pf"])
    assert [router.profile for router in topology.path_out("laptop")] == ["full-cone", "linux-home"]
    assert plan(topology, catalogue())


def test_the_documentation_tells_of_every_key_of_a_link() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for key in {*LinkTable.model_fields} - {"up", "down"}:
        assert f"`{key}`" in page


def linked(link: str, *tables: str) -> Topology:
    """Two homes, with ``tables`` of links, of which ``nat-a`` has ``link``."""
    same = find("two-homes").text.replace('link = "access"', f'link = "{link}"', 1)
    return parse("\n".join([same, *tables]), "mine", "mine.toml").topology("mine")


def test_a_link_of_the_catalogue_needs_no_table() -> None:
    topology = linked("lte")
    router = topology.routers[0]
    assert router.link == CATALOGUE["lte"].link()
    assert router.link.up.jitter_ms > router.link.down.jitter_ms > 0


def test_a_table_of_that_name_is_the_one_that_is_meant() -> None:
    topology = linked("lte", "[links.lte]", "delay_ms = 3")
    assert topology.routers[0].link == Link.both(delay_ms=3.0)


def test_a_link_like_another_has_what_it_does_not_say_itself() -> None:
    said = ("[links.train]", 'like = "lte"', "loss = 0.05", "up = { delay_ms = 90 }")
    link = linked("train", *said).routers[0].link
    usual = CATALOGUE["lte"].link()
    assert link.up == replace(usual.up, loss=0.05, delay_ms=90)
    assert link.down == replace(usual.down, loss=0.05)


@pytest.mark.parametrize(
    ("link", "table", "words"),
    [
        ("ltee", "", "did you mean lte?"),
        ("train", '[links.train]\nlike = "ltee"', "no link of the catalogue is called 'ltee'"),
    ],
)
def test_an_unknown_link_is_named(link: str, table: str, words: str) -> None:
    with pytest.raises(TopologyError) as caught:
        linked(link, table)
    assert words in str(caught.value)
    assert "mine.toml:" in str(caught.value)


def test_a_link_of_the_catalogue_stands_for_that_of_each_home() -> None:
    cell = Cell("ice", ("pf", "pf"), conditions=Conditions(link="3g", loss=0.1))
    usual = CATALOGUE["3g"].link()
    topology = cell.build()
    assert {one.link.up for one in topology.routers} == {replace(usual.up, loss=0.1)}
    assert topology.host("server").link.up == Impairment(delay_ms=10, loss=0.1)
    public = Cell("ice", (), "public-both", conditions=Conditions(link="3g")).build()
    assert public.host(public.roles.a).link == public.host(public.roles.b).link == usual
    assert cell.pair == "ice/pf--pf.loss-0.1.link-3g"


def test_every_link_of_the_catalogue_has_a_source_and_is_in_the_documentation() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name, one in CATALOGUE.items():
        assert name in page
        assert one.source
        assert one.link().up.delay_ms
