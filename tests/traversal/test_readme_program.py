"""The README's program, on loopback: three processes and a file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .readme_program import write_program

pytestmark = pytest.mark.timeout(90)
ANY = {"tcp": "/ip4/127.0.0.1/tcp/0", "quic": "/ip4/127.0.0.1/udp/0/quic-v1"}


def wait_line(process: "subprocess.Popen[str]", word: str) -> str:
    """What follows the word, on the first line that begins with it."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(word):
            return line.removeprefix(word).strip()
    raise AssertionError(f"the program ended before it said {word!r}")


@pytest.mark.parametrize("transport", ANY)
def test_the_program_of_the_readme_brings_a_file_whole(transport: str, tmp_path: Path) -> None:
    program = write_program(tmp_path)
    data = os.urandom(20_000)  # on loopback nothing is public: it stays relayed, within the limit
    (tmp_path / "in").write_bytes(data)
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, str(program), *words], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    try:
        relay = wait_line(start("relay", ANY[transport]), "listening")
        receiver = start("receive", str(tmp_path / "out"), ANY[transport], relay)
        circuit = wait_line(receiver, "dial")
        sender = start("send", str(tmp_path / "in"), ANY[transport], circuit)
        assert wait_line(sender, "whole").startswith("over")
        assert (sender.wait(20), receiver.wait(20)) == (0, 0)
        assert (tmp_path / "out").read_bytes() == data
    finally:
        for process in started:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
