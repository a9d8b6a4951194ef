"""The helper process: enters a sandbox, and makes there what the tests ask for.

``python -m testbed.pytest_plugin.inside PARENT FD RESULTS``, by `testbed.pytest_plugin.helper`.
One request after another; the end of the channel is the end of the process, and so of the
sandbox with everything in it.
"""

import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from functools import cached_property
from pathlib import Path
from socket import AF_PACKET, SOCK_RAW
from typing import Any, NamedTuple

from testbed.capture.recorder import record
from testbed.certify.certificates import JOBS, Certificate, certify_all
from testbed.certify.store import certified
from testbed.cli.commands.explain import explain_cell
from testbed.errors import TestbedError
from testbed.lab import kernel, sandbox
from testbed.lab.audit import require_closed
from testbed.lab.choice import Kind, backend
from testbed.model.fault import Fault
from testbed.model.furnishing import nats
from testbed.model.lab import Lab, Process
from testbed.model.presets import preset
from testbed.model.profile import Profile
from testbed.nat.load import load
from testbed.plan.planner import plan
from testbed.pytest_plugin.channel import from_memory, in_memory, receive, send, told
from testbed.run.matrix import run_matrix
from testbed.stacks.registry import ADAPTERS, stacks
from testbed.stacks.versions import facts
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.external import add_stacks
from testbed.studies.punch.mechanisms import of
from testbed.studies.punch.sound import require_sane
from testbed.words import sentence

EXPLANATION = "explanation.txt"  # beside a cell's explanation.json
_COLUMNS = "110"  # of it


class Answer(NamedTuple):
    """A value for JSON, and descriptors that are closed here once they were sent."""

    value: Any = None
    fds: Sequence[int] = ()


class _Closed(Exception):
    """A lab was told to close."""


class Server:
    """One method for each request that is not about a lab's inside."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    @cached_property
    def _facts(self) -> dict[str, str]:
        return facts()

    def certify(
        self,
        _fds: list[int],
        profiles: Mapping[str, str],
        kind: str,
        topology: str | None,
        names: Sequence[str],
    ) -> Answer:
        """The certificates of ``profiles`` (name -> file), as a world has them if it is named."""
        found = _load(profiles)
        if topology is not None:
            found = nats(preset(topology, *names), found)
        measured = _certificates(list(found.values()), Kind(kind))
        return Answer([one.to_json() for one in measured])

    def cell(
        self,
        _fds: list[int],
        cell: dict[str, Any],
        strangers: Mapping[str, tuple[str, str, str, Sequence[str]]],
        profiles: Mapping[str, str],
        kind: str,
        out: str,
    ) -> Answer:
        """One cell, tried again while this machine is too busy; its result.

        ``strangers`` are stacks that are not known here: name -> words, mechanism, contract, reads.
        """
        for name, (words, mechanism, contract, reads) in strangers.items():
            if name not in ADAPTERS:
                add_stacks([f"{name}={words}"], mechanism, contract, [Path(one) for one in reads])
        topology = cell["topology"] or of(stacks(cell["peer"])).topology
        asked = Cell(**(cell | {"topology": topology, "profiles": tuple(cell["profiles"])}))
        require_sane(asked)
        made_by = backend(Kind(kind))
        (result,) = run_matrix(
            [asked],
            _load(profiles),
            made_by,
            Path(out),
            jobs=1,
            facts=self._facts,
            progress=lambda *_: None,
        )
        with suppress(TestbedError, OSError):  # the verdict stands without
            _explain(Path(result.folder))
        return Answer(result.to_json())

    def lab(
        self,
        _fds: list[int],
        topology: str,
        names: Sequence[str],
        profiles: Mapping[str, str],
        kind: str,
        capture: str,
    ) -> Answer:
        """A lab that is recorded, and obeys until it is told to close; what it lost."""
        steps = plan(preset(topology, *names), _load(profiles))
        with (
            backend(Kind(kind)).start(steps) as lab,
            record(
                lambda vantage: lab.socket(vantage.node, AF_PACKET, SOCK_RAW),
                steps.vantages,
                Path(capture),
            ) as recorder,
        ):
            require_closed(lab)
            send(self._channel, {"value": None})
            with suppress(_Closed):
                serve(self._channel, LabServer(lab))
            faults: list[Fault] = [*lab.lost_frames(), *lab.failed_services()]
            lost = [sentence(fault) for fault in faults]
        counts = recorder.recording.counts
        lost += [f"{n.dropped} packets were not recorded at {n.name}" for n in counts if n.dropped]
        return Answer(lost)


class LabServer:
    """One method for each request about a lab that is up."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._processes: list[Process] = []

    def run(self, fds: list[int], node: str, command: list[str], timeout: float) -> Answer:
        """Its input and its output are in memory that is handed over."""
        said = self._lab.run(node, command, input=from_memory(fds[0]), timeout=timeout)
        return Answer(fds=[in_memory(said)])

    def spawn(self, _fds: list[int], node: str, command: list[str]) -> Answer:
        """A process's place and number; its pipes are handed over, for nobody else to hold."""
        process = self._lab.spawn(node, command)
        self._processes.append(process)
        pipes = (process.stdin, process.stdout, process.stderr)
        kept = [os.dup(pipe.fileno()) for pipe in pipes]
        for pipe in pipes:
            pipe.close()
        return Answer([len(self._processes) - 1, process.pid], kept)

    def poll(self, _fds: list[int], process: int) -> Answer:
        return Answer(self._processes[process].poll())

    def wait(self, _fds: list[int], process: int, timeout: float) -> Answer:
        return Answer(self._processes[process].wait(timeout))

    def kill(self, _fds: list[int], process: int) -> Answer:
        self._processes[process].kill()
        return Answer()

    def socket(self, _fds: list[int], node: str, family: int, kind: int, proto: int) -> Answer:
        return Answer(fds=[self._lab.socket(node, family, kind, proto).detach()])

    def close(self, _fds: list[int]) -> Answer:
        raise _Closed


def serve(channel: socket.socket, obeys: Server | LabServer) -> None:
    """Answer requests until the tests' process is gone; SystemExit if a lab is up then."""
    while (message := receive(channel)) is not None:
        arguments, fds = message
        try:
            answer = getattr(obeys, arguments.pop("do"))(fds, **arguments)
        except (TestbedError, OSError) as error:
            send(channel, told(error))
            continue
        send(channel, {"value": answer.value}, answer.fds)
        for fd in answer.fds:
            os.close(fd)
    sys.exit(0)


def _load(profiles: Mapping[str, str]) -> dict[str, Profile]:
    return {name: load(Path(file)) for name, file in profiles.items()}


def _certificates(profiles: list[Profile], kind: Kind) -> list[Certificate]:
    """Those of containers are not kept: their kernel is this machine's, their tools are not."""
    if kind is Kind.NAMESPACES:
        return list(certified(profiles).values())
    return certify_all(profiles, kind.at_once(JOBS), backend=backend(kind))


def _explain(folder: Path) -> None:
    with (folder / EXPLANATION).open("w", encoding="utf-8") as file, redirect_stdout(file):
        explain_cell(str(folder), folder, packets=False, as_json=False)


def main() -> int:
    parent, fd, results = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    channel = socket.socket(fileno=fd)
    channel.set_inheritable(False)
    os.environ["COLUMNS"] = _COLUMNS
    kernel.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:  # it died before
        return 1
    try:
        sandbox.enter(results)
    except TestbedError as error:
        send(channel, told(error))
        return int(error.exit_code)
    send(channel, {"value": None})
    serve(channel, Server(channel))
    return 0


if __name__ == "__main__":
    sys.exit(main())
