"""Which of a router's drop rules can have taken a packet.

The reasons are those that the templates in ``nat-profiles/rules`` give their rules.
"""

import re
from collections.abc import Iterator, Mapping

from testbed.capture.packet import Packet
from testbed.explain.way import Lab
from testbed.plan.model import LoadRules

_REASON = re.compile(r'comment "([a-z-]+)"')


class Rules:
    """``drops``: router -> reason -> packets.  Without it, every rule of the plan may be it."""

    def __init__(self, lab: Lab, drops: Mapping[str, Mapping[str, int]] | None) -> None:
        self._lab = lab
        self._known: dict[str, frozenset[str]] = {}
        for step in lab.plan.of(LoadRules):
            counted = None if drops is None else drops.get(step.node)
            self._known[step.node] = (
                frozenset(_REASON.findall(step.text))
                if counted is None
                else frozenset(reason for reason, packets in counted.items() if packets)
            )

    def candidates(self, packet: Packet) -> tuple[str, ...]:
        """The rules that fit an incoming ``packet`` which never came out, most telling first."""
        known = self._known.get(packet.node, frozenset())
        return tuple(reason for reason in self._fitting(packet) if reason in known)

    def _fitting(self, packet: Packet) -> Iterator[str]:
        inside = packet.interface == "lan"
        own = self._lab.owns(packet.node, packet.destination.address)
        if own and inside:
            if packet.destination.address != self._lab.plan.internal.get(packet.node):
                yield from ("hairpin", "quota", "collision", "exhausted")
        elif own:
            yield "unsolicited"
        elif inside:
            yield from (f"{packet.protocol}-blocked", f"{packet.protocol}-port-blocked")
            yield from ("quota", "collision", "exhausted", "spoofed", "invalid", "unrouted")
        else:
            yield from ("unsolicited", "leak", "spoofed", "invalid", "unrouted")
