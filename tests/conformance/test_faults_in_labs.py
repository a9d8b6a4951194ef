"""What happens to NATs, names and gateways, one thing after another, in labs."""

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from testbed.capture.reader import read
from testbed.capture.recorder import record
from testbed.evidence.protocols import dns
from testbed.lab.audit import audit
from testbed.lab.namespaces import NamespaceLab, Namespaces
from testbed.lab.network_faults import apply
from testbed.model.network_fault import (
    DnsRestart,
    Fault,
    LinkDown,
    LinkUp,
    NatReboot,
    Rebinding,
    WanAddressChange,
)
from testbed.model.packet import Packet
from testbed.model.plan import Vantage
from testbed.model.presets import FOLDER, preset
from testbed.model.world import parse
from testbed.nat.load import catalogue
from testbed.plan.planner import plan

CATALOGUE = catalogue()
PATIENCE = 2.0  # seconds for a datagram to arrive
SERVER_PORT = 9000


@contextmanager
def lab_of(world: str, *profiles: str) -> Iterator[NamespaceLab]:
    with Namespaces().start(plan(preset(world, *profiles), CATALOGUE)) as lab:
        yield lab


def do(lab: NamespaceLab, fault: Fault, wait: Callable[[float], None] = lambda _: None) -> None:
    profiles = {router.name: CATALOGUE[router.profile] for router in lab.plan.topology.routers}
    apply(lab, fault, profiles, wait)


def seen_from(lab: NamespaceLab, node: str) -> IPv4Address:
    """The source that the server sees of a datagram, whose answer comes back."""
    server = str(lab.plan.address("server"))
    hears = lab.socket("server", socket.AF_INET, socket.SOCK_DGRAM)
    asks = lab.socket(node, socket.AF_INET, socket.SOCK_DGRAM)
    with hears, asks:
        hears.bind((server, SERVER_PORT))
        for sock in (hears, asks):
            sock.settimeout(PATIENCE)
        asks.sendto(b"hello", (server, SERVER_PORT))
        _, source = hears.recvfrom(2048)
        hears.sendto(b"back", source)
        assert asks.recv(2048) == b"back"
        return IPv4Address(source[0])


@pytest.mark.parametrize("profile", ["linux-home", "symmetric"])
def test_a_nat_that_reboots_maps_to_the_address_that_it_was_given_last(profile: str) -> None:
    with lab_of("two-homes", profile) as lab:
        first = seen_from(lab, "a")
        do(lab, WanAddressChange("nat-a"))
        second = seen_from(lab, "a")
        do(lab, NatReboot("nat-a", 0.0))
        assert seen_from(lab, "a") == second
        do(lab, WanAddressChange("nat-a"))
        third = seen_from(lab, "a")
    assert first == lab.plan.address("nat-a")
    assert len({first, second, third}) == 3


def test_a_pooled_nat_keeps_its_other_addresses() -> None:
    with lab_of("pooled-carrier") as lab:
        before = {seen_from(lab, "a") for _ in range(8)}
        do(lab, WanAddressChange("cgn"))
        after = {seen_from(lab, "a") for _ in range(8)}
    assert len(before) == len(after) == 4
    assert len(before & after) == 3


def test_a_pooled_nat_forgets_what_it_has_mapped_to_each_address() -> None:
    text = (FOLDER / "pooled-carrier.toml").read_text(encoding="utf-8")
    world = parse(text.replace('"arbitrary-pool"', '"paired-pool"'), "mine", "mine.toml")
    with Namespaces().start(plan(world.topology("mine"), CATALOGUE)) as lab:
        seen = {host: seen_from(lab, host) for host in ("a", "b")}
        do(lab, Rebinding("cgn"))
        tables = lab.run("cgn", ("nft", "list", "table", "ip", "nat_testbed")).decode()
        assert "expires" not in tables  # no element of any map or set
        assert {host: seen_from(lab, host) for host in ("a", "b")} == seen


def test_a_wire_that_is_not_in_use_carries_nothing_that_anybody_misses() -> None:
    with lab_of("two-uplinks", "openwrt") as lab:
        do(lab, LinkDown("nat-a", "wan1"))
        assert seen_from(lab, "a") == lab.plan.address("nat-a")
        do(lab, LinkDown("nat-a", "wan"))
        with pytest.raises(TimeoutError):
            seen_from(lab, "a")
        do(lab, LinkUp("nat-a", "wan"))
        assert seen_from(lab, "a") == lab.plan.address("nat-a")


def resolved(lab: NamespaceLab, node: str, name: str) -> str | None:
    """What a program of ``node`` finds by the C library's resolver; None if it finds nothing."""

    def look() -> int:
        try:
            found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            return 2
        print(found[0][4][0], flush=True)
        return 0

    process = lab.spawn(node, look)
    try:
        code = process.wait(15.0)
        said = process.stdout.read().decode().strip()
    finally:
        process.kill()
    return said if code == 0 else None


def test_a_lab_answers_names_until_its_server_is_gone_and_again_after(tmp_path: Path) -> None:
    def tap(vantage: Vantage) -> socket.socket:
        return lab.socket(vantage.node, socket.AF_PACKET, socket.SOCK_RAW)

    while_away: list[str | None] = []
    with lab_of("dns-restart") as lab:
        assert audit(lab) == []
        file = tmp_path / "capture.pcapng"
        with record(tap, lab.plan.vantages, file):
            assert resolved(lab, "a", "server") == str(lab.plan.address("server"))
            assert resolved(lab, "b", "nobody") is None
            do(lab, DnsRestart(0.0), lambda _: while_away.append(resolved(lab, "a", "server")))
            assert resolved(lab, "a", "server") == str(lab.plan.address("server"))
        assert lab.failed_services() == []
        resolver = lab.plan.address("resolver")
    assert while_away == [None]
    labels = [dns.read(one.payload) for one in _at(read(file), "resolver")]
    texts = [label.text for label in labels if label is not None]
    assert any(text.startswith("query server.lab A") for text in texts), texts
    assert any(text.startswith("response server.lab A, 1 answers") for text in texts), texts
    assert any(text.startswith("response nobody") and "error 3" in text for text in texts), texts
    assert resolver in {one.destination.address for one in _at(read(file), "resolver")}


def _at(packets: Iterable[Packet], node: str) -> Iterator[Packet]:
    return (one for one in packets if one.node == node and one.payload)
