"""Which of a router's rules can have refused a packet.

The reasons, and what they stand for, are those of the templates in ``nat-profiles/rules``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from testbed.capture.packet import Packet
from testbed.explain.way import Lab
from testbed.plan.model import LoadRules

_REASON = re.compile(r'comment "([a-z-]+)"')
_PORTS = re.compile(r'(?:dport != \{|--dports) ([\d, ]+).*"(\w+)-port-blocked"')
_FOR_STRANGERS = re.compile(r"(?:goto|-j) unsolicited\b", re.IGNORECASE)
_HAIRPINS = re.compile(r'iifname "lan" meta l4proto \w+ dnat')
_ALLOCATION = ("quota", "collision", "exhausted")


@dataclass(frozen=True, slots=True)
class _Rules:
    """What is known of one router's rules."""

    reasons: frozenset[str]  # that its rules name
    met: frozenset[str]  # those that packets met, where it was counted; else all
    allowed_ports: Mapping[str, frozenset[int]]  # by protocol, where others are refused
    hairpins: bool


class Rules:
    """Of all routers.  ``drops``: router -> reason -> packets, where it was counted."""

    def __init__(self, lab: Lab, drops: Mapping[str, Mapping[str, int]] | None) -> None:
        self._lab = lab
        self._of: dict[str, _Rules] = {
            step.node: _read(step.text, None if drops is None else drops.get(step.node))
            for step in lab.plan.of(LoadRules)
        }

    def candidates(self, packet: Packet) -> tuple[str, ...]:
        """Those that fit an incoming ``packet`` which never came out, most telling first."""
        rules = self._of.get(packet.node)
        if rules is None:
            return ()
        return tuple(reason for reason in self._fitting(packet, rules) if reason in rules.met)

    def _fitting(self, packet: Packet, rules: _Rules) -> Iterator[str]:
        lab, node = self._lab, packet.node
        destination = packet.destination.address
        from_inside = packet.interface == "lan"
        if lab.owns(node, destination):
            if not from_inside:
                yield "unsolicited"
            elif destination != lab.plan.internal.get(node):
                yield "hairpin"
                yield from _ALLOCATION if rules.hairpins else ()
            return
        if lab.inside(node, packet.source.address) != from_inside:
            yield "spoofed"
        elif lab.inside(node, destination) == from_inside:
            yield "unrouted"
        elif from_inside:
            yield from _outbound(packet, rules)
        else:
            yield "leak" if "leak" in rules.reasons else "unsolicited"
        if packet.protocol != "udp" and not packet.is_syn:  # conntrack takes these as they come
            yield "invalid"


def _outbound(packet: Packet, rules: _Rules) -> Iterator[str]:
    if (blocked := f"{packet.protocol}-blocked") in rules.reasons:
        yield blocked
        return
    allowed = rules.allowed_ports.get(packet.protocol)
    if allowed is not None and packet.destination.port not in allowed:
        yield f"{packet.protocol}-port-blocked"
        return
    if packet.protocol in ("udp", "tcp"):
        yield from _ALLOCATION


def _read(text: str, counted: Mapping[str, int] | None) -> _Rules:
    reasons = set(_REASON.findall(text))
    if not _FOR_STRANGERS.search(text):
        reasons.discard("unsolicited")  # a chain that nothing leads to
    met = reasons if counted is None else {reason for reason, n in counted.items() if n}
    ports = {
        protocol: frozenset(int(port) for port in listed.replace(",", " ").split())
        for listed, protocol in _PORTS.findall(text)
    }
    return _Rules(frozenset(reasons), frozenset(met), ports, bool(_HAIRPINS.search(text)))
