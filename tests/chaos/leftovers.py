"""What a process holds, and what is still there when it should hold nothing any more."""

import ctypes
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from testbed.lab import sandbox

_PR_SET_CHILD_SUBREAPER = 36
_VIEW = re.compile("[0-9a-f]{16}")
PATIENCE = 30.0  # seconds until what was killed is gone: this machine may be busy
PRIVATE = ("/tmp", "/dev/shm")  # folders of memory, which each trial has for itself


def adopt_orphans() -> None:
    """Whoever is left behind by what this process starts becomes its child."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def of_a_view(path: Path) -> bool:
    """Whether ``path`` is of what confined processes see, which ends with the sandbox.

    A view is made once for all, and called by 16 digits.  What is called otherwise is none.
    """
    views = sandbox.shared_scratch() / "views"
    if path == views:
        return True
    return path.is_relative_to(views) and bool(_VIEW.fullmatch(path.relative_to(views).parts[0]))


@dataclass(frozen=True)
class Holdings:
    """Of this process: its mounts, its descriptors, and files in its private folders."""

    mounts: frozenset[str]
    descriptors: frozenset[str]
    files: frozenset[str]

    @classmethod
    def now(cls, folders: tuple[str, ...]) -> "Holdings":
        mounts = Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
        points = (line.split()[4:6] for line in mounts)
        kept = frozenset(" ".join(one) for one in points if not of_a_view(Path(one[0])))
        found = [path for folder in folders for path in Path(folder).rglob("*")]
        files = frozenset(str(path) for path in found if not of_a_view(path))
        return cls(kept, frozenset(_descriptors()), files)

    def since(self, before: "Holdings") -> list[str]:
        """What is new."""
        found = [f"mount {one}" for one in self.mounts - before.mounts]
        found += [f"descriptor of {one}" for one in self.descriptors - before.descriptors]
        return sorted([*found, *(f"file {one}" for one in self.files - before.files)])


def _descriptors() -> list[str]:
    found = []
    for entry in list(os.scandir("/proc/self/fd")):
        try:
            found.append(f"{entry.name} {Path(entry.path).readlink()}")
        except OSError:  # that of the listing
            continue
    return found


def descendants() -> list[str]:
    """Processes that this one has still below it, after a while in which they may go."""
    end = time.monotonic() + PATIENCE
    while (found := _below(os.getpid())) and time.monotonic() < end:
        time.sleep(0.02)
    return [f"process {name}" for name in found]


def _below(parent: int) -> list[str]:
    found = []
    try:
        told = Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii")
    except OSError:
        return []
    for pid in told.split():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        except OSError:
            continue
        name, state = stat.split("(", 1)[1].rsplit(")", 1)
        if state.split()[0] != "Z":
            found.append(f"{name} ({pid})")
        found += _below(int(pid))
    return found
