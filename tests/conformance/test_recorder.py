"""The recorder on real interfaces: all that passed is in the file, or is said to be lost."""

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from wireshark import needs_tshark

from testbed.capture.pcapng import SNAP_LENGTH
from testbed.capture.reader import inspect, read
from testbed.capture.recorder import record
from testbed.errors import CaptureError
from testbed.model.plan import Vantage

LEFT, RIGHT = Vantage("left", "eth0"), Vantage("right", "eth0")
BOTH = (LEFT, RIGHT)
CLONE_NEWNET = 0x40000000
DEADLINE = 20.0

libc = ctypes.CDLL(None, use_errno=True)


def run(command: str) -> str:
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout


class Wire:
    """Two network namespaces of our own with a veth between them and no way out."""

    def __init__(self) -> None:
        self._namespaces = {"left": self._namespace(), "right": self._namespace()}
        other = f"/proc/{os.getpid()}/fd/{self._namespaces['left']}"
        run(f"ip link add eth0 type veth peer name eth0 netns {other}")
        for node, address in (("left", "10.9.0.1/24"), ("right", "10.9.0.2/24")):
            self.enter(node)
            Path("/proc/sys/net/ipv6/conf/eth0/disable_ipv6").write_text("1")
            run(f"ip address add {address} dev eth0")
            run("ip link set eth0 mtu 9000 up")
        self.sender = self.udp("left", "10.9.0.1")
        self.receiver = self.udp("right", "10.9.0.2")
        self.send(b"the first one resolves the neighbour")
        self.receiver.recv(2048)

    def _namespace(self) -> int:
        assert libc.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def enter(self, node: str) -> None:
        assert libc.setns(self._namespaces[node], CLONE_NEWNET) == 0

    def udp(self, node: str, address: str) -> socket.socket:
        self.enter(node)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(DEADLINE)
        sock.bind((address, 4000))
        return sock

    def packet_socket(self, vantage: Vantage) -> socket.socket:
        self.enter(vantage.node)
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)

    def send(self, payload: bytes) -> None:
        self.sender.sendto(payload, ("10.9.0.2", 4000))

    def burst(self, count: int, size: int = 100) -> None:
        for number in range(count):
            self.send(number.to_bytes(4, "big").ljust(size, b"."))


def in_a_child(body: Callable[[], None]) -> None:
    """Run ``body`` in a forked process, which may enter namespaces; its failure is ours."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(out)
        try:
            body()
            os.write(into, b"ok")
        except BaseException:
            os.write(into, traceback.format_exc().encode()[-60_000:])
        finally:
            os._exit(0)
    os.close(into)
    said = b""
    deadline = time.monotonic() + 3 * DEADLINE
    while select.select([out], [], [], max(deadline - time.monotonic(), 0))[0]:
        chunk = os.read(out, 65536)
        if not chunk:
            break
        said += chunk
    else:
        os.kill(pid, signal.SIGKILL)
        said = b"the test's process did not end in time"
    os.close(out)
    os.waitpid(pid, 0)
    assert said == b"ok", said.decode()


def wired(test: Callable[[Wire, Path], None]) -> Callable[[Path], None]:
    """A test that runs in a child of its own, with a wire."""

    def wrapper(tmp_path: Path) -> None:
        in_a_child(lambda: test(Wire(), tmp_path / "capture.pcapng"))

    wrapper.__name__ = test.__name__
    wrapper.__doc__ = test.__doc__
    return wrapper


def gone(pid: int) -> bool:
    """Whether the process ends within the deadline (a zombie has ended)."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], DEADLINE)[0])
    finally:
        os.close(pidfd)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    target = folder / "disk"
    target.mkdir()
    run(f"mount -t tmpfs -o size={size} testbed-test {target}")
    try:
        yield target
    finally:
        run(f"umount {target}")


@wired
def test_a_datagram_is_seen_leaving_and_then_arriving(wire: Wire, path: Path) -> None:
    before = time.time_ns()
    with record(wire.packet_socket, BOTH, path) as recorder:
        wire.send(b"hello")
    after = time.time_ns()
    out, into = read(path)
    assert (out.vantage, out.outgoing, out.payload) == ("left:eth0", True, b"hello")
    assert (into.vantage, into.outgoing, into.payload) == ("right:eth0", False, b"hello")
    assert str(into.source) == "10.9.0.1:4000"
    assert before < out.time_ns < into.time_ns < after
    assert inspect(path) == recorder.recording
    assert recorder.recording.complete


@wired
def test_what_was_sent_last_is_in_the_file(wire: Wire, path: Path) -> None:
    for number in range(10):
        with record(wire.packet_socket, BOTH, path):
            wire.burst(number)
        assert len(read(path)) == 2 * number


@wired
def test_every_packet_of_a_busy_link_is_kept(wire: Wire, path: Path) -> None:
    seconds, batch, pause = 1.0, 300, 0.01  # 30,000 packets a second
    with record(wire.packet_socket, BOTH, path, ring_bytes=4 * 2**20) as recorder:
        start = time.monotonic()
        for step in range(int(seconds / pause)):
            wire.burst(batch, 200)
            time.sleep(max(start + (step + 1) * pause - time.monotonic(), 0))  # the pace
    sent = batch * int(seconds / pause)
    assert [count.packets for count in recorder.recording.counts] == [sent, sent]
    assert recorder.recording.complete
    times = [packet.time_ns for packet in read(path)]
    assert times == sorted(times)


@wired
def test_packets_lost_to_a_paused_reader_are_counted_to_the_last(wire: Wire, path: Path) -> None:
    with record(wire.packet_socket, BOTH, path, ring_bytes=64 * 1024) as recorder:
        os.kill(recorder.pid, signal.SIGSTOP)
        wire.burst(2000)
        os.kill(recorder.pid, signal.SIGCONT)
    recording = recorder.recording
    assert not recording.complete
    for count in recording.counts:
        assert count.dropped > 0
        assert count.packets + count.dropped == 2000
    assert len(read(path)) == recording.packets
    assert inspect(path) == recording


@wired
def test_a_pause_that_the_ring_can_bridge_loses_nothing(wire: Wire, path: Path) -> None:
    with record(wire.packet_socket, BOTH, path) as recorder:
        os.kill(recorder.pid, signal.SIGSTOP)
        wire.burst(2000)
        os.kill(recorder.pid, signal.SIGCONT)
    assert recorder.recording.complete
    assert recorder.recording.packets == 4000


@wired
def test_the_smallest_ring_still_records(wire: Wire, path: Path) -> None:
    with record(wire.packet_socket, BOTH, path, ring_bytes=1) as recorder:
        wire.send(b"hello")
    assert recorder.recording.packets == 2


@wired
def test_a_long_frame_is_cut_and_says_how_long_it_was(wire: Wire, path: Path) -> None:
    with record(wire.packet_socket, BOTH, path):
        wire.send(b"x" * 5000)
    for packet in read(path):
        assert packet.cut
        assert packet.original_length == 14 + 20 + 8 + 5000
        assert len(packet.frame) == SNAP_LENGTH


@wired
def test_a_link_that_goes_down_and_up_is_recorded_on(wire: Wire, path: Path) -> None:
    with record(wire.packet_socket, BOTH, path) as recorder:
        wire.enter("left")
        run("ip link set eth0 down")
        run("ip link set eth0 up")
        wire.send(b"up again, and resolved again")
        wire.receiver.recv(2048)
    payloads = [packet.payload for packet in read(path) if packet.protocol == "udp"]
    assert payloads == [b"up again, and resolved again"] * 2
    assert recorder.recording.complete


@wired
def test_an_interface_that_vanishes_takes_nothing_recorded_along(wire: Wire, path: Path) -> None:
    with record(wire.packet_socket, BOTH, path) as recorder:
        wire.send(b"hello")
        wire.enter("left")
        run("ip link delete eth0")
    assert recorder.recording.packets == 2


@needs_tshark
@wired
def test_wireshark_opens_the_file_as_it_is(wire: Wire, path: Path) -> None:
    with record(wire.packet_socket, BOTH, path):
        wire.burst(3)
    shown = run(f"tshark -n -T fields -e frame.interface_name -e udp.length -r {path}")
    rows = sorted(line.split("\t") for line in shown.splitlines())
    assert rows == [["left:eth0", "108"]] * 3 + [["right:eth0", "108"]] * 3
    facts = run(f"capinfos {path}")
    assert "Strict time order:   True" in facts
    assert "nanoseconds (9)" in facts


@pytest.mark.parametrize("size", ["200k", "1500k"], ids=["spool", "file"])
def test_a_full_disk_is_said_with_the_remedy(tmp_path: Path, size: str) -> None:
    # 600 packets of 1 KB at two interfaces: 200 KiB cannot take the spool, while
    # 1500 KiB take it, but not the file beside it.
    def body() -> None:
        wire = Wire()
        with small_disk(tmp_path, size) as disk:
            path = disk / "capture.pcapng"
            with (
                pytest.raises(CaptureError, match=r"No space left(.|\n)*remedy: free space"),
                record(wire.packet_socket, BOTH, path),
            ):
                wire.burst(600, 900)
            assert not path.exists()

    in_a_child(body)


@wired
def test_a_dead_recorder_is_said(wire: Wire, path: Path) -> None:
    with (
        pytest.raises(CaptureError, match=r"ended .signal 9. before its time"),
        record(wire.packet_socket, BOTH, path) as recorder,
    ):
        os.kill(recorder.pid, signal.SIGKILL)


@wired
def test_a_recorder_that_hangs_is_said_and_taken_away(wire: Wire, path: Path) -> None:
    with (
        pytest.raises(CaptureError, match=r"silent for 0\.2 s"),
        record(wire.packet_socket, BOTH, path, patience=0.2) as recorder,
    ):
        os.kill(recorder.pid, signal.SIGSTOP)
    with pytest.raises(ProcessLookupError):
        os.kill(recorder.pid, 0)


@wired
def test_an_unknown_interface_is_said_on_entry(wire: Wire, path: Path) -> None:
    vantages = (*BOTH, Vantage("left", "eth9"))
    with (
        pytest.raises(CaptureError, match=r"left:eth9.*No such device"),
        record(wire.packet_socket, vantages, path),
    ):
        pytest.fail("it was entered")


def _fail_after(step: Callable[[], None]) -> None:
    step()
    raise ZeroDivisionError


@wired
def test_the_body_s_error_goes_on_and_the_evidence_is_kept(wire: Wire, path: Path) -> None:
    with pytest.raises(ZeroDivisionError), record(wire.packet_socket, BOTH, path):
        _fail_after(lambda: wire.send(b"hello"))
    assert len(read(path)) == 2


@wired
def test_a_capture_error_does_not_hide_the_body_s(wire: Wire, path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError) as raised,
        record(wire.packet_socket, BOTH, path) as recorder,
    ):
        _fail_after(lambda: os.kill(recorder.pid, signal.SIGKILL))
    assert "before its time" in raised.value.__notes__[0]


@wired
def test_ctrl_c_and_sigterm_do_not_end_the_recording(wire: Wire, path: Path) -> None:
    with record(wire.packet_socket, BOTH, path) as recorder:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(recorder.pid, number)
        wire.send(b"hello")
    assert recorder.recording.packets == 2


@wired
def test_the_recorder_ends_with_its_parent(wire: Wire, path: Path) -> None:
    out, into = os.pipe()
    wait, end = os.pipe()
    pid = os.fork()
    if pid == 0:
        with record(wire.packet_socket, BOTH, path) as recorder:
            if os.fork() == 0:  # keeps the parent's end of every pipe open
                os.close(end)
                os.read(wait, 1)
                os._exit(0)
            os.write(into, str(recorder.pid).encode())
            os.kill(os.getpid(), signal.SIGKILL)
    recorder_pid = int(os.read(out, 20))
    os.waitpid(pid, 0)
    assert gone(recorder_pid)
    os.close(end)
    assert list(path.parent.iterdir()) == []


@wired
def test_nothing_is_left_open_in_the_parent(wire: Wire, path: Path) -> None:
    def open_now() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_now()
    with record(wire.packet_socket, BOTH, path) as recorder:
        pass
    vantages = (Vantage("left", "eth9"),)
    with pytest.raises(CaptureError), record(wire.packet_socket, vantages, path):
        pass
    assert open_now() == before
    with pytest.raises(ProcessLookupError):
        os.kill(recorder.pid, 0)


@wired
def test_the_recorder_holds_nobody_s_pipe_open(wire: Wire, path: Path) -> None:
    out, into = os.pipe()
    with record(wire.packet_socket, BOTH, path):
        os.close(into)
        assert select.select([out], [], [], DEADLINE)[0]
        assert os.read(out, 1) == b""


@wired
def test_two_recordings_side_by_side_disturb_neither(wire: Wire, path: Path) -> None:
    other = path.with_name("other.pcapng")
    with record(wire.packet_socket, BOTH, path) as first:
        with record(wire.packet_socket, (LEFT,), other) as second:
            wire.burst(10)
        wire.burst(5)
    assert (first.recording.packets, second.recording.packets) == (30, 10)
