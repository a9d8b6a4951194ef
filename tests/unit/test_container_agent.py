"""The agent of a container, here as an ordinary process: starts, feeds, ends programs."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from testbed.errors import BackendError
from testbed.lab.containers import agent as program
from testbed.lab.containers.remote import Agent, RemoteProcess, finish


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[Agent, "subprocess.Popen[bytes]"]]:
    path = tmp_path / "s"
    with ExitStack() as stack, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(str(path))
        server.listen()
        words = [sys.executable, "-ISu", program.__file__, str(path), "a"]
        process = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert process.stdout is not None
        stack.callback(process.stdout.close)
        stack.callback(process.wait, 10)
        stack.callback(process.kill)
        server.settimeout(10)
        control, _ = server.accept()
        name, fds, _, _ = socket.recv_fds(control, 100, 1)
        agent = Agent(name.decode(), control, fds[0])
        stack.callback(control.close)
        yield agent, process


@pytest.fixture
def agent(started: tuple[Agent, object]) -> Agent:
    return started[0]


def ended(process: RemoteProcess) -> tuple[int, bytes]:
    try:
        return finish(process, 10)
    finally:
        process.close()


def test_it_introduces_itself_with_its_network(agent: Agent) -> None:
    own = Path("/proc/self/ns/net").stat().st_ino
    assert (agent.node, os.fstat(agent.netns).st_ino) == ("a", own)


def test_a_programs_words_and_exit_code_come_back(agent: Agent) -> None:
    code, said = ended(agent.start(["sh", "-c", "echo out; echo err >&2; exit 7"]))
    assert (code, said) == (7, b"out\nerr\n")


def test_what_is_written_reaches_the_program_and_closing_ends_it(agent: Agent) -> None:
    process = agent.start(["cat"])
    process.stdin.write(b"hello")
    process.stdin.close()
    assert ended(process) == (0, b"hello")


def test_more_than_a_pipe_holds_is_said(agent: Agent) -> None:
    code, said = ended(agent.start(["sh", "-c", "head -c 1000000 /dev/zero"]))
    assert (code, len(said)) == (0, 1_000_000)


def test_programs_run_side_by_side(agent: Agent) -> None:
    first, second = agent.start(["cat"]), agent.start(["cat"])
    second.stdin.close()
    assert second.wait(10) == 0
    assert first.poll() is None
    first.close()
    second.close()


def test_a_killed_program_ends_by_that_signal_and_its_children_too(agent: Agent) -> None:
    process = agent.start(["sh", "-c", "sleep 1000 & echo $!; wait"])
    child = os.pidfd_open(int(process.stdout.readline()))
    process.kill()
    assert process.wait(10) == -signal.SIGKILL
    assert gone(child)
    process.close()


def test_a_program_stands_still_until_it_is_to_go_on(agent: Agent) -> None:
    process = agent.start(["sh", "-c", "while read line; do echo $line; done"])
    process.stdin.write(b"one\n")
    assert select.select([process.stdout], [], [], 5.0)[0]
    assert process.stdout.read(4) == b"one\n"
    process.pause()
    _await_state(process.pid, "T")
    process.stdin.write(b"two\n")
    assert process.poll() is None
    process.resume()
    assert select.select([process.stdout], [], [], 5.0)[0]
    assert process.stdout.read(4) == b"two\n"
    process.close()


def _await_state(pid: int, state: str) -> None:
    deadline = time.monotonic() + 5.0
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != state:
        assert time.monotonic() < deadline, f"{pid} is not in state {state}"


def gone(pidfd: int) -> bool:
    ready = select.select([pidfd], [], [], 10)[0]
    os.close(pidfd)
    return bool(ready)


def test_a_program_whose_owner_goes_is_killed(agent: Agent) -> None:
    process = agent.start(["sh", "-c", "echo $$; exec sleep 1000"])
    pidfd = os.pidfd_open(int(process.stdout.readline()))
    process._said.close()
    assert gone(pidfd)
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()


def test_a_program_that_is_not_there_ends_with_127_and_says_so(agent: Agent) -> None:
    code, said = ended(agent.start(["no-such-program"]))
    assert code == 127
    assert b"no-such-program" in said


def test_a_program_that_does_not_end_is_not_waited_for_longer_than_was_said(agent: Agent) -> None:
    process = agent.start(["sleep", "1000"])
    with pytest.raises(TimeoutError):
        process.wait(0.1)
    with pytest.raises(TimeoutError, match="not ended within"):
        finish(process, 0.1)
    process.close()


def test_when_the_lab_goes_the_agent_ends(
    started: tuple[Agent, "subprocess.Popen[bytes]"],
) -> None:
    agent, process = started
    agent.close()
    assert process.wait(10) == 0


def test_an_agent_that_died_is_said_to_have_gone(
    started: tuple[Agent, "subprocess.Popen[bytes]"],
) -> None:
    agent, process = started
    running = agent.start(["cat"])
    process.kill()
    process.wait(10)
    assert running.wait(10) == -signal.SIGKILL
    with pytest.raises(BackendError, match=r"\[a\].*(has gone|does not answer)"):
        agent.start(["true"])
    running.close()
