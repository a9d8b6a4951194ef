"""Is this machine fit?  Each check tries the thing itself, in a throwaway sandbox.

`checks` gives what was found as data; `render` and `remedies` make it readable.
"""

import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import field
from pathlib import Path

from rich.table import Table
from rich.text import Text

from testbed.errors import Exit
from testbed.fitness.trials import Check, in_a_fork, try_sandbox, try_user_namespace
from testbed.model.frozen import FrozenValue

OLDEST_PYTHON = (3, 11)
FILES_NEEDED = 1024  # descriptors: a node takes some five, and cells run side by side
ROOM_NEEDED = 200 * 10**6  # bytes: the captures of a default matrix, many times over
_TOOL_DEADLINE = 5.0  # seconds for a program to say its version


class Tool(FrozenValue):
    """A program.  One that is not ``required`` may be absent."""

    program: str
    package: str  # Debian's
    arguments: tuple[str, ...]
    needed_for: str
    required: bool = True
    flavour: str = ""  # must be in what it says of itself


_TOOLS = (
    Tool("nft", "nftables", ("--version",), "NAT rules"),
    Tool("iptables-restore", "iptables", ("--version",), "NAT rules", flavour="nf_tables"),
    Tool("turnserver", "coturn", ("--version",), "STUN and TURN servers in the lab"),
    Tool("ip", "iproute2", ("-V",), "tests and benchmarks"),
    Tool(
        "miniupnpd",
        "miniupnpd-nftables",
        ("--version",),
        "profiles whose gateway is miniupnpd",
        required=False,
    ),
    Tool("ping", "iputils-ping", ("-V",), "looking around in a lab", required=False),
    Tool("tshark", "tshark", ("--version",), "reading captures by hand", required=False),
    Tool("docker", "docker.io", ("--version",), "labs of containers", required=False),
)


def _which(program: str) -> str | None:
    """Where the sandbox finds it: also where Debian's ordinary users do not look."""
    path = os.environ.get("PATH", os.defpath)
    return shutil.which(program, path=f"{path}:/usr/sbin:/sbin")


def _say(command: Sequence[str]) -> str:
    """What a program prints; OSError or TimeoutExpired as of subprocess."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_TOOL_DEADLINE,
        check=False,
    )
    return done.stdout.decode(errors="replace")


def _room(folder: Path) -> int | None:
    """Free bytes where ``folder`` is or would be; None if it cannot be written."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free if os.access(place, os.W_OK | os.X_OK) else None


def _containers() -> list[Check]:
    """Docker's package is loaded here alone."""
    from testbed.fitness.containers import checks as container_checks

    return container_checks()


class Machine(FrozenValue):
    """What the checks ask of the machine.  Tests give other answers."""

    system: str = field(default_factory=platform.system)
    release: str = field(default_factory=platform.release)
    python: tuple[int, ...] = tuple(sys.version_info[:3])
    root: bool = field(default_factory=lambda: os.geteuid() == 0)
    files: int = field(default_factory=lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    which: Callable[[str], str | None] = _which
    say: Callable[[Sequence[str]], str] = _say
    room: Callable[[Path], int | None] = _room
    fork: Callable[[Callable[[], list[Check]]], list[Check]] = in_a_fork
    containers: Callable[[], list[Check]] = _containers


def checks(machine: Machine | None = None, out: Path = Path("out")) -> list[Check]:
    """Everything that was found, in the order in which it should be remedied."""
    machine = machine or Machine()
    if machine.system != "Linux":
        remedy = "use a Linux machine, a virtual one will do"
        return [Check("Linux", False, machine.system, remedy, "everything")]
    return [
        Check("Linux", True, machine.release, "", "everything"),
        _python(machine),
        *(_tool(machine, tool) for tool in _TOOLS),
        _files(machine),
        _disk(machine, out),
        *_user_namespaces(machine),
        *machine.fork(try_sandbox),
        *machine.containers(),
    ]


def exit_code(found: Sequence[Check]) -> Exit:
    """UNFIT if anything needed is missing."""
    return Exit.UNFIT if any(check.ok is False for check in found) else Exit.AGREED


def render(found: Sequence[Check]) -> Table:
    """A table for a terminal; what is too wide for it is folded."""
    table = Table(box=None, pad_edge=False)
    for title in ("", "what", "found", "needed for"):
        table.add_column(title, overflow="fold")
    marks = {
        True: Text("ok", style="green"),
        False: Text("MISSING", style="red"),
        None: Text("-", style="yellow"),
    }
    for check in found:
        table.add_row(marks[check.ok], check.name, Text(check.found), check.needed_for)
    return table


def remedies(found: Sequence[Check]) -> list[str]:
    """Lines to print beneath the table, each whole: what to do about what is missing."""
    return [f"{check.name}: {check.remedy}" for check in found if check.remedy and not check.ok]


def _python(machine: Machine) -> Check:
    version = ".".join(map(str, machine.python))
    oldest = ".".join(map(str, OLDEST_PYTHON))
    fits = machine.python >= OLDEST_PYTHON
    remedy = "" if fits else f"install Python {oldest} or later, and the testbed with it"
    return Check("Python", fits, version, remedy, f"everything: {oldest} or later")


def _tool(machine: Machine, tool: Tool) -> Check:
    absent = False if tool.required else None
    path = machine.which(tool.program)
    if path is None:
        remedy = f"apt-get install {tool.package}"
        return Check(tool.program, absent, "not installed", remedy, tool.needed_for)
    try:
        said = machine.say((path, *tool.arguments))
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(tool.program, absent, str(error), "reinstall it", tool.needed_for)
    version = re.search(r"\d+(\.\d+)+", said)
    text = version[0] if version else "version unknown"
    if tool.flavour not in said:
        remedy = "update-alternatives --set iptables /usr/sbin/iptables-nft"
        return Check(tool.program, False, f"{text}, not {tool.flavour}", remedy, tool.needed_for)
    return Check(tool.program, True, text, "", tool.needed_for)


def _files(machine: Machine) -> Check:
    unlimited = machine.files == resource.RLIM_INFINITY
    fits = unlimited or machine.files >= FILES_NEEDED
    found = "no limit" if unlimited else f"{machine.files} at most"
    remedy = "" if fits else f"ulimit -Hn {FILES_NEEDED * 64}, as root"
    return Check("open files", fits, found, remedy, "cells side by side, large labs")


def _disk(machine: Machine, out: Path) -> Check:
    free = machine.room(out)
    if free is None:
        found, remedy = f"{out} cannot be written", "choose another folder with --out"
        return Check("disk", False, found, remedy, "captures")
    fits = free >= ROOM_NEEDED
    remedy = "" if fits else f"free {ROOM_NEEDED // 10**6} MB, or choose another disk with --out"
    return Check("disk", fits, f"{free // 10**6} MB free for {out}", remedy, "captures")


def _user_namespaces(machine: Machine) -> list[Check]:
    """Root does without them where it is really root."""
    (tried,) = machine.fork(try_user_namespace)
    refused = None if machine.root else False
    ok = True if tried.ok else refused
    purpose = "labs of ordinary users"
    return [Check("user namespaces", ok, tried.found, tried.remedy, purpose)]
