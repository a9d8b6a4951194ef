"""Why a router's own rules refuse a packet: the comment of each rule that drops or rejects."""

from enum import StrEnum

from testbed.model.frozen import FrozenValue


class Refusal(StrEnum):
    """The value is the comment, as the rules bear it and the kernel's counters give it back."""

    UNSOLICITED = "unsolicited"  # from outside, and for no mapping that admits it
    HAIRPIN = "hairpin"  # from inside for the outside address
    QUOTA = "quota"  # a subscriber has all mappings that are allowed
    COLLISION = "collision"  # the port is another's
    EXHAUSTED = "exhausted"  # no port is left
    LEAK = "leak"  # from outside to an inside address
    SPOOFED = "spoofed"  # from the wrong side
    UNROUTED = "unrouted"  # back to the side that it came from
    INVALID = "invalid"  # of no connection that conntrack knows
    UDP_BLOCKED = "udp-blocked"
    TCP_BLOCKED = "tcp-blocked"
    UDP_PORT_BLOCKED = "udp-port-blocked"
    TCP_PORT_BLOCKED = "tcp-port-blocked"
    SERVICE_OFF = "service-off"  # a port-mapping protocol that is not offered


BLOCKED = {"udp": Refusal.UDP_BLOCKED, "tcp": Refusal.TCP_BLOCKED}
PORT_BLOCKED = {"udp": Refusal.UDP_PORT_BLOCKED, "tcp": Refusal.TCP_PORT_BLOCKED}


class Refuses(FrozenValue):
    """What the rules of one router refuse, as the profile that they are made of has it."""

    reasons: frozenset[Refusal]
    allowed_ports: tuple[tuple[str, frozenset[int]], ...] = ()  # by protocol, where not all are
    hairpins: bool = False

    def ports(self, protocol: str) -> frozenset[int] | None:
        """The ports that packets may go out to; None: to all, or the protocol is blocked."""
        return dict(self.allowed_ports).get(protocol)


UNKNOWN = Refuses(frozenset())  # of rules that are not made of a profile
