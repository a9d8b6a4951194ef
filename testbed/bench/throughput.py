"""One stream between two public hosts of the lab: ours beside what is below it, and beside rivals.

First over bare wires, where the processor is the limit, then over a path with a round trip, where
windows are.  The lab's wires carry single packets, as a router would see them: without segmentation
offload plain TCP is slower here than over loopback.  The clock runs at the sender, from the first
byte of a stream that is open to the receiver's count of the last; the processor time is that of
both processes in between, as the kernel accounts it, and of the relay alone where there is one.
"""

import os
import statistics
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from testbed.bench.process import DEADLINE, hear
from testbed.bench.rivals import Rivals
from testbed.bench.table import Results, say
from testbed.bench.ways import OURS, Way
from testbed.errors import TestbedError
from testbed.lab.namespaces import Namespaces
from testbed.model.lab import Lab, Process
from testbed.model.presets import ACCESS, BARE
from testbed.model.topology import INTERNET, Host, Link, Network, Scope, Topology
from testbed.nat.load import catalogue
from testbed.plan.planner import plan
from testbed.studies.relays.counters import counted

ROUNDS = 5
DELAYED_ROUNDS = 3
MIB = 2**20
MOST_DELAYED = 32  # MiB over the path with delay
_TRIP = f"{2 * (ACCESS.up.delay_ms + ACCESS.down.delay_ms):.0f} ms"
_COLUMNS = {
    "cpu": "ms of CPU a MB", "bare": "MB/s, bare wires", "delayed": f"MB/s, {_TRIP}",
}  # fmt: skip
_CPU_CLOCK = 2  # CPUCLOCK_SCHED: all threads of a process, see clock_getcpuclockid(3)


@dataclass(frozen=True)
class Run:
    """MB (10^6 bytes) a second, ms of processor time a MB, and bytes that the relay's kernel counts

    for each byte: both those that it gets and those that it sends, until all three are settled.
    """

    rate: float
    cpu: float
    wire: float | None = None


@dataclass(frozen=True)
class Figures:
    """Of one way: medians; None where it did not get through."""

    bare: float | None
    cpu: float | None
    delayed: float | None


@dataclass(frozen=True)
class Goal:
    """A ratio of two ways' figures, and how much it may be, or must."""

    words: str
    one: str
    other: str  # of several with commas: the best
    key: str  # of `Figures`
    limit: float
    at_most: bool


GOALS = (
    Goal("processor time, our TCP / asyncio's", "ours-tcp", "tcp", "cpu", 3.0, True),
    Goal(
        "processor time, our QUIC / best Python engine",
        "ours-quic", "aioquic,qh3", "cpu", 1.1, True,
    ),
    Goal(f"rate over {_TRIP}, our TCP / asyncio's", "ours-tcp", "tcp", "delayed", 0.7, False),
    Goal(f"rate over {_TRIP}, our QUIC / asyncio's TCP", "ours-quic", "tcp", "delayed", 0.7, False),
    Goal("rate, our TCP / py-libp2p's", "ours-tcp", "py-tcp", "bare", 1.0, False),
    Goal("rate, our QUIC / py-libp2p's", "ours-quic", "py-quic", "bare", 1.0, False),
    Goal(f"rate over {_TRIP}, our TCP / py-libp2p's", "ours-tcp", "py-tcp", "delayed", 1.0, False),
    Goal(
        f"rate over {_TRIP}, our QUIC / py-libp2p's", "ours-quic", "py-quic", "delayed", 1.0, False
    ),
    Goal("processor time, relay QUIC / TCP", "relay-quic", "relay-tcp", "cpu", 2.0, True),
)  # fmt: skip


def measure(results: Results, rivals: Rivals) -> None:
    """Medians of rounds in which the ways take turns, so that all meet the same load."""
    ways = OURS | rivals.ways
    print(f"\n  load average of the last minute: {os.getloadavg()[0]:.1f}, {os.cpu_count()} CPUs")
    bare = over(BARE, ways, ROUNDS)
    delayed = over(ACCESS, ways, DELAYED_ROUNDS, MOST_DELAYED)
    goals(results, table(results, bare, delayed, rivals))
    print(f"  load average of the last minute: {os.getloadavg()[0]:.1f}")


def table(
    results: Results,
    bare: Mapping[str, list[Run]],
    delayed: Mapping[str, list[Run]],
    rivals: Rivals,
) -> dict[str, Figures]:
    """Medians of all ways, by their keys, and of each what it is beside plain TCP."""
    ways = OURS | rivals.ways
    found = {
        key: Figures(_median(runs, "rate"), _median(runs, "cpu"), _median(delayed[key], "rate"))
        for key, runs in bare.items()
    }
    print(f"\n{'one stream':32}" + "".join(f"{title:>26}" for title in _COLUMNS.values()))
    for key, figures in found.items():
        cells = []
        for column, title in _COLUMNS.items():
            figure, base = getattr(figures, column), getattr(found["tcp"], column)
            what = f"one stream, {ways[key].name}: {title}"
            if figure is None:
                cells.append("failed")
                continue
            results[what] = figure
            cells.append(f"{figure:.1f}")
            if base:
                results[f"{what} / {OURS['tcp'].name}"] = figure / base
                cells[-1] += f" ({figure / base:.2f} x TCP)"
        print(f"{ways[key].name:32}" + "".join(f"{cell:>26}" for cell in cells))
    for name, why in rivals.missing.items():
        print(f"{name:32}{'not here':>26}  {why}")
    return found


def _median(runs: list[Run], key: str) -> float | None:
    return statistics.median(getattr(run, key) for run in runs) if runs else None


def goals(results: Results, found: Mapping[str, Figures]) -> None:
    """A line for each goal: its ratio, and whether that is kept."""
    print()
    for goal in GOALS:
        one = found.get(goal.one)
        figures = [getattr(found[key], goal.key) for key in goal.other.split(",") if key in found]
        others = [figure for figure in figures if figure is not None]
        mine = getattr(one, goal.key) if one else None
        if mine is None or not others:
            print(f"  {goal.words}: not here")
            continue
        ratio = mine / (min(others) if goal.key == "cpu" else max(others))
        kept = ratio <= goal.limit if goal.at_most else ratio >= goal.limit
        bound = f"goal: at {'most' if goal.at_most else 'least'} {goal.limit:g}"
        say(results, f"  {goal.words}", ratio, "x", bound if kept else f"{bound}: MISSED")


def over(
    link: Link, ways: Mapping[str, Way], rounds: int, most: int | None = None
) -> dict[str, list[Run]]:
    """By way, between fresh processes in turns; one that fails is said, and has fewer runs."""
    hosts = tuple(Host(name, INTERNET, link=link) for name in "abr")
    three = Topology("three-hosts", (Network(INTERNET, Scope.PUBLIC),), (), hosts)
    runs: dict[str, list[Run]] = {key: [] for key in ways}
    with Namespaces().start(plan(three, catalogue())) as lab:
        for _ in range(rounds):
            for key, way in ways.items():
                try:
                    runs[key].append(_transfer(lab, way, min(way.mib, most or way.mib)))
                except TestbedError as error:
                    print(f"  {way.name}: {error.message.strip().splitlines()[-1]}", flush=True)
    return runs


def _transfer(lab: Lab, way: Way, mib: int) -> Run:
    """Between fresh processes."""
    end = time.monotonic() + DEADLINE
    a, b, r = ((str(lab.plan.address(host)), lab.plan.port(host)) for host in "abr")
    with ExitStack() as stack:

        def start(host: str, command: object) -> Process:
            process = lab.spawn(host, command)  # type: ignore[arg-type]
            stack.callback(process.wait, DEADLINE)  # its port is free again
            stack.callback(process.kill)
            return process

        relay = start("r", way.forward(r)) if way.forward else None
        receiver = start("b", way.receive(b, hear(relay, end) if relay else ""))
        passed = counted(lab, "r")
        sender = start("a", way.send(a, hear(receiver, end), mib * MIB))
        if (word := hear(sender, end)) != "open":
            raise TestbedError(f"{way.name}: the sender said {word!r}")
        accounted = (relay,) if relay else (receiver, sender)
        before = sum(map(_used, accounted))
        seconds = float(hear(sender, end))
        used = sum(map(_used, accounted)) - before
        wire = None
        if relay:
            sender.wait(DEADLINE)
            wire = counted(lab, "r").since(passed).bytes / (mib * MIB)
    megabytes = mib * MIB / 1e6
    return Run(megabytes / seconds, used * 1e3 / megabytes, wire)


def _used(process: Process) -> float:
    """Seconds of processor time, of all threads, until now."""
    return time.clock_gettime((~process.pid << 3) | _CPU_CLOCK)
