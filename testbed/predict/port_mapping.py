"""What a host gets who asks its router to map a port.  Pure."""

from enum import StrEnum

from testbed.model.behaviour import Behaviour, Protocol


class Mapped(StrEnum):
    """What a mapping is worth to a stranger on the internet."""

    NOT_OFFERED = "not_offered"  # no service answers
    USELESS = "useless"  # the router's own external address is private or shared
    CLOSED = "closed"  # strangers get in, the answers do not get out
    REACHABLE = "reachable"  # the router's external address, at the port that was asked


def mapped_endpoint(
    behaviour: Behaviour, *, wan_is_public: bool, protocol: Protocol, caller_port: int | None = None
) -> Mapped:
    """Is the mapped external endpoint reachable for ``protocol``?

    ``wan_is_public``: no other NAT is between the router and the internet; miniupnpd
    refuses to map on an address of RFC 1918 or RFC 6598, and other routers map there in
    vain.  ``caller_port`` is the stranger's: a router that lets out few destination
    ports lets answers out to those alone.  Mapping and filtering of the NAT itself do
    not matter: an explicit mapping is the same towards everybody.  Nor do hairpins:
    they do not go through it.
    """
    transport = behaviour.transport(protocol)
    if not behaviour.port_mapping.offered:
        return Mapped.NOT_OFFERED
    if not wan_is_public:
        return Mapped.USELESS
    refused = transport.allowed_ports and caller_port not in transport.allowed_ports
    return Mapped.CLOSED if transport.blocked or refused else Mapped.REACHABLE
