"""Packets of a lab that is up, live: what is shown, what is written, and how it ends."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from test_attach import TESTBED, apart, lab_of_somebody, needs_others, said
from wireshark import needs_tshark

from testbed.capture.reader import read
from testbed.cli.commands.tcpdump import line
from testbed.model.packet import decode

__all__ = ["apart"]  # each test has its own labs
INSIDE, OUTSIDE, SERVER = "10.0.0.6:4001", "29.0.0.2:4001", "29.0.0.132:3478"
SEND = """
import socket
made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
made.bind(("", 4001))
made.sendto(bytes.fromhex("000100002112a442" + "61" * 12), ("29.0.0.132", 3478))
"""


@contextmanager
def lab(*words: str) -> Iterator[subprocess.Popen[str]]:
    """`testbed up`, until whoever runs it is told to end."""
    up = subprocess.Popen([*TESTBED, "up", *words], stdout=subprocess.PIPE, text=True)
    try:
        assert up.stdout is not None
        while "enter with" not in up.stdout.readline():
            assert up.poll() is None
        yield up
    finally:
        up.terminate()
        up.communicate(timeout=10)


@contextmanager
def watching(*words: str, out: int = subprocess.PIPE) -> Iterator[subprocess.Popen[bytes]]:
    """`testbed tcpdump`, once it watches."""
    started = subprocess.Popen(
        [*TESTBED, "tcpdump", *words], stdout=out, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        assert started.stderr is not None
        if "--lab" not in words:
            chosen = started.stderr.readline()
            assert b"in lab" in chosen, chosen  # which one it is, since no word names it
        first = started.stderr.readline()
        assert b"watching" in first, first
        yield started
    finally:
        started.kill()
        started.communicate(timeout=10)


def send(*words: str) -> None:
    done = said("exec", *words, "a", "--", sys.executable, "-c", SEND)
    assert done.returncode == 0, done.stderr


def stopped(watched: subprocess.Popen[bytes], number: int = signal.SIGINT) -> tuple[str, str]:
    """What it still said, after ``number``; it must have ended well."""
    watched.send_signal(number)
    return ended(watched)


def ended(watched: subprocess.Popen[bytes]) -> tuple[str, str]:
    out, errors = watched.communicate(timeout=10)
    assert watched.returncode == 0, errors
    assert b"Traceback" not in errors
    return (out or b"").decode(), errors.decode()


def test_a_packet_is_shown_before_and_after_its_nat_in_words() -> None:
    with lab("two-homes"), watching("nat-a") as watched:
        send()
        assert watched.stdout is not None
        shown = [watched.stdout.readline().decode().split(maxsplit=6) for _ in range(2)]
        _, errors = stopped(watched)
    assert [words[1:6] for words in shown] == [
        ["nat-a:lan", "in", INSIDE, ">", SERVER],
        ["nat-a:wan", "out", OUTSIDE, ">", SERVER],
    ]
    assert {words[6] for words in shown} == {"stun: Binding request\n"}
    assert errors.endswith("packets\n")


def test_one_interface_alone_and_so_many_packets() -> None:
    with lab("two-homes"), watching("nat-a", "-i", "wan", "--count", "1") as watched:
        send()
        out, errors = ended(watched)
    assert [one.split()[1] for one in out.splitlines()] == ["nat-a:wan"]
    assert errors == "testbed: 1 packets\n"


def test_a_bridge_shows_a_packet_once() -> None:
    """Not once more for each of its ports. A bridge also sends IGMP reports, at any time."""
    with lab("same-lan"), watching("nat-a") as watched:
        send()
        assert watched.stdout is not None
        shown: list[str] = []
        while not shown or "nat-a:wan" not in shown[-1]:  # behind its NAT: whole
            text = watched.stdout.readline().decode()
            shown += [text] if f" > {SERVER} " in text else []
        rest, _ = stopped(watched)
    shown += [text for text in rest.splitlines() if f" > {SERVER} " in text]
    assert [text.split()[1] for text in shown] == ["nat-a:lan", "nat-a:wan"], shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_was_written_until_a_signal_is_a_whole_recording(number: int, tmp_path: Path) -> None:
    file = tmp_path / "live.pcapng"
    with lab("two-homes"), watching("nat-a", "-w", str(file)) as watched:
        empty = file.stat().st_size
        send()
        while file.stat().st_size <= empty:
            assert watched.poll() is None
        stopped(watched, number)
    packets = [p for p in read(file) if str(p.destination) == SERVER]
    assert [(p.vantage, p.outgoing, str(p.source)) for p in packets][:2] == [
        ("nat-a:lan", False, INSIDE),
        ("nat-a:wan", True, OUTSIDE),
    ]
    assert abs(packets[0].time_ns - time.time_ns()) < 60e9


@needs_tshark
def test_tshark_reads_each_packet_as_it_comes() -> None:
    fields = ["-T", "fields", "-e", "frame.interface_name", "-e", "udp.srcport", "-e", "stun.type"]
    with lab("two-homes"), watching("nat-a", "-w", "-") as watched:
        shark = subprocess.Popen(
            ["tshark", "-l", "-r", "-", "-Y", "stun", *fields],
            stdin=watched.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert watched.stdout is not None
        watched.stdout.close()
        watched.stdout = None
        assert shark.stdout is not None
        send()
        first = shark.stdout.readline()  # while the capture goes on
        assert watched.poll() is None
        second = shark.stdout.readline()
        stopped(watched)
        assert shark.wait(10) == 0
        shark.stdout.close()
    assert first.split() == ["nat-a:lan", "4001", "0x0001"]
    assert second.split() == ["nat-a:wan", "4001", "0x0001"]


@pytest.mark.parametrize("write", [(), ("-w", "-")])
def test_it_notices_without_a_packet_that_its_reader_has_gone(write: tuple[str, ...]) -> None:
    with lab("two-homes"), watching("nat-a", *write) as watched:
        assert watched.stdout is not None
        watched.stdout.close()
        watched.stdout = None
        _, errors = ended(watched)
    assert "0 packets" in errors


def test_it_ends_with_the_lab(tmp_path: Path) -> None:
    file = tmp_path / "live.pcapng"
    with lab("two-homes") as up, watching("core", "-w", str(file)) as watched:
        up.terminate()
        _, errors = ended(watched)
    assert "the lab has gone" in errors
    read(file)


def test_a_full_disk_is_said() -> None:
    with lab("two-homes"):
        done = said("tcpdump", "a", "-w", "/dev/full")
    assert done.returncode == 3
    assert "cannot write /dev/full: No space left" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nobody",), "one of: core, nat-a"),
        (("nat-a", "-i", "eth7"), "one of: wan, lan"),
        (("nat-a", "-w", "/no/such/folder/x"), "No such file"),
        (("nat-a", "--count", "0"), "count"),
    ],
)
def test_wrong_words_are_answered(words: tuple[str, ...], message: str) -> None:
    with lab("two-homes"):
        done = said("tcpdump", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_lab_there_is_nothing_to_watch() -> None:
    done = said("tcpdump", "nat-a")
    assert (done.returncode, "no such lab is up" in done.stderr) == (2, True)


def test_packets_are_not_poured_on_a_terminal() -> None:
    with lab("two-homes"):
        screen, keyboard = pty.openpty()
        words = [*TESTBED, "tcpdump", "nat-a", "-w", "-"]
        done = subprocess.run(words, stdout=keyboard, stderr=subprocess.PIPE, timeout=20)
        os.close(screen)
        os.close(keyboard)
    assert done.returncode == 2
    assert b"wireshark -k -i -" in done.stderr


@needs_others
def test_root_watches_anothers_lab_only_by_name() -> None:
    with lab_of_somebody() as pid:
        assert said("tcpdump", "a").returncode == 2
        with watching("a", "--lab", str(pid), "--count", "1") as watched:
            done = said("exec", "--lab", str(pid), "a", "--", sys.executable, "-c", SEND)
            if done.returncode:  # the checkout's Python is not for everybody
                pytest.skip(done.stderr)
            out, _ = ended(watched)
    assert "a:eth0" in out


def test_the_words_of_a_stranger_cannot_steer_the_terminal() -> None:
    udp = b"\x0f\xa1\x07\x6c\x00\x40\x00\x00NOTIFY \x1b[2Jx HTTP/1.1\r\n\r\n"
    ip = b"\x45\x00" + (20 + len(udp)).to_bytes(2, "big") + bytes(4) + b"\x40\x11\0\0"
    ip += IPv4Address("10.0.0.2").packed + IPv4Address("239.255.255.250").packed
    frame = bytes(12) + b"\x08\x00" + ip + udp
    shown = line(decode(1, "a:eth0", 1_700_000_000_123_456_789, True, frame, len(frame)))
    assert shown.isprintable()
    assert ".123456 a:eth0 out 10.0.0.2:4001 > 239.255.255.250:1900  " in shown
