"""Put small faults into the oracle, the verdict and the causes, and list what no test notices.

A seeded sample of all mutants is tried, each against the unit tests that run its line: the
quickest first, up to a limit.  A mutant that passes all of them survives.  Results go to DIR:
survivors.txt with a diff for each, report.json.  The exit code is 1 where the share of survivors
is not below the limit.  Mutants that change nothing are listed, with the reason, in
equivalent.toml beside this file.

A busy machine decides nothing: processor time is what limits a trial, a test has to fail twice,
and at the end each test that noticed a mutant must pass without one.  What is known is kept as it
comes, in DIR/map.json and DIR/fates.jsonl, and the next run goes on from there: it tries again
what a change of the program or of the tests leaves open.
"""

import argparse
import difflib
import hashlib
import json
import os
import subprocess
import sys
import time
import tomllib
from bisect import bisect
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from mutation import coverage_map
from mutation.ledger import End, Ledger
from mutation.mutants import Mutant, mutants
from mutation.trial import ALIVE, LIBRARIES, Child, Fate, Trial, fate, prepare, start, wait
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
        names = lines.get(str(mutant.line)) or self._importing(mutant.file)
        groups: list[list[str]] = [[] for _ in range(len(GROUPS) + 1)]
        total = 0.0
        for name in sorted(names, key=lambda name: (self.seconds[name], name)):
            total += self.seconds[name]
            if total > SECONDS and any(groups):
                break
            groups[bisect(GROUPS, total)].append(name)
        return [group for group in groups if group]

    def _importing(self, file: str) -> list[str]:
        """What runs when a module is imported, such as a table, is run by no test of its own.

        Concerned are the tests that run anything of it, and those of files that import it.
        """
        ran = {name for some in self.ran.get(file, {}).values() for name in some}
        if not ran:
            return []
        files = coverage_map.importing(file)
        return sorted(ran | {name for name in self.seconds if name.partition("::")[0] in files})

    def without(self, names: Collection[str]) -> "LineMap":
        """The same, where the tests ``names`` count for nothing."""
        ran = {
            file: {line: [one for one in some if one not in names] for line, some in lines.items()}
            for file, lines in self.ran.items()
        }
        return replace(self, ran=ran)

    def cost(self, groups: Sequence[Sequence[str]]) -> float:
        """Seconds of processor time that the tests take."""
        return sum(self.seconds[name] for group in groups for name in group)


def mapped(file: Path, rooms: Sequence[str], jobs: int) -> LineMap:
    """Run the unit tests, and see which lines each of them runs; not those that ``file`` knows."""
    digests = coverage_map.digests(rooms)
    old = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    new = coverage_map.changed(old.get("digests", {}), digests)
    if new:
        words = ["-q", "-p", "mutation.coverage_map", f"--map={file}", f"--rooms={','.join(rooms)}"]
        command = [sys.executable, "-m", "pytest", *words, f"-n{jobs}", *new]
        if subprocess.run(command, check=False).returncode:
            print("==> unit tests that fail without a mutant are left out", flush=True)
    found = coverage_map.merged(file, old, new) | {"digests": digests}
    file.write_text(json.dumps(found), encoding="utf-8")
    return known(file)


def known(file: Path) -> LineMap:
    found = json.loads(file.read_text(encoding="utf-8"))
    return LineMap(found["ran"], found["seconds"])


def every(rooms: Sequence[str]) -> Iterator[Mutant]:
    for room in map(Path, rooms):
        for path in [room] if room.is_file() else sorted(room.rglob("*.py")):
            yield from mutants(str(path), path.read_bytes())


def without_equivalent(found: Sequence[Mutant], file: Path) -> list[Mutant]:
    """``found`` without those listed as equivalent; an entry that names none is an error."""
    entries = tomllib.loads(file.read_text(encoding="utf-8")).get("mutant", [])
    keys = [one for one in entries if one["reason"]]
    listed = {(one["file"], one["where"], one["before"], one["after"]) for one in keys}
    places = {one: (one.file, where(one), one.before, one.after) for one in found} if listed else {}
    if idle := listed - set(places.values()):
        raise SystemExit(f"==> {file}: no such mutant: {sorted(idle)}")
    return [one for one in found if places.get(one) not in listed]


def where(mutant: Mutant) -> str:
    """The line that it changes, without the space around."""
    return source_lines(mutant.file)[mutant.line - 1].strip()


@cache
def source_lines(file: str) -> list[str]:
    return Path(file).read_text(encoding="utf-8").splitlines()


def chosen(found: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """``count`` of ``found``; a change elsewhere in the program leaves the others chosen."""
    met: Counter[tuple[str, ...]] = Counter()
    order = {}
    for one in found:
        about = (one.file, one.kind, one.before, one.after)
        met[about] += 1
        text = "\0".join((str(seed), *about, str(met[about])))
        order[one] = hashlib.sha256(text.encode()).digest()
    return sorted(found, key=order.__getitem__)[:count]


def tried(
    sample: Sequence[Mutant], tested: LineMap, jobs: int, ledger: Ledger | None = None
) -> dict[Mutant, End]:
    """How each mutant ended, ``jobs`` at once; ``ledger`` keeps it."""
    ends: dict[Mutant, End] = {}
    running: dict[int, Mutant] = {}
    children: list[Child] = []
    left = list(reversed(sample))
    while left or running:
        while left and len(running) < jobs:
            mutant = left.pop()
            tests = tested.of(mutant)
            if not tests:
                ends[mutant] = End(Fate.UNTESTED)
                continue
            limit = int(30 + 5 * tested.cost(tests))
            source = mutant.applied(Path(mutant.file).read_bytes())
            children.append(start(Trial(mutant.file, source, tests, limit)))
            running[children[-1].pid] = mutant
        if running:
            child = wait(children)
            children.remove(child)
            mutant = running.pop(child.pid)
            ends[mutant] = End(fate(child.status), child.last_test())
            child.close()
            if ledger:
                ledger.add(mutant, ends[mutant])
            told(mutant, ends, len(sample))
    return ends


def told(mutant: Mutant, ends: dict[Mutant, End], count: int) -> None:
    """Progress on the terminal."""
    if ends[mutant].fate is Fate.SURVIVED:
        print(f"{mutant.file}:{mutant.line}: {mutant.kind}\n{diff(mutant)}", flush=True)
    if len(ends) % 25 == 0:
        alive = sum(one.fate in ALIVE for one in ends.values())
        print(f"{len(ends)} of {count} tried, {alive} survived", flush=True)


def require_controls(sample: Sequence[Mutant], tested: LineMap) -> None:
    """What changes nothing must survive, and what no import gets past must not.

    Without the first no death proves anything, without the second no survival.
    """
    one = next((one for one in sample if tested.of(one)), None)
    if one is None:
        raise SystemExit("==> no test runs a line of the sample")
    same = replace(one, after=one.before)
    if tried([same], tested, 1)[same].fate is not Fate.SURVIVED:
        names = ", ".join(name for group in tested.of(one) for name in group)
        raise SystemExit(f"==> the tests fail without a mutant: {names}")
    end = Path(one.file).stat().st_size
    broken = replace(one, start=end, end=end, after="\nraise ValueError('a mutant')\n")
    if tried([broken], tested, 1)[broken].fate is not Fate.KILLED:
        raise SystemExit(f"==> {one.file} is not loaded with its mutant")


def unsteady(tests: Collection[str], any_file: str) -> set[str]:
    """Those of ``tests`` that fail without a mutant: what they noticed proves nothing."""
    found: set[str] = set()
    source = Path(any_file).read_bytes()
    while left := sorted(set(tests) - found - {""}):
        child = wait([start(Trial(any_file, source, [left], 24 * 3600))])
        how, last = fate(child.status), child.last_test()
        child.close()
        if how is Fate.SURVIVED:
            break
        if last not in left:
            raise SystemExit(f"==> the tests do not run without a mutant: {last or left[0]}")
        found.add(last)
    return found


def settled(
    sample: Sequence[Mutant], tested: LineMap, jobs: int, ledger: Ledger
) -> dict[Mutant, End]:
    """How each of ``sample`` ended, by tests alone that pass without a mutant."""
    while True:
        ends = {one: end for one in sample if (end := ledger.end(one))}
        if ends:
            print(f"==> {len(ends)} of them are known", flush=True)
        ends |= tried([one for one in sample if one not in ends], tested, jobs, ledger)
        bad = unsteady(
            {end.test for end in ends.values() if end.fate is Fate.KILLED}, sample[0].file
        )
        if not bad:
            return ends
        print(f"==> these fail without a mutant, and are left out: {sorted(bad)}", flush=True)
        tested = tested.without(bad)
        ledger.forget(bad)


def named(file: Path) -> int:
    """Try the mutants of ``file``; 1 if a test is quiet about one."""
    alive = 0
    for one in tomllib.loads(file.read_text(encoding="utf-8"))["mutant"]:
        source = Path(one["file"]).read_text(encoding="utf-8")
        if source.count(one["before"]) != 1:
            raise SystemExit(f"==> {file}: {one['name']}: its text is not once in {one['file']}")
        mutated = source.replace(one["before"], one["after"]).encode()
        child = wait([start(Trial(one["file"], mutated, [[test] for test in one["tests"]], 600))])
        how = fate(child.status)
        child.close()
        alive += how is Fate.SURVIVED
        print(f"{how}: {one['name']} ({one['file']})", flush=True)
    return 1 if alive else 0


def diff(mutant: Mutant) -> str:
    source = Path(mutant.file).read_bytes()
    lines = difflib.unified_diff(
        source.decode().splitlines(), mutant.applied(source).decode().splitlines(), n=1, lineterm=""
    )
    return "\n".join(f"    {line}" for line in list(lines)[2:])


def report(out: Path, ends: dict[Mutant, End], seed: int, seconds: float) -> int:
    alive = sorted(one for one, end in ends.items() if end.fate in ALIVE)
    share = len(alive) / len(ends)
    shown = [f"{one.file}:{one.line}: {one.kind}, {ends[one].fate}\n{diff(one)}\n" for one in alive]
    (out / "survivors.txt").write_text("\n".join(shown), encoding="utf-8")
    figures = {
        "mutants": len(ends),
        "seed": seed,
        **{how.value: sum(end.fate is how for end in ends.values()) for how in Fate},
        "share": round(share, 4),
        "seconds": round(seconds),
    }
    rows = [asdict(one) | asdict(ends[one]) for one in sorted(ends)]
    text = json.dumps({"summary": figures, "mutants": rows}, indent=1)
    (out / "report.json").write_text(text, encoding="utf-8")
    print("\n".join(shown))
    verdict = "below" if share < LIMIT else "NOT below"
    print(f"==> {len(alive)} of {len(ends)} mutants survived: {share:.1%}, {verdict} {LIMIT:.0%}")
    print(json.dumps({"mutation": figures}))
    return 0 if share < LIMIT else 1


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make mutate", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="mutants to try (300)")
    parser.add_argument("--seed", type=int, default=1, help="which mutants are chosen (1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at once (cores)")
    parser.add_argument("--out", type=Path, default=Path("out/mutation"), metavar="DIR")
    parser.add_argument("--map", type=Path, help="use this map as it is (DIR/map.json)")
    parser.add_argument("--equivalent", type=Path, default=EQUIVALENT, metavar="FILE")
    parser.add_argument("--named", action="store_true", help="try those of named.toml alone")
    parser.add_argument("--rooms", nargs="+", default=ROOMS, metavar="FOLDER", help="or modules")
    parser.add_argument("--load", nargs="*", default=LIBRARIES, help="once, for all trials")
    given = parser.parse_args(words)
    if given.named:
        given.out.mkdir(parents=True, exist_ok=True)
        sandbox.enter(given.out)
        prepare(given.load)
        return named(NAMED)
    started = time.monotonic()
    found = without_equivalent(list(every(given.rooms)), given.equivalent)
    sample = chosen(found, given.count, given.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    tested = (
        known(given.map) if given.map else mapped(given.out / "map.json", given.rooms, given.jobs)
    )
    print(f"==> {len(sample)} of {len(found)} mutants, seed {given.seed}", flush=True)
    sandbox.enter(given.out)  # once, instead of once for each mutant
    prepare(given.load)
    require_controls(sample, tested)
    ledger = Ledger(given.out / "fates.jsonl", given.rooms)
    ends = settled(sample, tested, given.jobs, ledger)
    return report(given.out, ends, given.seed, time.monotonic() - started)


if __name__ == "__main__":
    raise SystemExit(main())
