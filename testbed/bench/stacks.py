"""libp2p's stacks beside ours in the same cells: time to the direct connection, CPU, memory.

Each stack meets itself behind two home routers, each peer in a fresh process, one cell
after the other, the stacks in turns.  The time is from the common start, at which the
dialer dials by the relay, to the later peer's word that a direct connection is there; a
run counts only where the packets say so, too.  CPU and memory are one peer's, from its
start to its end, as the kernel accounts them (`testbed.bench.metered`).
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from testbed.bench.table import Results
from testbed.capture.reader import read
from testbed.errors import TestbedError, UnfitError
from testbed.evidence.account import WireAccount
from testbed.lab.namespaces import Namespaces
from testbed.model.contract import Mode, Upgraded
from testbed.model.lab import Image
from testbed.model.outcome import Outcome
from testbed.model.presets import preset
from testbed.model.topology import Roles
from testbed.nat.load import catalogue
from testbed.plan.planner import plan
from testbed.run.recording import record_run
from testbed.stacks.registry import ADAPTERS, Adapter, Main, Stacks
from testbed.studies.punch.attempt import Account, Attempt, Cut, attempt
from testbed.studies.punch.external import Command
from testbed.studies.punch.mechanisms import MECHANISMS
from testbed.verdict.wire import read_path

RUNS = 7  # of each stack
HOME = "linux-home"
ROLES = Roles()
COMPARED = ("dcutr_tcp", "dcutr_quic")  # mechanisms


@dataclass(frozen=True)
class Run:
    """One cell that went direct."""

    direct_ms: float
    cpu_s: float  # the mean of the two peers
    memory_mb: float


def measure(results: Results) -> None:
    """A table for each transport; stacks that are not built are said."""
    for mechanism in COMPARED:
        every = [one for one in ADAPTERS.values() if one.mechanism == mechanism]
        built = [one for one in every if _built(one)]
        runs: dict[str, list[Run]] = {one.name: [] for one in built}
        for seed in range(RUNS):
            for one in built:
                found = _run(one, seed)
                if found is not None:
                    runs[one.name].append(found)
        _say(results, runs)


def _built(one: Adapter) -> bool:
    try:
        one.prepare()
    except UnfitError as error:
        print(f"  {one.name}: NOT COMPARED: {error}")
        return False
    return True


def _say(results: Results, runs: dict[str, list[Run]]) -> None:
    print(f"\n{'stack':22} {'to direct':>18} {'CPU':>18} {'memory':>18}  runs that went direct")
    base: Sequence[float] | None = None
    for name, some in runs.items():
        if not some:
            print(f"{name:22} {'none went direct':>18}")
            continue
        figures = [
            statistics.median(getattr(run, key) for run in some)
            for key in ("direct_ms", "cpu_s", "memory_mb")
        ]
        base = base or figures  # ours is the first
        columns = []
        for figure, ours, unit in zip(figures, base, ("ms", "s", "MB"), strict=True):
            columns.append(f"{figure:.{2 if unit == 's' else 0}f} {unit}, {figure / ours:4.1f} x")
            results[f"{name}: {unit}"] = figure
            results[f"{name}: {unit} / ours"] = figure / ours
        print(f"{name:22} " + " ".join(f"{c:>18}" for c in columns) + f"  {len(some)} of {RUNS}")


def _run(one: Adapter, seed: int) -> Run | None:
    """None where it did not go direct, or broke the contract, which is said."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        meters = [folder / end for end in (ROLES.a, ROLES.b)]
        ends = [replace(one, entry=_metered(one, meter), confined=False) for meter in meters]
        mechanism = MECHANISMS[one.mechanism]
        task = Attempt(
            Stacks(*ends), ROLES.a, ROLES.b, ROLES.relay, Mode.PUNCH,
            relay_only=False, seed=seed, clear=mechanism.clear,
        )  # fmt: skip
        steps = plan(preset(mechanism.topology, HOME, HOME), catalogue())
        try:
            with Namespaces().start(steps) as lab:
                account, records = record_run(lab, folder, lambda: attempt(lab, task))
            if isinstance(account, Cut):
                raise account.error
        except TestbedError as error:
            print(f"  {one.name}: {error.message.splitlines()[0]}")
            return None
        packets = read(records.capture.path)
        wire = WireAccount(steps, packets, window=account.window)
        direct = read_path(wire, ROLES.a, ROLES.b).outcome
        took = _took(account, records.clock_ns)
        if direct is not Outcome.DIRECT or took is None:
            return None
        used = [json.loads(meter.read_text(encoding="utf-8")) for meter in meters]
    cpu, memory = (statistics.mean(peer[key] for peer in used) for key in ("cpu", "memory"))
    return Run(took, cpu, memory)


def _metered(one: Adapter, meter: Path) -> Command:
    command = one.entry.argv if isinstance(one.entry, Main) else one.command()
    assert not callable(command)
    assert not isinstance(command, Image)  # none of those that are measured
    words = (sys.executable, *command[1:]) if isinstance(one.entry, Main) else command
    wrapper = (sys.executable, "-m", "testbed.bench.metered", str(meter))
    return Command(one.name, "", (*wrapper, *words))


def _took(account: Account, clock_ns: int) -> float | None:
    ends = [event.at for _, event in account.events if isinstance(event, Upgraded)]
    if len(ends) < 2 or account.start_ns is None:
        return None
    return (max(ends) + clock_ns - account.start_ns) / 1e6
