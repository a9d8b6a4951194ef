"""Frames as typed packets: ours agrees with scapy, and no bytes break it."""

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from counting import lines, require_linear
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, UDPerror
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from testbed.capture.pcapng import Writer
from testbed.capture.reader import dissect, read
from testbed.model.packet import ACK, NOWHERE, SYN, Endpoint, Packet, Quoted, decode


def packet(layers: Any) -> Packet:
    frame = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / layers)
    return decode(1, "a:eth0", 0, True, frame, len(frame))


def at(address: str, port: int = 0) -> Endpoint:
    return Endpoint(IPv4Address(address), port)


ports = st.integers(1, 65535)
header = st.builds(
    IP,
    src=st.ip_addresses(v=4).map(str),
    dst=st.ip_addresses(v=4).map(str),
    ttl=st.integers(1, 255),
    id=st.integers(0, 65535),
    options=st.sampled_from([[], b"\1\1\1\1"]),
)


@given(ip=header, sport=ports, dport=ports, payload=st.binary(max_size=60))
def test_udp_is_read_as_scapy_wrote_it(ip: Any, sport: int, dport: int, payload: bytes) -> None:
    found = packet(ip / UDP(sport=sport, dport=dport) / Raw(payload))
    assert (found.protocol, found.ttl, found.ip_id) == ("udp", ip.ttl, ip.id)
    assert (found.source, found.destination) == (at(ip.src, sport), at(ip.dst, dport))
    assert (found.payload, found.tcp_flags) == (payload, 0)
    assert bytes(dissect(found)[UDP].payload) == payload


@given(
    ip=header,
    flags=st.integers(0, 255),
    seq=st.integers(0, 2**32 - 1),
    ack=st.integers(0, 2**32 - 1),
    options=st.sampled_from([[], [("MSS", 1460)], [("Timestamp", (1, 2)), ("NOP", None)]]),
    payload=st.binary(max_size=60),
)
def test_tcp_is_read_as_scapy_wrote_it(
    ip: Any, flags: int, seq: int, ack: int, options: list[Any], payload: bytes
) -> None:
    tcp = TCP(sport=7, dport=9, flags=flags, seq=seq, ack=ack, options=options)
    found = packet(ip / tcp / Raw(payload))
    assert (found.protocol, found.tcp_flags, found.tcp_seq, found.tcp_ack, found.payload) == (
        "tcp",
        flags,
        seq,
        ack,
        payload,
    )
    assert found.is_syn is (bool(flags & SYN) and not flags & ACK)


def test_an_icmp_error_carries_the_packet_it_is_about() -> None:
    about = IPerror(src="10.0.0.2", dst="9.9.9.9", id=77) / UDPerror(sport=5, dport=6) / b"12345678"
    found = packet(IP(src="5.5.5.5", dst="10.0.0.2") / ICMP(type=3, code=3) / about)
    assert (found.protocol, found.icmp_type, found.icmp_code) == ("icmp", 3, 3)
    assert found.quoted == Quoted("udp", at("10.0.0.2", 5), at("9.9.9.9", 6), 77)


def test_an_icmp_echo_quotes_nothing() -> None:
    found = packet(IP(src="5.5.5.5", dst="10.0.0.2") / ICMP(type=8, id=4) / b"ping")
    assert (found.icmp_type, found.quoted, found.payload) == (8, None, b"ping")


@pytest.mark.parametrize("layers", [ARP(pdst="10.0.0.1"), IPv6(dst="fe80::1") / UDP()])
def test_what_is_not_ipv4_is_seen_too(layers: Any) -> None:
    found = packet(layers)
    assert (found.protocol, found.source, found.destination) == ("other", NOWHERE, NOWHERE)
    assert found.ethertype in (0x0806, 0x86DD)


def test_a_later_fragment_has_no_ports() -> None:
    found = packet(IP(src="1.1.1.1", dst="2.2.2.2", frag=10, proto=17) / Raw(b"x" * 32))
    assert (found.protocol, found.source, found.payload) == ("other", at("1.1.1.1"), b"x" * 32)


def test_padding_of_a_short_frame_is_not_payload() -> None:
    frame = bytes(Ether() / IP(src="1.1.1.1", dst="2.2.2.2") / UDP() / b"hi") + bytes(16)
    assert decode(1, "a:eth0", 0, True, frame, len(frame)).payload == b"hi"


@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_are_a_packet(data: bytes, as_ipv4: bool) -> None:
    frame = bytes(12) + b"\x08\x00" + b"\x45" + data if as_ipv4 else data
    found = decode(1, "a:eth0", 0, False, frame, len(frame))
    assert found.frame == frame


@given(st.integers(0, 200))
def test_a_frame_cut_anywhere_is_a_packet(length: int) -> None:
    quoted = IPerror(src="10.0.0.2", dst="9.9.9.9") / UDPerror() / bytes(40)
    frame = bytes(Ether() / IP(src="1.1.1.1", dst="2.2.2.2") / ICMP(type=11) / quoted)
    found = decode(1, "a:eth0", 0, False, frame[:length], len(frame))
    assert found.cut is (length < len(frame))


def test_the_cost_of_reading_grows_with_the_number_of_packets_alone(tmp_path: Path) -> None:
    frame = bytes(Ether() / IP(src="1.1.1.1", dst="2.2.2.2") / UDP() / bytes(100))

    def cost(count: int) -> int:
        path = tmp_path / f"{count}.pcapng"
        with path.open("wb") as file:
            writer = Writer(file, ["a:eth0"])
            for number in range(count):
                writer.packet(0, number, frame, len(frame), 1)
            writer.statistics(0, count, count, 0)
        assert len(read(path)) == count  # pays the import, too
        return lines(lambda: read(path))

    require_linear(cost, 500)


@given(st.binary(max_size=400), st.sampled_from([1, 6, 17, 99]), st.integers(0, 40))
def test_a_packet_whose_payload_is_kept_once_is_the_same_packet(
    data: bytes, number: int, padding: int
) -> None:
    frame = bytes(Ether() / IP(src="10.0.0.1", dst="10.0.0.2", proto=number) / Raw(data))
    frame += bytes(padding)
    kept: dict[bytes, bytes] = {}
    alone = decode(1, "a:eth0", 5, True, frame, len(frame) + 7)
    first, second = (decode(1, "a:eth0", 5, True, frame, len(frame) + 7, kept) for _ in range(2))
    assert alone == first == second
    assert first.payload is second.payload
    assert (bytes(first.frame), len(first.frame), first.mac) == (frame, len(frame), frame[:6])
    assert (first.cut, first.frame[23]) == (alone.cut, alone.frame[23])
