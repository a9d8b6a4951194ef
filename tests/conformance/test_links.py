"""Every implementation of impaired links, held to one measurement.

The rig is as small as can be: two nodes, and between them either a veth pair
(netem, bare wire) or two pairs and the namespace of a delay line.
"""

import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest
from link_measure import disagreements, measure
from patience import repeated

from testbed.errors import BackendError, ProbeError
from testbed.lab import kernel
from testbed.lab.links import netem
from testbed.lab.links.base import Links
from testbed.lab.links.delay_line import Counters, DelayLine, Wire, delay_line
from testbed.lab.links.interfaces import await_carrier, disable_offloads, wire_socket
from testbed.lab.netlink import Netlink
from testbed.lab.rtnetlink import VethEnd, address, neighbour, up, veth
from testbed.model.topology import Impairment

BARE = Impairment()
ADDRESSES = ("10.99.0.1", "10.99.0.2")
MACS = ("0a:00:00:00:00:01", "0a:00:00:00:00:02")
_UDP_SEGMENT = 103


@dataclass
class Space:
    """A namespace with what is needed to wire it."""

    netns: int
    netlink: Netlink

    @contextmanager
    def entered(self) -> Iterator[None]:
        home = kernel.current_netns()
        try:
            with kernel.inside_netns(self.netns, home):
                yield
        finally:
            os.close(home)


@dataclass
class Rig:
    """Two wired nodes, and the handle of what impairs the wire, called ``w``."""

    nodes: list[Space]
    links: Links | None = None
    _stack: ExitStack = field(default_factory=ExitStack)

    def socket(self, node: int, kind: int = socket.SOCK_DGRAM) -> socket.socket:
        """A bound socket in node 0 or 1."""
        with self.nodes[node].entered():
            sock = self._stack.enter_context(socket.socket(socket.AF_INET, kind))
        sock.bind((ADDRESSES[node], 0))
        return sock

    def disagreements(self, claims: tuple[Impairment, Impairment], **how: float) -> list[str]:
        """What the measurement of both directions says against the claims.

        Measured anew up to three times: a busy machine disturbs one measurement, a
        wrong link all of them.
        """
        a, b = self.socket(0), self.socket(1)
        said: list[str] = []
        for name, claim, ends in (("a to b", claims[0], (a, b)), ("b to a", claims[1], (b, a))):
            first: list[str] = []
            for _ in range(3):
                found = disagreements(claim, measure(*ends, **how))  # type: ignore[arg-type]
                if not found:
                    break
                first = first or found
            if first and not found:
                repeated(f"{name}: {'; '.join(first)}")
            said += [f"{name}: {sentence}" for sentence in found]
        return said


@contextmanager
def space() -> Iterator[Space]:
    home = kernel.current_netns()
    with ExitStack() as stack:
        try:
            kernel.unshare(kernel.CLONE_NEWNET)
            kernel.write_sysctl("net.ipv6.conf.default.disable_ipv6", "1")
            netns = kernel.current_netns()
            stack.callback(os.close, netns)
            netlink = Netlink("rig")
            stack.callback(netlink.close)
        finally:
            kernel.setns(home, kernel.CLONE_NEWNET)
            os.close(home)
        yield Space(netns, netlink)


def join(a: Space, b: Space, names: tuple[str, str], index: int) -> None:
    """A veth pair, up on both sides, with the same index on both."""
    ends = [
        VethEnd(side.netns, name, index, mac)
        for side, name, mac in zip((a, b), names, MACS, strict=True)
    ]
    a.netlink.send([veth(*ends)])
    b.netlink.send([up(index)])
    for side in (a, b):
        await_carrier(side.netlink.socket, index)


def number(node: int, of: Space, index: int) -> None:
    """The node's address, and the other's as a permanent neighbour."""
    other = 1 - node
    # Where the far end is the wire's, the frames carry the far node's MAC all the same.
    of.netlink.send(
        [
            address(index, IPv4Interface(f"{ADDRESSES[node]}/24")),
            neighbour(index, IPv4Address(ADDRESSES[other]), MACS[other]),
        ]
    )


@contextmanager
def bare_rig() -> Iterator[Rig]:
    """Two nodes and a veth pair, index 2 on both sides."""
    with space() as a, space() as b, ExitStack() as stack:
        join(a, b, ("eth0", "eth0"), 2)
        for node, of in enumerate((a, b)):
            number(node, of, 2)
        yield Rig([a, b], _stack=stack)


@contextmanager
def delay_line_rig(
    a_to_b: Impairment, b_to_a: Impairment, *, offloads: bool = False
) -> Iterator[Rig]:
    with space() as a, space() as b, space() as wire, ExitStack() as stack:
        join(a, wire, ("eth0", "a"), 2)
        join(wire, b, ("b", "eth0"), 3)
        for node, of in enumerate((a, b)):
            number(node, of, 2 + node)
            if not offloads:
                disable_offloads(of.netlink.socket, "eth0")
        with wire.entered():
            ends = wire_socket("a"), wire_socket("b")
        with delay_line([Wire(*ends, a_to_b, b_to_a, "w")], seed=1) as line:
            yield Rig([a, b], line, stack)


@contextmanager
def netem_rig(a_to_b: Impairment, b_to_a: Impairment) -> Iterator[Rig]:
    with bare_rig() as rig:
        a, b = (netem.Egress(node.netlink.socket, 2) for node in rig.nodes)
        rig.links = netem.NetemLinks({"w": (a, b)})
        rig.links.set("w", a_to_b=a_to_b, b_to_a=b_to_a)
        yield rig


Start = Callable[[Impairment, Impairment], AbstractContextManager[Rig]]


@cache
def netem_missing() -> bool:
    with space() as probe:
        return not netem.netem_available(probe.netlink.socket)


@pytest.fixture(params=["delay_line", "netem"])
def start(request: pytest.FixtureRequest) -> Start:
    """Each implementation that this kernel has."""
    if request.param == "delay_line":
        return delay_line_rig
    if netem_missing():
        pytest.skip(f"netem is NOT certified here: {netem.MISSING}")
    return netem_rig


DELAY = Impairment(delay_ms=20)
JITTER = Impairment(delay_ms=10, jitter_ms=5)
LOSS = Impairment(loss=0.1)
RATE = Impairment(rate_mbit=10)
ALL = Impairment(delay_ms=10, jitter_ms=2, loss=0.1, rate_mbit=20)
CASES = [
    pytest.param(DELAY, {}, id="delay"),
    pytest.param(JITTER, {"interval_ms": 10.0, "probes": 100}, id="jitter"),
    pytest.param(LOSS, {"interval_ms": 0.3, "probes": 600}, id="loss"),
    pytest.param(RATE, {}, id="rate"),
    pytest.param(ALL, {"interval_ms": 4.0, "probes": 300}, id="all"),
]


@pytest.mark.parametrize(("claim", "how"), CASES)
def test_each_direction_of_a_link_is_as_claimed(
    start: Start, claim: Impairment, how: dict[str, float]
) -> None:
    other = Impairment(delay_ms=5)
    with start(claim, other) as rig:
        assert rig.disagreements((claim, other), **how) == []


@pytest.mark.parametrize(("claim", "how"), CASES)
def test_an_impairment_that_is_not_applied_is_caught(
    claim: Impairment, how: dict[str, float]
) -> None:
    with bare_rig() as rig:
        assert rig.disagreements((BARE, BARE)) == []  # the rig itself adds nothing
        assert rig.disagreements((claim, BARE), **how) != []


def test_an_impairment_in_the_wrong_direction_is_caught(start: Start) -> None:
    with start(BARE, DELAY) as rig:
        said = rig.disagreements((DELAY, BARE))
        assert {sentence[:6] for sentence in said} == {"a to b", "b to a"}


def test_a_change_takes_effect_in_place_and_leaves_the_other_direction(start: Start) -> None:
    with start(RATE, DELAY) as rig:
        assert rig.links is not None
        rig.links.set("w", a_to_b=Impairment(delay_ms=5))
        faster = Impairment(delay_ms=5, rate_mbit=10)
        assert rig.disagreements((Impairment(delay_ms=5), DELAY)) == []
        assert rig.disagreements((faster, DELAY)) != []  # the former rate is gone


def test_a_wire_that_is_down_carries_nothing_until_it_is_up(start: Start) -> None:
    with start(DELAY, DELAY) as rig:
        assert rig.links is not None
        rig.links.down("w")
        with pytest.raises(ProbeError, match="0 of 20"):
            measure(rig.socket(0), rig.socket(1), probes=20, patience_ms=100)
        rig.links.up("w")
        assert rig.disagreements((DELAY, DELAY)) == []


# The delay line alone


def line_of(rig: Rig) -> DelayLine:
    assert isinstance(rig.links, DelayLine)
    return rig.links


def sent_over_tcp(rig: Rig, data: bytes) -> bytes:
    """What arrives of ``data`` through a TCP connection from node 0 to node 1."""
    listener, client = rig.socket(1, socket.SOCK_STREAM), rig.socket(0, socket.SOCK_STREAM)
    listener.listen()
    for sock in (listener, client):
        sock.settimeout(5)
    client.connect(listener.getsockname())
    server = rig._stack.enter_context(listener.accept()[0])
    server.settimeout(5)
    received = bytearray()
    for start in range(0, len(data), 1 << 16):
        chunk = data[start : start + (1 << 16)]
        client.sendall(chunk)
        while len(received) < start + len(chunk):
            received += server.recv(1 << 16)
    return bytes(received)


def segmented(rig: Rig) -> None:
    """One send of ten datagrams (UDP_SEGMENT), as QUIC stacks do; all must arrive."""
    sender, receiver = rig.socket(0), rig.socket(1)
    receiver.settimeout(2)
    sender.setsockopt(socket.SOL_UDP, _UDP_SEGMENT, 1200)
    sender.sendto(bytes(12_000), receiver.getsockname())
    assert [len(receiver.recv(2000)) for _ in range(10)] == [1200] * 10


def test_tcp_and_segmented_udp_cross_a_delay_line_whole() -> None:
    data = os.urandom(1 << 20)
    with delay_line_rig(BARE, BARE) as rig:
        assert sent_over_tcp(rig, data) == data
        segmented(rig)
        assert all(counters.faithful for counters in line_of(rig).counters())


def test_offloads_left_on_are_reported() -> None:
    with delay_line_rig(BARE, BARE, offloads=True) as rig:
        sender, receiver = rig.socket(0), rig.socket(1)
        sender.sendto(b"no checksum yet", receiver.getsockname())
        forward, _ = counted(line_of(rig), lambda c: c.unfinished == 1)
        assert not forward.faithful


def counted(line: DelayLine, wanted: Callable[[Counters], bool]) -> tuple[Counters, Counters]:
    """The counters once the first direction's are as wanted; fails after 5 s."""
    for _ in range(500):
        forward, back = line.counters()
        if wanted(forward):
            return forward, back
        select.select([], [], [], 0.01)
    raise AssertionError(f"{forward} is not as wanted")


def test_counters_tell_what_became_of_every_frame_also_after_the_end() -> None:
    with delay_line_rig(LOSS, BARE) as rig:
        found = measure(rig.socket(0), rig.socket(1), train=0, patience_ms=50)
        line = line_of(rig)
    forward, back = line.counters()
    assert (forward.forwarded, forward.lost) == (found.received, found.sent - found.received)
    assert forward.latest_us > 0
    assert back == Counters("w", "b_to_a", 0, 0, 0, 0, 0, 0, 0, 0, 0)


def test_the_same_seed_loses_the_same_datagrams() -> None:
    def survivors() -> set[bytes]:
        with delay_line_rig(Impairment(loss=0.5), BARE) as rig:
            sender, receiver = rig.socket(0), rig.socket(1)
            for n in range(64):
                sender.sendto(bytes([n]), receiver.getsockname())
            forward, _ = counted(line_of(rig), lambda c: c.forwarded + c.lost == 64)
            return {receiver.recv(8) for _ in range(forward.forwarded)}

    assert survivors() == survivors()


def wakeups(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return sum(int(line.split()[1]) for line in status.splitlines() if "ctxt_switches" in line)


def wakeups_in(pid: int, seconds: float) -> int:
    before = wakeups(pid)
    select.select([], [], [], seconds)  # the claim is about time that passes
    return wakeups(pid) - before


def test_an_idle_delay_line_is_never_woken() -> None:
    with delay_line_rig(DELAY, DELAY) as rig:
        measure(rig.socket(0), rig.socket(1), probes=5, train=0)
        # The first window may hold its falling asleep after the last frame.
        assert 0 in [wakeups_in(line_of(rig).pid, 0.3) for _ in range(2)]


def test_a_node_whose_interface_goes_down_does_not_set_the_line_spinning() -> None:
    with delay_line_rig(DELAY, DELAY) as rig:
        pid = line_of(rig).pid
        rig.nodes[1].netlink.send([up(3, False)])
        assert 0 in [wakeups_in(pid, 0.2) for _ in range(2)]
        rig.nodes[1].netlink.send([up(3), neighbour(3, IPv4Address(ADDRESSES[0]), MACS[0])])
        assert rig.disagreements((DELAY, DELAY)) == []


def test_a_delay_line_that_died_is_an_error_and_not_a_silent_wire() -> None:
    with pytest.raises(BackendError, match="delay line"), delay_line_rig(DELAY, DELAY) as rig:
        os.kill(line_of(rig).pid, signal.SIGKILL)


def test_a_delay_line_dies_with_a_parent_that_is_killed() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        with delay_line_rig(DELAY, DELAY) as rig:
            os.write(writer, str(line_of(rig).pid).encode())
            os.kill(os.getpid(), signal.SIGKILL)
    line = os.pidfd_open(int(os.read(reader, 16)))
    try:
        assert select.select([line], [], [], 5)[0], "the delay line outlived its parent"
    finally:
        for fd in (reader, writer, line):
            os.close(fd)
        os.waitpid(child, 0)


def test_two_wires_of_one_name_are_refused() -> None:
    with space() as lonely, ExitStack() as stack:
        with lonely.entered():
            ends = [stack.enter_context(wire_socket("lo")) for _ in range(4)]
        wires = [Wire(a, b, BARE, BARE, "w") for a, b in (ends[:2], ends[2:])]
        with pytest.raises(BackendError, match="share a name"), delay_line(wires, seed=1):
            pass


def test_an_unknown_wire_is_refused_with_the_known_ones() -> None:
    with (
        delay_line_rig(BARE, BARE) as rig,
        pytest.raises(BackendError, match="one of: w"),
    ):
        line_of(rig).down("x")


def test_a_link_whose_carrier_was_awaited_carries_its_first_frame() -> None:
    for _ in range(30):  # without the wait a busy machine loses one in 25 to 70
        with bare_rig() as rig:
            sender, receiver = rig.socket(0), rig.socket(1)
            receiver.settimeout(1)
            sender.sendto(b"first", receiver.getsockname())
            assert receiver.recv(16) == b"first"


def test_an_end_whose_peer_is_down_has_no_carrier() -> None:
    with bare_rig() as rig:
        a, b = (node.netlink for node in rig.nodes)
        b.send([up(2, False)])
        with pytest.raises(BackendError, match="no carrier after"):
            await_carrier(a.socket, 2, timeout=0.05)
