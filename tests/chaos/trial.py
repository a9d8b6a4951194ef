"""One injection, in a process of its own that sees what is left behind."""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chaos.harms import Harm, Injection
from chaos.injector import UP, Harmed
from chaos.leftovers import PRIVATE, Holdings, adopt_orphans, descendants
from chaos.situations import SITUATIONS, Situation
from testbed.lab import kernel, sandbox
from testbed.lab.containers.lab import Containers
from testbed.lab.namespaces import Namespaces
from testbed.model.explanation import Cause, Wrong
from testbed.model.lab import Backend
from testbed.model.result import Result
from testbed.model.verdict import Judgement
from testbed.run.engine import run_study

ROOM = 64 << 20  # bytes of a folder for results, and of a private /tmp
_RDONLY, _REMOUNT = 1, 32
RESULTS = Path("/tmp/results")
NEVER = 1e6  # seconds


@dataclass(frozen=True)
class Row:
    """How one case ended."""

    name: str
    judgement: str
    measured: str | None
    reason: str
    contradicted: bool

    @classmethod
    def of(cls, result: Result) -> "Row":
        return cls(
            result.name,
            result.judgement.value,
            result.measured,
            result.reason[:500],
            contradicts(result),
        )


@dataclass(frozen=True)
class Ended:
    """How an injection ended; ``harmed`` is who was found, None where he had gone before."""

    number: int
    situation: str
    victim: str
    harm: str
    harmed: str | None
    after_s: float
    seconds: float
    rows: tuple[Row, ...]
    left: tuple[str, ...]
    said: str  # on standard error
    error: str = ""  # that came out of the engine
    up_s: float = 0.0  # how long the lab was there, if its process lived to tell

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Ended":
        rows, left = tuple(Row(**row) for row in value["rows"]), tuple(value["left"])
        return cls(**{**value, "rows": rows, "left": left})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def spoke_python(self) -> bool:
        return "Traceback (most recent call last)" in self.said + self.error


def contradicts(result: Result) -> bool:
    """Whether a verdict that is believed stands beside an explanation that blames the harness.

    And the other way round: who is INCONCLUSIVE is explained by the harness, a peer that failed,
    or by nothing at all.
    """
    why = result.explanation
    if why is None:
        return False
    blamed = why.cause is Cause.HARNESS_FAULT or why.wrong is Wrong.HARNESS
    if result.judgement is Judgement.INCONCLUSIVE:
        troubled = blamed or why.cause in (Cause.PEER_FAILED, Cause.UNKNOWN)
        return result.study == "punch" and not troubled
    return blamed


@dataclass(frozen=True)
class Machine:
    """Where trials are run: the backend, and the folder for what is to be looked at later."""

    folder: Path
    containers: bool = False

    def backend(self) -> Backend:
        return Containers() if self.containers else Namespaces()


def undisturbed(situation: Situation, machine: Machine) -> Ended:
    """The same without any harm: what the verdicts are, and how long it takes."""
    never = Injection(0, situation.name, "recorder", Harm.KILL, 0.0, 0)
    return trial(never, NEVER, machine, "undisturbed")


def trial(one: Injection, after_s: float, machine: Machine, name: str = "") -> Ended:
    """Do it, and look at everything; in a fork that has one thread, inside of the sandbox."""
    situation = SITUATIONS[one.situation]
    adopt_orphans()
    kept = os.open(machine.folder, os.O_PATH | os.O_DIRECTORY)
    folder = machine.folder / "trials" / (name or "harmed") / one.name
    private: tuple[str, ...] = ()
    if not machine.containers:
        private, folder = _private(one), RESULTS
    folder /= situation.name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["CHAOS_FOLDER"] = str(folder)
    before, said = Holdings.now(private), os.memfd_create("stderr")
    told, tell = os.pipe()
    began, error, results = time.monotonic(), "", []
    with _stderr_into(said):
        try:
            made_by = Harmed(machine.backend(), one, after_s, tell)
            results = run_study(
                situation.study, situation.cases, made_by, folder, jobs=1,
                progress=lambda *_: None,
            )  # fmt: skip
        except Exception as broke:
            error = f"{type(broke).__name__}: {broke}"
    seconds = time.monotonic() - began
    os.close(tell)
    lines = os.read(told, 4096).decode(errors="replace").splitlines()
    up_s = [float(line.removeprefix(UP)) for line in lines if line.startswith(UP)]
    harmed = "; ".join(line for line in lines if not line.startswith(UP)) or None
    os.close(told)
    text = os.pread(said, 1 << 20, 0).decode(errors="replace")
    os.close(said)
    for filled in (folder, Path("/tmp")):
        with contextlib.suppress(OSError):  # it was read-only, and not filled
            (filled / "-filled").unlink(missing_ok=True)
    left = [*descendants(), *_without_results(Holdings.now(private).since(before), folder)]
    rows = tuple(map(Row.of, results))
    _keep(folder, Path(f"/proc/self/fd/{kept}/odd/{one.name}"), [*left, error], rows)
    return Ended(
        one.number, one.situation, one.victim, one.harm.value, harmed, round(after_s, 3),
        round(seconds, 2), rows, tuple(left), text[-4000:], error, max(up_s, default=0.0),
    )  # fmt: skip


def _private(one: Injection) -> tuple[str, ...]:
    """Folders of memory of this process's own, in place of those that all share.

    Results are in one below /tmp, which is a file system of its own: the disk of this trial.
    """
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    places = (*PRIVATE, str(sandbox.scratch()))
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    for place in (*places, str(RESULTS)):
        Path(place).mkdir(parents=True, exist_ok=True)
        kernel.mount("chaos", place, "tmpfs", flags, f"size={ROOM},mode=0777")
    if one.harm is Harm.READ_ONLY_TMP:
        kernel.mount("chaos", "/tmp", "tmpfs", flags | _REMOUNT | _RDONLY, f"size={ROOM}")
    return places


@contextlib.contextmanager
def _stderr_into(file: int) -> Any:
    before = os.dup(2)
    os.dup2(file, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def _without_results(found: Sequence[str], folder: Path) -> list[str]:
    return [one for one in found if str(folder) not in one and one != f"file {RESULTS}"]


def _keep(folder: Path, there: Path, odd: Sequence[str], rows: Sequence[Row]) -> None:
    """What a verdict of FAIL, or anything left, was made of, out of the folder of memory."""
    if any(odd) or any(row.judgement == "fail" or row.contradicted for row in rows):
        shutil.copytree(folder, there, dirs_exist_ok=True, ignore_dangling_symlinks=True)


def told(ended: Ended) -> bytes:
    return json.dumps(ended.to_json()).encode()
