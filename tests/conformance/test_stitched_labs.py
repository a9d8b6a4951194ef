"""Journeys against what the sockets got and what the rules counted, in labs with real NATs."""

import socket
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from testbed.capture.drops import drops
from testbed.capture.reader import read
from testbed.capture.recorder import record
from testbed.evidence.stitch import stitch
from testbed.lab.namespaces import Namespaces
from testbed.model.journey import Fate, Journey
from testbed.model.lab import Lab
from testbed.model.packet import Endpoint, Packet
from testbed.model.plan import LoadRules, Plan
from testbed.model.presets import ACCESS, carrier, home_and_public, same_lan, two_homes
from testbed.model.topology import Impairment, Link, Topology
from testbed.nat.load import catalogue
from testbed.plan.planner import plan

SILENCE = 0.5  # seconds without a packet, after which none is on its way any more
IP_MTU_DISCOVER, DONT_FRAGMENT = 10, 2  # together with no peer: IP id 0


@dataclass
class Run:
    """What was done in a lab, what its sockets got, and what was recorded of it."""

    plan: Plan
    got: Counter[tuple[str, bytes]] = field(default_factory=Counter)  # (node, payload)
    mapped: Endpoint | None = None  # as the server saw a's socket
    errors: dict[int, str | None] = field(default_factory=dict)  # a's port -> what connect said
    packets: list[Packet] = field(default_factory=list)
    drops: dict[str, dict[str, int]] = field(default_factory=dict)
    journeys: tuple[Journey, ...] = ()

    def of(self, payload: bytes) -> list[Journey]:
        return [one for one in self.journeys if one.first.payload == payload]


class Sockets:
    """Sockets in the nodes of a lab; what they receive is noted."""

    def __init__(self, lab: Lab, run: Run, stack: ExitStack) -> None:
        self.plan, self.run = lab.plan, run
        self._lab, self._stack = lab, stack

    def _bound(self, kind: int, node: str, port: int, address: int = 0) -> socket.socket:
        sock = self._stack.enter_context(self._lab.socket(node, socket.AF_INET, kind))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((str(self.plan.address(node, address)), port))
        sock.settimeout(SILENCE)
        return sock

    def udp(self, node: str, port: int, address: int = 0) -> socket.socket:
        return self._bound(socket.SOCK_DGRAM, node, port, address)

    def listen(self, node: str, port: int) -> None:
        self._bound(socket.SOCK_STREAM, node, port).listen()

    def connect(self, node: str, own_port: int, to: IPv4Address, port: int) -> None:
        """Note what became of a connection: "", "refused", or None for silence."""
        try:
            self._bound(socket.SOCK_STREAM, node, own_port).connect((str(to), port))
            self.run.errors[own_port] = ""
        except ConnectionRefusedError:
            self.run.errors[own_port] = "refused"
        except TimeoutError:
            self.run.errors[own_port] = None

    def ping(self, node: str, to: IPv4Address) -> None:
        """One echo request (RFC 792); the answer, if any, is waited for."""
        kind = socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP
        sock = self._stack.enter_context(self._lab.socket(node, *kind))
        sock.settimeout(SILENCE)
        sock.sendto(bytes((8, 0, 0xF7, 0xFF, 0, 0, 0, 0)), (str(to), 0))
        with suppress(TimeoutError):
            sock.recv(4096)

    def hear(self, node: str, sock: socket.socket) -> Endpoint | None:
        """Receive until all is silent; whom the last datagram came from."""
        source = None
        while True:
            try:
                data, (host, port) = sock.recvfrom(4096)
            except TimeoutError:
                return source
            self.run.got[node, data] += 1
            source = Endpoint(IPv4Address(host), port)


def observe(topology: Topology, folder: Path, traffic: Callable[[Sockets], None]) -> Run:
    """Let ``traffic`` happen in a lab; record it, and the counters of all rules."""
    steps = plan(topology, catalogue())
    run, path = Run(steps), folder / "capture.pcapng"
    with Namespaces().start(steps) as lab:
        kind = socket.AF_PACKET, socket.SOCK_RAW
        with (
            record(lambda vantage: lab.socket(vantage.node, *kind), steps.vantages, path),
            ExitStack() as stack,
        ):
            traffic(Sockets(lab, run, stack))
        run.drops = {step.node: drops(lab, step.node) for step in steps.of(LoadRules)}
    run.packets = read(path)
    run.journeys = stitch(run.packets, steps, run.drops)
    return run


def talk(sockets: Sockets) -> None:
    """``a`` greets the server; the server, its other address and ``b`` talk back; then TCP."""
    outside = sockets.plan.address("nat-a")
    server = sockets.plan.address("server")
    a, b = sockets.udp("a", 4001), sockets.udp("b", 7000)
    one, other = sockets.udp("server", 7000), sockets.udp("server", 7001, 1)
    for number in range(3):
        a.sendto(b"greeting %d" % number, (str(server), 7000))
    mapped = sockets.run.mapped = sockets.hear("server", one)
    target = (str(mapped.address), mapped.port) if mapped else (str(outside), 4001)
    for name, sock in (("server", one), ("other address", other), ("b", b)):
        for number in range(3):
            sock.sendto(f"{name} {number}".encode(), target)
    sockets.hear("a", a)
    sockets.listen("server", 443)
    sockets.connect("a", 5001, server, 443)
    sockets.connect("a", 5002, server, 9)  # nobody listens: the server itself refuses
    sockets.connect("b", 5003, outside, 4001)


def arrived(run: Run) -> Counter[tuple[str, bytes]]:
    return Counter(
        (one.end.node, one.first.payload)
        for one in run.journeys
        if one.arrived and one.first.protocol == "udp"
    )


def refused(run: Run) -> dict[str, Counter[str]]:
    """By router and rule, what the journeys say that it refused; every rule must be certain."""
    found: dict[str, Counter[str]] = {node: Counter() for node in run.drops}
    for one in run.journeys:
        if one.end.rules:
            assert one.end.fate in (Fate.DROPPED, Fate.REJECTED)
            [rule] = one.end.rules
            found[one.end.node][rule] += 1
    return found


def counted(run: Run) -> dict[str, Counter[str]]:
    return {node: +Counter(rules) for node, rules in run.drops.items()}


def each_packet_once(run: Run) -> bool:
    seen = Counter(number for one in run.journeys for number in one.packets)
    return seen == Counter(p.number for p in run.packets if p.ethertype == 0x0800)


PROFILES = (
    "full-cone",
    "symmetric",
    "port-restricted",
    "udp-blocked",
    "corporate",
    "naive-linux",
    "rejecting",
    "rejecting-icmp",
    "carrier-grade",
    "firewall",
)


@pytest.mark.parametrize("profile", PROFILES)
def test_journeys_end_as_sockets_and_counters_say(profile: str, tmp_path: Path) -> None:
    run = observe(home_and_public(profile), tmp_path, talk)
    assert each_packet_once(run)
    assert arrived(run) == run.got
    assert refused(run) == counted(run)
    greetings = [j for number in range(3) for j in run.of(b"greeting %d" % number)]
    for one in greetings:
        assert one.sender == "a"
        if run.mapped:
            hop = one.at("nat-a")
            assert hop is not None
            assert hop.outward is not None
            assert hop.outward.source == run.mapped
            assert [h.node for h in one.hops] == ["a", "nat-a", "core", "server"]
    for port, error in run.errors.items():
        syns = [j for j in run.journeys if j.first.is_syn and j.first.source.port == port]
        ends = {one.end.fate for one in syns}
        by_a_host = any(one.end.node == "server" for one in syns)
        if error is None:
            assert ends == {Fate.DROPPED}
        elif error == "" or by_a_host:
            assert ends == {Fate.ARRIVED}
        else:
            assert ends == {Fate.REJECTED}
            assert all(one.end.answer for one in syns)


def test_an_answer_of_the_router_is_a_journey_of_its_own(tmp_path: Path) -> None:
    run = observe(home_and_public("rejecting"), tmp_path, talk)
    answers = [one.end.answer for one in run.journeys if one.end.answer]
    assert {p.protocol for p in answers} == {"tcp", "icmp"}
    for answer in answers:
        [one] = [journey for journey in run.journeys if journey.first is answer]
        assert (one.hops[0].node, one.hops[0].fate) == ("nat-a", Fate.SENT)
        assert one.arrived
        assert one.end.node in ("b", "server")


@pytest.mark.parametrize("inner", ["symmetric", "port-restricted"])
def test_a_way_leads_through_two_nats_and_back_through_a_hairpin(
    inner: str, tmp_path: Path
) -> None:
    def traffic(sockets: Sockets) -> None:
        server = sockets.plan.address("server")
        a, b, one = sockets.udp("a", 4001), sockets.udp("b", 4001), sockets.udp("server", 7000)
        for name, sock in (("a", a), ("b", b)):
            sock.sendto(f"{name} to server".encode(), (str(server), 7000))
            mapped = sockets.hear("server", one)
            assert mapped
            one.sendto(f"server to {name}".encode(), (str(mapped.address), mapped.port))
            sockets.hear(name, sock)
        assert mapped is not None
        b.sendto(b"punch", (str(mapped.address), 9))  # a port of the carrier's that nobody has
        b.sendto(b"hairpin", (str(mapped.address), mapped.port))  # b's own mapping
        sockets.hear("b", b)

    run = observe(carrier(inner, inner), tmp_path, traffic)
    assert each_packet_once(run)
    assert arrived(run) == run.got
    assert refused(run) == counted(run)
    [out], [back] = run.of(b"a to server"), run.of(b"server to a")
    assert [hop.node for hop in out.hops] == ["a", "nat-a", "cgn", "core", "server"]
    assert [hop.node for hop in back.hops] == ["server", "core", "cgn", "nat-a", "a"]
    assert [hop.fate for hop in out.hops][1:3] == [Fate.TRANSLATED] * 2
    [dropped], [hairpin] = run.of(b"punch"), run.of(b"hairpin")
    assert (dropped.end.node, dropped.end.rules) == ("cgn", ("hairpin",))
    # Back at nat-b it is from where b's mapping sent to, if that is the same for all.
    way = ["b", "nat-b", "cgn", "nat-b", *(["b"] if inner == "port-restricted" else [])]
    assert [hop.node for hop in hairpin.hops] == way
    assert hairpin.hops[2].fate is Fate.TRANSLATED


@pytest.mark.parametrize("profile", ["hairpin-internal", "carrier-grade", "linux-home"])
def test_neighbours_reach_one_another_over_the_bridge_or_by_a_hairpin(
    profile: str, tmp_path: Path
) -> None:
    def traffic(sockets: Sockets) -> None:
        server = sockets.plan.address("server")
        a, b, one = sockets.udp("a", 4001), sockets.udp("b", 4002), sockets.udp("server", 7000)
        b.sendto(b"who am I", (str(server), 7000))
        mapped = sockets.hear("server", one)
        assert mapped
        for number in range(5):
            a.sendto(b"around %d" % number, (str(mapped.address), mapped.port))
            a.sendto(b"across %d" % number, (str(sockets.plan.address("b")), 4002))
        sockets.hear("b", b)

    run = observe(same_lan(profile), tmp_path, traffic)
    assert each_packet_once(run)
    assert arrived(run) == run.got
    assert refused(run) == counted(run)
    hairpins = profile != "linux-home"
    for number in range(5):
        [across], [around] = run.of(b"across %d" % number), run.of(b"around %d" % number)
        assert [hop.node for hop in across.hops] == ["a", "b"]
        assert [hop.node for hop in around.hops] == ["a", "nat-a", "b"][: 3 if hairpins else 2]
        assert around.end.rules == (() if hairpins else ("hairpin",))


def test_a_quota_has_its_rule_named(tmp_path: Path) -> None:
    def traffic(sockets: Sockets) -> None:
        one = sockets.udp("server", 7000)
        for port in range(4000, 4070):
            sock = sockets.udp("a", port)
            sock.sendto(b"%d" % port, (str(sockets.plan.address("server")), 7000))
        sockets.hear("server", one)

    run = observe(home_and_public("carrier-grade"), tmp_path, traffic)
    assert arrived(run) == run.got
    assert refused(run) == counted(run) == {"nat-a": Counter(quota=6)}


@pytest.mark.parametrize(("profile", "fate"), [("naive-linux", "taken"), ("symmetric", "dropped")])
def test_what_the_router_keeps_for_itself_is_taken(profile: str, fate: str, tmp_path: Path) -> None:
    def traffic(sockets: Sockets) -> None:
        sockets.ping("b", sockets.plan.address("nat-a"))

    run = observe(home_and_public(profile), tmp_path, traffic)
    [request] = [one for one in run.journeys if one.first.icmp_type == 8]
    assert (request.end.node, str(request.end.fate)) == ("nat-a", fate)
    replies = [one for one in run.journeys if one.first.icmp_type == 0]
    assert [one.sender for one in replies] == ["nat-a"] * (fate == "taken")
    assert all(one.arrived for one in replies)
    assert refused(run) == counted(run)


# Sabotage: the links lose what the rules let through


def flood(sockets: Sockets) -> None:
    """Sixty datagrams that nothing but time tells apart."""
    a, one = sockets.udp("a", 4001), sockets.udp("server", 7000)
    a.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, DONT_FRAGMENT)
    for _ in range(60):
        a.sendto(b"the same again", (str(sockets.plan.address("server")), 7000))
    sockets.hear("server", one)
    fence = sockets.udp("a", 4002)  # what is on its way at the end has no fate
    fence.sendto(b"fence", (str(sockets.plan.address("server")), 7000))
    sockets.hear("server", one)


@pytest.mark.parametrize("loss", [0.3, 1.0])
def test_what_a_link_lost_is_lost_and_not_dropped(loss: float, tmp_path: Path) -> None:
    lossy = Link(up=Impairment(delay_ms=10, loss=loss), down=Impairment(delay_ms=10))
    run = observe(two_homes("port-restricted", "port-restricted", link=lossy), tmp_path, flood)
    assert each_packet_once(run)
    assert arrived(run) == run.got
    flooded = run.of(b"the same again")
    lost = [one for one in flooded if one.end.fate is Fate.LOST]
    assert len(flooded) == 60
    assert len(lost) == 60 - run.got["server", b"the same again"] > 0
    assert {one.end.node for one in lost} == {"core"}
    assert not any(refused(run)["nat-a"].values())


def test_a_dead_link_loses_what_the_core_sends(tmp_path: Path) -> None:
    dead = Link(up=Impairment(delay_ms=10), down=Impairment(delay_ms=10, loss=1.0))
    run = observe(two_homes("linux-home", "linux-home", link=dead), tmp_path, flood)
    assert not run.got
    ends = {(one.end.node, one.end.fate) for one in run.of(b"the same again")}
    assert ends == {("server", Fate.LOST)}


def test_on_sound_links_nothing_is_lost(tmp_path: Path) -> None:
    run = observe(two_homes("linux-home", "linux-home", link=ACCESS), tmp_path, flood)
    assert run.got["server", b"the same again"] == 60
    assert all(one.arrived for one in run.of(b"the same again"))
    assert {p.ip_id for p in run.packets if p.payload == b"the same again"} == {0}
