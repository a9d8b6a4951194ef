"""Shards put together: the whole run, or an error that names the shard."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_results import RUN, result

from testbed import __version__
from testbed.cli.commands.merge import merged, read
from testbed.errors import Exit, UsageError
from testbed.model.result import Result
from testbed.nat.load import named
from testbed.report.files import document
from testbed.report.stability import stabilities, unstable
from testbed.run.shards import MissingShardError, Shard, identity
from testbed.studies.punch.selection import Selection

CELLS = Selection(["full-cone", "symmetric"], ["full-cone"], ["punch-udp"], repeat=3).cells()
USED = {profile.name: profile for profile in named(["full-cone", "symmetric"])}
FACTS = {"kernel": "6.1", "python": "3.11"}
OF = 3

Change = Callable[[dict[str, Any]], object]


def row(name: str, **changes: Any) -> Result:
    cell = next(cell for cell in CELLS if cell.name == name)
    return result(cell.group, cell.repeat, **changes)


ROWS = [row(cell.name) for cell in CELLS]


def shard(folder: Path, number: int, change: Change = lambda _value: None, seed: int = 0) -> Path:
    run = identity(CELLS, USED, seed=seed, backend="namespaces", certified=True)
    cells, part = Shard(number, OF).of_run(CELLS)
    rows = [row(cell.name) for cell in cells]
    value = document(rows, FACTS, RUN, identity=run, shard=part).to_json()
    change(value)
    out = folder / f"shard-{number}"
    out.mkdir(exist_ok=True)
    (out / "results.json").write_text(json.dumps(value))
    return out


def put_together(folder: Path, *shards: Path, differing: tuple[str, ...] = ()) -> dict[str, Any]:
    merged(shards, folder / "all", differing, None, folder / "summary.md", as_json=False)
    value: dict[str, Any] = json.loads((folder / "all" / "results.json").read_text())
    return value


def test_merged_in_any_order_they_are_the_run_that_was_not_cut(tmp_path: Path) -> None:
    two, three, one = (shard(tmp_path, number) for number in (2, 3, 1))
    whole = document(ROWS, FACTS, RUN).to_json()
    found = put_together(tmp_path, two, three, one)
    run = found.pop("run")
    assert (run["study"], run["seed"], run["version"]) == ("merge", 0, __version__)
    assert found == {key: value for key, value in whole.items() if key != "run"}
    assert (tmp_path / "all" / "report.html").is_file()
    assert f"{len(CELLS)} of {len(CELLS)} cells" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_lost_shard_is_an_error_that_names_it(tmp_path: Path, lost: int) -> None:
    rest = [shard(tmp_path, number) for number in (1, 2, 3) if number != lost]
    with pytest.raises(MissingShardError, match=f"of 3 shards {lost} is missing") as caught:
        put_together(tmp_path, *rest)
    assert caught.value.exit_code == Exit.INCONCLUSIVE
    assert not (tmp_path / "all").exists()


def test_a_shard_that_is_there_twice_is_an_error_that_names_both(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    again = shard(tmp_path / "again", 2)
    with pytest.raises(UsageError, match=r"shard 2/3 is there twice: .*shard-2 and .*again"):
        put_together(tmp_path, *(shard(tmp_path, number) for number in (1, 2, 3)), again)


def test_a_shard_of_another_seed_is_foreign(tmp_path: Path) -> None:
    odd = shard(tmp_path, 2, seed=7)
    with pytest.raises(UsageError, match=r"shard-2, shard 2/3, .*: another seed: 7, not 0"):
        put_together(tmp_path, shard(tmp_path, 1), odd, shard(tmp_path, 3))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v["identity"].update(selection="x" * 64), "another selection$"),
        (lambda v: v["identity"].update(profiles="x" * 64), "another profiles$"),
        (lambda v: v["identity"].update(certified=False), "another certified: False, not T"),
        (lambda v: v["shard"].update(of=4), "has 3 shards"),
        (lambda v: v["facts"].update(python="3.13"), "python is '3.13', not '3.11'"),
        (lambda v: v["facts"].update(pion="4"), "only one of them tells the version of pion"),
        (lambda v: v["results"].pop(), "shard 2/3 is damaged"),
        (
            lambda v: v["shard"].update(places=[0] * len(v["results"])),
            "damaged|not those of the run",
        ),
        (lambda v: v["results"].reverse(), "not those of the run"),
    ],
)
def test_a_foreign_or_damaged_shard_is_an_error_that_says_why(
    tmp_path: Path, change: Change, words: str
) -> None:
    shards = shard(tmp_path, 1), shard(tmp_path, 2, change), shard(tmp_path, 3)
    with pytest.raises(UsageError, match=words):
        put_together(tmp_path, *shards)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.pop("shard"), "is no shard but a run of its own"),
        (lambda v: v.pop("identity"), "is no shard but a run of its own"),
        (lambda v: v.update(shard=3), "Input should be"),
        (lambda v: v["shard"].update(number=0), "number: Input should be greater"),
        (lambda v: v["shard"].update(number=5), "no shard 5 of 3"),
        (lambda v: v["identity"].pop("certified"), "certified: Field required"),
        (lambda v: v["results"][0].pop("group"), r"results\[0\]\.group: Field required"),
        (lambda v: v["results"][0].update(explanation={}), "explanation"),
        (lambda v: v.update(format=9), "format"),
    ],
)
def test_what_is_no_shard_is_refused_by_its_field(
    tmp_path: Path, change: Change, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        read(shard(tmp_path, 1, change))


def test_a_version_may_differ_only_where_that_was_allowed(tmp_path: Path) -> None:
    newer = shard(tmp_path, 2, lambda v: v["facts"].update(kernel="6.8"))
    shards = shard(tmp_path, 1), newer, shard(tmp_path, 3)
    with pytest.raises(UsageError, match="--differing kernel"):
        put_together(tmp_path, *shards)
    facts = put_together(tmp_path, *shards, differing=("kernel",))["facts"]
    assert facts == FACTS | {"kernel": "6.1 | 6.8"}


def ends(*judgements: str) -> list[Result]:
    outcomes = {"pass": "direct", "fail": "none", "inconclusive": None}
    names = [cell.name for cell in CELLS[: len(judgements)]]
    told = zip(names, judgements, strict=True)
    return [row(name, judgement=said, measured=outcomes[said]) for name, said in told]


def test_a_pair_that_ends_now_so_now_so_is_unstable_with_its_rate() -> None:
    (one,) = unstable(ends("pass", "pass", "fail"))
    assert one.words == ("2 of 3", "21% to 94%", "direct 2, none 1", "0")


def test_a_pair_that_fails_every_time_is_stable() -> None:
    assert not unstable(ends("fail", "fail", "fail"))


def test_trouble_of_the_harness_makes_no_pair_unstable_and_is_counted_apart() -> None:
    rows = ends("pass", "inconclusive", "pass")
    assert not unstable(rows)
    (one,) = stabilities(rows)
    assert (one.passed, one.judged, one.unjudged, one.stable) == (2, 2, 1, True)


def test_a_pair_that_was_never_judged_is_neither() -> None:
    rows = ends("inconclusive", "inconclusive")
    assert not unstable(rows)
    (one,) = stabilities(rows)
    assert not one.stable
    assert one.bounds is None
