"""The core of resumable streams: whatever paths do, each byte arrives once and in order."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.traversal import resume
from testbed.traversal.errors import ProtocolError


def meet(one: resume.Session, two: resume.Session) -> None:
    """A new path between them."""
    for side in (one, two):
        side.detach()
    counts = one.received, two.received
    one.attach(counts[1])
    two.attach(counts[0])


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**32), st.integers(0, 300_000), st.integers(0, 300_000))
def test_bytes_arrive_once_and_in_order_however_often_the_path_is_cut(
    seed: int, forth: int, back: int
) -> None:
    rng = random.Random(seed)
    sides = resume.Session(), resume.Session()
    data = rng.randbytes(forth), rng.randbytes(back)
    written, got = [0, 0], [bytearray(), bytearray()]
    wires = [bytearray(), bytearray()]
    meet(*sides)
    for step in range(4_000):
        for n, side in enumerate(sides):
            chunk = data[n][written[n] : written[n] + rng.randint(1, 60_000)]
            if chunk:
                written[n] += side.write(chunk)
            elif not side.ended:
                side.end()
            wires[n] += side.data_to_send()
            arrived = rng.randint(0, 70_000)
            side.receive_data(bytes(wires[1 - n][:arrived]))
            del wires[1 - n][:arrived]
            got[n] += side.read(rng.randint(0, 80_000))
        if step < 60 and rng.random() < 0.2:
            for wire in wires:
                wire.clear()
            meet(*sides)
        if all(s.over and not s.unread for s in sides) and not any(wires):
            break
    assert (bytes(got[1]), bytes(got[0])) == data
    assert all(side.over for side in sides)


def test_no_more_than_the_buffer_waits_for_the_other_side() -> None:
    side = resume.Session()
    assert side.write(bytes(2 * resume.BUFFER)) == resume.BUFFER
    assert side.write(b"x") == 0


@pytest.mark.parametrize(
    "wire",
    [b"\x07\0\0\0\0", b"\0\xff\xff\xff\xff", b"\x01\0\0\0\1\x05", b"\x01\0\0\0\0",
     b"\x02\0\0\0\0\0\0\0\0\1x"],
)  # fmt: skip
def test_what_breaks_the_protocol_is_a_typed_error(wire: bytes) -> None:
    side = resume.Session()
    side.attach(0)
    with pytest.raises(ProtocolError):
        side.receive_data(wire)


@pytest.mark.parametrize("received", [-1, 4, 2**60])
def test_a_side_that_has_what_was_never_sent_is_refused(received: int) -> None:
    side = resume.Session()
    side.write(b"abc")
    with pytest.raises(ProtocolError):
        side.attach(received)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    side = resume.Session()
    side.attach(0)
    try:
        side.receive_data(data)
    except ProtocolError:
        return
    assert side.unread <= len(data)
