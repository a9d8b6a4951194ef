"""What is mapped inwards is mapped outwards, and granted as the RFCs say, in labs."""

import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from testbed.certify.prober.bench import LAN, ROUTER, SERVER, STRANGER, Bench
from testbed.certify.prober.gateways import ANOTHER, PREFER_FAILURE, Datagrams, Soap
from testbed.lab.namespaces import NamespaceLab, Namespaces
from testbed.lab.services.miniupnpd import PROGRAM
from testbed.model.behaviour import Behaviour, Protocol
from testbed.model.presets import probe_bench
from testbed.model.trace import Place
from testbed.nat.load import catalogue, find
from testbed.plan.planner import plan
from testbed.predict.nat import TransportNat
from testbed.predict.port_mapping import MappedPort
from testbed.predict.translation import Leaves

pytestmark = pytest.mark.timeout(120)
UDP, TCP = Protocol.UDP, Protocol.TCP
NOT_AUTHORIZED, CANNOT_PROVIDE = 2, 11
PATIENCE = 3.0


@contextmanager
def bench(name: str) -> Iterator[Bench]:
    with (
        Namespaces().start(plan(probe_bench(find(name)), {name: find(name)})) as lab,
        Bench(lab) as made,
    ):
        made.ready()
        yield made


def gateway(made: Bench) -> str:
    return str(made.lab.plan.internal[ROUTER])


def outside(made: Bench, protocol: Protocol, port: int) -> list[int]:
    """The ports by which the first LAN host leaves from ``port``, to four destinations."""
    host = made.end(protocol, LAN[0], port)
    called = [made.end(protocol, SERVER, index=i) for i in (0, 1)]
    called += [made.end(protocol, STRANGER) for _ in range(2)]
    contacts = [made.contact(host, one) for one in called]
    return [contact.source[1] for contact in contacts if contact]


def by_model(behaviour: Behaviour, protocol: Protocol, internal: int, external: int) -> list[int]:
    """The same, by the oracle."""
    mapped = MappedPort(protocol, external, 0, internal, outward=True)
    nat = TransportNat("nat", protocol, with_forward(behaviour, mapped), ("wan",), ("a", "b"))
    remotes = [Place("s", 7), Place("t", 8), Place("u", 9), Place("s", 4001)]
    found = [nat.outgoing(0.0, Place("a", internal), remote) for remote in remotes]
    return [one.external.port for one in found if isinstance(one, Leaves)]


def with_forward(behaviour: Behaviour, mapped: MappedPort) -> Behaviour:
    return replace(behaviour, forwards=(mapped,))


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("external", [6100, 9101])
def test_a_host_behind_a_symmetric_nat_leaves_by_the_port_that_pcp_mapped(
    protocol: Protocol, external: int
) -> None:
    with bench("pcp-home") as made:
        answer = Datagrams(made, gateway(made)).pcp(protocol, 6100, external, 600)
        assert (answer.result, answer.port) == (0, external)
        assert outside(made, protocol, 6100) == [external] * 4
        assert external not in outside(made, protocol, 6300)  # another port is as ever
    assert by_model(find("pcp-home").behaviour, protocol, 6100, external) == [external] * 4


@pytest.mark.parametrize("protocol", Protocol)
def test_nat_pmp_maps_another_port_outwards_too(protocol: Protocol) -> None:
    with bench("natpmp-home") as made:
        assert Datagrams(made, gateway(made)).pmp(protocol, 6101, 9101, 600).port == 9101
        assert outside(made, protocol, 6101) == [9101] * 4
    assert by_model(find("natpmp-home").behaviour, protocol, 6101, 9101) == [9101] * 4


def soap(made: Bench) -> Soap:
    return Soap(made, (gateway(made), 5000), "/ctl/IPConn")


@pytest.mark.parametrize("protocol", Protocol)
def test_upnp_on_a_router_of_iptables_maps_outwards_too(protocol: Protocol) -> None:
    with bench("upnp-home") as made:
        assert soap(made).add(protocol, 6101, 9101, 600) == 0
        assert outside(made, protocol, 6101) == [9101] * 4
        assert soap(made).delete(protocol, 9101) == 0
        assert outside(made, protocol, 6102) == [6102] * 4


def test_of_another_host_the_mapped_port_is_not_taken_by_the_nat() -> None:
    """RFC 4787 REQ-3: no two hosts share an external port, an explicit mapping included."""
    with bench("natpmp-home") as made:
        Datagrams(made, gateway(made)).pmp(UDP, 6101, 9101, 600)
        other = made.end(UDP, LAN[1], 9101)
        contact = made.contact(other, made.end(UDP, SERVER))
        assert contact
        assert contact.source[1] != 9101


def test_a_second_mapping_of_one_internal_port_returns_the_first() -> None:
    """RFC 6886 section 3.3."""
    with bench("natpmp-home") as made:
        ask = Datagrams(made, gateway(made))
        assert ask.pmp(UDP, 7000, 7000, 600).port == 7000
        again = ask.pmp(UDP, 7000, 7001, 600)
        assert (again.result, again.port) == (0, 7000)


def test_pcp_obeys_prefer_failure_and_holds_a_mapping_to_its_nonce() -> None:
    """RFC 6887 sections 13.2 and 11.3."""
    with bench("pcp-home") as made:
        ask = Datagrams(made, gateway(made)).pcp
        assert ask(UDP, 7000, 7000, 600).port == 7000
        assert ask(UDP, 7001, 7000, 600, options=PREFER_FAILURE).result == CANNOT_PROVIDE
        other = ask(UDP, 7001, 7000, 600)
        assert other.result == 0
        assert other.port != 7000
        assert ask(UDP, 7000, 7000, 600, nonce=ANOTHER).result == NOT_AUTHORIZED
        assert ask(UDP, 7000, 7000, 0, nonce=ANOTHER).result == NOT_AUTHORIZED
        assert ask(UDP, 7000, 7000, 0).result == 0
        assert ask(UDP, 7000, 7000, 600, nonce=ANOTHER).port == 7000


def test_igd_1_has_no_any_port_and_a_lease_of_nothing_is_static() -> None:
    with bench("upnp-home") as made:
        control = soap(made)
        assert control.add(UDP, 7000, 7000, 600, action="AddAnyPortMapping") == 401
        assert control.delete(UDP, 7000) == 714
        assert control.add(UDP, 7000, 7000, 0) == 0
        assert control.lease(UDP, 7000) == "0"
        assert control.delete(UDP, 7000) == 0
        assert control.delete(UDP, 7000) == 714


@pytest.mark.skipif(shutil.which(PROGRAM) is None, reason=f"{PROGRAM} is NOT installed")
def test_miniupnpd_maps_inwards_alone_as_its_profiles_declare() -> None:
    with bench("all-services-home") as made:
        assert Datagrams(made, gateway(made)).pmp(UDP, 6101, 9101, 600).port == 9101
        assert outside(made, UDP, 6101) == [6101] * 4
    profiles = [p for p in catalogue().values() if p.behaviour.port_mapping.offered]
    assert {p.behaviour.port_mapping.mapped_outward for p in profiles} == {True, False}


def test_a_lease_that_ends_takes_the_way_out_with_it() -> None:
    profile = find("pcp-home")
    services = replace(profile.behaviour.port_mapping, min_lease=1)
    profile = replace(profile, behaviour=replace(profile.behaviour, port_mapping=services))
    steps = plan(probe_bench(profile), {profile.name: profile})
    with ExitStack() as stack:
        lab = stack.enter_context(Namespaces().start(steps))
        made = stack.enter_context(Bench(lab))
        made.ready()
        assert Datagrams(made, gateway(made)).pcp(UDP, 6100, 6100, 1).lifetime == 1
        _await_nothing(lab)
        assert 6100 not in outside(made, UDP, 6100)


def _await_nothing(lab: NamespaceLab) -> None:
    end = time.monotonic() + PATIENCE
    while "dport" in lab.services[ROUTER].mappings():
        assert time.monotonic() < end, "waited for the lease to end"
        time.sleep(0.02)


def test_a_gateway_that_starts_says_so_to_all_hosts() -> None:
    """RFC 6886 section 3.2.1: an address announcement, to 224.0.0.1 port 5350."""
    with bench("natpmp-home") as made:
        lab = made.lab
        assert isinstance(lab, NamespaceLab)
        with lab.socket(LAN[0], socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("", 5350))
            sock.settimeout(PATIENCE)
            lab.services[ROUTER].restart()
            data, source = sock.recvfrom(100)
        assert source == (gateway(made), 5351)
        assert data[:4] == b"\0\x80\0\0"
        assert socket.inet_ntoa(data[8:12]) == made.address(ROUTER)
