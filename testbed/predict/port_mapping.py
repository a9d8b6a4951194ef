"""What a host gets who asks its router to map a port.  Pure."""

from enum import StrEnum

from testbed.model.behaviour import Behaviour, Forward, Protocol


class MappedPort(Forward):
    """A forward that a gateway has granted; ``outward``: the host also leaves by that port."""

    outward: bool = False


class Mapped(StrEnum):
    """What a mapping is worth to a stranger on the internet."""

    NOT_OFFERED = "not_offered"  # no service answers
    USELESS = "useless"  # the external address is private, shared, or not told
    IDLE = "idle"  # it was granted, and nobody is let in
    CLOSED = "closed"  # strangers get in, the answers do not get out
    REACHABLE = "reachable"  # the router's external address, at the port that was asked


def granted(behaviour: Behaviour, *, wan_is_public: bool) -> bool:
    """Does the router have a mapping afterwards, whatever its host was told of it?"""
    services = behaviour.port_mapping
    return services.offered and services.forwards and (wan_is_public or services.private_wan)


def mapped_endpoint(
    behaviour: Behaviour, *, wan_is_public: bool, protocol: Protocol, caller_port: int | None = None
) -> Mapped:
    """Is the mapped external endpoint reachable for ``protocol``?

    ``wan_is_public``: no other NAT is between the router and the internet; a gateway
    refuses to map on an address of RFC 1918 or RFC 6598, or maps there in vain.  The same
    is true of one that does not tell its address.  ``caller_port`` is the stranger's: a
    router that lets out few destination ports lets answers out to those alone.  Mapping
    and filtering of the NAT itself do not matter: an explicit mapping is the same towards
    everybody.  Nor do hairpins: they do not go through it.
    """
    transport = behaviour.transport(protocol)
    if not behaviour.port_mapping.offered:
        return Mapped.NOT_OFFERED
    if not wan_is_public or not behaviour.port_mapping.address_known:
        return Mapped.USELESS
    if not behaviour.port_mapping.forwards:
        return Mapped.IDLE
    refused = transport.allowed_ports and caller_port not in transport.allowed_ports
    return Mapped.CLOSED if transport.blocked or refused else Mapped.REACHABLE
