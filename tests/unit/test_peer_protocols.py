"""The punchers' protocols without sockets: STUN codec, frames, UDP punch, TCP selection."""

import asyncio
import struct
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.model.contract import ENDS, Role
from testbed.stacks import stun, wire
from testbed.stacks.echo import FRUITLESS, DatagramEcho, chunks
from testbed.stacks.punch_tcp import Selection
from testbed.stacks.punch_udp import Address, Punch
from testbed.stacks.wire import Frame, FrameReader, Kind, NotAFrame, Speaker

SESSION = bytes(range(16))
DIALER = Speaker(Role.DIALER, SESSION)
LISTENER = Speaker(Role.LISTENER, SESSION)
STRANGER = Speaker(Role.LISTENER, bytes(16))

frames = st.builds(
    Frame,
    kind=st.sampled_from(Kind),
    role=st.sampled_from(ENDS),
    session=st.binary(min_size=16, max_size=16),
    number=st.integers(min_value=0, max_value=2**32 - 1),
    payload=st.binary(max_size=wire.PAYLOAD_LIMIT),
)

# STUN

# RFC 5769 section 2.2: the sample IPv4 response; its mapped address is 192.0.2.1:32853.
RFC_5769_RESPONSE = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220"
    "002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004c07d4c96"
)


def test_mapped_address_of_the_sample_response_of_rfc_5769() -> None:
    transaction = stun.transaction_of(RFC_5769_RESPONSE)
    assert stun.mapped_address(RFC_5769_RESPONSE, transaction) == ("192.0.2.1", 32853)


def test_an_answer_to_another_transaction_is_no_answer() -> None:
    assert stun.mapped_address(RFC_5769_RESPONSE, bytes(12)) is None


@given(st.integers(min_value=0, max_value=len(RFC_5769_RESPONSE) - 1))
def test_a_truncated_answer_is_no_answer(length: int) -> None:
    transaction = stun.transaction_of(RFC_5769_RESPONSE)
    assert stun.mapped_address(RFC_5769_RESPONSE[:length], transaction) is None


@given(st.binary(max_size=100))
def test_noise_is_no_answer(noise: bytes) -> None:
    assert stun.mapped_address(noise, bytes(12)) is None
    body = struct.pack("!HHI12s", 0x0101, len(noise), stun.MAGIC_COOKIE, bytes(12)) + noise
    stun.mapped_address(body, bytes(12))  # whatever it says, it does not raise


def test_a_request_is_a_bare_header() -> None:
    request = stun.binding_request()
    assert request[:8] == bytes.fromhex("000100002112a442")
    assert stun.message_length(request) == len(request) == stun.HEADER_LENGTH


def test_requests_are_sent_at_0_and_half_and_one_and_a_half_seconds() -> None:
    assert stun.retransmission_waits() == [0.5, 1.0, 1.5]


# Frames


@given(frames)
def test_a_frame_survives_the_wire(frame: Frame) -> None:
    assert wire.decode(frame.encode()) == frame


@given(frames)
def test_a_frame_is_neither_stun_nor_channel_data(frame: Frame) -> None:
    assert frame.encode()[0] >> 6 == 0b11


@given(frames, st.data())
def test_a_truncated_or_extended_frame_is_none(frame: Frame, data: st.DataObject) -> None:
    whole = frame.encode()
    cut = data.draw(st.integers(min_value=0, max_value=len(whole) - 1))
    assert wire.decode(whole[:cut]) is None
    assert wire.decode(whole + b"x") is None


@given(st.lists(frames, max_size=5), st.lists(st.integers(min_value=1, max_value=200)))
def test_a_stream_gives_the_frames_however_it_is_cut(sent: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(frame.encode() for frame in sent)
    reader, had = FrameReader(), list[Frame]()
    for cut in cuts:
        had += reader.feed(stream[:cut])
        stream = stream[cut:]
    had += reader.feed(stream)
    assert had == sent


@pytest.mark.parametrize("noise", [b"HTTP/1.1 200 OK\r\nServer: nginx\r\n\r\n", bytes(100)])
def test_a_stream_of_something_else_is_refused(noise: bytes) -> None:
    with pytest.raises(NotAFrame):
        list(FrameReader().feed(noise))


# The UDP punch, over a fake internet

A = ("1.0.0.1", 4001)
B = ("2.0.0.2", 4001)


@dataclass
class FakeInternet:
    """Delivers datagrams between two punches, through what `seen_as` does to sources."""

    punches: dict[Address, Punch]
    seen_as: dict[tuple[Address, Address], Address] = field(default_factory=dict)
    lost: list[bool] = field(default_factory=list)  # one datagram each, in order

    def send(self, source: Address, data: bytes, target: Address) -> None:
        if self.lost and self.lost.pop(0):
            return
        receiver = next(
            (real for (real, _), shown in self.seen_as.items() if shown == target), target
        )
        if receiver not in self.punches:
            return
        shown = self.seen_as.get((source, receiver), source)
        for answer, back in self.punches[receiver].received(data, shown):
            self.send(receiver, answer, back)

    def run(self, rounds: int = 3) -> tuple[Address | None, ...]:
        for _ in range(rounds):
            for source, punch in self.punches.items():
                for data, target in punch.probes():
                    self.send(source, data, target)
        return tuple(punch.remote for punch in self.punches.values())


def test_two_that_probe_one_another_connect() -> None:
    internet = FakeInternet({A: Punch(DIALER, (B,)), B: Punch(LISTENER, (A,))})
    assert internet.run() == (B, A)


def test_a_probe_from_elsewhere_makes_that_a_target() -> None:
    mapped = ("1.0.0.1", 50000)  # a mapping that depends on the destination
    internet = FakeInternet(
        {A: Punch(DIALER, (B,)), B: Punch(LISTENER, (A,))}, seen_as={(A, B): mapped}
    )
    assert internet.run() == (B, mapped)


def test_a_listener_without_targets_never_sends_first() -> None:
    assert Punch(LISTENER).probes() == []


def test_a_plain_dial_connects_both_where_nothing_filters() -> None:
    internet = FakeInternet({A: Punch(DIALER, (B,)), B: Punch(LISTENER)})
    assert internet.run() == (B, A)


def test_two_that_wait_never_connect() -> None:
    assert FakeInternet({A: Punch(DIALER), B: Punch(LISTENER)}).run() == (None, None)


@given(st.lists(st.booleans(), max_size=60))
def test_loss_delays_a_punch_and_no_more(lost: list[bool]) -> None:
    internet = FakeInternet({A: Punch(DIALER, (B,)), B: Punch(LISTENER, (A,))}, lost=lost)
    assert internet.run(rounds=64) == (B, A)


def test_one_direction_alone_does_not_count() -> None:
    punch = Punch(DIALER, (B,))
    punch.probes()
    assert punch.received(LISTENER.say(Kind.PROBE, 0), B) == [(DIALER.say(Kind.ACK, 0), B)]
    assert punch.remote is None


@pytest.mark.parametrize(
    ("data", "source"),
    [
        (STRANGER.say(Kind.ACK, 0), B),  # another session
        (DIALER.say(Kind.ACK, 0), B),  # our own words, come back
        (LISTENER.say(Kind.ACK, 7), B),  # no such probe
        (LISTENER.say(Kind.ACK, 0), ("9.9.9.9", 9)),  # not from where the probe went
        (b"noise", B),
    ],
)
def test_a_false_ack_does_not_connect(data: bytes, source: Address) -> None:
    punch = Punch(DIALER, (B,))
    punch.probes()
    assert punch.received(data, source) == []
    assert punch.remote is None


# The TCP selection


class FakeWriter:
    def __init__(self) -> None:
        self.written: list[Frame | None] = []

    def write(self, data: bytes) -> None:
        self.written.append(wire.decode(data))


class FakeConnection:
    """What `Selection` uses of a connection."""

    def __init__(self) -> None:
        self.writer = FakeWriter()
        self.verified = False

    @property
    def kinds(self) -> list[Kind]:
        return [frame.kind for frame in self.writer.written if frame is not None]


def frame(kind: Kind, number: int = 0) -> Frame:
    return Frame(kind, Role.LISTENER, SESSION, number)


def test_the_dialer_selects_the_first_verified_connection_and_no_other() -> None:
    selection, first, second = Selection(DIALER), FakeConnection(), FakeConnection()
    for connection in (first, second):
        selection.received(connection, frame(Kind.PROBE))  # type: ignore[arg-type]
    assert (first.kinds, second.kinds) == ([Kind.SELECT], [])
    selection.received(second, frame(Kind.ACK, 1))  # type: ignore[arg-type]
    assert selection.agreed is None
    selection.received(first, frame(Kind.ACK, 1))  # type: ignore[arg-type]
    assert selection.agreed is first


def test_the_dialer_selects_another_when_the_first_is_lost() -> None:
    selection, first, second = Selection(DIALER), FakeConnection(), FakeConnection()
    for connection in (first, second):
        selection.received(connection, frame(Kind.PROBE))  # type: ignore[arg-type]
    selection.lost(first)  # type: ignore[arg-type]
    assert second.kinds == [Kind.SELECT]


def test_the_listener_waits_for_the_dialers_word() -> None:
    selection, first, second = Selection(LISTENER), FakeConnection(), FakeConnection()
    for connection in (first, second):
        selection.received(connection, frame(Kind.PROBE))  # type: ignore[arg-type]
    assert selection.agreed is None
    selection.received(second, frame(Kind.SELECT, 1))  # type: ignore[arg-type]
    assert selection.agreed is second
    assert (first.kinds, second.kinds) == ([], [Kind.ACK])


def test_a_connection_that_said_no_hello_is_not_selected() -> None:
    selection, stranger = Selection(LISTENER), FakeConnection()
    selection.received(stranger, frame(Kind.SELECT, 1))  # type: ignore[arg-type]
    assert selection.agreed is None


# Echo


def echo_over(deliver: list[bool], count: int) -> tuple[int, int]:
    """Bytes that came back and datagrams sent, where ``deliver`` rules over each datagram."""

    async def run() -> tuple[int, int]:
        sent = 0

        async def send(data: bytes) -> None:
            nonlocal sent
            sent += 1
            if deliver.pop(0) if deliver else True:
                back = far.received(decoded(data))
                assert back is not None
                near.received(decoded(back))

        async def nowhere(data: bytes) -> None:
            raise AssertionError(data)

        near, far = DatagramEcho(DIALER, send), DatagramEcho(LISTENER, nowhere)
        return await near.run(count, 1, b""), sent

    return asyncio.run(run())


def decoded(data: bytes) -> Frame:
    frame = wire.decode(data)
    assert frame is not None
    return frame


def test_what_is_lost_is_sent_again() -> None:
    assert echo_over([True, False, True], 2500) == (2500, 4)


def test_what_stays_lost_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testbed.stacks.echo.ROUND_DEADLINE", 0.01)
    assert echo_over([False, True, True, *[False] * FRUITLESS], 2500) == (1500, 3 + FRUITLESS)


def test_altered_bytes_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testbed.stacks.echo.ROUND_DEADLINE", 0.01)

    async def run() -> int:
        async def send(data: bytes) -> None:
            number = decoded(data).number
            echo.received(Frame(Kind.BACK, Role.LISTENER, SESSION, number, b"altered"))

        echo = DatagramEcho(DIALER, send)
        return await echo.run(10, 1, b"")

    assert asyncio.run(run()) == 0


@given(st.integers(min_value=1, max_value=5000), st.integers(min_value=0), st.binary(max_size=16))
def test_chunks_are_replayable_and_small(count: int, seed: int, nonce: bytes) -> None:
    parts = chunks(count, seed, nonce)
    assert sum(map(len, parts)) == count
    assert max(map(len, parts)) <= wire.PAYLOAD_LIMIT
    assert parts == chunks(count, seed, nonce)


@given(st.integers(min_value=1, max_value=5000), st.binary(min_size=16, max_size=16))
def test_each_chunk_begins_with_what_only_the_dialer_was_told(count: int, nonce: bytes) -> None:
    for part, plain in zip(chunks(count, 1, nonce), chunks(count, 1), strict=True):
        assert part[:16] == nonce[: len(part)]
        assert part[16:] == plain[16:]
