"""Put small faults into the oracle, the verdict and the causes, and list what no test notices.

A seeded sample of all mutants is tried, each against the unit tests that run its line: the
quickest first, up to a limit.  A mutant that passes all of them survives.  Results go to DIR:
survivors.txt with a diff for each, report.json.  The exit code is 1 where the share of survivors
is not below the limit.  Mutants that change nothing are listed, with the reason, in
equivalent.toml beside this file.
"""

import argparse
import difflib
import json
import os
import random
import subprocess
import sys
import time
import tomllib
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mutation.coverage_map import merged
from mutation.mutants import Mutant, mutants
from mutation.trial import Fate, Trial, Watch, fate, prepare, start, wait
from testbed.lab import sandbox

ROOMS = ("testbed/predict", "testbed/verdict", "testbed/explain/causes")
LIMIT = 0.10  # of survivors
SECONDS = 90.0  # processor time of the tests for one mutant, without it
GROUPS = (1.0, 5.0, 20.0)  # seconds after which a group of them ends
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
NAMED = Path(__file__).with_name("named.toml")


@dataclass(frozen=True)
class LineMap:
    """Which test ran which line, and how long the tests take."""

    ran: dict[str, dict[str, list[str]]]
    seconds: dict[str, float]

    def of(self, mutant: Mutant) -> list[list[str]]:
        """The tests that concern ``mutant``, quickest first and in groups; up to `SECONDS`."""
        lines = self.ran.get(mutant.file, {})
        # What runs when the module is imported, such as a table, is run by no test of its own.
        names = lines.get(str(mutant.line)) or sorted({n for some in lines.values() for n in some})
        groups: list[list[str]] = [[] for _ in range(len(GROUPS) + 1)]
        total = 0.0
        for name in sorted(names, key=lambda name: (self.seconds[name], name)):
            total += self.seconds[name]
            if total > SECONDS and any(groups):
                break
            groups[bisect(GROUPS, total)].append(name)
        return [group for group in groups if group]

    def cost(self, groups: Sequence[Sequence[str]]) -> float:
        """Seconds of processor time that the tests take."""
        return sum(self.seconds[name] for group in groups for name in group)


def mapped(file: Path, rooms: Sequence[str], jobs: int) -> LineMap:
    """Run the unit tests once, and see which lines each of them runs."""
    words = ["-q", "-p", "mutation.coverage_map", f"--map={file}", f"--rooms={','.join(rooms)}"]
    command = [sys.executable, "-m", "pytest", *words, f"-n{jobs}", "tests/unit"]
    if subprocess.run(command, check=False).returncode:
        print("==> unit tests that fail without a mutant are left out", flush=True)
    file.write_text(json.dumps(merged(file)), encoding="utf-8")
    return known(file)


def known(file: Path) -> LineMap:
    return LineMap(**json.loads(file.read_text(encoding="utf-8")))


def every(rooms: Sequence[str]) -> Iterator[Mutant]:
    for room in map(Path, rooms):
        for path in [room] if room.is_file() else sorted(room.rglob("*.py")):
            yield from mutants(str(path), path.read_bytes())


def without_equivalent(found: Sequence[Mutant], file: Path) -> list[Mutant]:
    """``found`` without those listed as equivalent; an entry that names none is an error."""
    entries = tomllib.loads(file.read_text(encoding="utf-8")).get("mutant", [])
    listed = {(one["file"], one["before"], one["after"]) for one in entries if one["reason"]}
    left = [one for one in found if (one.file, one.before, one.after) not in listed]
    idle = listed - {(one.file, one.before, one.after) for one in found}
    if idle:
        raise SystemExit(f"==> {file}: no such mutant: {sorted(idle)}")
    return left


def tried(sample: Sequence[Mutant], tested: LineMap, jobs: int) -> dict[Mutant, Fate]:
    """The fate of each mutant, ``jobs`` at once."""
    fates: dict[Mutant, Fate] = {}
    running: dict[int, Mutant] = {}
    watches: dict[int, Watch] = {}
    left = list(reversed(sample))
    while left or running:
        while left and len(running) < jobs:
            mutant = left.pop()
            tests = tested.of(mutant)
            if not tests:
                fates[mutant] = Fate.UNTESTED
                continue
            limit = int(30 + 5 * tested.cost(tests))
            source = mutant.applied(Path(mutant.file).read_bytes())
            child = start(Trial(mutant.file, source, tests, limit))
            running[child], watches[child] = mutant, Watch(child)
        if running:
            child, status = wait(watches)
            mutant = running.pop(child)
            fates[mutant] = fate(status)
            del watches[child]
            if fates[mutant] is Fate.SURVIVED:
                print(f"{mutant.file}:{mutant.line}: {mutant.kind}\n{diff(mutant)}", flush=True)
            if len(fates) % 25 == 0:
                alive = sum(one in (Fate.SURVIVED, Fate.UNTESTED) for one in fates.values())
                print(f"{len(fates)} of {len(sample)} tried, {alive} survived", flush=True)
    return fates


def require_controls(sample: Sequence[Mutant], tested: LineMap) -> None:
    """What changes nothing must survive, and what no import gets past must not.

    Without the first no death proves anything, without the second no survival.
    """
    one = next((one for one in sample if tested.of(one)), None)
    if one is None:
        raise SystemExit("==> no test runs a line of the sample")
    same = replace(one, after=one.before)
    if tried([same], tested, 1)[same] is not Fate.SURVIVED:
        names = ", ".join(name for group in tested.of(one) for name in group)
        raise SystemExit(f"==> the tests fail without a mutant: {names}")
    end = Path(one.file).stat().st_size
    broken = replace(one, start=end, end=end, after="\nraise ValueError('a mutant')\n")
    if tried([broken], tested, 1)[broken] is not Fate.KILLED:
        raise SystemExit(f"==> {one.file} is not loaded with its mutant")


def named(file: Path) -> int:
    """Try the mutants of ``file``; 1 if a test is quiet about one."""
    alive = 0
    for one in tomllib.loads(file.read_text(encoding="utf-8"))["mutant"]:
        source = Path(one["file"]).read_text(encoding="utf-8")
        if source.count(one["before"]) != 1:
            raise SystemExit(f"==> {file}: {one['name']}: its text is not once in {one['file']}")
        mutated = source.replace(one["before"], one["after"]).encode()
        child = start(Trial(one["file"], mutated, [[test] for test in one["tests"]], 600))
        _, status = wait({child: Watch(child)})
        how = fate(status)
        alive += how is Fate.SURVIVED
        print(f"{how}: {one['name']} ({one['file']})", flush=True)
    return 1 if alive else 0


def diff(mutant: Mutant) -> str:
    source = Path(mutant.file).read_bytes()
    lines = difflib.unified_diff(
        source.decode().splitlines(), mutant.applied(source).decode().splitlines(), n=1, lineterm=""
    )
    return "\n".join(f"    {line}" for line in list(lines)[2:])


def report(out: Path, fates: dict[Mutant, Fate], seed: int, seconds: float) -> int:
    alive = sorted(one for one, how in fates.items() if how in (Fate.SURVIVED, Fate.UNTESTED))
    share = len(alive) / len(fates)
    shown = [f"{one.file}:{one.line}: {one.kind}, {fates[one]}\n{diff(one)}\n" for one in alive]
    (out / "survivors.txt").write_text("\n".join(shown), encoding="utf-8")
    figures = {
        "mutants": len(fates),
        "seed": seed,
        **{how.value: sum(one is how for one in fates.values()) for how in Fate},
        "share": round(share, 4),
        "seconds": round(seconds),
    }
    rows = [asdict(one) | {"fate": fates[one].value} for one in sorted(fates)]
    text = json.dumps({"summary": figures, "mutants": rows}, indent=1)
    (out / "report.json").write_text(text, encoding="utf-8")
    print("\n".join(shown))
    verdict = "below" if share < LIMIT else "NOT below"
    print(f"==> {len(alive)} of {len(fates)} mutants survived: {share:.1%}, {verdict} {LIMIT:.0%}")
    print(json.dumps({"mutation": figures}))
    return 0 if share < LIMIT else 1


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make mutate", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="mutants to try (300)")
    parser.add_argument("--seed", type=int, default=1, help="which mutants are chosen (1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at once (cores)")
    parser.add_argument("--out", type=Path, default=Path("out/mutation"), metavar="DIR")
    parser.add_argument("--map", type=Path, help="use the map of an earlier run, DIR/map.json")
    parser.add_argument("--equivalent", type=Path, default=EQUIVALENT, metavar="FILE")
    parser.add_argument("--named", action="store_true", help="try those of named.toml alone")
    parser.add_argument("--rooms", nargs="+", default=ROOMS, metavar="FOLDER", help="or modules")
    given = parser.parse_args(words)
    if given.named:
        given.out.mkdir(parents=True, exist_ok=True)
        sandbox.enter(given.out)
        prepare()
        return named(NAMED)
    started = time.monotonic()
    found = without_equivalent(list(every(given.rooms)), given.equivalent)
    sample = random.Random(given.seed).sample(found, min(given.count, len(found)))
    given.out.mkdir(parents=True, exist_ok=True)
    tested = (
        known(given.map) if given.map else mapped(given.out / "map.json", given.rooms, given.jobs)
    )
    print(f"==> {len(sample)} of {len(found)} mutants, seed {given.seed}", flush=True)
    sandbox.enter(given.out)  # once, instead of once for each mutant
    prepare()
    require_controls(sample, tested)
    fates = tried(sample, tested, given.jobs)
    return report(given.out, fates, given.seed, time.monotonic() - started)


if __name__ == "__main__":
    raise SystemExit(main())
