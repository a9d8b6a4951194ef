"""Versions of everything that takes part, for the record of each cell."""

import platform
import subprocess
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


def facts() -> dict[str, str]:
    """Name to version; "absent" for what is not there."""
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
    for name, command in _TOOLS.items():
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=5,
                check=False,
            )
            found[name] = (done.stdout or done.stderr).strip().splitlines()[-1]
        except (OSError, subprocess.TimeoutExpired, IndexError):
            found[name] = "absent"
    for adapter in ADAPTERS.values():
        if isinstance(adapter.entry, Program):
            found[adapter.name] = adapter.entry.version()
    return found
