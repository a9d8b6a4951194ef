"""Journeys made by hand, and the evidence of a run that has only them."""

from collections.abc import Sequence
from ipaddress import IPv4Address
from itertools import count
from typing import Any

from told import Told

from testbed.model.explanation import Cause, Citation, Diagram, Evidence, Explanation, Line, Wrong
from testbed.model.journey import Fate, Hop, Journey, Label
from testbed.model.outcome import Outcome
from testbed.model.packet import Endpoint, Packet, Protocol
from testbed.model.plan import Plan
from testbed.model.prediction import Prediction
from testbed.model.presets import preset
from testbed.model.reason import Lost, Silence
from testbed.model.refusal import Refusal
from testbed.model.technique import Technique
from testbed.model.verdict import Judgement
from testbed.nat.load import catalogue
from testbed.plan.planner import plan

MS = 1_000_000


def lab(topology: str = "two-homes", *profiles: str) -> Plan:
    return plan(preset(topology, *(profiles or ("symmetric",))), catalogue())


def evidence(steps: Plan | None = None, **changes: Any) -> Evidence:
    known: dict[str, Any] = {
        "name": "punch-udp/symmetric--symmetric/0",
        "technique": Technique(name="punch_udp", protocol="udp"),
        "mode": "punch",
        "plan": steps or lab(),
        "behaviours": {},
        "dialer": "a",
        "listener": "b",
        "server": "server",
        "packets": (),
        "events": None,
        "flows": None,
        "drops": None,
        "clock_ns": None,
        "start_ns": 0,
        "prediction": Prediction(Outcome.NONE, Lost((), Silence.NONE_REACHED), ()),
        "judgement": Judgement.PASS,
        "measured": Outcome.NONE,
        "findings": (),
    }
    return Evidence(**(known | changes))


def end(text: str) -> Endpoint:
    address, port = text.split(":")
    return Endpoint(IPv4Address(address), int(port))


class Wire:
    """Makes journeys whose packets are numbered in the order of their making."""

    def __init__(self) -> None:
        self.numbers = count(1)

    def packet(self, node: str, ms: float, source: str, to: str, **more: Any) -> Packet:
        known: dict[str, Any] = {
            "number": next(self.numbers),
            "vantage": f"{node}:eth0",
            "time_ns": int(ms * MS),
            "outgoing": True,
            "ethertype": 0x0800,
            "protocol": "udp",
            "source": end(source),
            "destination": end(to),
            "ttl": 64,
            "ip_id": 0,
            "tcp_flags": 0,
            "tcp_seq": 0,
            "tcp_ack": 0,
            "icmp_type": None,
            "icmp_code": None,
            "quoted": None,
            "payload": b"punch",
            "original_length": 0,
            "frame": b"",
        }
        return Packet(**(known | more))

    def way(
        self,
        ms: float,
        *stops: tuple[str, str, str],
        fate: Fate = Fate.ARRIVED,
        rules: Sequence[Refusal] = (),
        **more: Any,
    ) -> Journey:
        """``stops``: node, and source and destination on leaving it; the last as it came in."""
        hops: list[Hop] = []
        inward: Packet | None = None
        for node, source, to in stops:
            seen = self.packet(node, ms, source, to, **more)
            if node == stops[-1][0] and hops:
                hops.append(Hop(node, fate, inward=seen, rules=tuple(rules)))
                break
            changed = inward and (inward.source, inward.destination) != (
                seen.source,
                seen.destination,
            )
            kind = Fate.TRANSLATED if changed else Fate.FORWARDED
            hops.append(Hop(node, kind if hops else Fate.SENT, inward, seen))
            inward = seen
        return Journey(tuple(hops))

    def punch(self, ms: float, **more: Any) -> Journey:
        """From a: nat-a gives it another port, nat-b drops it."""
        return self.way(
            ms,
            ("a", "10.0.0.2:4001", "29.0.0.18:4001"),
            ("nat-a", "29.0.0.2:35968", "29.0.0.18:4001"),
            ("core", "29.0.0.2:35968", "29.0.0.18:4001"),
            ("nat-b", "29.0.0.2:35968", "29.0.0.18:4001"),
            **({"fate": Fate.DROPPED, "rules": ("unsolicited",)} | more),
        )

    def counter_punch(self, ms: float, **more: Any) -> Journey:
        """From b, likewise."""
        return self.way(
            ms,
            ("b", "10.0.1.2:4001", "29.0.0.2:31939"),
            ("nat-b", "29.0.0.18:4001", "29.0.0.2:31939"),
            ("nat-a", "29.0.0.18:4001", "29.0.0.2:31939"),
            **({"fate": Fate.DROPPED, "rules": ("unsolicited",)} | more),
        )

    def asked(self, ms: float, server: str = "server", **more: Any) -> Journey:
        """A datagram of a that reaches a public host."""
        return self.way(
            ms,
            ("a", "10.0.0.2:4001", "29.0.0.34:3478"),
            ("nat-a", "29.0.0.2:31939", "29.0.0.34:3478"),
            ("core", "29.0.0.2:31939", "29.0.0.34:3478"),
            (server, "29.0.0.2:31939", "29.0.0.34:3478"),
            **more,
        )


def labelled(
    journeys: Sequence[Journey],
    protocol: Protocol | str = "punch",
    text: str = "punch",
    **more: Any,
) -> dict[int, Label]:
    return {journey.first.number: Label(protocol, text, **more) for journey in journeys}


def explained(diagram: Diagram, cites: Sequence[Packet], **changes: Any) -> Explanation:
    """A cell that was explained, with a story of one line."""
    cited = tuple(Citation.of(packet) for packet in cites)
    known: dict[str, Any] = {
        "name": "punch-udp/symmetric--symmetric/0",
        "mechanism": "punch_udp",
        "measured": Outcome.NONE,
        "predicted": Outcome.NONE,
        "judgement": Judgement.PASS,
        "cause": Cause.MAPPING_CHANGED,
        "node": "nat-a",
        "headline": Told("nat-a used another port for the second destination"),
        "story": (Line(Told("a's punch left nat-a from 29.0.0.2:35968"), cited),),
        "decisive": cited,
        "wrong": Wrong.NOBODY,
        "wrong_why": None,
        "missing": (),
        "diagram": diagram,
    }
    return Explanation(**(known | changes))
