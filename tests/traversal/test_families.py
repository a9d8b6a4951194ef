"""IPv6 beside IPv4: the order of dials, the interfaces of a wildcard, names of both families."""

import asyncio
import ipaddress
import socket
import struct
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.traversal import Multiaddr, Node, NodeOptions
from testbed.traversal.aio.interfaces import addresses_of, interface_addresses
from testbed.traversal.aio.mapped import MappedPorts
from testbed.traversal.aio.resolve import resolve
from testbed.traversal.dial_order import interleaved
from testbed.traversal.portmap.options import PortMapOptions

from .nodes import address, nodes, run
from .test_nodes import echoed

pytestmark = pytest.mark.timeout(60)
V4, OTHER_V4 = (Multiaddr.parse(f"/ip4/29.0.0.{n}/tcp/1") for n in (1, 2))
V6, OTHER_V6 = (Multiaddr.parse(f"/ip6/2a00::{n}/udp/1/quic-v1") for n in (1, 2))
CIRCUIT = Multiaddr.parse("/ip6/2a00::9/tcp/1/p2p-circuit")
SEVERAL = st.lists(st.sampled_from([V4, OTHER_V4, V6, OTHER_V6, CIRCUIT]))


# The order of dials (RFC 8305 section 4).


def test_the_families_are_dialed_by_turns_ipv6_first() -> None:
    assert interleaved([V4, OTHER_V4, CIRCUIT, V6]) == (V6, V4, OTHER_V4, CIRCUIT)


def test_what_has_no_route_comes_last() -> None:
    assert interleaved([V6, V4, OTHER_V6], lambda a: a.ip.version == 4) == (V4, V6, OTHER_V6)  # type: ignore[union-attr]


@settings(deadline=None)
@given(SEVERAL, st.sets(st.sampled_from([V4, V6])))
def test_every_address_is_dialed_once_and_each_family_in_its_order(
    given_: list[Multiaddr], unusable: set[Multiaddr]
) -> None:
    found = interleaved(given_, lambda a: a not in unusable)
    assert sorted(map(str, found)) == sorted(map(str, set(given_)))
    for version in (4, 6):
        for fit in (True, False):
            mine = [
                a
                for a in found
                if a.ip and a.ip.version == version and (a not in unusable) == fit and a != CIRCUIT
            ]
            assert mine == [a for a in dict.fromkeys(given_) if a in mine]


# Interfaces.


def message(kind: int, body: bytes) -> bytes:
    padded = body + bytes(-len(body) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + padded


def told(ip: str, flags: int = 0, local: str | None = None) -> bytes:
    """RTM_NEWADDR, with the flags that fit no byte as an attribute."""
    raw = ipaddress.ip_address(ip).packed
    family = socket.AF_INET if len(raw) == 4 else socket.AF_INET6
    body = struct.pack("=BBBBI", family, 24, flags & 0xFF, 0, 2)
    body += struct.pack("=HH", 4 + len(raw), 1) + raw
    if local is not None:
        own = ipaddress.ip_address(local).packed
        body += struct.pack("=HH", 4 + len(own), 2) + own
    return message(20, body + struct.pack("=HHI", 8, 8, flags))


@pytest.mark.parametrize("unfit", [0x40, 0x20, 0x08], ids=["tentative", "deprecated", "duplicate"])
def test_addresses_that_are_not_to_be_used_are_left_out(unfit: int) -> None:
    found, over = addresses_of(told("2a00::1") + told("2a00::2", unfit))
    assert (list(map(str, found)), over) == (["2a00::1"], False)


def test_of_a_link_with_two_ends_our_own_is_taken() -> None:
    assert addresses_of(told("10.0.0.2", local="10.0.0.1"))[0] == [ipaddress.ip_address("10.0.0.1")]


def test_the_last_message_is_known() -> None:
    assert addresses_of(told("10.0.0.2") + message(3, bytes(4)))[1]


@settings(deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda body: message(20, body)))
def test_any_bytes_of_the_kernel_are_read_without_an_error(data: bytes) -> None:
    found, _ = addresses_of(data)
    assert len(found) <= len(data)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_the_loopback_is_told_by_the_kernel() -> None:
    assert ipaddress.ip_address("127.0.0.1") in interface_addresses(4)


def test_a_wildcard_is_told_as_all_interfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    there = tuple(map(ipaddress.ip_address, ("10.7.0.1", "29.0.0.7", "127.0.0.1")))
    monkeypatch.setattr("testbed.traversal.aio.transports.interface_addresses", lambda _: there)
    monkeypatch.setattr("testbed.traversal.aio.transports.own_address", lambda _: "29.0.0.7")

    async def work() -> None:
        async with Node(NodeOptions(autonat_interval=0)) as node:
            bound = await node.listen("/ip4/0.0.0.0/tcp/0")
            assert list(map(str, node.listening())) == [
                f"/ip4/29.0.0.7/tcp/{bound.port}", f"/ip4/10.7.0.1/tcp/{bound.port}",
            ]  # fmt: skip
            assert node.addresses() == node.listening()

    run(work)


class _Gateway:
    """A mapper that notes what it is asked for, and never answers."""

    mappings = ()

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def __aenter__(self) -> "_Gateway":
        return self

    async def __aexit__(self, *found: object) -> None:
        del found

    async def map(self, transport: object, port: int) -> None:
        del transport
        self.asked.append(port)
        await asyncio.Event().wait()


def test_of_a_wildcard_one_port_is_mapped_for_all_interfaces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway = _Gateway()

    def made(options: PortMapOptions, emit: object) -> _Gateway:
        del options, emit
        return gateway

    monkeypatch.setattr("testbed.traversal.aio.portmap.PortMapper", made)

    async def work() -> None:
        ports = MappedPorts(PortMapOptions(), lambda _: None, lambda: None)
        told = await ports.map([V4, OTHER_V4, V4], 0.1)
        assert len(told) == 1
        await ports.map([OTHER_V4], 0.1)
        await ports.close()

    run(work)
    assert gateway.asked == [1]


def test_elsewhere_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert interface_addresses(4) == ()


# Nodes of both families.


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
        return True


@pytest.fixture
def ipv6() -> None:
    """The sandbox may have it switched off, in a namespace that is its own."""
    if not has_ipv6():
        switch = "net.ipv6.conf.lo.disable_ipv6=0"
        subprocess.run(["sysctl", "-qw", switch], check=False, capture_output=True)
    if not has_ipv6():
        pytest.skip("this machine has no IPv6, not even on loopback")


@pytest.mark.usefixtures("ipv6")
@pytest.mark.parametrize("way", ["/tcp/0", "/udp/0/quic-v1", "/tcp/0/ws"])
def test_two_nodes_meet_over_ipv6(way: str) -> None:
    async def work() -> None:
        async with nodes("tcp", {}, {}) as (a, b):
            bound = await b.listen(f"/ip6/::1{way}")
            connection = await a.dial(bound.with_peer(b.peer))
            assert connection.remote == bound
            assert await echoed(a, b.peer, bytes(300_000)) == bytes(300_000)

    run(work)


@pytest.mark.usefixtures("ipv6")
def test_of_two_families_ipv6_is_taken_and_without_it_ipv4_soon() -> None:
    async def work() -> None:
        async with nodes("tcp", {}, {}) as (a, b):
            bound = await b.listen("/ip6/::1/tcp/0")
            both = (address(b), bound.with_peer(b.peer))
            first = await a.dial(*both)
            assert first.remote.ip == bound.ip
            await first.close()
        async with nodes("tcp", {}, {}) as (a, b):
            nobody = Multiaddr.parse(f"/ip6/::1/tcp/{address(b).port}").with_peer(b.peer)
            began = asyncio.get_running_loop().time()
            assert (await a.dial(nobody, address(b))).remote.ip == address(b).ip
            assert asyncio.get_running_loop().time() - began < 0.2  # not the stagger

    run(work)


@pytest.mark.usefixtures("ipv6")
def test_ipv6_that_does_not_answer_costs_one_stagger() -> None:
    async def work() -> None:
        family = socket.AF_INET6
        async with nodes("tcp", {}, {}) as (a, b):
            with socket.create_server(("::1", 0), family=family) as server:  # that accepts nobody
                port = server.getsockname()[1]
                silent = Multiaddr.parse(f"/ip6/::1/tcp/{port}").with_peer(b.peer)
                began = asyncio.get_running_loop().time()
                assert (await a.dial(address(b), silent)).remote.ip == address(b).ip
                assert 0.2 < asyncio.get_running_loop().time() - began < 2

    run(work)


# Names (RFC 8305 section 3).


class Resolver:
    """A loop's getaddrinfo: what it says of each family, and after how many seconds."""

    def __init__(self, **answers: tuple[float, str | None]) -> None:
        self.answers = answers

    async def __call__(self, host: str, port: None, *, family: int, type: int) -> list[Any]:
        del host, port, type
        delay, ip = self.answers["v6" if family == socket.AF_INET6 else "v4"]
        await asyncio.sleep(delay)
        if ip is None:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(family, 1, 6, "", (ip, 0))]


@pytest.mark.parametrize(
    ("v6", "v4", "found", "longest"),
    [
        ((0.0, "2a00::1"), (0.0, "29.0.0.1"), ["/ip6/2a00::1", "/ip4/29.0.0.1"], 0.05),
        ((0.02, "2a00::1"), (0.0, "29.0.0.1"), ["/ip6/2a00::1", "/ip4/29.0.0.1"], 0.05),
        ((3.0, "2a00::1"), (0.0, "29.0.0.1"), ["/ip4/29.0.0.1"], 0.5),
        ((0.0, None), (0.1, "29.0.0.1"), ["/ip4/29.0.0.1"], 0.5),
        ((0.1, "2a00::1"), (0.0, None), ["/ip6/2a00::1"], 0.5),
    ],
    ids=["both", "IPv6 in time", "IPv6 far too late", "IPv4 alone", "IPv6 alone"],
)
def test_ipv6_that_is_slow_to_be_told_is_not_waited_for(
    v6: tuple[float, str | None],
    v4: tuple[float, str | None],
    found: list[str],
    longest: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "getaddrinfo", Resolver(v6=v6, v4=v4))
        began = loop.time()
        told = await resolve(Multiaddr.parse("/dns/both.test/tcp/1"), None)
        assert [str(one) for one in told] == [f"{one}/tcp/1" for one in found]
        assert loop.time() - began < longest + 0.1

    run(work)


def test_a_name_without_any_address_is_a_dial_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "getaddrinfo", Resolver(v6=(0.0, None), v4=(0.0, None)))
        with pytest.raises(OSError, match="no such name"):
            await resolve(Multiaddr.parse("/dns/nobody.test/tcp/1"), None)

    run(work)
