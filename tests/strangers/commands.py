"""The commands that read files of strangers, each with a sound folder to begin with."""

import atexit
import io
import shutil
import signal
import sys
import tarfile
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock
from xml.etree import ElementTree

from explained_cells import matrix
from made_results import RUN, result

from strangers.mutants import SECRET, mutated
from testbed import cli
from testbed.cli.commands.compare import keep
from testbed.compose.source import Source
from testbed.errors import Exit, ProbeError
from testbed.files import write_json
from testbed.model.deviation import Case
from testbed.model.outcome import Outcome
from testbed.model.result import Result
from testbed.nat.load import catalogue, named
from testbed.report.files import document
from testbed.run.cell import Ran
from testbed.run.shards import Shard, identity
from testbed.run.store import Journal
from testbed.stacks import folders
from testbed.studies.punch.selection import Selection

HERE = Path(__file__).parent.parent
SECONDS = 20  # of processor time for one command
PATIENCE = 15  # times as long by the clock, for one that waits
GROUP = "ice/full-cone--symmetric"
DOCUMENTED = {int(one) for one in Exit} - {int(Exit.INTERRUPTED)}


class TooSlowError(BaseException):
    """A command took longer than any file may make it."""


@dataclass(frozen=True)
class Command:
    """``make`` fills a folder, which is ``@`` in its ``words``; ``lab``: it builds one."""

    name: str
    make: Callable[[Path], None]
    words: tuple[str, ...] | Callable[[Path], int]  # or what stands for a command
    lab: bool = False


@cache
def _causes() -> tuple[Path, ...]:
    """The folders of the recorded causes, unpacked once."""
    place = Path(tempfile.mkdtemp(prefix="causes-"))
    atexit.register(shutil.rmtree, place)
    with tarfile.open(HERE / "unit/captures/causes.tar.xz") as packed:
        packed.extractall(place)  # ours
    return tuple(sorted(found.parent for found in place.rglob("cell.json")))


def _cell(folder: Path) -> None:
    """One of the recorded causes, another one for each folder."""
    shutil.copytree(_chosen(_causes(), folder), folder / "cell")


def _chosen(some: Sequence[Path], folder: Path) -> Path:
    return some[sum(folder.name.encode()) % len(some)]


def _matrix(folder: Path) -> None:
    matrix(folder, profiles=("symmetric", "full-cone"), peers=("ice",), differing=("x",))


def _two(folder: Path) -> None:
    for name in ("before", "after"):
        _matrix(folder / name)


def _shards(folder: Path) -> None:
    cells = Selection(["full-cone", "symmetric"], ["full-cone"], ["punch-udp"], repeat=2).cells()
    used = {one.name: one for one in named(["full-cone", "symmetric"])}
    whole = identity(cells, used, seed=0, backend="namespaces", certified=True)
    for number in (1, 2):
        some, part = Shard(number, 2).of_run(cells)
        rows = [result(cell.group, cell.repeat) for cell in some]
        made = document(rows, {"kernel": "6.1"}, RUN, identity=whole, shard=part)
        (folder / f"part-{number}").mkdir()
        write_json(folder / f"part-{number}" / "results.json", made.to_json())


def _world(folder: Path) -> None:
    worlds = sorted((HERE.parent / "testbed/worlds").rglob("*.toml"))
    shutil.copy(_chosen(worlds, folder), folder / "world.toml")


def _rules(folder: Path) -> None:
    rules = sorted(one for one in (HERE / "conformance/rules").iterdir() if one.is_file())
    shutil.copy(_chosen(rules, folder), folder / "rules")


def _named(folder: Path) -> None:
    """A matrix of one cell, which is one of the recorded causes."""
    there = folder / "cells" / GROUP / "0"
    shutil.copytree(_chosen(_causes(), folder), there)
    rows = [result(GROUP, folder=str(there))]
    write_json(folder / "results.json", document(rows, {}, RUN).to_json())


def _profile(folder: Path) -> None:
    profiles = sorted((HERE.parent / "nat-profiles").glob("*.toml"))
    shutil.copy(_chosen(profiles, folder), folder / "profile.toml")


def _stack(folder: Path) -> None:
    """A folder of stacks with one in it: its manifest and its deviations."""
    known = sorted(one.parent for one in (HERE.parent / "images").glob("*/stack.toml"))
    chosen = _chosen(known, folder)
    (folder / chosen.name).mkdir()
    for file in chosen.glob("*.toml"):
        shutil.copy(file, folder / chosen.name)


def _read_stacks(folder: Path) -> int:
    """As every command does with `images`; what is read is used as a matrix does."""
    for one in folders.adapters(folder):
        print(one.name, one.mechanism, one.family, sorted(one.features), one.reads)
    nat = catalogue()["symmetric"].behaviour.udp
    for row in folders.deviations(folder):
        print(row.name, row.leads_to(Outcome.DIRECT))
        row.condition(Case("js-quic", "go-quic", True, nat, nat, Outcome.DIRECT))
    return 0


def _project(folder: Path) -> None:
    """A compose project, without the files that the engine reads."""
    given = tuple(named(["full-cone", "symmetric"]))
    source = Source("two-homes", tuple(one.name for one in given), 0, False, given)
    for name, text in source.files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def _golden(folder: Path) -> None:
    _matrix(folder / "after")
    with redirect_stdout(io.StringIO()):
        keep([folder / "after"], folder / "golden.json")


ASKED = ("matrix", "--profiles", "full-cone,symmetric", "--peers", "punch-udp", "--no-certify")


def _interrupted(folder: Path) -> None:
    """A matrix of which half was done."""
    cells = Selection(["full-cone", "symmetric"], ["full-cone", "symmetric"], ["punch-udp"]).cells()
    used = {one.name: one for one in named(["full-cone", "symmetric"])}
    whole = identity(cells, used, seed=0, backend="namespaces", certified=False)
    rows = [result(cell.group, cell.repeat) for cell in cells[: len(cells) // 2]]
    Journal(folder, document(rows, {}, RUN, identity=whole, asked=len(cells)))
    record = {"format": 1, "run": RUN.to_json(), "ended": False,
              "own": [{"folders": ["."], "names": ["results.jsonl"]}]}  # fmt: skip
    write_json(folder / "testbed-run.json", record)


COMMANDS = {
    one.name: one
    for one in (
        Command("report", _matrix, ("report", "@")),
        Command("explain", _cell, ("explain", "@/cell", "--packets")),
        Command("compare", _two, ("compare", "@/before", "@/after")),
        Command(
            "merge",
            _shards,
            (
                "merge",
                "@/part-1",
                "@/part-2",
                "--out",
                "@/whole",
                "--junit",
                "@/junit.xml",
                "--markdown",
                "@/summary.md",
            ),
        ),
        Command("replay", _cell, ("run", "--replay", "@/cell", "--out", "@/again")),
        Command("world", _world, ("world", "check", "@/world.toml")),
        Command("picture", _world, ("world", "show", "@/world.toml", "--svg", "@/world.svg")),
        Command("plan", _world, ("plan", "@/world.toml")),
        Command("render", _world, ("compose", "render", "@/world.toml", "-o", "@/p")),
        Command("project", _project, ("compose", "certify", "@")),
        Command("profile", _profile, ("nat", "show", "@/profile.toml")),
        Command("stack", _stack, _read_stacks),
        Command("resume", _interrupted, (*ASKED, "--resume", "-o", "@")),
        Command("named", _named, ("explain", GROUP, "-o", "@")),
        Command("keep", _matrix, ("golden", "@", "--out", "@/golden.json")),
        Command("golden", _golden, ("compare", "@/golden.json", "@/after")),
        Command("rules", _rules, ("nat", "probe", "--rules", "@/rules")),  # as far as nft
        Command("loading", _rules, ("nat", "probe", "--rules", "@/rules"), lab=True),
    )
}


@dataclass(frozen=True)
class Told:
    """What came of one command, and what is wrong with that: nothing, where it is well."""

    code: int | None
    out: str
    wrong: str


def told(command: Command, folder: Path, secret: Path) -> Told:
    """Run it in this process."""
    out, err, code, broke = io.StringIO(), io.StringIO(), None, ""
    before = secret.read_text(encoding="utf-8")
    with _no_lab(command), redirect_stdout(out), redirect_stderr(err):
        try:
            with _within(SECONDS):
                code = _called(command.words, folder)
        except TooSlowError:
            broke = f"it takes more than {SECONDS} s"
        except BaseException:
            broke = traceback.format_exc()
    said = out.getvalue() + err.getvalue()
    return Told(code, said, broke or _wrong(code, said, folder, secret, before))


def _called(words: tuple[str, ...] | Callable[[Path], int], folder: Path) -> int:
    """The exit code; what `main` would show a user is printed."""
    try:
        if callable(words):
            return words(folder)
        named = [word.replace("@", str(folder)) for word in words]
        return int(cli.app(named, standalone_mode=False) or 0)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 3
    except Exception as error:
        code = cli._failed(error)
        if code == Exit.INCONCLUSIVE and "internal error" in _last(sys.stderr):
            raise
        return code


def _last(stream: Any) -> str:
    return str(stream.getvalue().splitlines()[-2:])


def _wrong(code: int | None, said: str, folder: Path, secret: Path, before: str) -> str:
    if code not in DOCUMENTED:
        return f"exit code {code}"
    for line in said.split("\n"):
        if odd := [one for one in line if not one.isprintable() and one != "\t"]:
            return f"a command for a terminal, {odd[0]!r}, in {line!r}"
        if line.lstrip().startswith("::") or "##[" in line:
            return f"an order to a CI: {line!r}"
    if secret.read_text(encoding="utf-8") != before:
        return "it wrote into a file outside"
    for drawn in (*folder.rglob("*.xml"), *folder.rglob("*.svg")):
        try:
            ElementTree.parse(drawn)
        except ElementTree.ParseError as error:
            return f"{drawn.name} is not well-formed: {error}"
    shown = [said, *(one.read_text("utf-8", "replace") for one in _pages(folder))]
    if any(SECRET in one for one in shown):
        return "it shows a file outside"
    if any("<script>alert(1)" in one for one in shown[1:]):
        return "a page runs a stranger's script"
    return ""


def _pages(folder: Path) -> list[Path]:
    return [one for one in folder.rglob("*.html") if one.is_file() and not one.is_symlink()]


@contextmanager
def _within(seconds: int) -> Any:
    """So many of processor time, and many more of a clock: this machine may be busy."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TooSlowError

    before = [signal.signal(number, stop) for number in (signal.SIGALRM, signal.SIGPROF)]
    signal.alarm(seconds * PATIENCE)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for number, handler in zip((signal.SIGALRM, signal.SIGPROF), before, strict=True):
            signal.signal(number, handler)


def _none_more(*_: Any, done: Mapping[str, Result], **__: Any) -> list[Result]:
    """In place of a run: what was done before."""
    return [*done.values()]


@contextmanager
def _no_lab(command: Command) -> Any:
    """A cell that can be run again is not, and no NAT is measured: only what reads is tried."""
    unmeasured = ProbeError("it is not measured here")
    if command.lab:
        with mock.patch("testbed.certify.prober.probe", side_effect=unmeasured):
            yield
        return

    def run_cell(*_: Any, **__: Any) -> Ran:
        raise SystemExit(0)

    with (
        mock.patch("testbed.certify.foreign.router.understood", side_effect=unmeasured),
        mock.patch("testbed.cli.commands.compose.certified", return_value=[]),
        mock.patch("testbed.cli.commands.compose.require_root"),
        mock.patch("testbed.cli.commands.cells.run_matrix", _none_more),
        mock.patch("testbed.cli.commands.cells.require_ready"),
        mock.patch("testbed.cli.commands.cells.run_cell", run_cell),
        mock.patch("testbed.cli.commands.cells.facts", return_value={}),  # it asks programs
        mock.patch("testbed.lab.sandbox.enter", return_value=None),
    ):
        yield


def tried(command: Command, place: Path, seed: int) -> str:
    """What is wrong with how ``command`` took the mutant ``seed``; nothing, where it is well.

    ``place`` is empty and stays so.
    """
    secret, folder = place / "secret", place / f"mutant-{seed}"
    secret.write_text(SECRET, encoding="utf-8")
    folder.mkdir()
    try:
        command.make(folder)
        mutated(folder, seed, secret)
        return told(command, folder, secret).wrong
    finally:
        with suppress(OSError):
            shutil.rmtree(folder)
        secret.unlink()
