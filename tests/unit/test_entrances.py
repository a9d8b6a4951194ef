"""A host behind NATs is known by the outermost address, at the port that leads to it."""

from ipaddress import IPv4Address

import pytest

from testbed.model.behaviour import Protocol
from testbed.model.entrance import RELAY_PORTS, entrance, reached_ports
from testbed.model.furnishing import behaviours
from testbed.model.packet import Endpoint
from testbed.model.plan import Plan
from testbed.model.presets import two_homes
from testbed.model.topology import Topology
from testbed.model.world import parse
from testbed.nat.load import catalogue
from testbed.plan.planner import plan
from testbed.predict.network import Network
from testbed.predict.turn import relays
from testbed.stacks.coturn import Coturn, command
from testbed.stacks.services import _coturn

CATALOGUE = catalogue()
DEEP = """\
title = "A server behind a wall and two NATs"
source = "none: an example"

[networks]
street = "shared"
home = "private"
dmz = "private"

[routers.outer]
wan = "internet"
lan = "street"
profile = "linux-home"

[routers.outer.forwards]
"tcp/8443" = "inner:9443"
"udp/49160-49163" = "inner"
"udp/49170" = "inner:49171"

[routers.inner]
wan = "street"
lan = "home"
profile = "linux-home"

[routers.inner.forwards]
"tcp/9443" = "server:443"
"udp/49152-49180" = "server"
"udp/3478" = "server"

[routers.other]
wan = "internet"
lan = "dmz"
profile = "firewall"

[hosts.server]
network = "home"

[hosts.phone]
network = "street"

[hosts.walled]
network = "dmz"

[hosts.public]
network = "internet"
"""


def deep(text: str = DEEP) -> Topology:
    return parse(text, "deep", "deep.toml").topology("deep")


def found(host: str, protocol: Protocol, port: int) -> tuple[str, int, bool]:
    return entrance(deep(), behaviours(deep(), CATALOGUE), host, protocol, port)[:3]


def planned(text: str = DEEP) -> Plan:
    return plan(deep(text), CATALOGUE)


def test_a_forward_of_each_nat_leads_in() -> None:
    assert found("server", Protocol.TCP, 443) == ("outer", 8443, True)


def test_where_one_nat_forwards_nothing_its_own_port_is_told_in_vain() -> None:
    assert found("server", Protocol.UDP, 3478) == ("outer", 3478, False)
    assert found("server", Protocol.UDP, 443) == ("outer", 443, False)


def test_a_port_that_the_profile_forwards_leads_in_as_well() -> None:
    topology = two_homes("port-forward", "symmetric")
    declared = behaviours(topology, CATALOGUE)
    assert entrance(topology, declared, "a", Protocol.UDP, 4011) == ("nat-a", 4011, True, 0)
    assert entrance(topology, declared, "a", Protocol.UDP, 4012) == ("nat-a", 4012, False, 0)
    assert entrance(topology, declared, "b", Protocol.UDP, 4011) == ("nat-b", 4011, False, 0)


@pytest.mark.parametrize("host", ["public", "walled"])
def test_a_host_that_nobody_translates_is_known_by_its_own_address(host: str) -> None:
    assert found(host, Protocol.UDP, 7) == (host, 7, True)


def test_model_and_plan_know_one_entrance() -> None:
    network = Network(deep(), behaviours(deep(), CATALOGUE))
    for host in ("server", "phone", "walled", "public"):
        for protocol, port in ((Protocol.TCP, 443), (Protocol.UDP, 49160)):
            place = network.entrance(host, protocol, port)
            endpoint = planned().entrance(host, protocol, port)
            assert planned().address(place.address) == endpoint.address
            assert place.port == endpoint.port


def test_a_relay_uses_the_ports_that_every_nat_forwards_as_they_are() -> None:
    assert reached_ports(deep(), behaviours(deep(), CATALOGUE), "server", RELAY_PORTS) == (
        49160,
        49163,
    )
    assert planned().reached_ports("public", RELAY_PORTS) == RELAY_PORTS
    assert planned().reached_ports("phone", RELAY_PORTS) == RELAY_PORTS


def test_what_is_sent_to_a_nat_is_meant_for_whom_it_forwards_to() -> None:
    made = planned()
    outer = made.address("outer")
    assert made.meant(Endpoint(outer, 8443)) == "server"
    assert made.meant(Endpoint(outer, 1)) == "outer"  # of two hosts behind it: who knows?
    assert made.meant(Endpoint(made.address("inner"), 1)) == "server"  # it is alone
    assert made.meant(Endpoint(made.address("public"), 1)) == "public"
    assert made.meant(Endpoint(IPv4Address("192.0.2.1"), 1)) is None


def test_coturn_tells_the_nats_address_and_relays_at_the_open_ports() -> None:
    made = planned()
    own, outer = made.address("server"), made.address("outer")
    config = _coturn(made, "server")
    assert config == Coturn((own,), ports=(49160, 49163), external=outer)
    words = command(config)
    assert {f"--external-ip={outer}/{own}", f"--allowed-peer-ip={own}"} <= set(words)
    assert {"--min-port=49160", "--max-port=49163"} <= set(words)


def test_a_public_coturn_is_told_nothing_of_nats() -> None:
    words = command(_coturn(planned(), "public"))
    assert not [word for word in words if "external" in word or "allowed" in word]


def test_the_models_relay_is_told_the_same() -> None:
    network = Network(deep(), behaviours(deep(), CATALOGUE))
    at = relays(network, "server")
    assert (at.outside, at.ports) == ("outer", (49160, 49163))
