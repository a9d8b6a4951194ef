"""TCP segments, ICMP and DNS as they are read, and whatever else a frame may be."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.evidence.labels import label
from testbed.evidence.protocols import dns, multistream, tcp
from testbed.model.journey import Label, Weight
from testbed.model.packet import ACK, FIN, PSH, RST, SYN, Packet, decode

A, B = b"\x0a\0\0\2", b"\x1d\0\0\x12"
MULTISTREAM = b"\x13/multistream/1.0.0\n"
NOISE = b"\x07/noise\n"


def frame(protocol: int, content: bytes, source: bytes = A, to: bytes = B) -> bytes:
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(content), 7, 0, 64, protocol, 0, source, to
    )
    return bytes(12) + b"\x08\0" + head + content


def packet(data: bytes) -> Packet:
    return decode(1, "a:eth0", 0, True, data, len(data))


def segment(flags: int, payload: bytes = b"", seq: int = 0, ack: int = 0) -> Packet:
    head = struct.pack("!HHIIBBHHH", 4001, 4001, seq, ack, 0x50, flags, 0, 0, 0)
    return packet(frame(6, head + payload))


def datagram(payload: bytes, source: int = 4001, to: int = 4001) -> Packet:
    return packet(frame(17, struct.pack("!HHHH", source, to, 8 + len(payload), 0) + payload))


@pytest.mark.parametrize(
    ("flags", "payload", "text", "named"),
    [
        (SYN, b"", "SYN", "SYN"),
        (SYN | ACK, b"", "SYN-ACK", "SYN ACK"),
        (ACK, b"", "ACK", "ACK"),
        (RST, b"", "RST", "RST"),
        (RST | ACK, b"", "RST", "RST ACK"),
        (FIN | ACK, b"", "FIN", "FIN ACK"),
        (PSH | ACK, b"\xffabc", "data, 4 bytes", "PSH ACK"),
        (FIN | ACK, b"\xffabc", "FIN + data, 4 bytes", "FIN ACK"),
        (0, b"", "ACK", "none"),
    ],
)
def test_flags_are_named(flags: int, payload: bytes, text: str, named: str) -> None:
    said = label(segment(flags, payload))
    assert (said.protocol, said.text, said.field("flags")) == ("tcp", text, named)


@pytest.mark.parametrize(
    ("payload", "protocol", "text"),
    [
        (MULTISTREAM + NOISE, "multistream", "/multistream/1.0.0 + /noise"),
        (MULTISTREAM + NOISE + b"\0\x20" + bytes(32), "multistream",
         "/multistream/1.0.0 + /noise + 34 bytes"),
        (b"\x0d/yamux/1.0.0\n", "multistream", "/yamux/1.0.0"),
        (b"\x03na\n", "multistream", "na"),
        (b"\x40\x00\x00\x02hi\0\0", "turn", "ChannelData 0x4000: 2 bytes"),
        (b"GET / HTTP/1.1\r\n", "http", "GET /"),
    ],
)  # fmt: skip
def test_what_is_in_clear_is_read(payload: bytes, protocol: str, text: str) -> None:
    said = label(segment(PSH | ACK, payload))
    assert (said.protocol, said.text) == (protocol, text)


@pytest.mark.parametrize(
    "payload",
    [b"\x40\x00\x00\x02hi", b"\x40\x00\xff\xffhi", b"\x07/noise ", b"\x08/noise\n", b"\x03no\n"],
)
def test_what_only_looks_alike_is_data(payload: bytes) -> None:
    assert tcp.payload(payload) is None


def test_a_line_of_more_than_127_bytes_has_two_bytes_of_length() -> None:
    line = b"/" + b"x" * 198 + b"\n"
    found = multistream.frame(b"\xc8\x01" + line + b"more")
    assert found is not None
    assert (found.length, found.label.text) == (202, line[:-1].decode())


def icmp(kind: int, code: int, content: bytes = b"") -> Packet:
    return packet(frame(1, struct.pack("!BBHI", kind, code, 0, 0) + content))


def test_an_icmp_error_says_what_it_quotes() -> None:
    quoted = frame(17, struct.pack("!HHHH", 4001, 4002, 8, 0))[14:]
    said = label(icmp(3, 3, quoted))
    assert said.text == "port unreachable: udp 10.0.0.2:4001 to 29.0.0.18:4002"
    assert said.field("quoted") == "udp 10.0.0.2:4001 to 29.0.0.18:4002"


@pytest.mark.parametrize(
    ("kind", "code", "text"),
    [(8, 0, "echo request"), (0, 0, "echo reply"), (3, 13, "prohibited by a filter"),
     (11, 0, "time exceeded"), (3, 99, "type 3 code 99"), (77, 1, "type 77 code 1")],
)  # fmt: skip
def test_icmp_messages_are_named(kind: int, code: int, text: str) -> None:
    assert label(icmp(kind, code)).text == text


QUERY = struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\7example\3org\0\0\x01\0\x01"


def test_a_name_is_read_where_dns_is_spoken() -> None:
    assert label(datagram(QUERY, to=53)).text == "query example.org A"
    answer = QUERY[:2] + b"\x81\x83" + QUERY[4:]
    assert label(datagram(answer, source=53)).text == "response example.org A, 0 answers, error 3"
    size = Label("udp", "29 bytes", (("length", "29"),), weight=Weight.USUAL, filler=True)
    assert label(datagram(QUERY)) == size


@pytest.mark.parametrize(
    "data",
    [
        b"",
        QUERY[:-1],
        QUERY[:20],
        QUERY[:12] + b"\xc0\x0c\0\1\0\1",
        QUERY[:12] + b"\x3fx" * 200,
        QUERY[:12] + b"\x40" + b"x" * 64 + b"\0\0\1\0\1",
    ],
)
def test_a_broken_name_is_refused(data: bytes) -> None:
    assert dns.read(data) is None


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (bytes(12) + b"\x08\x06" + bytes(28), "ARP"),
        (bytes(12) + b"\x86\xdd" + bytes(40), "IPv6"),
        (bytes(12) + b"\x12\x34", "ethertype 0x1234"),
        (bytes(12) + b"\x08\0", "IPv4, cut short"),
        (frame(47, b"gre"), "IP protocol 47"),
        (b"", "ethertype 0x0000"),
    ],
)
def test_other_frames_have_a_label(data: bytes, text: str) -> None:
    assert label(packet(data)).text == text


@given(st.sampled_from([1, 6, 17, 47]), st.binary(max_size=120))
def test_any_packet_has_a_printable_label(protocol: int, content: bytes) -> None:
    for data in (frame(protocol, content), content):
        said = label(packet(data))
        assert said.text
        assert said.text.isprintable()
        assert all(text.isprintable() for field in said.fields for text in field)


HEADS = st.sampled_from([b"", MULTISTREAM, NOISE, b"POST / HTTP/1.1\r\n", b"\x40\0\0\1"])
PORTS = st.sampled_from([53, 1900, 3478, 4001, 5350, 5351, 5353])


@given(PORTS, PORTS, st.binary(max_size=120))
def test_any_datagram_has_a_label_on_any_port(source: int, to: int, payload: bytes) -> None:
    assert label(datagram(payload, source, to)).text


@given(st.integers(0, 255), st.binary(max_size=120), HEADS)
def test_any_segment_has_a_label(flags: int, payload: bytes, head: bytes) -> None:
    assert label(segment(flags, head + payload)).field("flags")
