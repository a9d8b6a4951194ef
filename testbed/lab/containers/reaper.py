"""What runs of containers left behind when they were killed, and its removal.

Everything that is made bears labels: the run, its user, and the folder with the run's
lock.  The lock goes with the run's last process, so a free one is proof that nobody
needs the rest any more.  What has not all these labels is not ours, and not touched.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import docker

from testbed.lab.containers.crew import FOLDER, LOCK, RUN, USER, alone, remove
from testbed.lab.containers.engine import Gone


def reap(client: docker.APIClient, *, everybody: bool = False) -> list[str]:
    """Remove what finished runs left, yours or ``everybody``'s; what it was, as words."""
    asked = {"label": RUN}
    done = []
    for one in client.containers(all=True, filters=asked):
        if _orphan(one["Labels"], everybody):
            remove(client, one["Id"])
            done.append(f"container {one['Names'][0].lstrip('/')}")
    for one in client.networks(filters=asked):
        if _orphan(one["Labels"], everybody):
            _gone(client.remove_network, one["Id"])
            done.append(f"network {one['Name']}")
    for one in client.volumes(filters=asked)["Volumes"] or ():
        if _orphan(one["Labels"], everybody):
            _gone(client.remove_volume, one["Name"])
            done.append(f"volume {one['Name']}")
    _empty_folders()
    return done


def _orphan(labels: Mapping[str, str] | None, everybody: bool) -> bool:
    if labels is None or not {RUN, USER, FOLDER} <= labels.keys():
        return False
    mine = everybody or labels[USER] == str(os.getuid())
    return mine and over(Path(labels[FOLDER]))


def over(folder: Path) -> bool:
    """Whether the run of this folder has ended: its folder is gone, or nobody holds its lock."""
    try:
        held = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(held)
    return True


def _gone(removal: Callable[[str], None], name: str) -> None:
    with suppress(Gone):  # somebody was faster
        removal(name)


def _empty_folders() -> None:
    """Of runs that are over.  Containers that mounted what was in them do not mind."""
    with alone() as place:
        for folder in place.iterdir():
            if over(folder):
                shutil.rmtree(folder, ignore_errors=True)
