"""The netlink messages that set netem: this test needs no kernel that has it."""

import errno
import socket
import struct

import pytest

from testbed.errors import BackendError, UnfitError
from testbed.lab.links import netem
from testbed.model.topology import Impairment

FULL = Impairment(delay_ms=20, jitter_ms=2, loss=0.05, rate_mbit=10)
TICK_NS = 64  # PSCHED_SHIFT of include/net/pkt_sched.h


def attributes(data: bytes) -> dict[int, bytes]:
    """Type and payload of a run of netlink attributes."""
    found = {}
    while data:
        length, kind = struct.unpack_from("=HH", data)
        found[kind] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


def netem_options(impairment: Impairment) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """struct tc_netem_qopt (latency, limit, loss, gap, duplicate, jitter), tc_netem_rate."""
    options = attributes(netem.message(7, impairment)[36:])[2]
    nested = attributes(options[24:])
    return struct.unpack_from("=6I", options), struct.unpack("=IiIi", nested[6])


def test_the_message_replaces_the_root_qdisc_of_the_interface() -> None:
    data = netem.message(7, FULL)
    length, kind, flags, _, _ = struct.unpack_from("=IHHII", data)
    family, index, handle, parent = struct.unpack_from("=B3xiII", data, 16)
    assert (length, kind) == (len(data), 36)  # RTM_NEWQDISC
    assert flags == 0x1 | 0x4 | 0x100 | 0x400  # request, ack, replace, create
    assert (family, index, handle, parent) == (0, 7, 0, 0xFFFF_FFFF)  # TC_H_ROOT
    assert attributes(data[36:])[1] == b"netem\0"


def test_delay_and_jitter_are_said_in_ticks() -> None:
    (latency, _, _, _, _, jitter), _ = netem_options(FULL)
    assert latency == 20_000_000 // TICK_NS
    assert jitter == 2_000_000 // TICK_NS


def test_loss_is_said_as_a_share_of_32_bits() -> None:
    (_, _, loss, gap, duplicate, _), _ = netem_options(FULL)
    assert loss == pytest.approx(0.05 * 2**32, rel=1e-6)
    assert (gap, duplicate) == (0, 0)


def test_total_loss_is_all_bits() -> None:
    assert netem_options(Impairment(loss=1.0))[0][2] == 0xFFFF_FFFF


def test_rate_is_said_in_bytes_a_second_without_overhead() -> None:
    assert netem_options(FULL)[1] == (1_250_000, 0, 0, 0)


def test_jitter_without_a_rate_says_one_because_only_a_rate_keeps_order() -> None:
    assert netem_options(Impairment(delay_ms=5, jitter_ms=5))[1][0] == 0xFFFF_FFFF


def test_no_rate_is_said_as_zero_because_a_change_keeps_what_is_left_out() -> None:
    assert netem_options(Impairment(delay_ms=5))[1][0] == 0


def test_the_limit_holds_the_delay_and_the_queue() -> None:
    assert netem_options(FULL)[0][1] == 184  # 222 ms of full frames at 10 Mbit/s


class Answering:
    """A route socket to a kernel that answers every request with ``code``."""

    def __init__(self, code: int, kind: int = 2) -> None:
        self.sent: list[bytes] = []
        self._answer = struct.pack("=IHHIIi", 36, kind, 0, 0, 0, -code) + bytes(16)

    def settimeout(self, _: float) -> None: ...

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def recv(self, _: int) -> bytes:
        return self._answer


def answering(code: int, kind: int = 2) -> socket.socket:
    return Answering(code, kind)  # type: ignore[return-value]


def test_a_kernel_without_netem_is_called_unfit_and_the_module_named() -> None:
    with pytest.raises(UnfitError, match="sch_netem"):
        netem.apply(answering(errno.ENOENT), 7, FULL)


@pytest.mark.parametrize(("code", "kind"), [(errno.EPERM, 2), (errno.ENODEV, 2), (0, 36)])
def test_any_other_refusal_is_an_error_of_the_lab(code: int, kind: int) -> None:
    with pytest.raises(BackendError, match="interface 7"):
        netem.apply(answering(code, kind), 7, FULL)


def test_netem_is_available_where_the_kernel_takes_it() -> None:
    assert netem.netem_available(answering(0))
    assert not netem.netem_available(answering(errno.ENOENT))


def test_netem_is_not_called_missing_when_permission_is() -> None:
    with pytest.raises(BackendError, match="not permitted"):
        netem.netem_available(answering(errno.EPERM))


def test_a_wire_set_while_down_stays_down_and_comes_up_as_set() -> None:
    a, b = Answering(0), Answering(0)
    links = netem.NetemLinks({"w": (netem.Egress(a, 1), netem.Egress(b, 2))})  # type: ignore[arg-type]
    links.down("w")
    links.set("w", a_to_b=FULL)
    assert a.sent == [netem.message(1, Impairment(loss=1.0))]
    links.up("w")
    assert a.sent[-1] == netem.message(1, FULL)
    assert b.sent[-1] == netem.message(2, Impairment())


def test_an_unknown_wire_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BackendError, match="no wire 'x'"):
        netem.NetemLinks({}).down("x")
