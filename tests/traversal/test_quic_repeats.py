"""What a QUIC connection repeats after a bad time comes soon once the link is good again."""

import asyncio
import random

import pytest

from testbed.traversal.aio.stream import Stream

from .virtual import Link, quic_ends, run_virtual

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("bad", [3.0, 12.0, 25.0])
def test_bytes_that_a_dead_link_swallowed_arrive_within_seconds_of_its_recovery(bad: float) -> None:
    """Before, each timeout doubled the wait, as often as there was one."""

    async def work() -> None:
        link = Link(0.005)
        near, far = await quic_ends(link, random.Random(2))
        arrived: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
        far.on_stream = lambda _, stream: arrived.set_result(stream)
        for end in (near, far):
            end.start()
        stream = await near.open_raw_stream()
        await stream.write(b"first")
        reader = await arrived
        assert await reader.read() == b"first"
        link.loss = 1.0
        await stream.write(bytes(8_000))
        await asyncio.sleep(bad)
        link.loss = 0.0
        async with asyncio.timeout(4.5):
            await reader.read_exactly(8_000)
        near.abort("done")

    run_virtual(work)
