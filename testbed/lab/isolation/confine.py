"""The way into a confinement: the node's network, a view of files, and no privileges."""

import os
import signal
import socket
from pathlib import Path

from testbed.lab import kernel
from testbed.lab.isolation.powers import give_up
from testbed.lab.isolation.view import HOME, enter, prepared
from testbed.model.frozen import FrozenValue
from testbed.model.lab import Confinement

_PASSED = ("LANG", "LANGUAGE", "TZ")  # besides LC_*: how words and times are written
_APART = kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS | kernel.CLONE_NEWCGROUP
_SET_DUMPABLE = 4
_ENV_START, _ENV_END, _STATE = 50, 51, 3  # fields of /proc/PID/stat, proc(5)


class Place(FrozenValue):
    """A node, for processes: its name, its network, the folder with its ``hosts`` and so on."""

    name: str
    netns: int
    files: Path | None


def root_of(confinement: Confinement) -> Path:
    """What `confine` needs, to be asked for in the sandbox; OSError."""
    return prepared(confinement, Path.cwd())


def confine(place: Place, confinement: Confinement, root: Path) -> None:
    """Keep the calling process, the first of its pid namespace, within ``confinement`` for good.

    What it was given of the environment is erased.  OSError where the kernel refuses.
    """
    kept = _environment(confinement)
    folder = Path.cwd()
    kernel.setns(place.netns, kernel.CLONE_NEWNET)
    kernel.unshare(_APART)
    socket.sethostname(place.name[:63])
    switches = enter(root, place.files, confinement, folder)
    _forget_environment()
    give_up(confinement.capabilities, switches)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    kernel.control(_SET_DUMPABLE, 1)  # or its own files in /proc would be root's
    kernel.die_with_parent(signal.SIGKILL)  # forgotten when rights changed
    path = kept["PATH"].split(":")
    os.environ.update(kept, PATH=":".join(one for one in path if Path(one).is_dir()))


def _environment(confinement: Confinement) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED or name.startswith("LC_")
    }
    own = {"PATH": os.environ.get("PATH", os.defpath), "HOME": HOME, "TMPDIR": HOME}
    return kept | own | {"USER": "nobody"} | dict(confinement.environment)


def _forget_environment() -> None:
    """A fork has its parent's, in its memory and in /proc/self/environ."""
    os.environ.clear()
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    start, end = (int(fields[number - _STATE]) for number in (_ENV_START, _ENV_END))
    if start:
        kernel.erase(start, end - start)
