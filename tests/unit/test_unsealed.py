"""Streams are read off packets by keys that an end logged, whatever became of the packets."""

import random
import struct
from collections.abc import Sequence
from itertools import count

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from ways import Wire

from testbed.evidence.unsealed import Keys, connections, keys
from testbed.evidence.unsealed.stream import frame, joined
from testbed.model.packet import ACK, SYN, Packet
from testbed.traversal import PrivateKey, noise, tls_certificate
from testbed.traversal.aio.quic_engine import configuration
from testbed.traversal.aio.quic_timers import QuicTimers

HERE, THERE = "10.0.0.2:4001", "29.0.0.18:4001"
ISN = 2**32 - 50  # sequence numbers go round within the handshake
HEADER = b"\x13/multistream/1.0.0\n"
NOISE = b"\x07/noise\n"
PROTOCOL = "/testbed/relay-rent/0.1.0/hop"
AGREED = HEADER + bytes([len(PROTOCOL) + 1]) + PROTOCOL.encode() + b"\n"
ASKED, BYTES, BACK = b"\x05offer", bytes(range(256)) * 20, b"\x02ok" + bytes(3000)
Said = list[tuple[bool, bytes]]  # outgoing?


def data(stream: int, payload: bytes) -> bytes:
    return struct.pack("!BBHII", 0, 0, 0, stream, len(payload)) + payload


def talked(log: list[str]) -> Said:
    """What the two ends of a TCP connection write, in order."""
    keys = [PrivateKey.from_seed(bytes([n]) * 32) for n in (1, 2)]
    a = noise.Handshake(keys[0], initiator=True, muxers=("/yamux/1.0.0",), key_log=log.append)
    b = noise.Handshake(keys[1], initiator=False, muxers=("/yamux/1.0.0",))
    said = [(True, HEADER + NOISE), (False, HEADER + NOISE)]
    for ours, writer, reader in ((True, a, b), (False, b, a), (True, a, b)):
        message = writer.data_to_send()
        reader.receive_data(message)
        said.append((ours, message))
    assert a.channel is not None
    assert b.channel is not None
    window = struct.pack("!BBHII", 0, 1, 0, 3, 4096)  # of which no bytes follow
    for ours, channel, frames in (
        (True, a.channel, (data(1, AGREED + ASKED), data(3, b"other"), window)),
        (False, b.channel, (data(1, AGREED), data(1, BACK[:700]))),
        (True, a.channel, (data(1, BYTES[:1000]), data(1, BYTES[1000:]))),
        (False, b.channel, (data(1, BACK[700:]),)),
    ):
        said += [(ours, channel.seal(one)) for one in frames]
    return said


def segments(
    said: Said, size: int = 900, ends: tuple[str, str] = (HERE, THERE), node: str = "a"
) -> list[Packet]:
    wire, sent, packets = Wire(), {True: ISN + 1, False: 77}, list[Packet]()

    def add(ours: bool, payload: bytes, flags: int, seq: int) -> None:
        way = ends if ours else ends[::-1]
        packets.append(
            wire.packet(
                node, len(packets), *way, protocol="tcp", outgoing=ours, payload=payload,
                tcp_seq=seq % 2**32, tcp_flags=flags, original_length=54 + len(payload),
                frame=bytes(54) + payload,
            )
        )  # fmt: skip

    add(True, b"", SYN, ISN)
    add(False, b"", SYN | ACK, 76)
    for ours, piece in said:
        for start in range(0, len(piece), size):
            part = piece[start : start + size]
            add(ours, part, ACK, sent[ours])
            sent[ours] += len(part)
    return packets


def opened(packets: Sequence[Packet], known: Keys) -> list[tuple[str, bytes, bytes]]:
    return [
        (stream.protocol, stream.sent, stream.got)
        for connection in connections(packets, known)
        for stream in connection.streams
        if stream.protocol
    ]


WHOLE = [(PROTOCOL, ASKED + BYTES, BACK)]


@pytest.mark.parametrize("size", [5, 900, 2000])
def test_a_stream_of_yamux_is_read_however_its_bytes_are_cut(size: int) -> None:
    log: list[str] = []
    packets = segments(talked(log), size)
    assert opened(packets, keys(log)) == WHOLE


def test_segments_that_come_again_or_out_of_order_count_once() -> None:
    log: list[str] = []
    packets = segments(talked(log))
    random.Random(1).shuffle(later := [*packets[2:], *packets[5:9]])
    assert opened([*packets[:2], *later], keys(log)) == WHOLE


def test_what_a_capture_lacks_ends_the_stream_there() -> None:
    log: list[str] = []
    packets = segments(talked(log))
    (found,) = opened(packets[:-2], keys(log))
    assert found[:2] == WHOLE[0][:2]
    assert found[2] == BACK[:700]
    gone = [p for p in packets if not (p.outgoing and len(p.payload) == 900)][:-1]
    assert all(len(sent) < len(ASKED + BYTES) for _, sent, _ in opened(gone, keys(log)))


def test_keys_of_another_connection_open_nothing() -> None:
    log: list[str] = []
    packets = segments(talked(log))
    first, ours, theirs = log[0].split()[1:]
    for line in (f"NOISE {first} {theirs} {ours}", f"NOISE {ours} {ours} {theirs}", "NOISE", "X 1"):
        assert opened(packets, keys([line])) == []
    assert opened(packets, keys([])) == []


def test_bytes_are_joined_as_far_as_none_is_missing() -> None:
    assert joined([(3, b"def"), (0, b"abc"), (1, b"bcd"), (9, b"x")]) == b"abcdef"
    assert frame(b"\x02abc") == (b"ab", b"c")
    assert frame(b"\x80\x01" + bytes(128)) == (bytes(128), b"")
    assert frame(b"\x04abc") == (b"", b"\x04abc")
    assert frame(b"\xff" * 9) == (b"", b"\xff" * 9)


def datagrams(log: list[str]) -> list[Packet]:
    """Two ends of a QUIC connection, the client here."""

    def made(seed: int, *, client: bool) -> QuicConfiguration:
        identity = PrivateKey.from_seed(bytes([seed]) * 32)
        credentials = tls_certificate.make(identity)
        return configuration(
            credentials, QuicTimers(), log.append if client else None, client=client
        )

    a = QuicConnection(configuration=made(1, client=True))
    a.connect(("29.0.0.18", 4001), now=0.0)
    b = QuicConnection(
        configuration=made(2, client=False),
        original_destination_connection_id=a.original_destination_connection_id,
    )
    wire, packets = Wire(), list[Packet]()
    moments = count(0.1, 0.1)  # a pacer waits
    peers = {True: ("29.0.0.2", 4001), False: ("29.0.0.18", 4001)}  # as the receiver sees them

    def pass_all() -> None:
        for _ in range(6):
            clock = next(moments)
            for ours, sender, receiver in ((True, a, b), (False, b, a)):
                ends = (HERE, THERE) if ours else (THERE, HERE)
                for payload, _ in sender.datagrams_to_send(now=clock):
                    receiver.receive_datagram(payload, peers[ours], now=clock)
                    packets.append(
                        wire.packet(
                            "a", len(packets), *ends, outgoing=ours, payload=payload,
                            original_length=42 + len(payload), frame=bytes(42) + payload,
                        )
                    )  # fmt: skip

    pass_all()
    a.send_stream_data(0, AGREED + ASKED)
    pass_all()
    b.send_stream_data(0, AGREED + BACK[:5])
    a.send_stream_data(4, b"other")
    pass_all()
    a.send_stream_data(0, BYTES, end_stream=True)
    b.send_stream_data(0, BACK[5:], end_stream=True)
    pass_all()
    return packets


def test_a_stream_of_quic_is_read() -> None:
    log: list[str] = []
    packets = datagrams(log)
    assert opened(packets, keys(log)) == WHOLE
    assert opened([*packets[:6], *packets[5:]], keys(log)) == WHOLE


def test_secrets_of_another_connection_open_no_quic() -> None:
    log: list[str] = []
    other: list[str] = []
    packets = datagrams(log)
    datagrams(other)
    assert opened(packets, keys(other)) == []
    assert opened(packets, keys([*other, *log])) == WHOLE
