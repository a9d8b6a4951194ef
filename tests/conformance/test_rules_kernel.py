"""What the rules do to real packets, one claim at a time.

A quick self-check of `testbed.nat.rules`; the prober judges from outside and
knows nothing of this file.  LAN hosts a, b, c and a server with two addresses;
no delay, so an answer that is not there after `_PATIENCE` was not let through.
"""

import dataclasses
import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from patience import too_busy

from testbed.lab.namespaces import NamespaceLab, Namespaces
from testbed.model.behaviour import Allocation, Filtering, Hairpin, Mapping, PortRange, Timeouts
from testbed.model.presets import lan_party
from testbed.model.profile import Profile
from testbed.model.topology import Link
from testbed.nat.load import find, with_timeouts
from testbed.plan.planner import plan

PAIRS = [
    f"{mapping}-{filtering}"
    for mapping in ("eim", "adm", "apdm")
    for filtering in ("eif", "adf", "apdf")
]
_PATIENCE = 0.3  # seconds; one way takes well below a millisecond here
_SHORT = Timeouts(udp=2, udp_stream=2, tcp_transitory=2, tcp_established=4)

Address = tuple[str, int]


class Bench:
    """A started lab, with the sockets of one test."""

    def __init__(self, lab: NamespaceLab, closing: ExitStack) -> None:
        self.lab = lab
        self._closing = closing
        self.external = str(lab.plan.address("nat-a"))
        self.servers = [str(lab.plan.address("server", index)) for index in (0, 1)]

    def host(self, name: str) -> str:
        return str(self.lab.plan.address(name))

    def bound(self, node: str, kind: int, address: str, port: int) -> socket.socket:
        made = self._closing.enter_context(self.lab.socket(node, socket.AF_INET, kind))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.settimeout(_PATIENCE)
        made.bind((address, port))
        return made

    def udp(self, node: str, port: int = 4001, server: int | None = None) -> socket.socket:
        address = self.host(node) if server is None else self.servers[server]
        return self.bound(node, socket.SOCK_DGRAM, address, port)

    def tcp(self, node: str, port: int = 4001, server: int | None = None) -> socket.socket:
        address = self.host(node) if server is None else self.servers[server]
        return self.bound(node, socket.SOCK_STREAM, address, port)

    def accept(self, listener: socket.socket) -> tuple[socket.socket, Address]:
        """The next connection, kept open to the end of the test, and its source."""
        accepted, source = listener.accept()
        return self._closing.enter_context(accepted), source

    def route_into_lan(self) -> None:
        """The leak that a lab must not have: the core knows a way to host a."""
        way = ["ip", "route", "replace", f"{self.host('a')}/32", "via", self.external]
        self.lab.run("core", way)

    def dropped(self, reason: str) -> int:
        """How many packets the router's rules dropped for ``reason``."""
        save = (["nft", "list", "ruleset"], ["iptables-save", "-c"])
        text = "\n".join(self.lab.run("nat-a", command).decode() for command in save)
        lines = [line for line in text.splitlines() if re.search(rf'comment "?{reason}\b', line)]
        counts = [re.search(r"packets (\d+)|^\[(\d+):", line) for line in lines]
        assert any(counts)
        return sum(int(found[1] or found[2]) for found in counts if found)

    def listen(self, node: str, port: int = 4001, server: int | None = None) -> socket.socket:
        listener = self.tcp(node, port, server)
        listener.listen(8)
        return listener


@contextmanager
def bench(profile: Profile, number: int = 7) -> Iterator[Bench]:
    topology = lan_party(profile.name, link=Link())
    planned = plan(topology, {profile.name: profile}, number=number)
    with ExitStack() as closing:
        lab = closing.enter_context(Namespaces().start(planned))
        yield Bench(lab, closing)


def with_transport(profile: Profile, **changes: Any) -> Profile:
    behaviour = profile.behaviour
    return dataclasses.replace(
        profile,
        behaviour=dataclasses.replace(
            behaviour,
            udp=dataclasses.replace(behaviour.udp, **changes),
            tcp=dataclasses.replace(behaviour.tcp, **changes),
        ),
    )


def with_behaviour(profile: Profile, **changes: Any) -> Profile:
    return dataclasses.replace(profile, behaviour=dataclasses.replace(profile.behaviour, **changes))


def arrived(receiver: socket.socket) -> Address | None:
    """The source of the next datagram, or None if none comes."""
    try:
        source: Address = receiver.recvfrom(2048)[1]
        return source
    except TimeoutError:
        return None


def seen(sender: socket.socket, receiver: socket.socket) -> Address | None:
    """From where ``receiver`` sees a datagram of ``sender``."""
    sender.sendto(b"ping", receiver.getsockname())
    return arrived(receiver)


def through(sender: socket.socket, receiver: socket.socket) -> Address:
    """As `seen`; it must come."""
    source = seen(sender, receiver)
    assert source is not None
    return source


def reaches(sender: socket.socket, target: Address, receiver: socket.socket) -> bool:
    sender.sendto(b"knock", target)
    return arrived(receiver) is not None


def connects(client: socket.socket, target: Address) -> bool:
    try:
        client.connect(target)
    except OSError:
        return False
    return True


def classified(ports: tuple[int, int, int]) -> Mapping:
    """Mapping from the ports seen at A1:P1, A1:P2, A2:P1 (RFC 5780 section 4.3)."""
    first, other_port, other_address = ports
    if first == other_port == other_address:
        return Mapping.ENDPOINT_INDEPENDENT
    if first == other_port:
        return Mapping.ADDRESS_DEPENDENT
    return Mapping.ADDRESS_AND_PORT_DEPENDENT


def filtered(same_address: bool, other_address: bool) -> Filtering:
    if other_address:
        return Filtering.ENDPOINT_INDEPENDENT
    return Filtering.ADDRESS_DEPENDENT if same_address else Filtering.ADDRESS_AND_PORT_DEPENDENT


@pytest.mark.parametrize("pair", PAIRS)
def test_udp_mapping_and_filtering_are_the_declared_pair(pair: str) -> None:
    profile = find(pair)
    with bench(profile) as b:
        one, two, three = (
            b.udp("server", 1111, 0),
            b.udp("server", 2222, 0),
            b.udp("server", 1111, 1),
        )
        host = b.udp("a")
        ports = through(host, one)[1], through(host, two)[1], through(host, three)[1]
        assert classified(ports) is profile.behaviour.udp.mapping
        again = tuple(through(host, server)[1] for server in (one, two, three))
        assert again == ports
        fresh = b.udp("a", 4002)
        mapped = through(fresh, one)
        assert (
            filtered(reaches(two, mapped, fresh), reaches(three, mapped, fresh))
            is profile.behaviour.udp.filtering
        )
        assert reaches(one, mapped, fresh)


@pytest.mark.parametrize("pair", PAIRS)
def test_tcp_mapping_and_filtering_are_the_declared_pair(pair: str) -> None:
    profile = find(pair)
    with bench(profile) as b:
        listeners = [
            b.listen("server", 1111, 0),
            b.listen("server", 2222, 0),
            b.listen("server", 1111, 1),
        ]
        ports = []
        for listener in listeners:
            assert connects(b.tcp("a"), listener.getsockname())
            ports.append(b.accept(listener)[1][1])
        first, second, third = ports
        assert classified((first, second, third)) is profile.behaviour.tcp.mapping
        b.listen("a", 4002)
        assert connects(b.tcp("a", 4002), listeners[0].getsockname())
        mapped = b.accept(listeners[0])[1]
        same_address = connects(b.tcp("server", 3333, 0), mapped)
        other_address = connects(b.tcp("server", 3333, 1), mapped)
        assert filtered(same_address, other_address) is profile.behaviour.tcp.filtering


@pytest.mark.parametrize("pair", PAIRS)
def test_two_hosts_on_one_source_port_never_share_an_external_port(pair: str) -> None:
    with bench(find(pair)) as b:
        one, two = b.udp("server", 1111, 0), b.udp("server", 1111, 1)
        hosts = [b.udp(name) for name in "abc"]
        mapped = [through(host, one) for host in hosts]
        elsewhere = [through(host, two) for host in hosts]
        assert len({*mapped}) == len({*elsewhere}) == 3
        for mine, other in zip(mapped, elsewhere, strict=True):
            assert other not in {*mapped} - {mine}
        for host, address in zip(hosts, mapped, strict=True):
            assert reaches(one, address, host)


def test_a_host_on_a_taken_port_keeps_its_other_port_over_tcp() -> None:
    with bench(find("eim-apdf")) as b:
        listeners = [b.listen("server", 1111, 0), b.listen("server", 1111, 1)]
        ports: dict[str, set[int]] = {}
        for name in "ab":
            for listener in listeners:
                assert connects(b.tcp(name), listener.getsockname())
                ports.setdefault(name, set()).add(b.accept(listener)[1][1])
        assert ports["a"] == {4001}
        assert len(ports["b"]) == 1
        assert ports["b"] != ports["a"]


@pytest.mark.parametrize("name", ["eim-apdf", "linux-home", "rejecting", "openwrt"])
def test_an_early_inbound_packet_does_not_move_the_port(name: str) -> None:
    with bench(find(name)) as b:
        server, host = b.udp("server", 1111, 0), b.udp("a")
        server.sendto(b"early", (b.external, 4001))
        assert arrived(host) is None
        server.close()
        server = b.udp("server", 1111, 0)  # an ICMP answer would be its pending error
        assert seen(host, server) == (b.external, 4001)
        assert reaches(server, (b.external, 4001), host)


def test_naive_linux_moves_the_port_after_an_early_inbound_packet() -> None:
    with bench(find("naive-linux")) as b:
        server, host = b.udp("server", 1111, 0), b.udp("a")
        server.sendto(b"early", (b.external, 4001))
        assert arrived(host) is None
        moved = seen(host, server)
        assert moved is not None
        assert moved[1] != 4001


@pytest.mark.parametrize("name", ["eim-eif", "eim-adf", "eim-apdf", "apdm-apdf", "linux-home"])
def test_inbound_packets_refresh_where_refresh_is_both(name: str) -> None:
    with bench(with_timeouts(find(name), _SHORT)) as b:
        server, host = b.udp("server", 1111, 0), b.udp("a")
        mapped = through(host, server)
        for _ in range(4):
            time.sleep(1.2)
            assert reaches(server, mapped, host)
        time.sleep(2.5)
        assert not reaches(server, mapped, host)


@pytest.mark.parametrize("name", ["eim-eif", "eim-adf", "eim-apdf"])
def test_inbound_packets_refresh_the_mapping_and_not_only_their_session(name: str) -> None:
    profile = with_transport(find(name), allocation=Allocation.RANDOM)
    with bench(with_timeouts(profile, _SHORT)) as b:
        server, host = b.udp("server", 1111, 0), b.udp("a")
        mapped = through(host, server)
        for _ in range(2):
            time.sleep(1.2)
            assert reaches(server, mapped, host)
        assert seen(host, b.udp("server", 2222, 1)) == mapped


def test_inbound_packets_do_not_refresh_where_refresh_is_outbound() -> None:
    with bench(with_timeouts(find("outbound-refresh"), _SHORT)) as b:
        server, host = b.udp("server", 1111, 0), b.udp("a")
        mapped = through(host, server)
        time.sleep(1.2)
        assert reaches(server, mapped, host)
        time.sleep(1.2)
        assert not reaches(server, mapped, host)
        assert seen(host, server) == mapped
        assert reaches(server, mapped, host)
        for _ in range(3):
            time.sleep(1.2)
            assert seen(host, server) == mapped
        assert reaches(server, mapped, host)


def test_a_stranger_let_in_refreshes_an_endpoint_independent_mapping() -> None:
    with bench(with_timeouts(find("eim-eif"), _SHORT)) as b:
        server, host = b.udp("server", 1111, 0), b.udp("a")
        mapped = through(host, server)
        for port in (5001, 5002, 5003):
            time.sleep(1.2)
            assert reaches(b.udp("server", port, 1), mapped, host)


def test_a_random_mapping_ends_with_its_timer_and_is_made_anew() -> None:
    profile = with_transport(find("eim-apdf"), allocation=Allocation.RANDOM, seed=7)
    with bench(with_timeouts(profile, _SHORT)) as b:
        server, host = b.udp("server", 1111, 0), b.udp("a")
        mapped = through(host, server)
        time.sleep(1.2)
        assert seen(host, b.udp("server", 2222, 0)) == mapped
        time.sleep(2.5)
        assert seen(host, server) not in (None, mapped)


@pytest.mark.parametrize("inbound", [False, True])
def test_a_flow_that_never_pauses_keeps_its_mapping(inbound: bool) -> None:
    """Its packets pass by what holds the mapping, but for one in each moment."""
    profile = with_transport(find("eim-eif"), allocation=Allocation.RANDOM)
    with bench(with_timeouts(profile, _SHORT)) as b:
        server, host = b.udp("server", 1111, 0), b.udp("a")
        mapped = through(host, server)
        end = time.monotonic() + 3.0
        while time.monotonic() < end:
            assert reaches(server, mapped, host) if inbound else seen(host, server) == mapped
            time.sleep(0.01)
        assert seen(host, b.udp("server", 2222, 1)) == mapped


def test_a_mapping_lives_its_time_from_a_packet_that_passed_by() -> None:
    with bench(with_timeouts(find("eim-eif"), _SHORT)) as b:
        server, stranger, host = b.udp("server", 1111, 0), b.udp("server", 2222, 1), b.udp("a")
        for _ in range(10):
            mapped = through(host, server)
            held = time.monotonic()
            time.sleep(0.07)  # of the 0.1 s in which another packet does not hold it anew
            passed = time.monotonic()
            assert seen(host, server) == mapped
            if time.monotonic() - held > 0.095:
                continue
            time.sleep(max(0.0, passed + _SHORT.udp - 0.02 - time.monotonic()))
            assert reaches(stranger, mapped, host) or time.monotonic() > passed + _SHORT.udp
            return
        too_busy("two packets were never sent within a tenth of a second")


def test_a_connection_that_goes_on_settles_the_port_that_another_has_left() -> None:
    with bench(with_timeouts(find("eim-eif"), _SHORT)) as b:
        listeners = [b.listen("server", 1111, index) for index in (0, 1)]
        b.listen("a")
        staying, leaving = b.tcp("a"), b.tcp("a")
        for client, listener in zip((staying, leaving), listeners, strict=True):
            assert connects(client, listener.getsockname())
        far, mapped = b.accept(listeners[0])
        far.settimeout(_PATIENCE)
        time.sleep(0.2)
        staying.send(b"1")  # it is fresh from here on
        assert far.recv(1) == b"1"
        leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        leaving.close()  # by a RST, which leaves the port to the short timer
        staying.send(b"2")
        assert far.recv(1) == b"2"
        time.sleep(3.0)
        assert connects(b.tcp("server", 5001, 1), mapped)


def test_an_established_tcp_mapping_outlives_the_transitory_timer() -> None:
    with bench(with_timeouts(find("eim-eif"), _SHORT)) as b:
        listener = b.listen("server", 1111, 0)
        b.listen("a")
        client = b.tcp("a")
        assert connects(client, listener.getsockname())
        accepted, mapped = b.accept(listener)
        accepted.settimeout(_PATIENCE)
        time.sleep(3.0)
        assert connects(b.tcp("server", 5001, 1), mapped)
        accepted.send(b"x")
        assert client.recv(1) == b"x"
        time.sleep(4.6)
        assert not connects(b.tcp("server", 5002, 1), mapped)
        accepted.send(b"y")
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_an_established_tcp_port_lets_in_the_next_address_it_turns_to() -> None:
    with bench(find("eim-adf")) as b:
        first = b.listen("server", 1111, 0)
        b.listen("a")
        assert connects(b.tcp("a"), first.getsockname())
        _accepted, mapped = b.accept(first)
        assert not connects(b.tcp("server", 5001, 1), mapped)
        silent = ["iptables", "-A", "INPUT", "-p", "tcp", "--dport", "9", "-j", "DROP"]
        b.lab.run("server", silent)
        assert not connects(b.tcp("a"), (b.servers[1], 9))  # unanswered, and yet contacted
        assert connects(b.tcp("server", 5002, 1), mapped)


def test_a_closed_tcp_mapping_falls_back_to_the_transitory_timer() -> None:
    with bench(with_timeouts(find("eim-eif"), _SHORT)) as b:
        listener = b.listen("server", 1111, 0)
        b.listen("a")
        client = b.tcp("a")
        assert connects(client, listener.getsockname())
        accepted, mapped = b.accept(listener)
        client.close()
        accepted.close()
        time.sleep(0.5)
        assert connects(b.tcp("server", 5001, 1), mapped)


def test_refusing_a_stranger_does_not_shorten_an_established_mapping() -> None:
    with bench(with_timeouts(find("eim-eif"), _SHORT)) as b:
        listener = b.listen("server", 1111, 0)
        assert connects(b.tcp("a"), listener.getsockname())
        mapped = b.accept(listener)[1]
        with pytest.raises(ConnectionRefusedError):
            b.tcp("server", 5001, 1).connect(mapped)
        time.sleep(3.0)
        with pytest.raises(ConnectionRefusedError):  # let in, and refused by the host again
            b.tcp("server", 5002, 1).connect(mapped)


def test_the_quota_is_exact_per_subscriber_and_protocol() -> None:
    profile = with_behaviour(find("carrier-grade"), quota=5)
    with bench(with_timeouts(profile, _SHORT)) as b:
        server, other = b.udp("server", 1111, 0), b.udp("server", 1111, 1)
        listener = b.listen("server", 1111, 0)
        for name in "ab":
            hosts = [b.udp(name, 5000 + index) for index in range(8)]
            assert [seen(host, server) is not None for host in hosts] == [True] * 5 + [False] * 3
            assert seen(hosts[0], other) is not None
        made = [connects(b.tcp("a", 6000 + i), listener.getsockname()) for i in range(8)]
        assert made == [True] * 5 + [False] * 3
        time.sleep(3.2)  # the timer, and a second for the set's garbage collection
        assert seen(b.udp("a", 5999), server) is not None
        assert b.dropped("quota") > 6


@pytest.mark.parametrize("hairpin", list(Hairpin))
def test_hairpinning_shows_the_declared_source(hairpin: Hairpin) -> None:
    profile = with_behaviour(find("eim-apdf"), hairpin=hairpin)
    with bench(profile) as b:
        server, target, sender = b.udp("server", 1111, 0), b.udp("a"), b.udp("b", 4002)
        mapped = through(target, server)
        sender.sendto(b"hairpin", mapped)
        expected = {
            Hairpin.NONE: None,
            Hairpin.EXTERNAL_SOURCE: (b.external, 4002),
            Hairpin.INTERNAL_SOURCE: (b.host("b"), 4002),
        }[hairpin]
        assert arrived(target) == expected
        if hairpin is Hairpin.EXTERNAL_SOURCE:
            assert expected is not None
            target.sendto(b"answer", expected)
            assert arrived(sender) == mapped
            assert seen(sender, server) == expected


def test_tcp_hairpins_through_the_external_addresses() -> None:
    with bench(find("carrier-grade")) as b:
        listener, inside = b.listen("server", 1111, 0), b.listen("a")
        assert connects(b.tcp("a"), listener.getsockname())
        mapped = b.accept(listener)[1]
        assert connects(b.tcp("b"), mapped)
        assert b.accept(inside)[1][0] == b.external


@pytest.mark.parametrize(
    ("name", "udp", "tcp"),
    [
        ("eim-apdf", None, TimeoutError),
        ("eim-eif", None, TimeoutError),
        ("linux-home", None, TimeoutError),
        ("openwrt", ConnectionRefusedError, ConnectionRefusedError),
        ("naive-linux", ConnectionRefusedError, ConnectionRefusedError),
        ("rejecting", ConnectionRefusedError, ConnectionRefusedError),
        ("azure-nat-gateway", None, ConnectionRefusedError),
    ],
)
def test_unsolicited_packets_get_the_declared_answer(
    name: str, udp: type[OSError] | None, tcp: type[OSError]
) -> None:
    with bench(find(name)) as b:
        stranger = b.udp("server", 1111, 0)
        stranger.connect((b.external, 5555))
        for _ in range(2):
            stranger.send(b"?")
            with pytest.raises(udp or TimeoutError):
                stranger.recv(1)
        with pytest.raises(tcp):
            b.tcp("server", 1111, 1).connect((b.external, 5555))


def test_a_stranger_at_a_live_port_is_refused_like_at_any_other() -> None:
    with bench(find("rejecting")) as b:
        server, stranger, host = b.udp("server", 1111, 0), b.udp("server", 1, 1), b.udp("a")
        mapped = through(host, server)
        stranger.connect(mapped)
        stranger.send(b"?")
        with pytest.raises(ConnectionRefusedError):
            stranger.recv(1)
        assert reaches(server, mapped, host)


@pytest.mark.parametrize("seed", range(4))
def test_sequential_ports_are_the_range_in_order_and_taken_ones_are_skipped(seed: int) -> None:
    profile = with_transport(find("sequential"), ports=PortRange(30000, 30003), seed=seed)
    with bench(profile) as b:
        server = b.udp("server", 1111, 0)
        hosts = [b.udp("a", 5000 + index) for index in range(4)]
        ports = [through(host, server)[1] for host in hosts]
        assert ports == [30000 + (ports[0] + later) % 4 for later in range(4)]
        assert [through(host, server)[1] for host in hosts] == ports
        assert seen(b.udp("b"), server) is None  # every port is taken


@pytest.mark.parametrize("name", ["adm-apdf", "apdm-apdf", "carrier-grade"])
def test_the_seed_replays_the_ports_and_another_seed_does_not(name: str) -> None:
    def run(seed: int) -> list[int]:
        with bench(with_transport(find(name), seed=seed)) as b:
            servers = [b.udp("server", port, index) for port in (1, 2) for index in (0, 1)]
            return [through(b.udp("a", 5000 + i), server)[1] for i, server in enumerate(servers)]

    first = run(1)
    assert run(1) == first
    assert run(2) != first


@pytest.mark.parametrize(
    ("name", "ports"),
    [("adm-apdf", [52317, 4935, 52317, 4935]), ("apdm-apdf", [49629, 14978, 11587, 51302])],
)
def test_a_seed_means_the_same_ports_with_every_release_of_nft(name: str, ports: list[int]) -> None:
    """As nft 1.0.6 had them, also when the port was written by a shift."""
    with bench(find(name)) as b:
        servers = [b.udp("server", port, index) for port in (1, 2) for index in (0, 1)]
        assert [through(b.udp("a"), server)[1] for server in servers] == ports


@pytest.mark.parametrize("allocation", [Allocation.HASHED, Allocation.RANDOM])
def test_ports_stay_in_their_range_and_collisions_cost_no_packet(allocation: Allocation) -> None:
    profile = with_transport(
        find("eim-eif"), allocation=allocation, ports=PortRange(40000, 40007), seed=3
    )
    with bench(profile) as b:
        server = b.udp("server", 1111, 0)
        ports = [through(b.udp("a", 5000 + index), server)[1] for index in range(5)]
        assert len(set(ports)) == 5
        assert all(port in profile.behaviour.udp.ports for port in ports)
        listener = b.listen("server", 1111, 0)
        for index in range(5):
            assert connects(b.tcp("a", 5000 + index), listener.getsockname())
            assert b.accept(listener)[1][1] in profile.behaviour.tcp.ports


def test_blocked_udp_and_refused_ports_are_not_forwarded() -> None:
    with bench(find("corporate")) as b:
        web, other = b.listen("server", 443, 0), b.listen("server", 4001, 0)
        assert seen(b.udp("a"), b.udp("server", 443, 0)) is None
        assert connects(b.tcp("a"), web.getsockname())
        assert not connects(b.tcp("a", 4002), other.getsockname())


def test_the_static_forward_is_open_to_anyone_and_to_nobody_elses_mapping() -> None:
    with bench(find("port-forward")) as b:
        server, host, other = b.udp("server", 1111, 0), b.udp("a"), b.udp("b")
        assert reaches(server, (b.external, 4001), host)
        host.sendto(b"answer", server.getsockname())
        assert arrived(server) == (b.external, 4001)
        assert seen(host, b.udp("server", 2222, 1)) == (b.external, 4001)
        taken = seen(other, server)
        assert taken is not None
        assert taken[1] != 4001
        b.listen("a")
        assert connects(b.tcp("server", 1111, 0), (b.external, 4001))


@pytest.mark.parametrize("name", ["eim-eif", "linux-home", "naive-linux"])
def test_a_route_from_the_internet_into_the_lan_leads_nowhere(name: str) -> None:
    with bench(find(name)) as b:
        host, stranger = b.udp("a"), b.udp("server", 1111, 0)
        assert seen(host, stranger) is not None
        b.route_into_lan()
        assert not reaches(stranger, (b.host("a"), 4001), host)
        assert b.dropped("leak") == 1


def test_a_firewall_lets_answers_in_and_nothing_else() -> None:
    with bench(find("firewall")) as b:
        b.route_into_lan()
        host, server = b.udp("a"), b.udp("server", 1111, 0)
        stranger = b.udp("server", 2222, 0)
        assert not reaches(stranger, (b.host("a"), 4001), host)
        assert seen(host, server) == (b.host("a"), 4001)
        assert reaches(server, (b.host("a"), 4001), host)
        assert not reaches(stranger, (b.host("a"), 4001), host)
        listener = b.listen("server", 1111, 0)
        assert connects(b.tcp("a"), listener.getsockname())
        assert not connects(b.tcp("server", 3333, 0), (b.host("a"), 4001))
        assert b.dropped("unsolicited") >= 3


def test_spoofed_sources_do_not_leave_the_lan() -> None:
    with bench(find("eim-eif")) as b:
        b.lab.run("a", ["ip", "address", "add", "192.0.2.9/32", "dev", "eth0"])
        spoofer = b.bound("a", socket.SOCK_DGRAM, "192.0.2.9", 4001)
        assert seen(spoofer, b.udp("server", 1111, 0)) is None
        assert b.dropped("spoofed") == 1
