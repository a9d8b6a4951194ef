"""What a program reaches from where it is: run as a peer, it prints that as one JSON object.

Needs the standard library alone.  Its words are what to look for: ``results=PATH``, ``port=N``
of a listener of the harness, ``abstract=NAME``, ``shm=ID``.
"""

# ruff: noqa: PTH115, PTH118, PTH208
import contextlib
import ctypes
import errno
import json
import os
import resource
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/proc", "/sys", "/etc", "/nix")
PTRACE_SEIZE, NEWUSER, NEWNET = 0x4206, 0x10000000, 0x40000000
LIMITS = ("RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_CORE")
KEPT = 40  # of a list


def pids() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def others() -> list[int]:
    return [pid for pid in pids() if pid not in (os.getpid(), os.getppid())]


def processes() -> list[str]:
    found = []
    for pid in pids():
        with contextlib.suppress(FileNotFoundError):  # it has ended since
            found.append(Path(f"/proc/{pid}/comm").read_text().strip())
    return found


def status(*names: str) -> dict[str, str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return {
        line.split(":")[0]: line.split(":")[1].strip()
        for line in lines
        if line.split(":")[0] in names
    }


def files() -> list[str]:
    """All files but the system's, by their names."""
    found: list[str] = []
    for folder, folders, names in os.walk("/"):
        folders[:] = [one for one in folders if not os.path.join(folder, one).startswith(SYSTEM)]
        found += [os.path.join(folder, name) for name in names]
    return found[:KEPT]


def writable() -> list[str]:
    """Where something can be made, of all mounts and of the folders above them."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    places = {line.split()[4] for line in lines} | {
        "/",
        "/etc",
        "/usr/bin",
        "/home",
        "/var",
        "/dev",
    }
    found = []
    for place in sorted(places):
        if Path(place).is_dir():
            with contextlib.suppress(OSError):
                path = os.path.join(place, "probe")
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
                Path(path).unlink()
                found.append(place)
        elif Path(place).is_file():
            with contextlib.suppress(OSError):
                os.close(os.open(place, os.O_WRONLY))
                found.append(place)
    return found


def memory() -> list[int]:
    """Processes whose memory can be read."""
    found = []
    for pid in others():
        with contextlib.suppress(OSError):
            os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))
            found.append(pid)
    return found


def traced() -> list[int]:
    found = []
    for pid in {*others(), os.getppid()} - {0}:
        if LIBC.ptrace(PTRACE_SEIZE, pid, None, None) == 0:
            found.append(pid)
    return found


def networks() -> list[str]:
    """Networks besides its own that it finds among processes and descriptors."""
    own = os.readlink("/proc/self/ns/net")
    found = set()
    for pid in pids():
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/{pid}/ns/net"))
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    target = os.readlink(f"/proc/{pid}/fd/{name}")
                    found |= {target} if target.startswith("net:") else set()
    return sorted(found - {own})


def descriptors() -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if not target.startswith(("pipe:", "/proc/")):
                found.append(f"{name} {target}")
    return found


def listeners() -> list[int]:
    """Ports at which somebody listens, on whatever address it sees."""
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A":
            found.append(int(words[1].rpartition(":")[2], 16))
    return sorted(found)


def unix_sockets() -> list[str]:
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    return [line.split()[7] for line in lines if len(line.split()) > 7]


def works(what: Callable[[], Any]) -> bool:
    """Whether it does not fail."""
    try:
        result = what()
    except OSError:
        return False
    return not (isinstance(result, int) and not isinstance(result, bool) and result < 0)


def attempts(told: dict[str, str]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What takes a privilege, or somebody else's leave."""
    yield "be root", lambda: os.setuid(0)
    yield "make a user namespace", lambda: LIBC.unshare(NEWUSER)
    yield "make a network", lambda: LIBC.unshare(NEWNET)
    yield "mount", lambda: LIBC.mount(b"none", b"/tmp", b"tmpfs", 0, None)
    yield "make a device", lambda: os.mknod("/tmp/d", 0o600 | 0o060000, os.makedev(254, 0))
    yield "name the host", lambda: socket.sethostname("probe")
    yield "open a raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close()
    yield "open a packet socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    yield "take its link down", take_down
    yield "switch its network", lambda: Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    yield "be real-time", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    yield "hurry", lambda: os.nice(-5)
    yield "see the results", lambda: os.listdir(told["results"])
    yield (
        "reach the harness's port",
        lambda: socket.create_connection(("127.0.0.1", int(told["port"])), 0.5),
    )
    yield "reach an abstract socket", lambda: connect_unix("\0" + told["abstract"])
    yield "attach shared memory", lambda: shared_memory(int(told["shm"]))
    yield "read the kernel's words", lambda: LIBC.klogctl(10, None, 0)
    yield "change the root", lambda: os.chroot("/tmp")


def take_down() -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        body = struct.pack("=BBHiII", 0, 0, 0, 1, 0, 1)  # lo, IFF_UP off
        sock.send(struct.pack("=IHHII", 16 + len(body), 16, 5, 1, 0) + body)
        (code,) = struct.unpack_from("=i", sock.recv(4096), 16)
        if code:
            raise OSError(-code, "refused")


def connect_tcp(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), 0.5).close()


def connect_unix(name: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(name)


def shared_memory(number: int) -> None:
    LIBC.shmat.restype = ctypes.c_void_p
    if LIBC.shmat(number, None, 0o10000) == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno() or errno.EPERM, "refused")


def main() -> None:
    told = dict(word.split("=", 1) for word in sys.argv[1:])
    facts: dict[str, Callable[[], Any]] = {
        "environment": lambda: dict(os.environ),
        "first environment": lambda: (
            Path("/proc/self/environ").read_bytes().decode(errors="replace")
        ),
        "processes": processes,
        "status": lambda: status("CapEff", "CapPrm", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"),
        "files": files,
        "writable": writable,
        "memory": memory,
        "traced": traced,
        "networks": networks,
        "descriptors": descriptors,
        "listeners": listeners,
        "unix sockets": unix_sockets,
        "users": lambda: [os.getuid(), os.getgid(), os.getgroups()],
        "name": socket.gethostname,
        "limits": lambda: {name: resource.getrlimit(getattr(resource, name)) for name in LIMITS},
    }
    reached = {name: fact() for name, fact in facts.items()}
    reached["can"] = [name for name, what in attempts(told) if works(what)]
    print(json.dumps(reached))


if __name__ == "__main__":
    main()
