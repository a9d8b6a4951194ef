"""Rules of somebody's, measured by ``testbed nat probe``, and held to the class that they have."""

import json
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from patience import repeated, too_busy

TRIES, AT_ONCE, DEADLINE = 3, 6, 150
Probed = tuple[int, str, str]  # the exit code and both outputs


@dataclass(frozen=True)
class Class:
    """What is to be measured: axes of UDP and TCP alike, axes by their whole name, the bench."""

    both: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, Any] = field(default_factory=dict)
    bench: dict[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """Exit code 2, and these words."""

    reason: str
    words: tuple[str, ...] = ()


Wanted = tuple[Path, Class | Refused]


def probed(wanted: Wanted) -> Probed:
    """What the command says; again while the machine is too busy."""
    path, kind = wanted
    words = [sys.executable, "-m", "testbed", "nat", "probe", "--json", "--rules", path]
    command = [*map(str, words), *kind.words]
    for left in reversed(range(TRIES)):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DEADLINE, check=False
        )
        if done.returncode != 3 or not left:
            break
    return done.returncode, done.stdout, done.stderr


def all_probed(cases: Mapping[str, Wanted]) -> dict[str, Probed]:
    """What the command says of each, some at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(cases, pool.map(probed, cases.values()), strict=True))


def held(wanted: Wanted, found: Probed) -> dict[str, Any]:
    """All that was told of rules that have their class; nothing of such as are refused, rightly."""
    code, out, error = found
    for left in reversed(range(TRIES)):
        if code != 3 or "too busy" not in error:
            break
        repeated(error)
        code, out, error = probed(wanted)
        if code == 3 and not left:
            too_busy(error)
    kind = wanted[1]
    if isinstance(kind, Refused):
        assert (code, kind.reason in error) == (2, True), error
        return {}
    assert code == 0, error
    told: dict[str, Any] = json.loads(out)
    values = {axis: finding["value"] for axis, finding in told["axes"].items()}
    axes = {f"{protocol}.{axis}": v for protocol in ("udp", "tcp") for axis, v in kind.both.items()}
    axes |= kind.axes
    evidence = {axis: told["axes"][axis]["evidence"] for axis in axes if values[axis] != axes[axis]}
    assert {axis: values[axis] for axis in axes} == axes, evidence
    assert {name: told["bench"][name] for name in kind.bench} == kind.bench
    return told
