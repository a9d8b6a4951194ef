"""The package as a whole: what it imports, and the command line."""

import json
import subprocess
import sys
from pathlib import Path

import testbed.traversal

ROOT = Path(testbed.traversal.__file__).parent


def test_the_library_imports_nothing_from_the_rest_of_the_testbed() -> None:
    program = "import sys, testbed.traversal.__main__; print(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    ours = [m for m in run.stdout.decode().split() if m.startswith("testbed.")]
    assert all(m.startswith("testbed.traversal") for m in ours)


def test_no_core_knows_asyncio_or_sockets() -> None:
    for core in ROOT.glob("*.py"):
        if core.stem not in ("node", "options", "__main__"):
            words = core.read_text()
            assert "import asyncio" not in words
            assert "import socket" not in words


def test_two_nodes_meet_on_the_command_line() -> None:
    command = [sys.executable, "-m", "testbed.traversal", "--allow-private"]
    where = ["--listen", "/ip4/127.0.0.1/tcp/0", "--seconds", "20"]
    with subprocess.Popen([*command, *where], stdout=subprocess.PIPE) as listener:
        assert listener.stdout
        lines = (json.loads(line) for line in listener.stdout)
        there = next(line["address"] for line in lines if "address" in line)
        dial = [*command, "--dial", there, "--seconds", "0.1"]
        run = subprocess.run(dial, capture_output=True, check=True, timeout=20)
        listener.terminate()
    assert {"echo": "hello\n", "relayed": False} in map(json.loads, run.stdout.splitlines())


def test_a_dial_that_fails_is_an_exit_code_and_a_sentence() -> None:
    command = [sys.executable, "-m", "testbed.traversal", "--dial", "/ip4/127.0.0.1/tcp/1"]
    run = subprocess.run(command, capture_output=True, timeout=20)
    assert run.returncode == 1
    assert b"refused" in run.stderr
