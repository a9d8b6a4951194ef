"""The capture file: what is written is what is read, and half a file is none."""

import contextlib
import io
import struct
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.utils import RawPcapNgReader
from wireshark import needs_tshark

from testbed.capture.drain import in_order
from testbed.capture.pcapng import Reading, Recording, VantageCount, Writer
from testbed.capture.reader import inspect, read
from testbed.capture.ring import Frame
from testbed.errors import CaptureError
from testbed.model.packet import decode

CAPTURES = Path(__file__).parent / "captures"
EPOCH = 1_700_000_000 * 10**9
frames = st.lists(
    st.tuples(
        st.integers(0, 2), st.integers(0, 2**60), st.binary(max_size=80), st.integers(0, 3000)
    ),
    max_size=12,
)


def write(packets: list[tuple[int, int, bytes, int]], dropped: int = 0) -> bytes:
    file = io.BytesIO()
    writer = Writer(file, ["a:eth0", "nat-a:lan", "nat-a:wan"])
    for interface, time_ns, data, more in packets:
        writer.packet(interface, time_ns, data, len(data) + more, 1 + interface % 2)
    for interface in range(3):
        count = sum(packet[0] == interface for packet in packets)
        writer.statistics(interface, EPOCH, count, dropped)
    return file.getvalue()


SAMPLE = write([(0, EPOCH, b"\2" * 14 + b"hello", 0), (2, EPOCH + 1, b"\2" * 60, 0)], dropped=3)


@given(packets=frames)
def test_what_is_written_is_read_back(
    packets: list[tuple[int, int, bytes, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("capture") / "c.pcapng"
    path.write_bytes(write(packets))
    names = ("a:eth0", "nat-a:lan", "nat-a:wan")
    expected = [
        (number, names[i], time_ns, bool(i % 2), data, len(data) + more)
        for number, (i, time_ns, data, more) in enumerate(packets, 1)
    ]
    assert expected == [
        (p.number, p.vantage, p.time_ns, p.outgoing, p.frame, p.original_length) for p in read(path)
    ]


def test_the_losses_stand_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    path.write_bytes(SAMPLE)
    counts = (
        VantageCount("a:eth0", 1, 3),
        VantageCount("nat-a:lan", 0, 3),
        VantageCount("nat-a:wan", 1, 3),
    )
    recording = inspect(path)
    assert recording == Recording(path, counts)
    assert (recording.packets, recording.dropped, recording.complete) == (2, 9, False)


def test_a_file_cut_anywhere_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "cut.pcapng"
    for length in range(len(SAMPLE)):
        path.write_bytes(SAMPLE[:length])
        with pytest.raises(CaptureError, match=r"cut\.pcapng"):
            read(path)
    path.write_bytes(SAMPLE)
    assert len(read(path)) == 2


@given(position=st.integers(0, len(SAMPLE) - 1), value=st.integers(0, 255))
def test_a_damaged_byte_never_gives_a_traceback(
    position: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("capture") / "c.pcapng"
    damaged = bytearray(SAMPLE)
    damaged[position] = value
    path.write_bytes(damaged)
    with contextlib.suppress(CaptureError):
        read(path)


@given(data=st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        list(Reading(io.BytesIO(data)).packets())


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a pcapng file"),
        (b"\xd4\xc3\xb2\xa1" + bytes(20), "not a pcapng file"),
        (struct.pack(">III", 0x0A0D0D0A, 28, 0x1A2B3C4D) + bytes(16), "little-endian"),
        (SAMPLE + SAMPLE, "which a recording does not have"),
        (SAMPLE[:-60], "cut short|not finished"),
    ],
)
def test_an_alien_file_is_refused_with_the_reason(
    content: bytes, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "alien"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match=complaint):
        read(path)


@pytest.mark.parametrize("at_once", [28, 29, 61, 100, 1000])
def test_a_file_is_read_alike_whatever_part_of_it_is_in_memory(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write([(i % 3, EPOCH + i, bytes([i]) * (i * 7), 0) for i in range(40)])
    expected = list(Reading(io.BytesIO(data)).packets())
    monkeypatch.setattr("testbed.capture.pcapng._AT_ONCE", at_once)
    assert list(Reading(io.BytesIO(data)).packets()) == expected
    for length in range(len(data) - 50, len(data)):
        with pytest.raises(ValueError, match=r"cut short|not finished"):
            list(Reading(io.BytesIO(data[:length])).packets())


def test_a_missing_file_is_a_capture_error(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="No such file"):
        read(tmp_path / "none.pcapng")


@needs_tshark
def test_wireshark_sees_the_names_the_directions_and_every_packet(tmp_path: Path) -> None:
    path = tmp_path / "c.pcapng"
    path.write_bytes(SAMPLE)
    fields = ["frame.number", "frame.interface_name", "frame.packet_flags_direction", "frame.len"]
    words = [word for field in fields for word in ("-e", field)]
    shown = subprocess.run(
        ["tshark", "-r", path, "-T", "fields", *words], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split("\t") for line in shown.splitlines()]
    assert [[row[0], row[1], int(row[2], 0), row[3]] for row in rows] == [
        ["1", "a:eth0", 1, "19"],
        ["2", "nat-a:wan", 1, "60"],
    ]


def frame(time_ns: int) -> Frame:
    return Frame(time_ns, b"", 0, 0)


@given(st.lists(st.lists(st.integers(0, 10**6)), max_size=4), st.randoms(use_true_random=False))
def test_packets_come_in_order_of_time_whatever_the_interface(
    times: list[list[int]], random: Random
) -> None:
    streams = []
    for stream in times:
        ordered = sorted(stream)
        for index in range(0, len(ordered) - 1, 2):  # two CPUs swapped neighbours
            if random.random() < 0.5:
                ordered[index : index + 2] = reversed(ordered[index : index + 2])
        streams.append([frame(time_ns) for time_ns in ordered])
    merged = [(found.time_ns, index) for index, found in in_order(streams)]
    assert [time_ns for time_ns, _ in merged] == sorted(t for stream in times for t in stream)
    for index, stream in enumerate(times):
        assert sorted(stream) == [time_ns for time_ns, i in merged if i == index]


def test_packets_of_one_instant_keep_their_order() -> None:
    first, second = Frame(5, b"first", 5, 0), Frame(5, b"second", 6, 0)
    assert [found.data for _, found in in_order([[first, second]])] == [b"first", b"second"]


def test_recording_does_not_pay_for_scapy() -> None:
    program = "import sys, testbed.capture.recorder as r; sys.exit('scapy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=Path.cwd()).returncode == 0


def by_scapy(data: bytes) -> Iterator[tuple[bytes, int, bool, bytes, int]]:
    """What scapy reads: the interface's name, time, direction, frame and length of each packet."""
    reader: Any
    with RawPcapNgReader(cast(Any, io.BytesIO(data))) as reader:  # it takes a file, too
        for frame, about in reader:
            time_ns = (about.tshigh << 32) + about.tslow
            yield about.ifname, time_ns, about.direction == 2, frame, about.wirelen


def recorded() -> Iterator[bytes]:
    """Every capture of the corpus."""
    for path in sorted(CAPTURES.glob("*.pcapng")):
        yield path.read_bytes()
    with tarfile.open(CAPTURES / "causes.tar.xz") as tar:
        for member in tar:
            if member.name.endswith(".pcapng"):
                content = tar.extractfile(member)
                assert content is not None
                yield content.read()


def test_every_recorded_capture_is_read_as_scapy_reads_it(tmp_path: Path) -> None:
    count = 0
    for data in recorded():
        file = tmp_path / "capture.pcapng"
        file.write_bytes(data)
        expected = [
            decode(number, name.decode(), time_ns, outgoing, frame, length)
            for number, (name, time_ns, outgoing, frame, length) in enumerate(by_scapy(data), 1)
        ]
        assert read(file) == expected
        count += len(expected)
    assert count > 10_000


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(0, 2**63),
            st.binary(max_size=300),
            st.integers(0, 3000),
            st.sampled_from([0b00101, 0b01101, 0b01001, 0b10001, 0b00010]),
        ),
        max_size=9,
    )
)
def test_what_is_written_is_read_as_scapy_reads_it(
    packets: list[tuple[int, int, bytes, int, int]],
) -> None:
    out = io.BytesIO()
    writer = Writer(out, ["a:eth0", "nat:wan", "nat:lan"])
    for packet in packets:
        writer.packet(*packet)
    for index in range(3):
        writer.statistics(index, 1, sum(one[0] == index for one in packets), 0)
    data = out.getvalue()
    reading = Reading(io.BytesIO(data))
    ours = [
        (reading.names[interface].encode(), time_ns, flags & 3 == 2, frame, length)
        for interface, time_ns, flags, frame, length in reading.packets()
    ]
    assert ours == list(by_scapy(data))
