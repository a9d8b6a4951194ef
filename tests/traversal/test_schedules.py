"""Close and flush over random schedules: all bytes or a typed error, no hang, no silent loss.

`TESTBED_SCHEDULES=10000` looks at so many of each transport; without it a few hundred.
"""

import os
from collections.abc import Iterable

import pytest

from testbed.traversal import tls_certificate
from testbed.traversal.aio import quic_engine
from testbed.traversal.aio.stream import Stream

from .schedules import BrokenPromiseError, check
from .virtual import small_quic

SHARDS = 10
COUNT = int(os.environ.get("TESTBED_SCHEDULES", "300"))
pytestmark = pytest.mark.timeout(60 + COUNT // 10)
BOTH = pytest.mark.parametrize("transport", ["tcp", "quic"])


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (quic_engine, "WINDOW"),
        (quic_engine, "_SEND_BUFFER"),
        (tls_certificate, "make"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))  # given back afterwards
    small_quic()


def check_all(transport: str, seeds: Iterable[int]) -> None:
    for seed in seeds:
        check(transport, seed)


@BOTH
@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_schedule_loses_bytes_without_a_word_or_hangs(transport: str, shard: int) -> None:
    check_all(transport, range(shard, COUNT, SHARDS))


@BOTH
def test_a_stream_that_forgets_the_end_is_found_out(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stream, "feed_eof", lambda _: None)
    with pytest.raises(BrokenPromiseError):
        check_all(transport, range(30))


@BOTH
def test_a_stream_that_drops_what_is_left_at_its_end_is_found_out(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Stream.feed_eof

    def careless(stream: Stream) -> None:
        stream._buffer.clear()
        honest(stream)

    monkeypatch.setattr(Stream, "feed_eof", careless)
    with pytest.raises(BrokenPromiseError):
        check_all(transport, range(30))
