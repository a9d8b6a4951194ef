"""Harm each process of a lab, and its machine, at random moments, and look for a wrong verdict.

All that ended is kept in DIR as lines of JSON, and so a run can go on where it was left.  The table
goes to figures.json and FIGURES.md beside this module.  The exit code is 1 where a verdict was
wrong, something was left behind, anything crashed, or a situation does not pass undisturbed.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from ordinary import copy_for_everybody, ordinary_user, readable_python

from chaos import table
from chaos.harms import Injection, injections, on_containers
from chaos.leftovers import PRIVATE
from chaos.situations import DEADLINE, SITUATIONS, Situation
from chaos.trial import Ended, Machine, told, trial, undisturbed
from testbed.lab import sandbox
from testbed.lab.forked import forked

HERE = Path(__file__).parent
SLACK = 120.0  # seconds beyond a try's deadline, after which a trial hangs
GRACE = 25.0  # seconds for those that are under way when no more are to begin
JOBS = 10
ROUNDS = 3  # in which each situation has to come to its verdict undisturbed


def main(words: Sequence[str] | None = None) -> int:
    given = _given(words)
    if given.ordinary:
        return _as_ordinary(given)
    given.out.mkdir(parents=True, exist_ok=True)
    sandbox.enter(given.out, given.table)
    machine = Machine(given.out, given.containers)
    journal = given.out / "ended.jsonl"
    end = time.monotonic() + given.seconds
    right = _known(given.out / "undisturbed.json", machine, given)
    planned = injections(given.moments, given.seed, _chosen(given))
    if given.containers:
        planned = on_containers(planned)
    planned = planned[: given.count]
    ended = _read(journal)
    done = {one.number for one in ended}
    todo = [one for one in planned if one.number not in done and one.situation in right]
    with journal.open("a", encoding="utf-8") as file:
        for found in _ran(todo, right, machine, given.jobs, end):
            ended.append(found)
            file.write(json.dumps(found.to_json()) + "\n")
            file.flush()
    ends = {name: [row.measured for row in one.rows] for name, one in right.items()}
    run = table.as_run(ended, ends, given.seed, platform.release())
    who = "an ordinary user" if _ordinary() else "root"
    name = f"as {who}, {'containers' if given.containers else 'namespaces'}"
    table.write(given.table, name, run)
    left = len(planned) - len(ended)
    print(json.dumps({"chaos": {"run": name, "left to do": left, **run["total"]}}))
    for one in ended:
        _show(one, table.fate(one, ends))
    unknown = [one.name for one in _chosen(given) if one.name not in right]
    if unknown:
        print(f"not measured, as undisturbed they did not pass: {', '.join(unknown)}")
    bad = any(run["total"][one] for one in ("wrong", "left", "crashed"))
    return int(bad or bool(unknown) or not ended)


def _given(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument(
        "--moments", type=int, default=20, help="at which each process is killed, and stopped (20)"
    )
    parser.add_argument("--count", type=int, help="injections to do, the first ones (all)")
    parser.add_argument("--seed", type=int, default=7, help="which, and at which moments (7)")
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"labs at once ({JOBS})")
    parser.add_argument(
        "--seconds", type=float, default=1e9, help="begin nothing new after so many"
    )
    parser.add_argument("--out", type=Path, default=Path("out/chaos"), metavar="DIR")
    parser.add_argument("--table", type=Path, default=HERE, metavar="DIR", help="for the table")
    parser.add_argument("--only", nargs="+", metavar="SITUATION", help="instead of all")
    parser.add_argument("--containers", action="store_true", help="labs of containers (root)")
    parser.add_argument(
        "--ordinary", action="store_true", help="as a user without any privilege (root)"
    )
    given = parser.parse_args(words)
    given.out, given.table = given.out.absolute(), given.table.absolute()
    for hidden in PRIVATE:
        if HERE.is_relative_to(hidden):
            parser.error(
                f"the project is below {hidden}, of which each trial has one of its own: "
                "run it in a copy of the project elsewhere"
            )
    for name in given.only or ():
        if name not in SITUATIONS:
            parser.error(f"no situation {name!r}: one of {', '.join(SITUATIONS)}")
    return given


def _chosen(given: argparse.Namespace) -> list[Situation]:
    return [
        one
        for name, one in SITUATIONS.items()
        if name in (given.only or SITUATIONS) and (one.contained or not given.containers)
    ]


def _ordinary() -> bool:
    return Path("/proc/self/uid_map").read_text(encoding="utf-8").split()[2] == "1"


def _as_ordinary(given: argparse.Namespace) -> int:
    """The same command by a user without privilege, with a copy; his table is added to ours."""
    results = given.out / "ordinary"
    results.mkdir(parents=True, exist_ok=True)
    subprocess.run(["chown", "-R", "12345:12345", str(results)], check=True)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:  # each trial has a /tmp of its own
        Path(name).chmod(0o755)
        copy = Path(name, "copy")
        environment = copy_for_everybody(copy, "tests/chaos", "tests/ordinary.py")
        environment["PYTHONPATH"] += f":{copy / 'tests'}"
        words = [f"--moments={given.moments}", f"--seed={given.seed}", f"--jobs={given.jobs}"]
        words += [f"--seconds={given.seconds}", f"--out={results}", f"--table={results}"]
        words += [f"--count={given.count}"] if given.count else []
        words += ["--only", *given.only] if given.only else []
        command = [readable_python(), "-m", "chaos", *words]
        done = subprocess.run(
            command, env=environment, cwd=copy, check=False,
            **ordinary_user(),  # type: ignore[call-overload]
        )  # fmt: skip
    figures = results / "figures.json"
    for run, told_ in json.loads(figures.read_text(encoding="utf-8")).items():
        table.write(given.table, run, told_)
    return int(done.returncode)


def _known(file: Path, machine: Machine, given: argparse.Namespace) -> dict[str, Ended]:
    """How each situation ends undisturbed, measured once for a folder; those that passed."""
    known: dict[str, Ended] = {}
    if file.exists():
        told_ = json.loads(file.read_text(encoding="utf-8"))
        known = {name: Ended.from_json(one) for name, one in told_.items()}
    for jobs in (given.jobs, 4, 2)[:ROUNDS]:
        missing = [one for one in _chosen(given) if one.name not in known]
        tasks = [_task(partial(undisturbed, one, machine)) for one in missing]
        for index, output, _ in forked(tasks, jobs, DEADLINE + SLACK):
            ended = Ended.from_json(json.loads(output)) if output else None
            if ended and ended.rows and all(row.judgement == "pass" for row in ended.rows):
                known[missing[index].name] = ended
            else:
                print(f"{missing[index].name}, undisturbed: {ended}", file=sys.stderr)
    values = {name: one.to_json() for name, one in known.items()}
    file.write_text(json.dumps(values), encoding="utf-8")
    return known


def _task(work: Callable[[], Ended]) -> Callable[[int], bytes]:
    def run(_slot: int) -> bytes:
        try:
            return told(work())
        except Exception:
            traceback.print_exc()
            raise

    return run


def _read(journal: Path) -> list[Ended]:
    if not journal.exists():
        return []
    return [Ended.from_json(json.loads(line)) for line in journal.read_text().splitlines()]


def _ran(
    todo: Sequence[Injection], right: dict[str, Ended], machine: Machine, jobs: int, end: float
) -> Iterator[Ended]:
    """How each ended, as it ends; none begins after ``end``."""

    def work(one: Injection) -> Ended:
        if time.monotonic() > end:
            raise SystemExit(0)
        return trial(one, one.moment * right[one.situation].up_s, machine)

    tasks = [_task(partial(work, one)) for one in todo]
    for index, output, seconds in forked(tasks, jobs, DEADLINE + SLACK):
        if time.monotonic() > end + GRACE:
            return
        one = todo[index]
        if output:
            yield Ended.from_json(json.loads(output))
        elif seconds > DEADLINE:
            yield Ended(
                one.number, one.situation, one.victim, one.harm.value, None, 0.0, seconds,
                (), (), "", "it hangs",
            )  # fmt: skip


def _show(one: Ended, how: table.Fate) -> None:
    if how.word == "wrong" or how.left or how.crashed:
        print(f"{one.number} {one.situation}: {one.victim}, {one.harm} at {one.after_s}: {how}")
        print(f"    {one.harmed}; {one.rows}; {one.left}; {one.error}; {one.said[-1500:]}")


if __name__ == "__main__":
    os.environ.pop("TESTBED_PROFILES", None)
    raise SystemExit(main())
