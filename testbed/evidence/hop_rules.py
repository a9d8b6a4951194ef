"""Which of a router's rules can have refused a packet."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from testbed.evidence.hops import Lab
from testbed.model.packet import Packet
from testbed.model.plan import LAN, LoadRules
from testbed.model.refusal import BLOCKED, PORT_BLOCKED, Refusal, Refuses

_ALLOCATION = (Refusal.QUOTA, Refusal.COLLISION, Refusal.EXHAUSTED)


@dataclass(frozen=True, slots=True)
class _Rules:
    """What is known of one router's rules."""

    refuses: Refuses
    met: frozenset[str]  # those that packets met, where it was counted; else all


class Rules:
    """Of all routers.  ``drops``: router -> reason -> packets, where it was counted."""

    def __init__(self, lab: Lab, drops: Mapping[str, Mapping[str, int]] | None) -> None:
        self._lab = lab
        self._of: dict[str, _Rules] = {
            step.node: _known(step.refuses, None if drops is None else drops.get(step.node))
            for step in lab.plan.of(LoadRules)
        }

    def candidates(self, packet: Packet) -> tuple[Refusal, ...]:
        """Those that fit an incoming ``packet`` which never came out, most telling first."""
        rules = self._of.get(packet.node)
        if rules is None:
            return ()
        return tuple(reason for reason in self._fitting(packet, rules) if reason in rules.met)

    def _fitting(self, packet: Packet, rules: _Rules) -> Iterator[Refusal]:
        lab, node = self._lab, packet.node
        destination = packet.destination.address
        from_inside = packet.interface == LAN
        if lab.owns(node, destination):
            if not from_inside:
                yield Refusal.UNSOLICITED
            elif destination != lab.plan.internal.get(node):
                yield Refusal.HAIRPIN
                yield from _ALLOCATION if rules.refuses.hairpins else ()
            return
        if lab.inside(node, packet.source.address) != from_inside:
            yield Refusal.SPOOFED
        elif lab.inside(node, destination) == from_inside:
            yield Refusal.UNROUTED
        elif from_inside:
            yield from _outbound(packet, rules.refuses)
        else:
            leak = Refusal.LEAK in rules.refuses.reasons
            yield Refusal.LEAK if leak else Refusal.UNSOLICITED
        if packet.protocol != "udp" and not packet.is_syn:  # conntrack takes these as they come
            yield Refusal.INVALID


def _outbound(packet: Packet, refuses: Refuses) -> Iterator[Refusal]:
    blocked = BLOCKED.get(packet.protocol)
    if blocked in refuses.reasons:
        yield blocked
        return
    allowed = refuses.ports(packet.protocol)
    if allowed is not None and packet.destination.port not in allowed:
        yield PORT_BLOCKED[packet.protocol]
        return
    if packet.protocol in ("udp", "tcp"):
        yield from _ALLOCATION


def _known(refuses: Refuses, counted: Mapping[str, int] | None) -> _Rules:
    if counted is None:
        return _Rules(refuses, refuses.reasons)
    return _Rules(refuses, frozenset(reason for reason, packets in counted.items() if packets))
