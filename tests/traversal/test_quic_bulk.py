"""Packets that our short way handles are handled as aioquic would, and most of a transfer's are."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from testbed.traversal.aio.quic_connection import QuicPeer
from testbed.traversal.aio.stream import Stream

from .virtual import Link, quic_ends, run_virtual

pytestmark = pytest.mark.timeout(120)
KIB = 1024
Work = Callable[[QuicPeer, QuicPeer, Stream, Stream], Awaitable[None]]


def between(work: Work, link: Link | None = None) -> None:
    """Both ends, and a stream as either has it, after its first byte."""

    async def run() -> None:
        near, far = await quic_ends(link or Link(jitter=0.0, rate=50e6), random.Random(7))
        assert isinstance(near, QuicPeer)
        assert isinstance(far, QuicPeer)
        arrived: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
        far.on_stream = lambda _, stream: arrived.set_result(stream)
        for end in (near, far):
            end.start()
        ours = await near.open_raw_stream()
        await ours.write(b"!")
        theirs = await arrived
        assert await theirs.read() == b"!"
        async with asyncio.timeout(600):
            await work(near, far, ours, theirs)
        near.abort("done")

    run_virtual(run)


async def carry(source: Stream, sink: Stream, data: bytes) -> None:
    writing = asyncio.ensure_future(source.write(data))
    assert await sink.read_exactly(len(data)) == data
    await writing


class Datagrams:
    """What an end's engine gets, until they are handed on."""

    def __init__(self, end: QuicPeer) -> None:
        self.engine = end.engine
        self.take = end.engine.receive_datagram
        self.kept: list[tuple[bytes, Any, float]] = []
        self.engine.receive_datagram = lambda *words: self.kept.append(words)  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("sends", "reads", "loss"), [*itertools.product([True, False], [True, False], [0.0, 0.02])]
)
def test_bytes_arrive_whichever_way_they_go(sends: bool, reads: bool, loss: float) -> None:
    async def work(near: QuicPeer, far: QuicPeer, ours: Stream, theirs: Stream) -> None:
        for end in (near, far):
            if not sends:
                end.engine.bulk_to_send = lambda now: []  # type: ignore[method-assign]  # noqa: ARG005
            if not reads:
                end.engine._take = lambda *words: False  # type: ignore[method-assign]  # noqa: ARG005
        data = random.Random(3).randbytes(512 * KIB)
        await asyncio.gather(carry(ours, theirs, data), carry(theirs, ours, data[::-1]))
        ours.close_write()
        assert await theirs.read() == b""

    between(work, Link(loss=loss))


def test_most_packets_of_a_transfer_go_the_short_way() -> None:
    async def work(near: QuicPeer, far: QuicPeer, ours: Stream, theirs: Stream) -> None:
        filled: list[int] = []
        taken: list[bool] = []
        fill, take = near.engine._fill, far.engine._take_stream

        def counted_fill(stream: Any, now: float) -> list[tuple[bytes, Any]]:
            found = fill(stream, now)
            filled.append(len(found))
            return found

        def counted_take(plain: bytes) -> bool:
            taken.append(take(plain))
            return taken[-1]

        near.engine._fill = counted_fill  # type: ignore[method-assign]
        far.engine._take_stream = counted_take  # type: ignore[method-assign]
        await carry(ours, theirs, bytes(2048 * KIB))
        whole = 2048 * KIB / 1452
        assert sum(filled) > 0.8 * whole
        assert sum(taken) > 0.95 * whole

    between(work)


def test_a_forged_packet_changes_nothing_and_a_repeated_one_is_read_once() -> None:
    async def work(near: QuicPeer, far: QuicPeer, ours: Stream, theirs: Stream) -> None:
        del near
        coming = Datagrams(far)
        await ours.write(bytes(8 * KIB))
        await asyncio.sleep(0.05)
        engine = far.engine
        data, where, _ = max(coming.kept, key=lambda words: len(words[0]))
        now = asyncio.get_running_loop().time()
        acknowledged = [list(space.ack_queue) for space in engine._spaces.values()]
        for at in (1, 9, 12, len(data) - 1):
            forged = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
            coming.take(forged, where, now)
        assert [list(space.ack_queue) for space in engine._spaces.values()] == acknowledged
        assert not engine._events
        for _ in range(3):
            coming.take(data, where, now)
        assert len(engine._events) == 1
        engine.receive_datagram = coming.take  # type: ignore[method-assign]
        for words in coming.kept:
            engine.receive_datagram(*words)
        far.settle()
        assert await theirs.read_exactly(8 * KIB) == bytes(8 * KIB)

    between(work)


def test_more_than_was_allowed_ends_the_connection() -> None:
    async def work(near: QuicPeer, far: QuicPeer, ours: Stream, theirs: Stream) -> None:
        del theirs
        far.engine._streams[ours.stream_id].max_stream_data_local = 4 * KIB
        await ours.write(bytes(8 * KIB))
        await far.wait_closed()
        await near.wait_closed()
        assert far.engine.ending is not None
        assert far.engine.ending.error_code == 3  # FLOW_CONTROL_ERROR

    between(work)


def test_streams_that_write_together_share_the_connection() -> None:
    async def work(near: QuicPeer, far: QuicPeer, ours: Stream, theirs: Stream) -> None:
        others: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
        far.on_stream = lambda _, stream: others.set_result(stream)
        second = await near.open_raw_stream()
        await second.write(b"!")
        there = await others
        await there.read()
        size = 1024 * KIB
        first = asyncio.ensure_future(carry(ours, theirs, bytes(size)))
        await carry(second, there, bytes(size))
        assert theirs.buffered or first.done() or near.engine.undelivered(ours.stream_id) < size / 2
        await first

    between(work)
