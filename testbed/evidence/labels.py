"""What each packet says: by itself, and in view of the others and of what the peers told."""

from collections.abc import Mapping, Sequence

from testbed.evidence.protocols import dns, icmp, nat_pmp, pcp, punch, quic, ssdp, tcp, turn
from testbed.evidence.protocols.answers import answers
from testbed.evidence.protocols.dcutr import dcutr
from testbed.evidence.protocols.handshakes import handshakes
from testbed.evidence.protocols.quic_connections import quic_connections
from testbed.evidence.protocols.repeats import repeats
from testbed.evidence.protocols.streams import streams
from testbed.model.contract import Event
from testbed.model.journey import Journey, Label, Weight
from testbed.model.packet import Packet

_ETHERTYPES = {0x0806: "ARP", 0x86DD: "IPv6"}
_IPV4, _IP_PROTOCOL = 0x0800, 23  # an ethertype; where IPv4 says what it carries
_READERS = (turn.read, punch.read, quic.read, ssdp.read)


def label(packet: Packet) -> Label:
    """What one packet says by itself.  Total: any bytes give a label."""
    if packet.protocol == "tcp":
        return tcp.read(packet)
    if packet.protocol == "udp":
        return _datagram(packet)
    if packet.protocol == "icmp":
        return icmp.read(packet)
    return _other(packet)


def labels(
    journeys: Sequence[Journey],
    events: Sequence[tuple[str, Event]] = (),
    clock_ns: int | None = None,
) -> Mapping[int, Label]:
    """What the first packet of each journey says, by its number.

    Context is added to the text, after a comma: crossing SYNs, retransmissions, "answer
    to #n"; QUIC packets of known connections, Noise after its negotiation; and, where
    ``events`` of the peers tell of them, the steps of relay and DCUtR.  ``journeys`` in
    order of time; ``clock_ns`` is what to add to an event's ``at`` for capture time.
    """
    read = {journey.first.number: label(journey.first) for journey in journeys}
    for add in (streams, quic_connections, handshakes, answers, repeats):
        read |= add(journeys, read)
    return read | dcutr(journeys, read, events, clock_ns)


def _datagram(packet: Packet) -> Label:
    """Ports decide first where a protocol has no mark of its own."""
    data = packet.payload
    ports = (packet.source.port, packet.destination.port)
    if nat_pmp.is_port_mapping(*ports):
        found = nat_pmp.read(data) or pcp.read(data)
    elif not dns.PORTS.isdisjoint(ports):
        found = dns.read(data)
    else:
        found = None
    for read in _READERS:
        if found is not None:
            return found
        found = read(data)
    return found or _datum(len(data))


def _datum(size: int) -> Label:
    length = (("length", str(size)),)
    return Label("udp", f"{size} bytes", length, weight=Weight.USUAL, filler=True)


def _other(packet: Packet) -> Label:
    """Whatever has no transport header that we know, or not all of it."""
    if packet.ethertype != _IPV4:
        name = _ETHERTYPES.get(packet.ethertype, f"ethertype 0x{packet.ethertype:04x}")
        return Label("other", name)
    if len(packet.frame) <= _IP_PROTOCOL:
        return Label("other", "IPv4, cut short")
    number = packet.frame[_IP_PROTOCOL]
    return Label("other", f"IP protocol {number}", (("IP protocol", str(number)),))
