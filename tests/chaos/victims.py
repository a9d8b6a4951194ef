"""The processes of a lab, found from a child of its worker that holds nothing of it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.lab import kernel
from testbed.lab.namespaces import NamespaceLab
from testbed.model.plan import AddNode


@dataclass(frozen=True)
class Whereabouts:
    """Of a lab's processes: the networks of its nodes by inode, and numbers that the lab knows."""

    networks: Mapping[str, int]
    home: int
    worker: int
    delay_line: int | None

    @classmethod
    def of(cls, lab: NamespaceLab) -> "Whereabouts":
        nodes = [step.node for step in lab.plan.of(AddNode)]
        networks = {node: os.fstat(lab.entrance(node)[0]).st_ino for node in nodes}
        line = getattr(lab.links, "pid", None) if lab._wires.links is not None else None
        home = kernel.current_netns()
        inode = os.fstat(home).st_ino
        os.close(home)
        return cls(networks, inode, os.getpid(), line)

    def find(self, victim: str, processes: Mapping[str, str]) -> list[int]:
        """The numbers of a victim; ``processes`` says in which node who is."""
        match victim:
            case "the case's worker":
                return [self.worker]
            case "delay line":
                return [self.delay_line] if self.delay_line else []
            case "recorder":
                return [pid for pid in self._children() if self._network(pid) == self.home]
            case _:
                return self._inside(self.networks[processes[victim]])

    def _inside(self, network: int) -> list[int]:
        every = (int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit())
        return [pid for pid in every if pid != self.worker and self._network(pid) == network]

    def _children(self) -> list[int]:
        """Of the harness, but for this process, and for a fork on its way into a node."""
        told = Path(f"/proc/{self.worker}/task/{self.worker}/children").read_text("ascii")
        others = {os.getpid(), self.delay_line}
        return [pid for pid in map(int, told.split()) if pid not in others]

    @staticmethod
    def _network(pid: int) -> int:
        try:
            return os.stat(f"/proc/{pid}/ns/net").st_ino  # noqa: PTH116
        except OSError:  # it has ended
            return -1
