"""Rules of somebody's, measured by ``testbed nat probe``, and held to the class that they have."""

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import forked_command
from patience import repeated, too_busy

from testbed.lab.forked import forked

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
    words = ("nat", "probe", "--json", "--rules", str(path), *kind.words)
    for left in reversed(range(TRIES)):
        done = forked_command.said(*words, timeout=DEADLINE, apart=False)
        if done.returncode != 3 or not left:
            break
    return done.returncode, done.stdout, done.stderr


def all_probed(cases: Mapping[str, Wanted]) -> dict[str, Probed]:
    """What the command says of each, some at once."""
    names = list(cases)
    found = {}
    for index, output, _ in forked(list(map(_task, cases.values())), AT_ONCE, TRIES * DEADLINE):
        assert output, f"{names[index]}: no answer"
        found[names[index]] = pickle.loads(output)
    return found


def _task(wanted: Wanted) -> Callable[[int], bytes]:
    return lambda _slot: pickle.dumps(probed(wanted))


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
