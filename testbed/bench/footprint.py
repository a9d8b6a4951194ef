"""Import time and memory of a node, beside py-libp2p's, each in fresh processes.

Both listen on one TCP port of loopback with Noise and Yamux.  Time is the import's,
without the interpreter's start; memory is the resident set, with the interpreter's.
"""

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from testbed.bench.table import Results, say
from testbed.errors import TestbedError

RUNS = 7
RUN_DEADLINE = 60.0  # seconds

_HEAD = """
import json, time
def resident():  # MB
    with open('/proc/self/status') as lines:
        return next(int(l.split()[1]) for l in lines if l.startswith('VmRSS')) / 1024
bare, start = resident(), time.perf_counter()
"""
_OURS = """
from testbed.traversal import Node, NodeOptions
ready = time.perf_counter() - start
imported = resident()
import asyncio
async def main():
    async with Node(NodeOptions()) as node:
        await node.listen('/ip4/127.0.0.1/tcp/0')
        return resident()
listening, version = asyncio.run(main()), ''
"""
_THEIRS = """
from libp2p import new_host
ready = time.perf_counter() - start
imported = resident()
import importlib.metadata, multiaddr, trio
async def main():
    async with new_host().run([multiaddr.Multiaddr('/ip4/127.0.0.1/tcp/0')]):
        return resident()
listening, version = trio.run(main), importlib.metadata.version('libp2p')
"""
_TAIL = """
print(json.dumps({'ready': ready, 'bare': bare, 'imported': imported,
                  'listening': listening, 'version': version}))
"""


@dataclass(frozen=True)
class Probe:
    """One process: seconds, then MB."""

    ready: float
    bare: float
    imported: float
    listening: float
    version: str


def measure(results: Results, rival: Path | None) -> None:
    """Medians; the two take turns, so that both meet the same load.

    `rival` is a Python that has py-libp2p.
    """
    ours: list[Probe] = []
    theirs: list[Probe] = []
    for turn in range(RUNS + 1):
        one = _probe(Path(sys.executable), _OURS)
        other = _probe(rival, _THEIRS) if rival else None
        if not turn:
            continue  # it may have compiled bytecode
        ours.append(one)
        if other is not None:
            theirs.append(other)
    mine = _say(results, "our node", ours)
    if not theirs:
        print("  py-libp2p: not here")
        return
    other_node = _say(results, "py-libp2p's", theirs)
    for key, what in _FIGURES.items():
        say(results, f"  {what}: py-libp2p / ours", other_node[key] / mine[key], "x")


_FIGURES = {
    "ready": "import",
    "imported": "memory after the import",
    "listening": "memory of a listening node",
}


def _say(results: Results, who: str, runs: list[Probe]) -> dict[str, float]:
    median = {key: statistics.median(getattr(run, key) for run in runs) for key in _FIGURES}
    bare = statistics.median(run.bare for run in runs)
    note = runs[0].version
    say(results, f"{who}: {_FIGURES['ready']}", median["ready"] * 1e3, "ms", note)
    note = f"{bare:.1f} MB of it before any import"
    for key in ("imported", "listening"):
        say(results, f"{who}: {_FIGURES[key]}", median[key], "MB", note)
    return median


def _probe(python: Path, code: str) -> Probe:
    done = subprocess.run(
        [str(python), "-c", _HEAD + code + _TAIL],
        capture_output=True, encoding="utf-8", errors="replace", timeout=RUN_DEADLINE, check=False,
    )  # fmt: skip
    if done.returncode:
        raise TestbedError(f"{python.name}: {done.stderr.strip().splitlines()[-1:]}")
    return Probe(**json.loads(done.stdout.splitlines()[-1]))
