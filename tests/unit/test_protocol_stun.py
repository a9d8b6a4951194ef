"""STUN and TURN as they are read, with the messages of RFC 5769."""

import struct
import zlib
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.evidence.protocols import punch, stun, turn
from testbed.evidence.protocols.frames import MAX_FIELDS, MAX_FRAMES, frames, joined
from testbed.model.journey import Label

REQUEST = bytes.fromhex(  # RFC 5769 section 2.1
    "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e20746573"
    "7420636c69656e74002400046e0001ff80290008932ff9b151263b3600060009"
    "6576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249"
    "c1b571a280280004e57a3bcf"
)
RESPONSE = bytes.fromhex(  # section 2.2
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563"
    "746f7220002000080001a147e112a643000800142b91f599fd9e90c38c7489f9"
    "2af9ba53f06be7d780280004c07d4c96"
)
RESPONSE_6 = bytes.fromhex(  # section 2.3
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563"
    "746f7220002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014"
    "a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
)
TRANSACTION = bytes(range(12))
PEER = "29.0.0.18:4001"


def attribute(code: int, value: bytes) -> bytes:
    return struct.pack("!HH", code, len(value)) + value + bytes(-len(value) % 4)


def message(kind: int, *attributes: bytes) -> bytes:
    body = b"".join(attributes)
    return struct.pack("!HHI12s", kind, len(body), stun.MAGIC_COOKIE, TRANSACTION) + body


def xored(end: str) -> bytes:
    address, port = end.split(":")
    number = int(IPv4Address(address)) ^ stun.MAGIC_COOKIE
    return struct.pack("!BBHI", 0, 1, int(port) ^ stun.MAGIC_COOKIE >> 16, number)


def read(data: bytes) -> Label:
    said = turn.read(data)
    assert said is not None
    return said


def test_the_request_of_rfc_5769_is_read_whole() -> None:
    said = read(REQUEST)
    assert (said.protocol, said.text) == ("stun", "Binding request")
    assert dict(said.fields) == {
        "method": "Binding",
        "class": "request",
        "transaction": "b7e7a701bc34d686fa87dfae",
        "SOFTWARE": "STUN test client",
        "PRIORITY": str(0x6E0001FF),
        "ICE-CONTROLLED": "932ff9b151263b36",
        "USERNAME": "evtj:h6vY",
        "MESSAGE-INTEGRITY": "9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2",
        "FINGERPRINT": "right",
    }


def test_a_changed_byte_shows_in_the_fingerprint() -> None:
    assert read(REQUEST.replace(b"test", b"tent")).field("FINGERPRINT") == "wrong"


@pytest.mark.parametrize(
    ("data", "address"),
    [
        (RESPONSE, "192.0.2.1:32853"),
        (RESPONSE_6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ],
)
def test_the_responses_of_rfc_5769_say_the_mapped_address(data: bytes, address: str) -> None:
    said = read(data)
    assert said.text == f"Binding success: {address}"
    assert said.field("XOR-MAPPED-ADDRESS") == address
    assert said.field("FINGERPRINT") == "right"


@pytest.mark.parametrize(
    ("kind", "method", "name"),
    [
        (0x0001, 1, "request"),
        (0x0011, 1, "indication"),
        (0x0113, 3, "error"),
        (0x0104, 4, "success"),
        (0x3EEF, 0xFFF, "request"),
    ],
)
def test_method_and_class_are_interleaved_as_in_figure_3(kind: int, method: int, name: str) -> None:
    assert stun.method_of(kind) == method
    assert stun.CLASSES[stun.class_of(kind)] == name


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (message(0x0001, attribute(0x25, b"")), "Binding request, USE-CANDIDATE"),
        (
            message(0x0001, attribute(0x03, b"\0\0\0\6")),
            "Binding request, CHANGE-REQUEST IP and port",
        ),
        (
            message(0x0111, attribute(0x09, b"\0\0\4\x57Role Conflict")),
            "Binding error: 487 Role Conflict",
        ),
        (message(0x0101, attribute(0x01, b"\0\1\x0f\xa1\x1d\0\0\2")),
         "Binding success: 29.0.0.2:4001"),
        (message(0x0101), "Binding success: without an address"),
        (message(0x0103, attribute(0x16, xored(PEER))), f"Allocate success: relayed at {PEER}"),
        (message(0x0004, attribute(0x0D, bytes(4))), "Refresh request, 0 s"),
        (message(0x0008, attribute(0x12, xored(PEER))), f"CreatePermission request for {PEER}"),
        (
            message(0x0009, attribute(0x0C, b"\x40\1\0\0"), attribute(0x12, xored(PEER))),
            f"ChannelBind request of 0x4001 to {PEER}",
        ),
        (
            message(0x0016, attribute(0x12, xored(PEER)), attribute(0x13, REQUEST)),
            f"Send indication to {PEER}: Binding request",
        ),
        (
            message(0x0017, attribute(0x12, xored(PEER)), attribute(0x13, b"hello")),
            f"Data indication from {PEER}: 5 bytes",
        ),
        (message(0x0FFF), "method 0x3ff error: without a code"),
    ],
)  # fmt: skip
def test_what_matters_is_in_the_text(data: bytes, text: str) -> None:
    assert read(data).text == text


@pytest.mark.parametrize(
    ("code", "value", "text"),
    [
        (0x19, b"\x11\0\0\0", "UDP"),
        (0x19, b"\x06\0\0\0", "TCP"),
        (0x17, b"\x02\0\0\0", "IPv6"),
        (0x0D, b"\0\0\2\x58", "600 s"),
        (0x802B, b"\0\1\x0d\x96\x1d\0\0\x22", "29.0.0.34:3478"),
        (0x0A, b"\0\x19\x80\x29", "0x0019 0x8029"),
        (0x0020, b"\0\1\0", "malformed: 000100"),
        (0x0025, b"\0", "malformed: 00"),
        (0x0009, b"\0\0", "malformed: 0000"),
        (0x7777, b"\xab", "ab"),
        (0x8022, b"\x1b[31mred", "?[31mred"),
    ],
)
def test_attributes_are_read_and_bad_ones_are_called_so(code: int, value: bytes, text: str) -> None:
    assert read(message(1, attribute(code, value))).fields[3][1] == text


def test_what_is_carried_is_told_from_its_carrier() -> None:
    said = read(message(0x0016, attribute(0x13, REQUEST)))
    assert said.field("transaction") == TRANSACTION.hex()
    assert said.field("carried transaction") == "b7e7a701bc34d686fa87dfae"


def test_channel_data_is_read_with_and_without_padding() -> None:
    data = b"\x40\x00\x00\x05hello"
    for padding in (b"", b"\0\0\0"):
        assert read(data + padding).text == "ChannelData 0x4000: 5 bytes"
    for wrong in (data[:-1], data + b"\0\0\0\0", b"\x50" + data[1:]):
        assert turn.read(wrong) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        RESPONSE[:19],
        b"\xc0" + RESPONSE[1:],
        RESPONSE[:4] + b"nope" + RESPONSE[8:],
        RESPONSE + b"more",
        RESPONSE[:2] + b"\0\x3d" + RESPONSE[4:] + b"\0",
    ],
)
def test_what_is_no_stun_message_is_not_taken_for_one(data: bytes) -> None:
    assert turn.read(data) is None


def test_a_message_that_was_cut_short_is_recognised() -> None:
    said = read(RESPONSE[:50])
    assert said.text == "Binding success: 192.0.2.1:32853 (cut short)"


def test_several_messages_on_a_stream_are_counted() -> None:
    stream = RESPONSE + REQUEST + REQUEST + b"\x40\x01\x00\x02hi\0\0"
    labels, end = frames(stream, turn.frame)
    assert end == len(stream)
    assert joined(labels).text == (
        "Binding success: 192.0.2.1:32853 + Binding request x2 + ChannelData 0x4001: 2 bytes"
    )


def test_the_work_on_one_segment_is_bounded() -> None:
    labels, _ = frames(b"\x40\x00\x00\x00" * 20000, turn.frame)
    assert len(labels) == MAX_FRAMES
    assert len(joined(labels * 3).fields) <= MAX_FIELDS
    many = message(1, attribute(0x24, bytes(4)) * 8000)
    assert len(read(many).fields) == 3 + stun.MAX_ATTRIBUTES


def test_our_probes_are_read() -> None:
    probe = punch.MAGIC + b"\x01\x00" + bytes(16) + b"\0\0\0\x07\0\0"
    said = punch.read(probe)
    assert said == Label("punch", "probe 7", (
        ("kind", "probe"), ("role", "dialer"), ("session", "00" * 16),
        ("number", "7"), ("length", "0"),
    ))  # fmt: skip
    for wrong in (probe[:-1], probe + b"x", b"x" + probe[1:], probe[:4] + b"\x09" + probe[5:]):
        assert punch.read(wrong) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read_one in (turn.read, punch.read):
        assert read_one(data) is None or isinstance(read_one(data), Label)


@given(
    st.integers(0, 0x3FFF),
    st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=8),
    st.integers(0, 400),
)
def test_any_attributes_are_read(kind: int, pairs: list[tuple[int, bytes]], cut: int) -> None:
    whole = message(kind, *(attribute(code, value) for code, value in pairs))
    said = read(whole)
    assert len(said.fields) >= 3 + len(pairs)
    assert all(text.isprintable() for field in said.fields for text in field)
    part = turn.read(whole[:cut])
    assert part is None or len(part.fields) <= len(said.fields)


@given(st.data())
def test_a_message_with_changed_bytes_is_read_or_refused(data: st.DataObject) -> None:
    changed = bytearray(data.draw(st.sampled_from([REQUEST, RESPONSE, RESPONSE_6])))
    for at in data.draw(st.lists(st.integers(0, len(changed) - 1), max_size=5)):
        changed[at] = data.draw(st.integers(0, 255))
    said = turn.read(bytes(changed))
    assert said is None or said.text


def test_the_fingerprint_is_rfc_8489s() -> None:
    body = message(1, attribute(0x8028, bytes(4)))[:20]
    crc = zlib.crc32(body) ^ 0x5354554E
    assert read(body + attribute(0x8028, crc.to_bytes(4, "big"))).field("FINGERPRINT") == "right"
