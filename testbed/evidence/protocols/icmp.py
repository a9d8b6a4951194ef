"""ICMP: errors with what they quote (RFC 792, RFC 1812 section 5.2.7), and echoes."""

from testbed.model.journey import Label
from testbed.model.packet import Packet

_UNREACHABLE = (
    "network unreachable",
    "host unreachable",
    "protocol unreachable",
    "port unreachable",
    "fragmentation needed",
    "source route failed",
    "network unknown",
    "host unknown",
    "source isolated",
    "network prohibited",
    "host prohibited",
    "network unreachable for this service",
    "host unreachable for this service",
    "prohibited by a filter",
    "precedence violation",
    "precedence cutoff",
)
_TYPES = {
    0: "echo reply",
    4: "source quench",
    5: "redirect",
    8: "echo request",
    11: "time exceeded",
    12: "parameter problem",
}


def read(packet: Packet) -> Label:
    """Any packet of this protocol."""
    kind, code = packet.icmp_type, packet.icmp_code
    fields = (("type", str(kind)), ("code", str(code)))
    if kind == 3 and code is not None and code < len(_UNREACHABLE):
        text = _UNREACHABLE[code]
    else:
        text = _TYPES.get(-1 if kind is None else kind, f"type {kind} code {code}")
    quoted = packet.quoted
    if quoted is None:
        return Label("icmp", text, fields)
    about = f"{quoted.protocol} {quoted.source} to {quoted.destination}"
    return Label("icmp", f"{text}: {about}", (*fields, ("quoted", about)))
