"""A program of another stack, in a namespace of the lab."""

import json
import time
from pathlib import Path
from typing import Any

from testbed.model.lab import Lab

from ..interop.peer import command


class LabForeign:
    """The program in a namespace, with hole punching on."""

    def __init__(self, lab: Lab, name: str, transport: str, binary: Path) -> None:
        ip, port = lab.plan.address(name), lab.plan.port(name)
        kind = f"tcp/{port}" if transport == "tcp" else f"udp/{port}/quic-v1"
        self._process = lab.spawn(name, [str(binary), "-listen", f"/ip4/{ip}/{kind}", "-punch"])
        self._buffer = b""
        self.peer: str = self._line()["id"]

    def _line(self) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            data = self._process.stdout.read(65536)
            assert data, self._process.stderr.read()
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, cmd: str, addr: str, **words: Any) -> dict[str, Any]:
        self._process.stdin.write(command(cmd, addr, words))
        self._process.stdin.flush()
        answer = self._line()
        assert "error" not in answer, f"{cmd}: {answer}"
        return answer

    def punched(self, addr: str, timeout: float) -> str:
        """What it says of its punch; as QUIC's server it hears of the end after its peer."""
        deadline = time.monotonic() + timeout
        while not (said := self.ask("direct", addr)["punched"]):
            assert time.monotonic() < deadline, f"no word of a punch in {timeout} s"
            time.sleep(0.05)
        return str(said)
