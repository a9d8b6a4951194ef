"""QUIC over a long path: slow start that a busy machine does not end, and bursts with a bound."""

import asyncio
import random

import pytest

from testbed.traversal.aio.quic_congestion import HyStart, Pacer, Reno
from testbed.traversal.aio.quic_connection import QuicPeer
from testbed.traversal.aio.stream import Stream

from .virtual import Link, quic_ends, run_virtual

pytestmark = pytest.mark.timeout(60)
TRIP = 0.04
SIZE = 1452
MIB = 2**20


def rounds(start: HyStart, *trips: float) -> None:
    """A round of ten packets for each of the shortest round trips."""
    number = start._end + 1
    for trip in trips:
        start.acked(number, number + 9)
        number += 10
        for _ in range(10):
            start.measured(trip)


def test_one_round_of_a_busy_machine_does_not_end_slow_start() -> None:
    start = HyStart()
    rounds(start, TRIP, TRIP, TRIP + 0.02)
    assert start.divisor == 4
    rounds(start, TRIP)
    assert start.divisor == 1
    rounds(start, *[TRIP] * 20)
    assert not start.over


def test_a_queue_that_stays_ends_slow_start_after_five_rounds() -> None:
    start = HyStart()
    rounds(start, TRIP, *[TRIP + 0.02] * 5)
    assert not start.over
    rounds(start, TRIP + 0.03)
    assert start.over


def test_few_samples_say_nothing() -> None:
    start = HyStart()
    rounds(start, TRIP)
    start.acked(100, 200)
    for _ in range(7):
        start.measured(1.0)
    assert start.divisor == 1


def pacer(window: int) -> Pacer:
    control = Reno(max_datagram_size=SIZE)
    control.congestion_window = control.ssthresh = window  # slow start is over
    made = Pacer(control, max_datagram_size=SIZE)
    made.update_rate(window, TRIP)
    return made


def sent(one: Pacer, now: float) -> int:
    """Datagrams that go out at once."""
    count = 0
    while one.next_send_time(now) is None:
        one.update_after_send(now)
        count += 1
    return count


def test_a_loop_that_wakes_every_five_milliseconds_sends_at_the_full_rate() -> None:
    """Before, it sent 16 datagrams each time, a fifth of this."""
    one = pacer(480_000)
    rate = sum(sent(one, turn * 0.005) for turn in range(1, 201)) * SIZE
    assert 480_000 / TRIP <= rate <= 1.3 * 480_000 / TRIP


@pytest.mark.parametrize("window", [14_520, 100_000, 1_000_000, 50_000_000])
def test_no_burst_is_longer_than_64_datagrams_or_a_quarter_of_the_window(window: int) -> None:
    one = pacer(window)
    assert 2 <= sent(one, 10.0) <= min(64, max(2, window / 4 / SIZE)) + 1


def test_a_window_that_is_not_used_does_not_grow() -> None:
    """Here the receiver reads at a rate of its own (RFC 9002 section 7.8)."""

    async def work() -> None:
        near, far = await quic_ends(Link(delay=TRIP / 2, jitter=0.0), random.Random(1))
        assert isinstance(near, QuicPeer)
        arrived: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
        far.on_stream = lambda _, stream: arrived.set_result(stream)
        for end in (near, far):
            end.start()
        stream = await near.open_raw_stream()
        writing = asyncio.ensure_future(stream.write(bytes(8 * MIB)))
        reader = await arrived
        left = 8 * MIB
        while left:
            left -= len(await reader.read_exactly(min(left, 65536)))
            await asyncio.sleep(0.05)
        await writing
        assert near.engine._loss.congestion_window < 2 * MIB
        near.abort("done")

    run_virtual(work)
