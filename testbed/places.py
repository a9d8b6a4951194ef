"""Where files are that are not modules: those of the testbed, and those of its user.

In a clone, ``nat-profiles``, ``compose`` and ``images`` lie beside this package, and what is
built goes to ``out`` there.  A wheel carries the same folders inside the package, and what
is built goes to the user's data directory.
"""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from platformdirs import PlatformDirs

PACKAGE = Path(str(files("testbed")))
_CARRIED = PACKAGE / "shared"  # where pyproject.toml puts the folders in a wheel


@cache
def clone() -> Path | None:
    """The root of the clone that this is run from; None where it was installed from a wheel."""
    return None if _CARRIED.is_dir() else PACKAGE.parent


def shared(name: str) -> Path:
    """A file or folder at the root of the repository, wherever this installation has it."""
    return (clone() or _CARRIED) / name


def built() -> Path:
    """The folder of what is built once and used by many runs: peers, packages of images."""
    root = clone()
    return root / "out" if root else _users().user_data_path


def configured() -> Path:
    """The folder of what the user has set down for all runs."""
    return _users().user_config_path


def cached() -> Path:
    """The folder of what can be made again at any time."""
    return _users().user_cache_path


def _users() -> "PlatformDirs":
    from platformdirs import PlatformDirs  # here, for peers in containers do without it

    return PlatformDirs("nat-testbed", appauthor=False)
