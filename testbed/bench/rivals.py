"""Programs of others that send a stream of bytes, beside which ours are measured.

What they need comes from the package indexes, before the sandbox, from which there is no way out.
What is missing is said in the table; what an earlier run fetched serves.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testbed.bench.ways import Address, Way
from testbed.places import PACKAGE

DEADLINE = 600.0  # seconds, of one step of an installation
_PROGRAMS = PACKAGE / "bench" / "programs"


@dataclass(frozen=True)
class Rivals:
    """`missing` says why one is not here."""

    python: Path | None = None  # that has py-libp2p
    ways: dict[str, Way] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def fetch(folder: Path) -> Rivals:
    """Install and build what can be had, below `folder`."""
    missing: dict[str, str] = {}
    rivals = Rivals(_python(folder / "bench-venv", "libp2p", missing), missing=missing)
    sinks: list[tuple[str, str, int, Path | None, tuple[str, ...]]] = []
    qh3 = _python(folder / "bench-qh3", "qh3", missing)
    go = _go(folder / "bench-go", missing)
    for kind in ("tcp", "quic"):
        script = str(_PROGRAMS / "py_libp2p_sink.py")
        sinks.append((f"py-{kind}", f"py-libp2p, {kind.upper()}", 2, rivals.python, (script, kind)))
        sinks.append((f"go-{kind}", f"go-libp2p, {kind.upper()}", 64, go, (kind,)))
    sinks.append(("qh3", "qh3", 8, qh3, (str(_PROGRAMS / "qh3_sink.py"),)))
    for key, name, mib, program, words in sinks:
        if program is not None:
            rivals.ways[key] = _program(name, mib, (str(program), *words))
    return rivals


def _program(name: str, mib: int, words: Sequence[str]) -> Way:
    return Way(
        name,
        mib,
        lambda local, _relay: (*words, "receive", *_split(local)),
        lambda local, address, size: (*words, "send", *_split(local), address, str(size)),
    )


def _split(address: Address) -> tuple[str, str]:
    return address[0], str(address[1])


def _python(folder: Path, package: str, missing: dict[str, str]) -> Path | None:
    """A Python that has the package's current release, or an earlier run's."""
    python, words = folder / "bin/python", ""
    if not python.exists():
        words = _run([sys.executable, "-m", "venv", str(folder)])
    if python.exists():
        words = _run([str(python), "-m", "pip", "install", "-q", "--upgrade", package])
        if not _run([str(python), "-c", f"import {package}"]):
            return python
    missing[package] = words or "not importable"
    return None


def _go(folder: Path, missing: dict[str, str]) -> Path | None:
    program = folder / "sink"
    if shutil.which("go") is None:
        missing["go-libp2p"] = "there is no go"
        return None
    folder.mkdir(parents=True, exist_ok=True)
    words = _run(["go", "build", "-o", str(program.absolute()), "."], cwd=_PROGRAMS / "go")
    if words and not program.exists():
        missing["go-libp2p"] = words
        return None
    return program


def _run(command: Sequence[str], cwd: Path | None = None) -> str:
    """The last line of what it complains of; nothing when all is well."""
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, encoding="utf-8", errors="replace",
            timeout=DEADLINE, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    lines = done.stderr.strip().splitlines()
    return (lines[-1] if lines else f"exit code {done.returncode}") if done.returncode else ""
