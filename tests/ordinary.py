"""A user without any privilege, who has a copy of the testbed: for proofs that need no root."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import testbed

ROOT = Path(testbed.__file__).parent.parent


def ordinary_user() -> dict[str, object]:
    """Arguments for subprocess that make the child a user without any privilege."""
    return {"user": 12345, "group": 12345, "extra_groups": []} if os.getuid() == 0 else {}


def is_one_already() -> bool:
    """This whole suite is being run by an ordinary user: that is the proof."""
    return Path("/proc/self/uid_map").read_text().split()[2] == "1"


def readable_python() -> str:
    """An interpreter of this version that other users may execute."""
    for candidate in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        probe = subprocess.run(
            [candidate, "-c", "import sys; print(sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
            **ordinary_user(),  # type: ignore[call-overload]
        )
        if probe.returncode == 0 and probe.stdout.strip() == str(sys.version_info[:2]):
            return candidate
    pytest.fail("no Python here can be executed by an ordinary user: install python3")


def copy_for_everybody(place: Path, *others: str) -> dict[str, str]:
    """The checkout may lie where others cannot read: a copy, as an installation would be.

    ``others`` are folders of the checkout that are wanted as well.  Gives the environment
    in which the copy is used.
    """
    site = Path(pytest.__file__).parent.parent
    place.mkdir()
    for name in ("testbed", "nat-profiles", "images", *others):
        target = place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", str(ROOT / name), str(target)], check=True)
    subprocess.run(["cp", "-a", str(site), str(place / "site")], check=True)
    subprocess.run(["chown", "-R", "12345:12345", str(place)], check=True)
    return {
        "PYTHONPATH": f"{place}:{place / 'site'}",
        "PATH": os.environ["PATH"],
        "HOME": str(place),
    }
