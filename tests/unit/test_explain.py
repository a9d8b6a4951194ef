"""Explanations of runs written by hand: each packet where and when the test wants it."""

import random
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from counting import lines, require_linear
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.evidence.account import WireAccount
from testbed.explain.conformance import violations
from testbed.explain.explainer import explain
from testbed.explain.scene import Scene
from testbed.model import contract
from testbed.model.breach import RelayKept
from testbed.model.contract import (
    Connected,
    Event,
    Failed,
    FailureClass,
    Listening,
    Observed,
    Offer,
    Offered,
)
from testbed.model.explanation import Cause, Evidence, Explanation, Wrong
from testbed.model.fault import Broke, CaptureLost
from testbed.model.journey import Change, FlowEvent
from testbed.model.outcome import Outcome
from testbed.model.packet import Endpoint, Packet, Quoted
from testbed.model.plan import AddBridge, AddLink, Plan
from testbed.model.topology import Conditions
from testbed.model.verdict import Judgement
from testbed.model.window import Window
from testbed.nat.load import catalogue
from testbed.places import PACKAGE
from testbed.plan.planner import plan
from testbed.predict.model import Model
from testbed.predict.prediction import predict
from testbed.predict.punching import PUNCH_UDP
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.mechanisms import MECHANISMS
from testbed.words import sentence
from testbed.words.explanations import to_json

MS = 1_000_000
START = 1_000 * MS
CATALOGUE = catalogue()
MODELS = [play.model for one in MECHANISMS.values() for play in one.modes.values()]


class Run:
    """Two homes, and packets that are sent through them as a test says."""

    def __init__(
        self, *nats: str, mechanism: Model = PUNCH_UDP, world: str = "two-homes", mtu: int = 0
    ) -> None:
        conditions = Conditions(mtu=mtu or None)
        self.topology = Cell("punch-udp", nats, world, conditions=conditions).build()
        self.plan: Plan = plan(self.topology, CATALOGUE)
        profiles = {r.name: CATALOGUE[r.profile].behaviour for r in self.topology.routers}
        self.behaviours = profiles
        self.mechanism = mechanism
        self.prediction = predict(self.topology, profiles, mechanism, "a", "b")
        self.packets: list[Packet] = []
        self.drops = {"nat-a": {"unsolicited": 0}, "nat-b": {"unsolicited": 0}}
        self.flows: list[FlowEvent] = []
        self.events: list[tuple[str, Event]] = []
        self._macs = {
            f"{end.node}:{end.ifname}": bytes.fromhex(end.mac.replace(":", ""))
            for link in self.plan.of(AddLink)
            for end in (link.a, link.b)
        } | {
            f"{one.node}:{one.ifname}": bytes.fromhex(one.mac.replace(":", ""))
            for one in self.plan.of(AddBridge)
        }
        self._ids = iter(range(1, 1 << 16))

    def at(self, node: str, port: int, index: int = 0) -> Endpoint:
        return Endpoint(self.plan.address(node, index), port)

    def sends(
        self, at_ms: float, source: str, port: int, to: Endpoint, external: int, inside: str = "",
        stopped: bool = False, payload: bytes = b"probe",
    ) -> None:  # fmt: skip
        """One datagram: out by the sender's NAT, across the core, and to where ``to`` is."""
        nat, target = f"nat-{source}", self.plan.owners[to.address]
        own, seen = self.at(source, port), self.at(nat, external)
        far = "eth0" if target == "server" else "wan"
        way = [
            (f"{source}:eth0", True, own, to, 0), (f"{nat}:lan", False, own, to, 0),
            (f"{nat}:wan", True, seen, to, 0), (f"core:{nat}", False, seen, to, 10),
            (f"core:{target}", True, seen, to, 10), (f"{target}:{far}", False, seen, to, 20),
        ]  # fmt: skip
        if inside and not stopped:
            end = self.at(inside, to.port)
            way += [
                (f"{target}:lan", True, seen, end, 20),
                (f"{inside}:eth0", False, seen, end, 20),
            ]
        if stopped:
            self.drops[target]["unsolicited"] += 1
        self._put(at_ms, way, payload)

    def answers(self, at_ms: float, target: str, port: int, external: int, payload: bytes) -> None:
        """The server's answer, back through the NAT of ``target``."""
        nat, server = f"nat-{target}", self.at("server", 3478)
        seen, own = self.at(nat, external), self.at(target, port)
        way = [
            ("server:eth0", True, server, seen, 0), ("core:server", False, server, seen, 10),
            (f"core:{nat}", True, server, seen, 10), (f"{nat}:wan", False, server, seen, 20),
            (f"{nat}:lan", True, server, own, 20), (f"{target}:eth0", False, server, own, 20),
        ]  # fmt: skip
        self._put(at_ms, way, payload)

    def learns(self, node: str, external: int) -> None:
        """``node`` asks the server from its port 4001, and offers what it hears."""
        self.sends(
            -900, node, 4001, self.at("server", 3478), external, payload=b"question" + node.encode()
        )
        self.answers(-880, node, 4001, external, b"answer" + node.encode())
        told = contract.Endpoint(address=self.plan.address(f"nat-{node}"), port=external)
        own = contract.Endpoint(address=self.plan.address(node), port=4001)
        server = contract.Endpoint(address=self.plan.address("server"), port=3478)
        self.events += [
            (node, Listening(at=1, local=own)),
            (node, Observed(at=2, address=told, server=server)),
            (node, Offered(at=3, offer=Offer(addresses=(told,), ice=None))),
        ]

    def fails(self, *nodes: str) -> None:
        for node in nodes:
            failure = Failed(at=3_000 * MS, failure=FailureClass.TIMEOUT, reason="no answer")
            self.events.append((node, failure))

    def _put(
        self, at_ms: float, way: list[tuple[str, bool, Endpoint, Endpoint, int]], payload: bytes
    ) -> None:
        ip_id, ttl = next(self._ids), 64
        for step, (vantage, outgoing, source, destination, later) in enumerate(way):
            ttl -= outgoing and step > 0
            when = START + int((at_ms + later) * MS) + step * 10_000
            mac = b"" if outgoing else self._macs[vantage]
            self.packets.append(
                Packet(
                    0,
                    vantage,
                    when,
                    outgoing,
                    0x0800,
                    "udp",
                    source,
                    destination,
                    ttl,
                    ip_id,
                    0,
                    0,
                    0,
                    None,
                    None,
                    None,
                    payload,
                    60,
                    mac.ljust(60, b"\0"),
                )
            )

    def evidence(self, measured: Outcome) -> Evidence:
        packets = sorted(self.packets, key=lambda packet: packet.time_ns)
        packets = [replace(packet, number=n) for n, packet in enumerate(packets, 1)]
        agrees = measured is self.prediction.outcome
        return Evidence(
            name="by hand", technique=self.mechanism, mode="punch", plan=self.plan,
            behaviours=self.behaviours, dialer="a", listener="b", server="server",
            packets=packets, events=tuple(self.events), flows=tuple(self.flows),
            drops=self.drops, clock_ns=START, start_ns=START, prediction=self.prediction,
            judgement=Judgement.PASS if agrees else Judgement.FAIL, measured=measured,
            findings=(),
        )  # fmt: skip


def symmetric(repeat: int = 1) -> Run:
    """nat-a takes port 5000 for the server, and 5001 for b."""
    run = Run("symmetric", "port-restricted")
    run.learns("a", 5000)
    run.learns("b", 4001)
    for count in range(repeat):
        now = count * 50.0
        run.sends(now, "a", 4001, run.at("nat-b", 4001), 5001, stopped=True)
        run.sends(now + 1, "b", 4001, run.at("nat-a", 5000), 4001, stopped=True)
    run.fails("a", "b")
    return run


def test_a_changed_mapping_is_told_with_both_ports_and_their_packets() -> None:
    found = explain(symmetric().evidence(Outcome.NONE))
    assert (found.cause, found.node, found.wrong) == (Cause.MAPPING_CHANGED, "nat-a", Wrong.NOBODY)
    assert "29.0.0.2:5000 was signalled, 29.0.0.2:5001 is used" in sentence(found.headline)
    sources = {str(cite.source) for cite in found.cites}
    assert {"29.0.0.2:5000", "29.0.0.2:5001"} <= sources
    times = [line.cites[0].time_ns for line in found.story]
    assert times == sorted(times)


def test_how_much_too_late_a_filter_opened_is_told_to_the_tenth_of_a_millisecond() -> None:
    run = Run("port-restricted", "port-restricted")
    run.learns("a", 4001)
    run.learns("b", 4001)
    run.sends(0, "a", 4001, run.at("nat-b", 4001), 4001, stopped=True)
    run.sends(140, "b", 4001, run.at("nat-a", 4001), 4001, inside="a")
    run.fails("a", "b")
    found = explain(run.evidence(Outcome.NONE))
    assert (found.cause, found.node) == (Cause.FILTER_NOT_OPEN_YET, "nat-b")
    assert "120.0 ms later" in sentence(found.headline)


def test_a_direct_connection_is_told_by_the_packet_that_opened_the_hole() -> None:
    run = Run("port-restricted", "port-restricted")
    run.learns("a", 4001)
    run.learns("b", 4001)
    run.sends(0, "a", 4001, run.at("nat-b", 4001), 4001, inside="b", payload=b"from a")
    run.sends(-5, "b", 4001, run.at("nat-a", 4001), 4001, inside="a", payload=b"from b")
    found = explain(run.evidence(Outcome.DIRECT))
    assert found.cause is Cause.BOTH_OPENED
    assert "15.0 ms before" in sentence(found.headline)  # a's left at 0, b's came at 15


def test_conntrack_tells_of_a_mapping_that_the_capture_lacks() -> None:
    whole = symmetric().evidence(Outcome.NONE)
    late = [p for p in whole.packets or () if p.time_ns >= START]
    bare = replace(whole, packets=[replace(p, number=n) for n, p in enumerate(late, 1)])
    assert explain(bare).cause is Cause.UNKNOWN
    own, server = Endpoint(IPv4Address("10.0.0.6"), 4001), Endpoint(IPv4Address("29.0.0.132"), 3478)
    seen = Endpoint(IPv4Address("29.0.0.2"), 5000)
    flow = FlowEvent("nat-a", START - 900 * MS, Change.NEW, "udp", (own, server), (server, seen))
    found = explain(replace(bare, flows=(flow,)))
    assert (found.cause, found.node) == (Cause.MAPPING_CHANGED, "nat-a")


def test_a_gap_in_the_numbers_is_a_part_that_is_missing() -> None:
    whole = replace(symmetric().evidence(Outcome.NONE), drops=None)
    assert explain(whole).cause is Cause.MAPPING_CHANGED
    found = explain(replace(whole, packets=(whole.packets or [])[5:]))
    assert found.cause is Cause.UNKNOWN
    assert any("5 of the capture's" in sentence(lack) for lack in found.missing)


@pytest.mark.parametrize("what", ["packets", "events"])
def test_nothing_recorded_is_not_nothing_done(what: str) -> None:
    run = Run("port-restricted", "port-restricted")
    nothing = replace(run.evidence(Outcome.NONE), **{what: None})  # type: ignore[arg-type]
    found = explain(nothing)
    assert found.cause is Cause.UNKNOWN
    assert found.missing


def test_harness_faults_come_first() -> None:
    whole = symmetric().evidence(Outcome.NONE)
    found = explain(replace(whole, faults=(CaptureLost("nat-a:wan", 3),)))
    assert (found.cause, found.wrong) == (Cause.HARNESS_FAULT, Wrong.NOBODY)
    broken = replace(
        whole, faults=(Broke("lab", None, "it rained"),), judgement=Judgement.INCONCLUSIVE
    )
    assert explain(broken).wrong is Wrong.HARNESS


def test_a_peer_that_offers_what_nobody_saw_is_found_out() -> None:
    run = Run("port-restricted", "port-restricted")
    run.learns("a", 4001)
    run.learns("b", 4001)
    lie = contract.Endpoint(address=run.plan.address("nat-a"), port=4002)
    run.events = [
        (node, Offered(at=3, offer=Offer(addresses=(lie,), ice=None)))
        if node == "a" and isinstance(event, Offered)
        else (node, event)
        for node, event in run.events
    ]
    run.sends(0, "a", 4001, run.at("nat-b", 4001), 4001, stopped=True)
    run.sends(1, "b", 4001, run.at("nat-a", 4002), 4001, stopped=True)
    run.fails("a", "b")
    found = explain(run.evidence(Outcome.NONE))
    assert (found.cause, found.node, found.wrong) == (Cause.SIGNALLED_STALE, "a", Wrong.PEER)


# -- what peers claim ------------------------------------------------------------


def _says_direct(run: Run, node: str) -> None:
    end = contract.Endpoint(address=run.plan.address(node), port=4001)
    said = Connected(at=100 * MS, local=end, remote=end, path=contract.Path.DIRECT)
    run.events.append((node, said))


def _claimed(run: Run, measured: Outcome = Outcome.NONE, **known: Any) -> Explanation:
    """The explanation of a run in which the judge found something wrong."""
    whole = replace(run.evidence(measured), judgement=Judgement.FAIL, findings=(RelayKept("a"),))
    return explain(replace(whole, **known))


def test_who_never_learns_where_the_other_comes_from_is_told_and_nobody_has_lied() -> None:
    """a is answered at its new port, and says so; b sends to the port that was signalled."""
    run = Run("symmetric", "full-cone")
    run.learns("a", 5000)
    run.learns("b", 4001)
    run.sends(0, "a", 4001, run.at("nat-b", 4001), 5001, inside="b")
    run.sends(1, "b", 4001, run.at("nat-a", 5000), 4001, stopped=True)
    run.sends(25, "b", 4001, run.at("nat-a", 5001), 4001, inside="a", payload=b"ack")
    _says_direct(run, "a")
    run.fails("b")
    found = _claimed(run)
    assert (found.cause, found.node, found.wrong) == (Cause.HANDSHAKE_FAILED, "b", Wrong.PEER)
    assert {str(c.destination) for c in found.decisive} == {"29.0.0.2:5000", "10.0.1.7:4001"}
    assert "29.0.0.132" not in str(found.story)
    texts = [sentence(line.fact) for line in found.story]
    assert "b answered 29.0.0.2:5001, and that came to a" in texts
    assert "a says that it is connected: direct" in texts
    assert "b says that it has no connection" in texts


def test_a_claim_is_false_where_nothing_of_the_other_came_and_the_packets_show_that() -> None:
    run = Run("port-restricted", "port-restricted")
    run.learns("a", 4001)
    run.learns("b", 4001)
    run.sends(0, "a", 4001, run.at("nat-b", 4001), 4001, stopped=True)
    run.sends(-30, "b", 4001, run.at("nat-a", 4001), 4001, stopped=True)
    _says_direct(run, "a")
    run.fails("b")
    found = _claimed(run)
    assert (found.cause, found.node, found.wrong) == (Cause.FALSE_CLAIM, "a", Wrong.PEER)
    assert "nothing of b came to a" in sentence(found.headline)
    assert {cite.vantage for cite in found.decisive} == {"nat-a:wan"}


def test_an_echo_that_was_never_sent_or_never_came_is_told_by_its_own_packets() -> None:
    for reaches in (True, False):
        run = Run("full-cone", "full-cone")
        run.learns("a", 4001)
        run.learns("b", 4001)
        run.sends(0, "a", 4001, run.at("nat-b", 4001), 4001, inside="b")
        run.sends(0, "b", 4001, run.at("nat-a", 4001), 4001, inside="a")
        payload = b"e" * 1000
        run.sends(
            50, "a", 4001, run.at("nat-b", 4001), 4001, "b", stopped=not reaches, payload=payload
        )
        _says_direct(run, "a")
        _says_direct(run, "b")
        found = _claimed(run, window=Window(START + 40 * MS, START + 900 * MS, 1000))
        assert (found.cause, found.node) == (Cause.FALSE_CLAIM, "a")
        if reaches:
            assert "b sent no byte of the echo" in sentence(found.headline)
            assert {str(c.vantage) for line in found.story for c in line.cites} == {
                "a:eth0",
                "b:eth0",
            }
        else:
            assert "no byte of the echo that a sent came to b" in sentence(found.headline)
            assert [cite.vantage for cite in found.decisive] == ["a:eth0"]


def test_another_path_than_is_claimed_is_told_by_the_packets_that_the_judge_saw() -> None:
    run = Run("full-cone", "full-cone")
    run.learns("a", 4001)
    run.learns("b", 4001)
    run.sends(50, "a", 4001, run.at("server", 443), 4001, payload=b"e" * 1000)
    run.sends(90, "a", 4001, run.at("server", 3478), 4001, payload=b"keepalive")
    _says_direct(run, "a")
    packets = run.evidence(Outcome.RELAYED).packets or ()
    cited = tuple(p.number for p in packets if p.node == "a" and p.destination.port == 443)
    found = _claimed(run, Outcome.RELAYED, cited=cited)
    assert (found.cause, found.node) == (Cause.FALSE_CLAIM, "a")
    assert [str(cite.destination) for cite in found.decisive] == ["29.0.0.132:443"]


# -- whatever the evidence -------------------------------------------------------

WHOLE = symmetric(repeat=3).evidence(Outcome.NONE)


def _same_story(found: Explanation) -> bool:
    return found.cause in (Cause.MAPPING_CHANGED, Cause.UNKNOWN)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, len(WHOLE.packets or ()) - 1)), st.booleans(), st.booleans())
def test_any_packets_may_be_missing(gone: set[int], counted: bool, said: bool) -> None:
    packets = [p for index, p in enumerate(WHOLE.packets or ()) if index not in gone]
    left = replace(
        WHOLE, packets=packets, drops=WHOLE.drops if counted else None,
        events=WHOLE.events if said else None,
    )  # fmt: skip
    found = explain(left)
    assert _same_story(found), found.headline
    assert (found.cause is Cause.UNKNOWN) == bool(found.missing)
    numbers = {packet.number for packet in packets}
    assert {cite.number for cite in found.cites} <= numbers


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(Outcome), st.sampled_from(("punch", "plain_dial", "silent", "relay_only")),
       st.sampled_from(MODELS), st.integers(0, 1 << 32))  # fmt: skip
def test_any_evidence_has_an_explanation(
    measured: Outcome, mode: str, mechanism: Model, seed: int
) -> None:
    """Also of packets that do not belong together."""
    rolled = random.Random(seed)
    packets = [
        replace(
            p,
            source=rolled.choice([p.source, p.destination]),
            time_ns=p.time_ns + rolled.randrange(MS),
        )
        for p in WHOLE.packets or ()
        if rolled.random() < 0.9
    ]
    odd = replace(WHOLE, measured=measured, mode=mode, technique=mechanism,
                  packets=packets, judgement=rolled.choice(list(Judgement)))  # fmt: skip
    found = explain(odd)
    assert found.headline
    assert to_json(found)["cause"] == found.cause.value


def test_the_cost_of_explaining_grows_with_the_number_of_packets_alone() -> None:
    def cost(repeat: int) -> int:
        whole = symmetric(repeat=repeat).evidence(Outcome.NONE)
        assert explain(whole).cause is Cause.MAPPING_CHANGED
        return lines(lambda: explain(whole))

    require_linear(cost, 40)


@pytest.mark.parametrize(
    ("world", "mtu", "router"),
    [("mtu-1280-tunnel", 0, "nat-a"), ("two-homes", 1280, "nat-a"), ("two-homes", 1280, "nat-b")],
)
@pytest.mark.parametrize(("length", "denied"), [(1328, False), (1280, True)])
def test_a_packet_that_is_too_long_for_a_link_is_refused_by_no_rule_of_the_nat(
    world: str, mtu: int, router: str, length: int, denied: bool
) -> None:
    """QUIC finds out how much goes through by sending more (RFC 9000 section 14.3)."""
    run, host = Run("port-restricted", "port-restricted", world=world, mtu=mtu), router[-1]
    run.learns("a", 4001)
    run.learns("b", 4001)
    own, to = run.at(host, 4001), run.at("server", 4021)
    way = [(f"{host}:eth0", True, own, to, 0), (f"{router}:lan", False, own, to, 0)]
    run._put(-950, way, b"how much goes through?")
    run.packets[-2:] = [replace(p, original_length=length + 14) for p in run.packets[-2:]]
    evidence = run.evidence(Outcome.DIRECT)
    found = violations(Scene(evidence, WireAccount.of(evidence)))
    assert [(one.node, one.axis) for one in found] == ([(router, "blocked")] if denied else [])


def test_who_goes_on_with_packets_that_it_was_told_are_too_long_is_the_cause_and_no_rule() -> None:
    """The router lets UDP out: what it answers is that a link is too narrow (RFC 1191)."""
    run = Run("port-restricted", "port-restricted", world="mtu-1280-tunnel")
    run.learns("a", 4001)
    run.learns("b", 4001)
    own, to = run.at("a", 4001), run.at("nat-b", 4001)
    inside = Endpoint(run.plan.internal["nat-a"], 0)
    for at_ms in (0, 200, 600):
        way = [("a:eth0", True, own, to, 0), ("nat-a:lan", False, own, to, 0)]
        run._put(at_ms, way, b"a long one")
        long = [replace(p, original_length=1308 + 14) for p in run.packets[-2:]]
        quoted = Quoted("udp", own, to, long[-1].ip_id)
        run._put(at_ms + 0.1, [("nat-a:lan", True, inside, Endpoint(own.address, 0), 0)], b"")
        error = replace(run.packets[-1], protocol="icmp", icmp_type=3, icmp_code=4, quoted=quoted)
        run.packets[-3:] = [*long, error]
        run.sends(at_ms, "b", 4001, run.at("nat-a", 4001), 4001, "a", stopped=True)
    run.fails("a", "b")
    found = explain(run.evidence(Outcome.NONE))
    assert (found.cause, found.node) == (Cause.TOO_LONG, "nat-a"), sentence(found.headline)
    assert "1308 bytes for a link of 1280" in sentence(found.headline)


@pytest.mark.parametrize(("length", "denied"), [(1428, False), (1400, True)])
def test_nor_is_one_that_is_too_long_for_the_lan(length: int, denied: bool, tmp_path: Path) -> None:
    """As one that comes for a host behind a tunnel, and whose ICMP error is not seen."""
    text = (PACKAGE / "worlds" / "two-homes.toml").read_text(encoding="utf-8")
    host = '[hosts.a]\nnetwork = "lan-a"\n'
    assert host in text
    world = tmp_path / "narrow.toml"
    narrow = f'[links.narrow]\nmtu = 1400\n{host}link = "narrow"\n'
    world.write_text(text.replace(host, narrow), encoding="utf-8")
    run = Run("port-restricted", "port-restricted", world=str(world))
    run.learns("a", 4001)
    run.learns("b", 4001)
    server, seen = run.at("server", 3478), run.at("nat-a", 4001)
    way = [
        ("server:eth0", True, server, seen, 0),
        ("core:server", False, server, seen, 10),
        ("core:nat-a", True, server, seen, 10),
        ("nat-a:wan", False, server, seen, 20),
    ]
    run._put(-800, way, b"how much goes through?")
    run.packets[-4:] = [replace(p, original_length=length + 14) for p in run.packets[-4:]]
    run.sends(0, "b", 4001, run.at("server", 3478), 4001)  # the capture goes on
    evidence = run.evidence(Outcome.DIRECT)
    found = violations(Scene(evidence, WireAccount.of(evidence)))
    assert [(one.node, one.axis) for one in found] == ([("nat-a", "filtering")] if denied else [])


@pytest.mark.parametrize(("apart_ms", "denied"), [(0.0, False), (5.0, True)])
def test_of_two_hairpinned_packets_that_meet_a_nat_may_lose_one(
    apart_ms: float, denied: bool
) -> None:
    """Linux confirms one of two flows that answer each other, and drops the packet of the other."""
    run = Run("carrier-grade", world="same-lan")
    run.drops = {"nat-a": {"unsolicited": 0}}
    server = run.at("server", 3478)
    ends = {name: run.at(name, port) for name, port in (("a", 4001), ("b", 4011))}
    seen = {name: run.at("nat-a", end.port) for name, end in ends.items()}
    for name, end in ends.items():
        out = [(f"{name}:eth0", True, end, server, 0), ("nat-a:lan", False, end, server, 0)]
        out += [
            ("nat-a:wan", True, seen[name], server, 0),
            ("core:nat-a", False, seen[name], server, 10),
        ]
        out += [("core:server", True, seen[name], server, 10)]
        out += [("server:eth0", False, seen[name], server, 20)]
        run._put(-900, out, b"question" + name.encode())
    way = [("a:eth0", True, ends["a"], seen["b"], 0), ("nat-a:lan", False, ends["a"], seen["b"], 0)]
    way += [
        ("nat-a:lan", True, seen["a"], ends["b"], 0),
        ("b:eth0", False, seen["a"], ends["b"], 0),
    ]
    run._put(0, way, b"from a")
    lost = [
        ("b:eth0", True, ends["b"], seen["a"], 0),
        ("nat-a:lan", False, ends["b"], seen["a"], 0),
    ]
    run._put(apart_ms, lost, b"from b")
    run._put(300, way, b"later")
    evidence = run.evidence(run.prediction.outcome)
    found = violations(Scene(evidence, WireAccount.of(evidence)))
    about_b = [one for one in found if any(cite.source == ends["b"] for cite in one.line.cites)]
    assert [(one.node, one.axis) for one in about_b] == ([("nat-a", "hairpin")] if denied else [])


@pytest.mark.parametrize(("own", "denied"), [(True, False), (False, True)])
def test_no_filter_is_asked_about_a_packet_from_the_router_itself(own: bool, denied: bool) -> None:
    """As a carrier's NAT sends back what one host behind an inner NAT sent to another there."""
    run = Run("full-cone", "port-restricted")
    run.learns("a", 4001)
    run.learns("b", 4001)
    seen = run.at("nat-a", 4001)
    source = run.at("nat-a", 5001) if own else run.at("server", 5001, 1)
    way = [("core:nat-a", True, source, seen, 10), ("nat-a:wan", False, source, seen, 20)]
    run._put(-800, way, b"from where?")
    run.sends(0, "b", 4001, run.at("server", 3478), 4001)  # the capture goes on
    evidence = run.evidence(Outcome.DIRECT)
    found = violations(Scene(evidence, WireAccount.of(evidence)))
    assert [(one.node, one.axis) for one in found] == ([("nat-a", "filtering")] if denied else [])
