"""Hosts with several interfaces, routers with two uplinks and tunnels, in labs."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from testbed.capture.reader import read
from testbed.capture.recorder import record
from testbed.evidence.stitch import stitch
from testbed.lab.audit import audit
from testbed.lab.namespaces import NamespaceLab, Namespaces
from testbed.lab.network_faults import apply, prefer, switch_uplink
from testbed.model.fault import Difference
from testbed.model.network_fault import NatReboot
from testbed.model.packet import Packet
from testbed.model.plan import Vantage
from testbed.model.presets import preset
from testbed.nat.load import catalogue
from testbed.plan.planner import plan

CATALOGUE = catalogue()
PATIENCE = 2.0  # seconds for a datagram to arrive


@contextmanager
def lab_of(world: str, *profiles: str) -> Iterator[NamespaceLab]:
    with Namespaces().start(plan(preset(world, *profiles), CATALOGUE)) as lab:
        yield lab


def bound(lab: NamespaceLab, node: str, address: str = "", port: int = 0) -> socket.socket:
    sock = lab.socket(node, socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, port))
    sock.settimeout(PATIENCE)
    return sock


def seen_from(lab: NamespaceLab, node: str, address: str = "", word: bytes = b"hello") -> str:
    """The source that the server sees of a datagram from ``address``; the answer comes back."""
    server = str(lab.plan.address("server"))
    with bound(lab, "server", server, 9000) as hears, bound(lab, node, address) as asks:
        asks.sendto(word, (server, 9000))
        data, source = hears.recvfrom(2048)
        assert data == word
        hears.sendto(b"back " + word, source)
        assert asks.recv(2048) == b"back " + word
        return str(source[0])


def recorded(lab: NamespaceLab, folder: Path, traffic: Callable[[], None]) -> list[Packet]:
    def tap(vantage: Vantage) -> socket.socket:
        return lab.socket(vantage.node, socket.AF_PACKET, socket.SOCK_RAW)

    file = folder / "capture.pcapng"
    with record(tap, lab.plan.vantages, file):
        traffic()
    return list(read(file))


def reboot(lab: NamespaceLab, router: str, profile: str) -> None:
    apply(lab, NatReboot(router, 0.0), {router: CATALOGUE[profile]}, lambda _: None)


def test_a_socket_leaves_by_the_interface_of_its_address(tmp_path: Path) -> None:
    """By Wi-Fi and its NAT, or by cellular and the carrier's, and nowhere else."""
    with lab_of("dual-homed-phone") as lab:
        wifi, cellular = lab.plan.addresses["phone"]
        ways = {b"by wifi": wifi, b"by cellular": cellular, b"by itself": ""}
        sources: dict[bytes, str] = {}

        def traffic() -> None:
            for word, address in ways.items():
                sources[word] = seen_from(lab, "phone", str(address), word)

        packets = recorded(lab, tmp_path, traffic)
        assert audit(lab) == []
        outside = {word: lab.plan.owners[IPv4Address(source)] for word, source in sources.items()}
    assert outside == {b"by wifi": "nat-a", b"by cellular": "cgn", b"by itself": "nat-a"}
    for word, left_by in ((b"by wifi", "eth0"), (b"by cellular", "eth1"), (b"by itself", "eth0")):
        at_phone = {(p.interface, p.outgoing) for p in packets if _is_at(p, "phone", word)}
        assert at_phone == {(left_by, True), (left_by, False)}


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("route add 29.0.0.0/8 via {gateway} dev eth1", Difference.UNPLANNED_ROUTE),
        ("route add 29.0.0.0/8 via {gateway} dev eth1 table 77", Difference.UNPLANNED_ROUTE),
        ("route del default table 101", Difference.MISSING_ROUTE),
        ("rule add to 29.0.0.0/8 lookup 101", Difference.UNPLANNED_RULE),
        ("rule add from 10.0.0.0/24 lookup 101", Difference.UNPLANNED_RULE),
        ("rule add iif lo lookup 101", Difference.UNPLANNED_RULE),
        ("rule add from all lookup main", Difference.UNPLANNED_RULE),
        ("rule del from {own}", Difference.MISSING_RULE),
    ],
)
def test_a_host_that_leaves_otherwise_than_planned_is_found(
    change: str, difference: Difference
) -> None:
    with lab_of("dual-homed-phone") as lab:
        own, gateway = lab.plan.addresses["phone"][1], lab.plan.internal["cgn"]
        lab.run("phone", ["ip", *change.format(own=own, gateway=gateway).split()])
        assert {(found.node, found.difference) for found in audit(lab)} == {("phone", difference)}


def test_the_default_route_can_lead_by_another_interface() -> None:
    with lab_of("dual-homed-phone") as lab:
        prefer(lab, "phone", "eth1")
        assert lab.plan.owners[IPv4Address(seen_from(lab, "phone"))] == "cgn"
        prefer(lab, "phone", "eth0")
        assert lab.plan.owners[IPv4Address(seen_from(lab, "phone"))] == "nat-a"


@pytest.mark.parametrize("profile", ["openwrt", "symmetric"])
def test_a_router_that_fails_over_maps_to_its_other_uplink(profile: str) -> None:
    with lab_of("two-uplinks", profile) as lab:
        assert audit(lab) == []
        own = lab.plan.addresses["nat-a"]
        assert IPv4Address(seen_from(lab, "a")) == own[0]
        switch_uplink(lab, "nat-a", "wan1", CATALOGUE[profile])
        assert lab.plan.owners[IPv4Address(seen_from(lab, "a"))] == "cgn"
        reboot(lab, "nat-a", profile)
        assert lab.plan.owners[IPv4Address(seen_from(lab, "a"))] == "cgn"
        switch_uplink(lab, "nat-a", "wan", CATALOGUE[profile])
        assert IPv4Address(seen_from(lab, "a")) == own[0]


def test_an_uplink_that_stands_by_lets_nobody_in() -> None:
    with lab_of("two-uplinks", "full-cone") as lab:
        server, standby = str(lab.plan.address("server")), lab.plan.addresses["nat-a"][1]
        with bound(lab, "a", "", 4001) as inside, bound(lab, "server", server, 9000) as asks:
            inside.sendto(b"open", (server, 9000))
            data, (address, port) = asks.recvfrom(100)
            assert (data, IPv4Address(address)) == (b"open", lab.plan.address("nat-a"))
            asks.sendto(b"by the uplink in use", (address, port))
            assert inside.recv(100) == b"by the uplink in use"
            inside.settimeout(0.3)
            with bound(lab, "cgn") as neighbour:
                neighbour.sendto(b"by the other", (str(standby), port))
                with pytest.raises(TimeoutError):
                    inside.recv(100)


@pytest.mark.parametrize("outer", ["symmetric", "linux-home"])
def test_a_tunnel_crosses_any_nat_and_what_it_carries_is_followed(
    outer: str, tmp_path: Path
) -> None:
    """The server sees the VPN's address; the NAT at home sees the tunnel's datagrams alone."""
    profiles = CATALOGUE | {"linux-home": CATALOGUE[outer]}
    with Namespaces().start(plan(preset("vpn-on"), profiles)) as lab:
        assert audit(lab) == []
        found: list[str] = []
        long = b"x" * 1350
        packets = recorded(
            lab,
            tmp_path,
            lambda: found.extend(seen_from(lab, "laptop", word=w) for w in (b"hello", long)),
        )
        assert {lab.plan.owners[IPv4Address(source)] for source in found} == {"vpn-server"}
        journeys = stitch(packets, lab.plan)
        home = {(p.source, p.destination) for p in packets if p.node == "nat-a"}
        assert home
        assert all(4789 in (source.port, target.port) for source, target in home)
    (there,) = [j for j in journeys if j.first.payload == b"hello"]
    assert [hop.node for hop in there.hops] == ["laptop", "vpn-server", "core", "server"]
    assert there.first.interface == "tun0"


def test_a_tunnel_lives_on_when_the_nats_at_both_its_ends_reboot() -> None:
    with lab_of("vpn-on") as lab:
        for router, profile in (("vpn-server", "symmetric"), ("nat-a", "linux-home")):
            reboot(lab, router, profile)
            assert lab.plan.owners[IPv4Address(seen_from(lab, "laptop"))] == "vpn-server"


def test_with_the_tunnel_switched_off_the_way_out_is_the_house() -> None:
    with lab_of("vpn-on") as lab:
        prefer(lab, "laptop", "eth0")
        assert lab.plan.owners[IPv4Address(seen_from(lab, "laptop"))] == "nat-a"
        prefer(lab, "laptop", "tun0")
        assert lab.plan.owners[IPv4Address(seen_from(lab, "laptop"))] == "vpn-server"


def _is_at(packet: Packet, node: str, word: bytes) -> bool:
    return packet.node == node and packet.payload.endswith(word)
