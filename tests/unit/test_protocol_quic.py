"""QUIC's packets, with those of RFC 9001 appendix A and RFC 9369 appendix A."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.evidence.protocols import quic
from testbed.model.journey import Label

CLIENT = bytes.fromhex("c000000001088394c8f03e5157080000449e7b9aec34") + bytes(1178)
SERVER = bytes.fromhex("cf000000010008f067a5502a4262b5004075c0d95a48") + bytes(113)
RETRY = bytes.fromhex("ff000000010008f067a5502a4262b5746f6b656e04a265ba2eff4d829058fb3f0f2496ba")
RETRY_2 = bytes.fromhex("cf6b3343cf0008f067a5502a4262b5746f6b656ec8646ce8bfe33952d955543665dcc7b6")
DCID, SCID = "8394c8f03e515708", "f067a5502a4262b5"


def long(kind: int, length: int, version: int = 1, ids: bytes = b"\x01d\x01s") -> bytes:
    """A packet of this type with so many bytes of protected payload."""
    head = bytes([0xC0 | kind << 4]) + version.to_bytes(4, "big") + ids
    token = b"\0" if kind == 0 else b""
    return head + token + (0x4000 | length).to_bytes(2, "big") + bytes(length)


def read(data: bytes) -> Label:
    said = quic.read(data)
    assert said is not None
    return said


def test_a_clients_initial_is_read() -> None:
    assert read(CLIENT) == Label(
        "quic",
        "Initial",
        (("packet", "Initial"), ("version", "1"), ("DCID", DCID), ("SCID", "")),
    )


def test_a_servers_initial_goes_to_an_id_without_bytes() -> None:
    said = read(SERVER)
    assert (said.text, said.field("DCID"), said.field("SCID")) == ("Initial", "", SCID)


@pytest.mark.parametrize(("data", "version"), [(RETRY, "1"), (RETRY_2, "2")])
def test_a_retry_is_read_in_both_versions(data: bytes, version: str) -> None:
    said = read(data)
    assert (said.text, said.field("version"), said.field("token")) == ("Retry", version, "5 bytes")


@pytest.mark.parametrize("version", [1, 0x6B3343CF])
def test_the_types_of_version_2_are_counted_from_one(version: int) -> None:
    offset = 0 if version == 1 else 1
    names = ("Initial", "0-RTT", "Handshake")
    for kind, name in enumerate(names):
        data = long(0, 5, version) if kind == 0 else long(kind, 5, version)
        data = bytes([0xC0 | (kind + offset) % 4 << 4]) + data[1:]
        assert read(data).text == name


def test_coalesced_packets_are_read_in_order() -> None:
    datagram = long(0, 50) + long(2, 60) + b"\x40" + b"d" + bytes(40)
    said = read(datagram)
    assert said.text == "Initial + Handshake + 1-RTT"
    assert [value for key, value in said.fields if key == "packet"] == ["Initial", "Handshake"]


def test_a_token_is_counted_and_passed_over() -> None:
    said = read(b"\xc0\0\0\0\1\x01d\x01s\x05token\x40\x14" + bytes(20) + long(2, 60))
    assert (said.text, said.field("token")) == ("Initial + Handshake", "5 bytes")


def test_padding_after_the_packets_is_not_read() -> None:
    assert read(long(0, 50) + bytes(100)).text == "Initial"


def test_a_packet_to_another_id_is_not_coalesced() -> None:
    assert read(long(0, 50) + long(2, 60, ids=b"\x01x\x01s")).text == "Initial"


def test_a_version_negotiation_says_what_is_supported() -> None:
    data = b"\xca\0\0\0\0\x01d\x01s" + bytes.fromhex("000000016b3343cfdadadada")
    said = read(data)
    assert said.text == "Version Negotiation"
    assert said.field("supported versions") == "1 2 0xdadadada"


def test_a_reserved_version_is_quic_only_where_it_may_be_answered() -> None:
    data = b"\xca\x1a\x2a\x3a\x4a\x01d\x01s"
    assert quic.read(data + bytes(50)) is None
    assert read(data + bytes(1191)).text == "unknown version"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc0\0\0\0\1",
        b"\x40" + CLIENT[1:],
        CLIENT[:5] + b"\x15" + CLIENT[6:],
        CLIENT[:1] + b"\x12\x34\x56\x78" + CLIENT[5:],
        CLIENT[:14] + b"\xff",
    ],
)
def test_what_is_no_long_header_is_not_taken_for_one(data: bytes) -> None:
    assert quic.read(data) is None


def test_the_work_on_one_datagram_is_bounded() -> None:
    assert len(quic.headers(long(2, 0) * 1000)) == quic.MAX_COALESCED


@given(st.binary(max_size=100), st.sampled_from([b"", CLIENT[:18], RETRY[:15], SERVER[:16]]))
def test_any_bytes_are_read_or_refused(data: bytes, head: bytes) -> None:
    said = quic.read(head + data)
    assert said is None or said.protocol == "quic"


@given(st.binary(min_size=64, max_size=64))
def test_a_punch_datagram_is_not_taken_for_quic(data: bytes) -> None:
    """Random bytes: chance alone would make a long header of a version we know."""
    known = data[1:5] in (b"\0\0\0\0", b"\0\0\0\1", b"\x6b\x33\x43\xcf") or data[1:4] == b"\xff\0\0"
    assert known or quic.read(data) is None
