"""Raw IPv4 packets: what no ordinary socket would send, and what none would show."""

import ctypes
import socket
import struct

from testbed.model.frozen import FrozenValue

Endpoint = tuple[str, int]

SYN = 0x02
RST = 0x04
ACK = 0x10

_SO_ATTACH_FILTER = 26
_IP_HEADER = 20
_ICMP_UNREACHABLE = 3
_ICMP_ECHO = 8


class Segment(FrozenValue):
    """A TCP header with its addresses."""

    source: Endpoint
    destination: Endpoint
    sequence: int
    flags: int


class Unreachable(FrozenValue):
    """An ICMP destination unreachable about a packet to ``destination``."""

    code: int
    destination: Endpoint


def tcp_packet(
    source: Endpoint, destination: Endpoint, flags: int, sequence: int, acknowledge: int = 0
) -> bytes:
    """An IPv4 packet with a TCP header and no data (RFC 9293 section 3.1)."""
    header = struct.pack(
        "!HHIIBBHHH", source[1], destination[1], sequence, acknowledge, 5 << 4, flags, 64240, 0, 0
    )
    total = _checksum(_pseudo_header(source, destination, socket.IPPROTO_TCP, header) + header)
    header = header[:16] + struct.pack("!H", total) + header[18:]
    return _ipv4(source, destination, socket.IPPROTO_TCP, header)


def udp_packet(source: Endpoint, destination: Endpoint, data: bytes) -> bytes:
    """An IPv4 packet with a UDP datagram."""
    header = struct.pack("!HHHH", source[1], destination[1], 8 + len(data), 0)
    body = header + data
    total = _checksum(_pseudo_header(source, destination, socket.IPPROTO_UDP, body) + body)
    return _ipv4(
        source, destination, socket.IPPROTO_UDP, header[:6] + struct.pack("!H", total) + data
    )


def echo_request(source: str, destination: str, token: bytes) -> bytes:
    """An IPv4 packet with an ICMP echo request (RFC 792)."""
    header = struct.pack("!BBHHH", _ICMP_ECHO, 0, 0, 1, 1)
    total = _checksum(header + token)
    body = header[:2] + struct.pack("!H", total) + header[4:] + token
    return _ipv4((source, 0), (destination, 0), socket.IPPROTO_ICMP, body)


def send_raw(raw: socket.socket, packet: bytes) -> None:
    """``raw`` is of type SOCK_RAW and IPPROTO_RAW; the packet says where it goes."""
    raw.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))


def drain(raw: socket.socket) -> list[bytes]:
    """Every packet that has come to a non-blocking raw socket."""
    packets = []
    while True:
        try:
            packets.append(raw.recv(2048))
        except BlockingIOError:
            return packets


def segments(raw: socket.socket) -> list[Segment]:
    """The TCP segments that have come to a raw socket of IPPROTO_TCP."""
    return [segment_of(packet) for packet in drain(raw)]


def unreachables(raw: socket.socket) -> list[Unreachable]:
    """The destination unreachables that have come to a raw socket of IPPROTO_ICMP."""
    found = []
    for packet in drain(raw):
        offset = (packet[0] & 15) * 4
        if packet[offset] == _ICMP_UNREACHABLE:
            inner = packet[offset + 8 :]
            found.append(Unreachable(packet[offset + 1], _endpoints(inner)[1]))
    return found


def marks(packets: list[bytes]) -> dict[int, tuple[Endpoint, Endpoint]]:
    """Token -> source and destination, of packets as this module makes them.

    The token is a TCP segment's sequence number, or what a datagram or an echo
    begins with; other packets have meaningless ones.  An echo has no ports.
    """
    found = {}
    for packet in packets:
        offset = (packet[0] & 15) * 4
        tcp = packet[9] == socket.IPPROTO_TCP
        mark = packet[offset + 4 : offset + 8] if tcp else packet[offset + 8 : offset + 16]
        found[int.from_bytes(mark, "big")] = _endpoints(packet)
    return found


def swallow(listener: socket.socket) -> None:
    """From now on the kernel answers nothing that comes to ``listener``.

    A socket filter that accepts no byte: SYNs vanish as on a dead host.
    """
    nothing = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF: ret #0
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(nothing))
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def segment_of(packet: bytes) -> Segment:
    offset = (packet[0] & 15) * 4
    source, destination = _endpoints(packet)
    (sequence,) = struct.unpack_from("!I", packet, offset + 4)
    return Segment(source, destination, sequence, packet[offset + 13])


def _endpoints(packet: bytes) -> tuple[Endpoint, Endpoint]:
    ports = struct.unpack_from("!HH", packet, (packet[0] & 15) * 4)
    return (
        (socket.inet_ntoa(packet[12:16]), ports[0]),
        (socket.inet_ntoa(packet[16:20]), ports[1]),
    )


def _ipv4(source: Endpoint, destination: Endpoint, protocol: int, body: bytes) -> bytes:
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(destination[0])
    length = _IP_HEADER + len(body)
    header = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0x4000, 64, protocol, 0) + addresses
    return header[:10] + struct.pack("!H", _checksum(header)) + header[12:] + body


def _pseudo_header(source: Endpoint, destination: Endpoint, protocol: int, body: bytes) -> bytes:
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(destination[0])
    return addresses + struct.pack("!BBH", 0, protocol, len(body))


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
