"""QUIC's datagrams: as large as a path takes, found out by one that may get lost."""

import asyncio
import random
from collections.abc import Callable

import pytest

from testbed.traversal.aio.quic_connection import QuicPeer
from testbed.traversal.aio.stream import Stream

from .virtual import Link, quic_ends, run_virtual

pytestmark = pytest.mark.timeout(60)
KIB = 1024
SMALL, LARGE = 1200, 1452


def sent(link: Link, size: int, change: Callable[[Link, QuicPeer], None] | None = None) -> None:
    """Half of `size`, a change of the path, the rest; all must arrive."""

    async def work() -> None:
        near, far = await quic_ends(link, random.Random(5))
        assert isinstance(near, QuicPeer)
        link.sizes.clear()
        arrived: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
        far.on_stream = lambda _, stream: arrived.set_result(stream)
        for end in (near, far):
            end.start()
        stream = await near.open_raw_stream()
        for half in range(2):
            writing = asyncio.ensure_future(stream.write(bytes(size // 2)))
            reader = await arrived
            async with asyncio.timeout(60):
                await reader.read_exactly(size // 2)
                await writing
            if change is not None and not half:
                change(link, near)
        near.abort("done")

    run_virtual(work)


def test_a_path_that_takes_more_gets_larger_datagrams_soon() -> None:
    link = Link()
    sent(link, 1024 * KIB)
    assert max(link.sizes) == LARGE
    assert sum(n * size for size, n in link.sizes.items() if size == LARGE) > 800 * KIB


def test_little_data_is_sent_as_before() -> None:
    link = Link()
    sent(link, 32 * KIB)
    assert max(link.sizes) <= SMALL


@pytest.mark.parametrize("longest", [SMALL, 1300, LARGE - 1])
def test_a_path_that_takes_no_more_loses_one_datagram(longest: int) -> None:
    link = Link(longest=longest)
    sent(link, 1024 * KIB)
    assert sum(n for size, n in link.sizes.items() if size > longest) == 1


def test_the_loss_of_the_larger_one_is_no_sign_of_congestion() -> None:
    windows: list[int] = []

    def look(link: Link, near: QuicPeer) -> None:
        del link
        windows.append(near.engine._loss.congestion_window)

    for longest in (SMALL, 65536):
        sent(Link(longest=longest, jitter=0.0), 512 * KIB, look)
    assert windows[0] >= windows[1] * 0.75


def test_a_path_that_takes_less_from_some_moment_on_is_noticed() -> None:
    """Nothing says so: what is larger is swallowed (RFC 8899 section 4.3)."""

    def shrink(link: Link, near: QuicPeer) -> None:
        assert near.engine._max_datagram_size == LARGE
        link.longest = 1300
        link.sizes.clear()

    link = Link()
    sent(link, 1024 * KIB, shrink)
    large = sum(n for size, n in link.sizes.items() if size > 1300)
    assert 0 < large < sum(link.sizes.values()) / 3


def test_another_path_is_tried_anew() -> None:
    def moved(link: Link, near: QuicPeer) -> None:
        path = near.engine._network_paths[0]
        near.engine._network_paths[0] = type(path)(addr=path.addr, is_validated=True)
        link.sizes.clear()
        link.longest = SMALL

    link = Link()
    sent(link, 1024 * KIB, moved)
    assert sum(n for size, n in link.sizes.items() if size > SMALL) == 1
