"""What a relay's own machine says of it: its interface's counters, its processor and memory.

The kernel counts each frame as it passes the interface, and knows nothing of the recording.
"""

import os
from pathlib import Path

from testbed.errors import BackendError
from testbed.lab.namespaces import NamespaceLab
from testbed.model.frozen import FrozenValue
from testbed.model.lab import Lab

_RECEIVED, _SENT = (0, 1), (8, 9)  # bytes and packets: columns of /proc/net/dev
_USER, _SYSTEM = 11, 12  # of /proc/PID/stat after the name, proc(5) 14 and 15


class Counted(FrozenValue):
    """Frames, both ways, and their bytes from the Ethernet header on."""

    packets: int
    bytes: int

    def since(self, before: "Counted") -> "Counted":
        """What came after ``before``."""
        return Counted(self.packets - before.packets, self.bytes - before.bytes)


class Used(FrozenValue):
    """By all programs of a node: seconds of processor time, and the most bytes of memory."""

    cpu_s: float
    memory: int


def counted(lab: Lab, node: str) -> Counted:
    """What the kernel of ``node`` has counted at its interfaces but loopback."""
    text = lab.run(node, ("cat", "/proc/net/dev")).decode("ascii")
    return read_counters(text, node)


def read_counters(text: str, node: str) -> Counted:
    """From the text of /proc/net/dev; BackendError if there is no interface in it."""
    lines = [line.partition(":") for line in text.splitlines() if ":" in line]
    rows = [counts.split() for name, _, counts in lines if name.strip() != "lo"]
    if not rows:
        raise BackendError("it has no interface", node=node)
    count = {
        which: sum(int(row[way[which]]) for row in rows for way in (_RECEIVED, _SENT))
        for which in (0, 1)
    }
    return Counted(packets=count[1], bytes=count[0])


def used(lab: Lab, node: str) -> Used | None:
    """None where the lab's processes are not this machine's, or have ended."""
    if not isinstance(lab, NamespaceLab):
        return None
    cpu, memory = 0.0, 0
    for process in lab.processes(node):
        try:
            stat = Path(f"/proc/{process.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
            status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
        except OSError:
            return None
        cpu += (int(stat[_USER]) + int(stat[_SYSTEM])) / os.sysconf("SC_CLK_TCK")
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        memory += int(peak.split()[1]) * 1024
    return Used(cpu, memory)
