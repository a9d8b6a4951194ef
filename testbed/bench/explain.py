"""`testbed explain` on a long cell, beside `tshark -r` on the same file.

The cell is a real one, run here; then its echo is told again, as if the peers had
gone on talking, until the capture has as many packets as wanted.
"""

import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from testbed.bench.table import Results, say
from testbed.capture.pcapng import Writer
from testbed.capture.reader import read
from testbed.errors import TestbedError
from testbed.lab.namespaces import Namespaces
from testbed.model.packet import Packet
from testbed.nat.load import named
from testbed.run.cell import run_cell
from testbed.studies.punch.cell import Cell

PACKETS = 10_000
DEADLINE = 120.0  # seconds, of each reader
_IPV4, _IP_ID = 14, 18  # where they begin in a frame
_IN, _OUT = 1, 2  # epb_flags


def measure(results: Results) -> None:
    """Seconds and peak memory of both, each in a process of its own, and their ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = long_cell(folder, PACKETS)
        ours = _run([sys.executable, "-m", "testbed", "explain", str(folder)])
        say(results, f"testbed explain, {count} packets", ours.seconds, "s")
        say(results, "  peak memory of testbed explain", ours.megabytes, "MB")
        try:
            reader = _run(["tshark", "-r", str(folder / "capture.pcapng")])
        except FileNotFoundError:
            print("  tshark is not installed: apt-get install tshark")
            return
    say(results, "tshark -r, the same file", reader.seconds, "s")
    say(results, "  peak memory of tshark", reader.megabytes, "MB")
    say(results, "  testbed explain / tshark, time", ours.seconds / reader.seconds, "x")
    say(results, "  testbed explain / tshark, memory", ours.megabytes / reader.megabytes, "x")


def long_cell(folder: Path, packets: int) -> int:
    """Fill ``folder`` with a cell of at least so many packets; how many it has."""
    cell = Cell("punch-udp", ("full-cone", "port-restricted"))
    profiles = {profile.name: profile for profile in named(cell.profiles)}
    run_cell(cell, profiles, Namespaces(), folder)
    window = json.loads((folder / "run.json").read_text(encoding="utf-8"))["window"]
    if window is None:
        raise TestbedError("the peers of the benchmark's cell did not connect")
    capture = folder / "capture.pcapng"
    longer = list(_longer(read(capture), window["start_ns"], window["end_ns"], packets))
    _write(capture, longer)
    return len(longer)


def _longer(recorded: list[Packet], start: int, end: int, wanted: int) -> Iterator[Packet]:
    """The run with its echo repeated; each time the datagrams have another IP id."""
    echo = [p for p in recorded if start <= p.time_ns <= end]
    rounds = max(0, -(-(wanted - len(recorded)) // len(echo)))
    span = end - start + 1_000_000
    yield from (p for p in recorded if p.time_ns <= end)
    for turn in range(1, rounds + 1):
        for packet in echo:
            frame = _renumbered(bytes(packet.frame), turn)
            yield replace(packet, time_ns=packet.time_ns + turn * span, frame=frame)
    yield from (replace(p, time_ns=p.time_ns + rounds * span) for p in recorded if p.time_ns > end)


def _renumbered(frame: bytes, turn: int) -> bytes:
    """``frame`` with its IP id higher by ``turn``, and a checksum to match (RFC 1624)."""
    changed = bytearray(frame)
    ip_id, checksum = struct.unpack_from("!H4xH", frame, _IP_ID)
    struct.pack_into("!H", changed, _IP_ID, (ip_id + turn) % 0x10000)
    total = (~checksum & 0xFFFF) + (~ip_id & 0xFFFF) + (ip_id + turn) % 0x10000
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into("!H", changed, _IPV4 + 10, ~total & 0xFFFF)
    return bytes(changed)


def _write(path: Path, packets: list[Packet]) -> None:
    names = list(dict.fromkeys(packet.vantage for packet in packets))
    with path.open("wb") as file:
        writer = Writer(file, names)
        for p in packets:
            flags = _OUT if p.outgoing else _IN
            writer.packet(
                names.index(p.vantage), p.time_ns, bytes(p.frame), p.original_length, flags
            )
        for index, name in enumerate(names):
            seen = sum(packet.vantage == name for packet in packets)
            writer.statistics(index, packets[-1].time_ns, seen, 0)


@dataclass(frozen=True)
class _Cost:
    seconds: float
    megabytes: float  # the most that was resident at a time


def _run(command: list[str]) -> _Cost:
    """What a process costs; TestbedError where it fails."""
    started = time.perf_counter()
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stderr is not None
        words = process.stderr.read()
        _pid, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise TestbedError(f"{' '.join(command)}: {words.strip()[-500:]}")
    return _Cost(seconds, usage.ru_maxrss / 1024)
