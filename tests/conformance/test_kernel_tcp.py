"""The kernel's TCP opens connections as the oracle's does, by which rates are predicted."""

import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from testbed.lab.namespaces import NamespaceLab, Namespaces
from testbed.model.presets import two_homes
from testbed.nat.load import catalogue
from testbed.plan.planner import plan
from testbed.predict.tcp import SYNS

PACE = "net.ipv4.tcp_syn_linear_timeouts"
_RTT, _RETRANSMITTED = 8 + 4 * 15, 8 + 4 * 23  # tcp_info of linux/tcp.h: eight bytes, then words


@pytest.fixture
def lab() -> Iterator[NamespaceLab]:
    with Namespaces().start(plan(two_homes("linux-home", "linux-home"), catalogue())) as up:
        yield up


def told(sock: socket.socket, offset: int) -> int:
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    return int(struct.unpack_from("=I", info, offset)[0])


@contextmanager
def swallowing(up: NamespaceLab, flags: str) -> Iterator[None]:
    """Within this, the NAT loses packets with these of SYN and ACK."""
    rule = ["FORWARD", "-p", "tcp", "--tcp-flags", "SYN,ACK", flags, "-j", "DROP"]
    up.run("nat-a", ["iptables", "-w", "-I", *rule])
    yield
    up.run("nat-a", ["iptables", "-w", "-D", *rule])


@contextmanager
def call(up: NamespaceLab) -> Iterator[socket.socket]:
    """A call of a's to the server, under way."""
    with (
        up.socket("server", socket.AF_INET, socket.SOCK_STREAM) as listening,
        up.socket("a", socket.AF_INET, socket.SOCK_STREAM) as calling,
    ):
        listening.bind((str(up.plan.address("server")), 9000))
        listening.listen()
        calling.setblocking(False)
        calling.connect_ex(listening.getsockname())
        yield calling


@pytest.mark.parametrize(
    ("lost", "least", "most"), [("SYN", 0.0, 0.5), ("SYN,ACK", 0.9, 1.5)], ids=["SYN", "SYN-ACK"]
)
def test_who_loses_a_syn_ack_takes_a_second_more_for_the_round_trip(
    lab: NamespaceLab, lost: str, least: float, most: float
) -> None:
    """`Tcp._establish`: what repeated SYNs measure."""
    with ExitStack() as stack:
        with swallowing(lab, lost):
            calling = stack.enter_context(call(lab))
            time.sleep(0.5)
        select.select([], [calling], [], 5.0)
        assert told(calling, _RETRANSMITTED) == 1
        assert least < told(calling, _RTT) / 1e6 < most


def test_syns_are_repeated_when_the_model_repeats_them(lab: NamespaceLab) -> None:
    if not lab.sysctls("a", [PACE]):
        pytest.skip(f"this kernel has no {PACE}: the model is of Linux since 6.5")
    with swallowing(lab, "SYN"), call(lab) as calling:
        time.sleep(4.5)
        assert told(calling, _RETRANSMITTED) == sum(one < 4.5 for one in SYNS)
