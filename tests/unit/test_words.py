"""Every word of every command has an effect, or is an error before anything is done."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from testbed import cli
from testbed.cli import app
from testbed.cli.words import EFFECTS, Command
from testbed.errors import UnfitError, UsageError
from testbed.lab import sandbox
from testbed.model.presets import FOLDER, preset
from testbed.run.folder import RunFolder
from testbed.run.record import begun
from testbed.stacks import registry as adapter
from testbed.studies.punch import external, selection

PEERS = preset("mesh-12").roles.peers

# For each word that can be without an effect: words beside which it is, and what is said of it.
USELESS: dict[tuple[str, str], list[tuple[str, str]]] = {
    ("plan", "a"): [("plan {fixed} -a pf", "-a has no effect")],
    ("plan", "b"): [("plan same-lan -b pf", "-b has no effect")],
    ("up", "a"): [("up {fixed} -a pf", "-a has no effect")],
    ("up", "b"): [("up home-and-public -b pf", "-b has no effect")],
    ("world check", "files"): [("world check carrier carrier", "WORLD names 'carrier' twice")],
    ("world show", "svg"): [],  # nothing else writes a file
    ("world show", "a"): [("world show {fixed} -a pf", "-a has no effect")],
    ("world show", "b"): [("world show same-lan -b pf", "-b has no effect")],
    ("compose render", "a"): [("compose render {fixed} -a pf", "-a has no effect")],
    ("compose render", "b"): [("compose render same-lan -b pf", "-b has no effect")],
    ("run", "peer"): [("run --replay x --peer ice", "--peer has no effect: --replay")],
    ("run", "a"): [
        ("run --replay x -a pf", "-a has no effect: --replay"),
        ("run --topology {fixed} -a pf", "-a has no effect"),
    ],
    ("run", "topology"): [("run --replay x --topology libp2p", "--topology has no effect")],
    ("run", "mode"): [("run --replay x --mode silent", "--mode has no effect")],
    ("run", "profiles_dir"): [("run --replay x --profiles-dir .", "--profiles-dir has no effect")],
    **{
        ("run", word): [(f"run --replay x --{word} {value}", f"--{word} has no effect: --replay")]
        for word, value in (
            ("delay", 1),
            ("jitter", 1),
            ("loss", 0),
            ("rate", 1),
            ("mtu", 1280),
            ("link", "lte"),
        )
    },
    ("run", "seed"): [("run --replay x --seed 0", "--seed has no effect")],
    ("run", "b"): [
        ("run --replay x -b pf", "-b has no effect"),
        ("run --topology same-lan -b pf", "-b has no effect"),
    ],
    ("run", "skew"): [
        ("run --replay x --skew 5", "--skew has no effect"),
        ("run --peer m --stack m=sh --mechanism dcutr_tcp --contract unified --skew 5", "skew"),
    ],
    ("run", "relay"): [
        ("run --replay x --relay go", "--relay has no effect"),
        ("run --relay gogo", "ice uses no libp2p relay"),
        ("run --relay traversal", "--relay has no effect: ice"),
    ],
    ("run", "stack"): [
        ("run --stack mine=sh --mechanism punch_udp", "--stack mine=... has no effect"),
        ("run --peer punch-udp --stack mine=sh --mechanism punch_udp", "remedy: --peer mine"),
        ("run --stack mine=sh", "go together"),
    ],
    ("run", "reads"): [
        ("run --reads tests", "of --stack, which is not given"),
        (
            "run --stack mine=sh --mechanism punch_udp --peer mine --reads /usr/lib",
            "--reads /usr/lib has no effect",
        ),
        (
            "run --stack mine=sh --mechanism punch_udp --peer mine --reads nowhere",
            "there is no such file or folder",
        ),
        (
            "run --stack mine=image:x --mechanism punch_udp --peer mine --reads .",
            "an image has its own files",
        ),
    ],
    ("run", "mechanism"): [("run --mechanism ice", "of --stack, which is not given")],
    ("run", "contract"): [("run --contract lines", "of --stack, which is not given")],
    ("matrix", "profiles"): [
        (
            "matrix --topology {fixed} --profiles classic",
            "--profiles has no effect: fixed takes no",
        ),
        ("matrix --profiles pf,pf", "--profiles names 'pf' twice"),
        ("matrix --profiles pf,", "has an empty name"),
        ("matrix --profiles pf,symmetric --select ice/pf--pf --peers ice", "names symmetric, and"),
        ("matrix --profiles clasic", "did you mean classic"),
    ],
    ("matrix", "peers"): [
        ("matrix --peers ice,ice", "--peers names 'ice' twice"),
        ("matrix --peers ice,punch-udp --select ice/*", "names punch-udp, and no cell"),
        ("matrix --peers libp2", "did you mean libp2p"),
    ],
    ("matrix", "select"): [
        ("matrix --select ice/* --select ice/*", "names 'ice/*' twice"),
        ("matrix --select ice/* --select no/such", "--select 'no/such' matches no cell"),
        ("matrix --select ice/ful-cone--symmetric", "did you mean ice/full-cone--symmetric"),
    ],
    ("matrix", "relay"): [
        ("matrix --relay go", "--relay has no effect: no stack here uses"),
        ("matrix --peers ice --relay traversal", "--relay has no effect"),
        ("matrix --peers traversal-tcp --relay traversal,traversal", "'traversal' twice"),
        ("matrix --peers traversal-tcp --relay traversl", "did you mean traversal"),
    ],
    ("matrix", "pairs"): [("matrix --peers ice,punch-udp --pairs all", "--pairs has no effect")],
    ("matrix", "jobs"): [("matrix --backend docker -j 99", "--jobs has no effect: an engine")],
    ("matrix", "junit"): [("matrix --junit a --svg ./a", "--junit and --svg name the same file")],
    ("matrix", "svg"): [("matrix --svg a --markdown a", "--svg and --markdown name the same")],
    ("matrix", "markdown"): [("matrix --markdown a --junit a", "name the same file")],
    ("matrix", "stack"): [
        ("matrix --peers ice --stack mine=sh --mechanism ice", "--stack mine=... has no effect"),
    ],
    ("matrix", "reads"): [("matrix --reads tests", "of --stack, which is not given")],
    ("matrix", "mechanism"): [("matrix --mechanism ice", "of --stack, which is not given")],
    ("matrix", "contract"): [("matrix --contract unified", "of --stack, which is not given")],
    ("mesh", "peer"): [
        ("mesh --peer ice " + " ".join(f"--at {name}=pion" for name in PEERS), "--peer ice has no"),
    ],
    ("mesh", "at"): [
        ("mesh --at dan=punch-udp", "--at dan=punch-udp has no effect"),
        ("mesh --peer ice --at dan=pion --select ann--ben", "--at dan=... has no effect"),
        ("mesh --at dan=ice --at dan=ice", "names 'dan=ice' twice"),
        ("mesh --peer ice --at dan=pion --at dan=libnice", "--at names 'dan' twice"),
    ],
    ("mesh", "backend"): [("mesh --backend docker", "a mesh is of namespaces")],
    ("run", "at"): [
        ("run --replay x --at a=ice", "--at has no effect: --replay"),
        ("run --peer ice --at a=ice", "--at a=ice has no effect: it runs that anyway"),
        ("run --at a=ice --at a=ice", "names 'a=ice' twice"),
    ],
    ("matrix", "at"): [
        ("matrix --peers ice --at a=ice", "--at a=ice has no effect: it runs that anyway"),
        ("matrix --peers ice --at zoe=ice", "zoe is no host in two-homes"),
    ],
    ("life", "at"): [
        ("life reboot --peer traversal-quic --at b=traversal-quic", "--at b=traversal-quic has no"),
        ("life reboot --at server=go", "server plays no part that a stack can be chosen for"),
    ],
    ("mesh", "a"): [("mesh -a pf", "-a has no effect")],
    ("mesh", "b"): [("mesh -b pf", "-b has no effect")],
    ("mesh", "select"): [
        ("mesh --select ann--* --select ann--*", "names 'ann--*' twice"),
        ("mesh --select ben--ann", "--select 'ben--ann' matches no pair"),
    ],
    ("mesh", "stack"): [
        ("mesh --peer ice --stack mine=sh --mechanism ice", "--stack mine=... has no effect"),
    ],
    ("mesh", "reads"): [("mesh --reads tests", "of --stack, which is not given")],
    ("mesh", "mechanism"): [("mesh --mechanism ice", "of --stack, which is not given")],
    ("mesh", "junit"): [("mesh --junit a --svg ./a", "name the same file")],
    ("mesh", "svg"): [("mesh --svg a --markdown a", "name the same file")],
    ("mesh", "markdown"): [("mesh --markdown a --junit a", "name the same file")],
    ("explain", "packets"): [("explain x --packets --json", "--packets has no effect: --json")],
    ("explain", "out"): [("explain {cell} -o out", "--out has no effect: ")],
    ("autonat", "profiles"): [
        ("autonat pf pf", "names 'pf' twice"),
        ("autonat pf --all", "PROFILES has no effect: --all decides it"),
    ],
    ("autonat", "jobs"): [("autonat pf --backend docker -j 99", "--jobs has no effect: an engine")],
    ("autonat", "junit"): [("autonat pf --junit a --svg ./a", "name the same file")],
    ("autonat", "svg"): [("autonat pf --svg a --markdown a", "name the same")],
    ("autonat", "markdown"): [("autonat pf --markdown a --junit a", "name the same file")],
    ("autonat", "client"): [("autonat pf --client traversal,traversal", "--client names")],
    ("autonat", "server"): [("autonat pf --server traversal,", "--server has an empty name")],
    ("life", "scenarios"): [
        ("life reboot reboot", "SCENARIOS names 'reboot' twice"),
        ("life reboot --all", "SCENARIOS has no effect: --all"),
    ],
    ("life", "profiles_dir"): [
        ("life steady --profiles-dir .", "of -a or -b or --topology, which is not given"),
    ],
    ("life", "topology"): [
        ("life steady --topology two-homes", "--topology has no effect: SCENARIOS decides it"),
    ],
    ("life", "a"): [("life --topology {fixed} -a pf", "-a has no effect: fixed takes")],
    ("life", "b"): [("life --topology {fixed} -b pf", "-b has no effect: fixed takes")],
    ("life", "peer"): [("life --all --peer ice,ice", "--peer names 'ice' twice")],
    ("life", "stack"): [
        (
            "life --all --peer punch-udp --stack mine=sh --mechanism punch_udp",
            "--stack mine=... has no effect",
        )
    ],
    ("life", "reads"): [("life --all --reads tests", "of --stack, which is not given")],
    ("life", "mechanism"): [("life --all --mechanism punch_udp", "of --stack, which is not given")],
    ("life", "jobs"): [("life --all --backend docker -j 99", "--jobs has no effect: an engine")],
    ("life", "junit"): [("life --all --junit a --svg ./a", "name the same file")],
    ("life", "svg"): [("life --all --svg a --markdown a", "name the same file")],
    ("life", "markdown"): [("life --all --markdown a --junit a", "name the same file")],
    ("study", "profiles"): [
        ("study x pf pf", "names 'pf' twice"),
        ("study x pf --all", "PROFILES has no effect: --all decides it"),
    ],
    ("study", "jobs"): [("study x pf --backend docker -j 99", "--jobs has no effect: an engine")],
    ("study", "junit"): [("study x pf --junit a --svg ./a", "name the same file")],
    ("study", "svg"): [("study x pf --svg a --markdown a", "name the same file")],
    ("study", "markdown"): [("study x pf --markdown a --junit a", "name the same file")],
    ("odds", "jobs"): [("odds --backend docker -j 99", "--jobs has no effect: an engine")],
    ("odds", "junit"): [("odds --junit a --svg ./a", "name the same file")],
    ("odds", "svg"): [("odds --svg a --markdown a", "name the same file")],
    ("odds", "markdown"): [("odds --markdown a --junit a", "name the same file")],
    ("relays", "population"): [
        ("relays --population carriers,carriers", "--population names 'carriers' twice")
    ],
    ("relays", "size"): [("relays --size 8,8", "--size names '8' twice")],
    ("relays", "peer"): [("relays --peer go-tcp,go-tcp", "--peer names 'go-tcp' twice")],
    ("relays", "kib"): [
        ("relays --workload requests --kib 64", "--kib has no effect: only a transfer has a size")
    ],
    ("relays", "jobs"): [("relays --backend docker -j 99", "--jobs has no effect: an engine")],
    ("relays", "junit"): [("relays --junit a --svg ./a", "name the same file")],
    ("relays", "svg"): [("relays --svg a --markdown a", "name the same file")],
    ("relays", "markdown"): [("relays --markdown a --junit a", "name the same file")],
    ("merge", "shards"): [("merge x x/ -o y", "SHARDS names 'x' twice")],
    ("merge", "differing"): [("merge x --differing kernel --differing kernel -o y", "twice")],
    ("merge", "junit"): [("merge x -o y --junit z --markdown z", "name the same file")],
    ("merge", "markdown"): [("merge x -o y --markdown z --junit z", "name the same file")],
    ("kubernetes", "words"): [
        ("kubernetes image -- --profile nine", "No such option"),
        ("kubernetes image -- --contract unified", "of --stack, which is not given"),
        ("kubernetes image -- --peers ice,ice", "--peers names 'ice' twice"),
    ],
    ("compare", "new"): [("compare {golden} {golden}", "is held against itself")],
    ("compare", "select"): [
        ("compare {golden} {other} --select no/such", "--select 'no/such' matches no pair"),
    ],
    ("compare", "times"): [("compare {golden} {other} --times 2", "--times has no effect")],
    ("golden", "results"): [("golden x x -o y", "RESULTS names 'x' twice")],
    ("nat probe", "profile"): [("nat probe pf --rules x.nft", "PROFILE has no effect: --rules")],
    ("nat probe", "out"): [("nat probe -o x.toml", "it is of --toml, which is not given")],
    ("nat probe", "wan"): [("nat probe --wan eth0", "it is of --rules, which is not given")],
    ("nat probe", "lan"): [("nat probe pf --lan br0", "it is of --rules, which is not given")],
    ("nat probe", "address"): [
        ("nat probe --address 1.2.3.4", "it is of --rules, which is not given"),
        ("nat probe --rules x --address 1.2.3.4 --address 1.2.3.4", "names '1.2.3.4' twice"),
    ],
    ("nat probe", "without"): [
        ("nat probe --without wg0", "it is of --rules, which is not given"),
        ("nat probe --rules x --without wg0 --without wg0", "names 'wg0' twice"),
    ],
    ("nat probe", "as_toml"): [("nat probe --toml --json", "--toml has no effect: --json")],
    ("nat certify", "profiles"): [
        ("nat certify pf pf", "PROFILES names 'pf' twice"),
        ("nat certify pf --all", "PROFILES has no effect: --all"),
    ],
    ("nat certify", "jobs"): [("nat certify --all -j 9 --backend docker", "an engine starts 4")],
    ("nat certify", "verbose"): [("nat certify pf -v --json", "--verbose has no effect: --json")],
    ("peer check", "mechanism"): [("peer check ice --mechanism punch_udp", "leave --mechanism")],
    ("peer check", "scene"): [("peer check ice --scene silent --scene silent", "'silent' twice")],
    ("build peers", "names"): [("build peers pion pion", "names 'pion' twice")],
}


def commands() -> Iterator[tuple[str, Any]]:
    """All of them, as typer has them."""

    def walk(group: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from walk(command, (*path, name))
            else:
                yield " ".join((*path, name)), command

    return walk(typer.main.get_command(app), ())


def test_every_command_and_every_option_is_in_the_table() -> None:
    """A new one must be entered, with what it takes to have an effect."""
    there = {name: {one.name for one in command.params} for name, command in commands()}
    assert {name: set(effects) for name, effects in EFFECTS.items()} == there


def test_every_command_is_held_against_the_table() -> None:
    assert [name for name, command in commands() if not isinstance(command, Command)] == []


def test_the_table_names_no_option_that_is_not_there() -> None:
    for effects in EFFECTS.values():
        for effect in effects.values():
            assert {*effect.beside, *effect.unless} <= effects.keys()


def test_each_word_that_can_be_without_effect_has_an_example_here() -> None:
    table = {
        (command, word)
        for command, effects in EFFECTS.items()
        for word, effect in effects.items()
        if effect.conditional
    }
    assert table == USELESS.keys()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Results to be named; and a cell's folder."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "cell").mkdir()
    (folder / "cell" / "cell.json").write_text("{}", encoding="utf-8")
    source = Path(__file__).parents[1] / "golden" / "matrix-default.json"
    (folder / "other.json").write_bytes(source.read_bytes())
    fixed = folder / "fixed.toml"  # a world that takes no NAT by option
    same_lan = (FOLDER / "same-lan.toml").read_text(encoding="utf-8")
    fixed.write_text(same_lan.replace('option = "a"', ""), encoding="utf-8")
    other = folder / "other.json"
    return {"cell": folder / "cell", "golden": source, "other": other, "fixed": fixed}


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and no lab: that begins with a sandbox, which is out of bounds here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sandbox, "enter", lambda *_: pytest.fail("a sandbox was entered"))
    known = dict(adapter._KNOWN)
    for module in (adapter, external, selection):
        monkeypatch.setattr(module, "ADAPTERS", known)
    monkeypatch.setattr(adapter, "_KNOWN", known)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"), [example for examples in USELESS.values() for example in examples]
)
def test_a_word_without_effect_is_refused_before_anything_is_made(
    words: str,
    message: str,
    files: dict[str, Path],
    nowhere: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(Exception) as refused:  # noqa: PT011 (typer's own, too)
        app(args=[word.format(**files) for word in words.split()], standalone_mode=False)
    assert cli._failed(refused.value) == 2
    said = capsys.readouterr()
    assert message in " ".join(said.err.replace("│", " ").split())
    assert said.out == ""
    assert list(nowhere.iterdir()) == []


def test_all_stacks_that_are_not_built_are_told_before_anything_is_certified(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTBED_PEERS", str(nowhere))
    with pytest.raises(UnfitError) as refused:
        app(args=["matrix", "--peers", "ice,pion,go-quic"], standalone_mode=False)
    for name in ("pion", "go-libp2p"):
        assert f"the peer {name} is not built" in str(refused.value)
    assert list(nowhere.iterdir()) == []


@pytest.mark.usefixtures("nowhere")
def test_an_image_is_refused_where_no_node_is_a_container() -> None:
    words = "run --peer mine --stack mine=image:mine --mechanism punch_udp"
    with pytest.raises(UsageError, match="mine is an image"):
        app(args=words.split(), standalone_mode=False)


def test_no_help_loses_a_word_to_markup() -> None:
    """What stands in square brackets is a style to who draws the help."""
    for path, command in commands():
        for param in command.params:
            told = getattr(param, "help", None) or ""
            assert "[" not in told, f"{path}: {param.name}"


def test_a_folder_in_which_a_run_is_at_work_is_refused_before_anything_is_measured(
    nowhere: Path,
) -> None:
    other = RunFolder(nowhere / "busy", begun("matrix"), ())
    with pytest.raises(UsageError, match="busy: another run writes there"):
        app(args=["matrix", "--profiles", "full-cone", "-o", "busy"], standalone_mode=False)
    other.release()
