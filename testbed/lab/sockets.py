"""Which sockets a process has: the kernel is asked, not the process."""

from contextlib import suppress
from pathlib import Path

from testbed.model.address import Protocol, Socket

_TABLES: tuple[Protocol, ...] = ("udp", "tcp")
_LOCAL, _INODE = 1, 9  # columns of /proc/PID/net/udp and tcp, proc(5)


def sockets_of(node: str, pid: int) -> set[Socket]:
    """The bound sockets of process ``pid``, which runs in ``node``; none if it has ended."""
    found = set()
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        inodes = _inodes(pid)
        for protocol in _TABLES:
            lines = Path(f"/proc/{pid}/net/{protocol}").read_text(encoding="ascii").splitlines()
            for fields in map(str.split, lines[1:]):
                port = int(fields[_LOCAL].rpartition(":")[2], 16)
                if port and fields[_INODE] in inodes:
                    found.add(Socket(node, protocol, port))
    return found


def _inodes(pid: int) -> set[str]:
    """Of all its sockets, of whatever kind."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            target = str(entry.readlink())
            if target.startswith("socket:["):
                found.add(target.removeprefix("socket:[").removesuffix("]"))
    return found
