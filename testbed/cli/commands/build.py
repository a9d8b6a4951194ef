"""`testbed build`: the peers that are programs of their own, and the images of container labs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from testbed import places
from testbed.errors import Exit, UnfitError, UsageError
from testbed.lab.containers.engine import engine
from testbed.naming import instead
from testbed.stacks import programs


def peers(names: Sequence[str], *, older: bool) -> int:
    """Build the peers of the folders ``names`` in ``images``, all if there are none.

    A peer whose toolchain is missing says so itself, and is left out; one that was named is
    an UnfitError then.
    """
    sources = {file.parent.name: file.parent for file in places.shared("images").glob("*/peer.mk")}
    for name in names:
        if name not in sources:
            raise UsageError(
                f"there is no peer {name!r} to build", remedy=instead(name, sorted(sources))
            )
    make = _tool("make", "apt-get install make")
    folder = programs.folder().absolute()
    for name in names or sorted(sources):
        _make(make, sources[name], folder, older=older)
        if names and not (folder / name / name).exists():
            raise UnfitError(f"{name} was not built", remedy="install what it takes, as said above")
    print(f"peers are in {folder}")
    return int(Exit.AGREED)


def images(base: str | None) -> int:
    """Build the images of the nodes on the Debian ``base``, by the engine's own command."""
    with engine():  # else an UnfitError
        _tool("docker", "apt-get install docker.io (Debian 13 and later: docker-cli)")
    settings = {
        "PYTHON": sys.executable,
        "PACKAGE": str(places.PACKAGE),
        "KEPT": str(places.built() / "images"),
        **({"BASE": base} if base else {}),
    }
    done = subprocess.run(
        ["/bin/sh", places.shared("images") / "build"], env=os.environ | settings, check=False
    )
    if done.returncode < 0 or done.returncode == Exit.INTERRUPTED:
        raise KeyboardInterrupt
    if done.returncode:
        raise UnfitError("the images were not built", remedy="what is missing is said above")
    return int(Exit.AGREED)


def _make(make: str, source: Path, folder: Path, *, older: bool) -> None:
    """Run one ``peer.mk``.  Paths are relative, for those of users may hold spaces.

    A clone's sources are built where they are.  Elsewhere they may lie where nobody may write,
    and are copied.
    """
    name = source.name
    settings = [f"PYTHON={os.path.realpath(sys.executable)}", f"OLDER={'yes' if older else ''}"]
    root = places.clone()
    if root is None or not folder.is_relative_to(root):
        copied = folder / ".sources" / name
        shutil.rmtree(copied, ignore_errors=True)
        try:
            shutil.copytree(source, copied, ignore=shutil.ignore_patterns("__pycache__"))
        except OSError as error:
            raise UnfitError(f"{copied}: {error}", remedy=f"set {programs.VARIABLE}") from error
        source = copied
        settings.append("TARGET=../../.cargo")
    (folder / name).mkdir(parents=True, exist_ok=True)
    settings.append(f"OUT={os.path.relpath(folder / name, source)}")
    done = subprocess.run([make, "-s", "-C", source, "-f", "peer.mk", *settings], check=False)
    if done.returncode:
        raise UnfitError(f"building {name} failed", remedy="what its tools said is above")


def _tool(name: str, remedy: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise UnfitError(f"there is no program {name}", remedy=remedy)
    return found
