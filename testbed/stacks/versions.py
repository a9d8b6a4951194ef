"""Versions of everything that takes part, for the record of each cell."""

import platform
import subprocess
from collections.abc import Collection, Sequence
from importlib.metadata import PackageNotFoundError, version

from testbed import __version__
from testbed.stacks.programs import Program
from testbed.stacks.registry import ADAPTERS

_TOOLS = {
    "nft": ("nft", "--version"),
    "iptables": ("iptables", "--version"),
    "turnserver": ("turnserver", "--version"),
}
_PACKAGES = ("aioice", "pyroute2", "scapy")


def facts(stacks: Collection[str] | None = None) -> dict[str, str]:
    """Name to version; "absent" for what is not there.

    ``stacks`` are the adapters whose programs say their versions; None: all that are built.
    Each program is started once, however many adapters it serves.
    """
    found = {
        "kernel": platform.release(),
        "python": platform.python_version(),
        "nat-testbed": __version__,
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    found |= {name: _said(command) for name, command in _TOOLS.items()}
    chosen = [one for one in ADAPTERS.values() if stacks is None or one.name in stacks]
    programs = {one.name: one.entry for one in chosen if isinstance(one.entry, Program)}
    versions = {program: program.version() for program in dict.fromkeys(programs.values())}
    return found | {name: versions[program] for name, program in programs.items()}


def loaders() -> tuple[str, str]:
    """The versions of nft and iptables."""
    return _said(_TOOLS["nft"]), _said(_TOOLS["iptables"])


def _said(command: Sequence[str]) -> str:
    """The last line that a program prints; "absent" if it is not there."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=5,
            check=False,
        )
        return (done.stdout or done.stderr).strip().splitlines()[-1]
    except (OSError, subprocess.TimeoutExpired, IndexError):
        return "absent"
