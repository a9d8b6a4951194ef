"""What a confined process sees of the machine's files: a root of its own, made of few others.

All is read-only but ``/tmp``, ``/run`` and ``/dev/shm``, which are in memory, the process's own,
and end with it.  What is the same for all processes of one stack is made once, in the sandbox,
and costs them nothing; each makes the rest in its own copy of it.
"""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from testbed.lab import kernel, sandbox
from testbed.model.lab import SYSTEM, Capability, Confinement

HOME = "/tmp"
ROOM = 64 << 20  # bytes in each of its own folders
_OWN = ("/tmp", "/run", "/dev/shm")
_SAME = {"/var/tmp": "/tmp", "/var/run": "/run"}  # the first is a link to the second in a view
# Of /etc what programs and libraries need, and nothing that tells of this machine's users.
_ETC = (
    *("alternatives", "ca-certificates.conf", "gai.conf", "host.conf", "ld.so.cache"),
    *("ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf", "pki"),
    *("protocols", "services", "ssl", "timezone"),
)
_FILES = ("hosts", "resolv.conf")  # the node's
_PASSWD = "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/sh\n"
_GROUP = "root:x:0:\nnogroup:x:65534:\n"
_DEVICES = ("full", "null", "random", "urandom", "zero")
_STREAMS = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}
_TUN = "/dev/net/tun"
_SAFE = kernel.MS_NOSUID | kernel.MS_NODEV
_READ_ONLY = kernel.ATTR_RDONLY | kernel.ATTR_NOSUID


def prepared(confinement: Confinement, folder: Path) -> Path:
    """The root for processes of ``confinement`` that are started in ``folder``; made if need be.

    In the sandbox, by any of its processes.  OSError naming what the kernel refused.
    """
    tun = Capability.NET_ADMIN in confinement.capabilities
    reads = tuple(path for path in confinement.reads if not _covered(path))
    key = hashlib.sha256(repr((reads, tun, folder)).encode()).hexdigest()[:16]
    root = sandbox.shared_scratch() / "views" / key
    with _alone(root.parent):
        if not root.is_mount():  # in this mount namespace: a file would tell of all
            root.mkdir(exist_ok=True)
            try:
                _make(_View(root), reads, folder, tun=tun)
            except OSError:  # the next one who asks begins anew
                with suppress(OSError):
                    kernel.unmount(str(root))
                raise
    return root


def enter(root: Path, files: Path | None, confinement: Confinement, folder: Path) -> int:
    """Make ``root`` this process's, in a mount namespace of its own that the sandbox's was before.

    ``files`` has the node's ``hosts`` and ``resolv.conf``; the process is in ``folder`` then.
    Gives a descriptor of the one /proc/sys that can be written to.
    """
    view = _View(root)
    view.own()
    view.reads(path for path in confinement.reads if _covered(path))
    if files is not None:
        for name in _FILES:
            kernel.mount(f"{files}/{name}", f"{root}/etc/{name}", "", kernel.MS_BIND)
            kernel.restrict_mounts(f"{root}/etc/{name}", _READ_ONLY)
    switches = view.kernel()
    if _covered(folder):
        view.folder(folder)
    kernel.change_root(str(root))
    os.chdir(folder)
    return switches


def _covered(path: Path) -> bool:
    """Whether it lies where each process has a folder of its own."""
    return any(path.is_relative_to(name) for name in (*_OWN, *_SAME))


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    place.mkdir(exist_ok=True)
    held = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _make(view: "_View", reads: Iterable[Path], folder: Path, *, tun: bool) -> None:
    root = str(view.root)
    kernel.mount("testbed", root, "tmpfs", _SAFE, "mode=0755,size=4m")
    kernel.mount("none", root, "", kernel.MS_UNBINDABLE)  # it is no part of what it shows
    view.system()
    view.etc()
    view.devices(tun=tun)
    for name in (*_OWN, "/proc", "/sys", "/var"):
        view.at(Path(name)).mkdir(exist_ok=True)
    for name, target in _SAME.items():
        (view.root / name[1:]).symlink_to(target)
    view.reads(reads)
    view.folder(folder)
    again = kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY
    kernel.mount("none", root, "", again | _SAFE)


class _View:
    """A root that is being made; paths are those that a process in it has."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def at(self, path: Path) -> Path:
        """Where it is to be made from outside, where a link of the view would lead elsewhere."""
        for name, target in _SAME.items():
            if path.is_relative_to(name):
                path = target / path.relative_to(name)
        return self.root / path.relative_to("/")

    def system(self) -> None:
        for name in SYSTEM:
            path = Path(name)
            if path.is_symlink():
                self.at(path).symlink_to(path.readlink())
            elif path.is_dir():
                self._show(path)
        hidden = sandbox.shared_scratch()
        if any(hidden.is_relative_to(name) for name in SYSTEM):
            kernel.mount("testbed", str(self.at(hidden)), "tmpfs", _SAFE | kernel.MS_RDONLY)

    def etc(self) -> None:
        etc = self.at(Path("/etc"))
        etc.mkdir()
        for name in _ETC:
            source, target = Path("/etc", name), etc / name
            if source.is_symlink():
                target.symlink_to(source.readlink())
            elif source.is_dir():
                self._show(source)
            elif source.is_file():
                target.write_bytes(source.read_bytes())
        (etc / "passwd").write_text(_PASSWD, encoding="ascii")
        (etc / "group").write_text(_GROUP, encoding="ascii")
        for name in _FILES:
            (etc / name).touch()

    def devices(self, *, tun: bool) -> None:
        dev = self.at(Path("/dev"))
        dev.mkdir()
        for name in (*(f"/dev/{name}" for name in _DEVICES), *([_TUN] if tun else ())):
            if Path(name).exists():
                self._bind(Path(name))
        for name, rest in _STREAMS.items():
            (dev / name).symlink_to(f"/proc/self/fd{rest}")

    def reads(self, paths: Iterable[Path]) -> None:
        """At their places, each once; what is not there is not seen."""
        shown: list[Path] = []
        for path in sorted(set(paths), key=lambda one: len(one.parts)):
            covered = [*map(Path, SYSTEM), *shown]
            if path.exists() and not any(path.is_relative_to(one) for one in covered):
                self._show(path)
                shown.append(path)

    def kernel(self) -> int:
        """/proc of its pid namespace, and /sys of its network: both tell of the machine's hardware.

        What can be switched in /proc/sys belongs to an ordinary user's sandbox, and so to the
        process; all else to root, which it never is.
        """
        proc, switches = f"{self.root}/proc", f"{self.root}/proc/sys"
        kernel.mount("proc", proc, "proc", _SAFE | kernel.MS_NOEXEC)
        held = os.open(switches, os.O_PATH | os.O_CLOEXEC)
        kernel.mount(switches, switches, "", kernel.MS_BIND)
        kernel.restrict_mounts(switches, kernel.ATTR_RDONLY)
        flags = _SAFE | kernel.MS_NOEXEC | kernel.MS_RDONLY
        kernel.mount("sysfs", f"{self.root}/sys", "sysfs", flags)
        return held

    def own(self) -> None:
        for name in _OWN:
            options = f"mode=1777,size={ROOM},nr_inodes=8192"
            kernel.mount("testbed", f"{self.root}{name}", "tmpfs", _SAFE, options)

    def folder(self, folder: Path) -> None:
        """Words of a command are relative to it; it may be empty."""
        target = self.at(folder)
        self._within(target)
        target.mkdir(parents=True, exist_ok=True)

    def _within(self, target: Path) -> None:
        """Nothing may be made in the machine's own folders, by way of a link in the view."""
        if not target.resolve().is_relative_to(self.root.resolve()):
            raise OSError(errno.EXDEV, "a link leads out of the view", str(target))

    def _show(self, path: Path) -> None:
        self._bind(path)
        kernel.restrict_mounts(str(self.at(path)), _READ_ONLY | kernel.ATTR_NODEV)

    def _bind(self, path: Path) -> None:
        target = self.at(path)
        self._within(target)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                target.mkdir()
            else:
                target.touch()
        kernel.mount(str(path), str(target), "", kernel.MS_BIND | kernel.MS_REC)
