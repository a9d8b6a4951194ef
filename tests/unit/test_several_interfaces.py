"""Hosts with several interfaces, routers with several uplinks, and tunnels: the model and plans."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from textwrap import dedent

import pytest

from testbed.compose.project import render
from testbed.compose.source import Source
from testbed.errors import TestbedError, TopologyError, UsageError
from testbed.model.behaviour import Behaviour, Protocol
from testbed.model.ice_agent import UNREAD
from testbed.model.outcome import Outcome
from testbed.model.plan import AddLink, AddRoute, AddRule, LoadRules, Plan
from testbed.model.presets import FOLDER, preset
from testbed.model.reason import Unlearned
from testbed.model.topology import (
    INTERNET,
    TUNNEL_MTU,
    TUNNEL_PORT,
    Host,
    Interface,
    Network,
    Router,
    Scope,
    Topology,
)
from testbed.model.trace import Kind, Place
from testbed.model.world import parse
from testbed.nat.load import catalogue
from testbed.plan.planner import plan
from testbed.predict.ice import ICE
from testbed.predict.network import Network as Model
from testbed.predict.network import addresses_of
from testbed.predict.packet import Packet
from testbed.predict.prediction import predict
from testbed.predict.punching import PUNCH_UDP
from testbed.verdict.sanity import _round_trip_ms

CATALOGUE = catalogue()
PHONE = preset("dual-homed-phone")
UPLINKS = preset("two-uplinks")
VPN = preset("vpn-on")


def behaviours(topology: Topology) -> dict[str, Behaviour]:
    return {router.name: CATALOGUE[router.profile].behaviour for router in topology.routers}


def planned(topology: Topology) -> Plan:
    return plan(topology, CATALOGUE)


def source_at_server(
    topology: Topology, source: str, nats: dict[str, Behaviour] | None = None
) -> Place | None:
    """Where the server sees a datagram from that a host sends from its address ``source``."""
    model = Model(topology, nats or behaviours(topology))
    seen: list[Place] = []
    model.run(1.0)
    model.bind("server", Protocol.UDP, 9000, lambda packet: seen.append(packet.source))
    ends = Place(source, 4001), Place("server", 9000)
    model.send(Packet(Protocol.UDP, *ends, Kind.DATAGRAM, source.partition("#")[0]))
    model.run(2.0)
    return seen[0] if seen else None


# -- hosts ---------------------------------------------------------------------


def test_the_way_out_follows_the_interface() -> None:
    wifi, cellular = PHONE.host("phone").interfaces
    assert (wifi.name, cellular.name) == ("eth0", "eth1")
    assert [r.name for r in PHONE.path_out("phone")] == ["nat-a"]
    assert [r.name for r in PHONE.path_out("phone", cellular)] == ["cgn"]
    assert PHONE.around("phone") == ("phone", "nat-a", "cgn")
    assert [r.name for r in PHONE.switched("phone", "eth1").path_out("phone")] == ["cgn"]


def test_each_interface_has_a_table_that_its_addresses_ask_first() -> None:
    steps = planned(PHONE)
    wifi, cellular = steps.addresses["phone"]
    assert steps.address("phone") == wifi == steps.address_on("phone", "wifi")
    rules = {step.source: step.table for step in steps.of(AddRule)}
    assert rules.keys() == {wifi, cellular}
    routes = [step for step in steps.of(AddRoute) if step.node == "phone"]
    by = {step.table: step.ifname for step in routes if step.table in rules.values()}
    assert (by[rules[wifi]], by[rules[cellular]]) == ("eth0", "eth1")
    preferred = min((r for r in routes if r.table == 254), key=lambda r: r.metric)
    assert preferred.ifname == "eth0"


def test_a_host_of_one_interface_needs_no_rules_of_routing() -> None:
    assert not planned(preset("two-homes")).of(AddRule)


def test_of_the_model_the_source_address_chooses_the_nat() -> None:
    places = [source_at_server(PHONE, name) for name in ("phone", "phone#1")]
    assert [place and place.address for place in places] == ["nat-a", "cgn"]


def test_the_sane_round_trip_is_that_of_the_interface() -> None:
    assert _round_trip_ms(PHONE, "phone", "server") == 2 * (2 + 10 + 10)
    assert _round_trip_ms(PHONE, "phone", "server", "eth1") == 2 * (20 + 10 + 10)


@pytest.mark.parametrize(
    ("profile", "outcome"), [("linux-home", Outcome.DIRECT), ("symmetric", Outcome.NONE)]
)
def test_a_punch_is_predicted_by_the_preferred_interface(profile: str, outcome: Outcome) -> None:
    """The carrier's NAT is a kind one; that of the Wi-Fi decides."""
    topology = preset("dual-homed-phone", profile, "port-restricted")
    ends = topology.roles.a, topology.roles.b
    assert predict(topology, behaviours(topology), PUNCH_UDP, *ends).outcome is outcome


@pytest.mark.parametrize(("every", "outcome"), [(True, Outcome.DIRECT), (False, Outcome.RELAYED)])
def test_an_ice_agent_that_is_told_of_cellular_gets_around_the_wifis_nat(
    every: bool, outcome: Outcome
) -> None:
    topology = preset("dual-homed-phone", "symmetric", "port-restricted")
    agents = replace(UNREAD, every_interface=every), UNREAD
    ends = topology.roles.a, topology.roles.b
    assert predict(topology, behaviours(topology), ICE, *ends, agents=agents).outcome is outcome


def test_an_ice_agent_finds_the_way_beside_a_tunnel() -> None:
    """What WebRTC is known for: the candidates of the interface below the VPN connect, too."""
    topology = preset("vpn-on", "symmetric", "port-restricted")
    ends, agent = (topology.roles.a, topology.roles.b), replace(UNREAD, every_interface=True)
    for agents, outcome in (((agent, UNREAD), Outcome.DIRECT), ((UNREAD, UNREAD), Outcome.RELAYED)):
        told = predict(topology, behaviours(topology), ICE, *ends, agents=agents)
        assert told.outcome is outcome


# -- routers -------------------------------------------------------------------


def test_a_router_maps_to_the_uplink_in_use() -> None:
    topology = preset("two-uplinks", "symmetric")
    steps = planned(topology)
    own = steps.addresses["nat-a"]
    (rules,) = [step.text for step in steps.of(LoadRules) if step.node == "nat-a"]
    assert str(own[0]) in rules
    assert '"wan"' in rules
    switched = planned(topology.switched("nat-a", "wan1"))
    (rules,) = [step.text for step in switched.of(LoadRules) if step.node == "nat-a"]
    assert str(switched.addresses["nat-a"][0]) in rules
    assert '"wan1"' in rules
    assert switched.addresses["nat-a"][0] == own[1]


def test_after_a_failover_the_model_leaves_by_the_other_uplink() -> None:
    before, after = UPLINKS, UPLINKS.switched("nat-a", "wan1")
    places = [source_at_server(topology, "a") for topology in (before, after)]
    assert [place and place.address for place in places] == ["nat-a", "cgn"]
    assert [r.name for r in after.path_out("a")] == ["nat-a", "cgn"]


def test_two_uplinks_on_the_internet_have_a_subnet_and_a_wire_each() -> None:
    line = Router("r", INTERNET, "lan", "linux-home", more=(Interface(INTERNET),))
    topology = Topology(
        "x",
        (Network(INTERNET, Scope.PUBLIC), Network("lan", Scope.PRIVATE)),
        (line,),
        (Host("a", "lan"),),
    )
    links = [link for link in planned(topology).of(AddLink) if link.a.node == "r"]
    assert [link.name for link in links] == ["r-core", "r:wan1-core"]
    assert len({link.a.addresses[0].network for link in links}) == 2
    assert len({link.b.ifname for link in links}) == 2


def test_a_router_without_nat_has_one_uplink() -> None:
    with pytest.raises(TopologyError, match="does not translate, and has several uplinks"):
        planned(preset("two-uplinks", "firewall"))


# -- tunnels -------------------------------------------------------------------


def test_with_the_tunnel_on_the_way_out_is_the_servers() -> None:
    assert [r.name for r in VPN.path_out("laptop")] == ["vpn-server"]
    assert VPN.around("laptop") == ("laptop", "vpn-server", "nat-a")
    place = source_at_server(VPN, "laptop")
    assert place is not None
    assert place.address == "vpn-server"
    off = VPN.switched("laptop", "eth0")
    assert [r.name for r in off.path_out("laptop")] == ["nat-a"]


def test_a_tunnel_is_planned_between_the_outer_addresses() -> None:
    steps = planned(VPN)
    (link,) = [link for link in steps.of(AddLink) if link.tunnel is not None]
    assert link.tunnel is not None
    assert link.a.ifname == "tun0"
    assert link.tunnel.near == steps.address_on("laptop", "house")
    assert link.tunnel.far == steps.address("vpn-server")
    assert link.mtu == TUNNEL_MTU
    assert link.a_to_b.delay_ms == 20  # by the NAT's link and the server's
    (rules,) = [step.text for step in steps.of(LoadRules) if step.node == "vpn-server"]
    assert f"udp dport {TUNNEL_PORT} accept" in rules
    others = [step.text for step in steps.of(LoadRules) if step.node != "vpn-server"]
    assert not any(str(TUNNEL_PORT) in text for text in others)


def test_a_tunnel_at_the_port_of_names_passes_where_nothing_else_does() -> None:
    """A hotel that lets out DNS alone."""
    home = CATALOGUE["linux-home"]
    udp = replace(home.behaviour.udp, allowed_ports=(53,))
    narrow = replace(home, name="narrow", behaviour=replace(home.behaviour, udp=udp))
    text = (FOLDER / "vpn-on.toml").read_text(encoding="utf-8")
    text = text.replace('profile = "linux-home"', 'profile = "narrow"', 1)  # nat-a's
    known = {**CATALOGUE, "narrow": narrow}
    for port, passes in ((53, True), (TUNNEL_PORT, False)):
        mine = text.replace('over = "house"', f'over = "house", port = {port}')
        there = parse(mine, "mine", "mine.toml").topology("mine")
        assert there.routers[0].profile == "narrow"
        steps = plan(there, known)
        (link,) = [link for link in steps.of(AddLink) if link.tunnel is not None]
        assert link.tunnel is not None
        assert link.tunnel.port == port
        (rules,) = [step.text for step in steps.of(LoadRules) if step.node == "vpn-server"]
        assert f"udp dport {port} accept" in rules
        nats = {one.name: known[one.profile].behaviour for one in there.routers}
        assert (source_at_server(there, "laptop", nats) is not None) is passes


def test_a_port_is_that_of_a_tunnel_alone() -> None:
    text = (FOLDER / "vpn-on.toml").read_text(encoding="utf-8")
    with pytest.raises(TopologyError, match="it is that of a tunnel"):
        parse(text.replace('{ network = "house" }', '{ network = "house", port = 53 }'), "m", "m")


def test_a_tunnel_that_the_outer_nat_blocks_carries_nothing() -> None:
    blocked = tuple(
        replace(router, profile="udp-blocked") if router.name == "nat-a" else router
        for router in VPN.routers
    )
    assert source_at_server(replace(VPN, routers=blocked), "laptop") is None
    assert source_at_server(replace(VPN, routers=blocked), "laptop#1") is None


@pytest.mark.parametrize(
    ("profile", "outcome"), [("linux-home", Outcome.DIRECT), ("symmetric", Outcome.NONE)]
)
def test_behind_a_tunnel_the_servers_nat_decides(profile: str, outcome: Outcome) -> None:
    topology = preset("vpn-on", profile, "port-restricted")
    ends = topology.roles.a, topology.roles.b
    told = predict(topology, behaviours(topology), PUNCH_UDP, *ends)
    assert told.outcome is outcome
    assert not isinstance(told.reason, Unlearned)


# -- what is refused -----------------------------------------------------------


def lan_with(*interfaces: Interface) -> Topology:
    first, *more = interfaces
    return Topology(
        "x",
        (
            Network(INTERNET, Scope.PUBLIC),
            Network("lan", Scope.PRIVATE),
            Network("vpn", Scope.PRIVATE),
        ),
        (Router("r", INTERNET, "lan", "p"), Router("v", INTERNET, "vpn", "p")),
        (Host("a", first.network, more=tuple(more)),),
    )


@pytest.mark.parametrize(
    ("interfaces", "said"),
    [
        ((Interface("lan"), Interface("lan")), "two interfaces on network 'lan'"),
        ((Interface("lan"), Interface("nowhere")), "unknown network 'nowhere'"),
        ((Interface("lan"), Interface(INTERNET, over="lan")), "a router on the internet must"),
        ((Interface("lan"), Interface("vpn", over="vpn")), "another interface must be there"),
        ((Interface("lan"), Interface("vpn", over="home")), "another interface must be there"),
    ],
)
def test_interfaces_that_cannot_be_are_refused(interfaces: Sequence[Interface], said: str) -> None:
    with pytest.raises(TopologyError, match=said):
        lan_with(*interfaces)


def test_a_tunnel_over_a_tunnel_is_refused() -> None:
    other = Host("b", "vpn", more=(Interface("lan"),))
    sound = lan_with(Interface("lan"), Interface("vpn", over="lan"))
    with pytest.raises(TopologyError, match="reached by a tunnel itself"):
        replace(
            sound,
            networks=(*sound.networks, Network("third", Scope.PRIVATE)),
            routers=(*sound.routers, Router("w", INTERNET, "third", "p")),
            hosts=(*sound.hosts, replace(other, more=(Interface("third", over="vpn"),))),
        )


def test_an_interface_that_is_not_there_cannot_be_switched_to() -> None:
    with pytest.raises(TopologyError, match="no interface 'eth7'"):
        PHONE.switched("phone", "eth7")


BOTH = "interfaces = [{network = 'one'}, {network = 'two'}]"
HEAD = dedent("""\
    title = "t"
    source = "none: a test"
    [networks]
    one = "private"
    two = "private"
    [routers.r]
    wan = "internet"
    lan = "one"
    profile = "p"
    [routers.s]
    lan = "two"
    profile = "p"
""")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("wan = 'internet'\n[hosts.a]", "14: hosts.a: missing key 'network', or 'interfaces'"),
        ("[hosts.a]\nnetwork = 'one'", "10: routers.s: missing key 'wan', or 'uplinks'"),
        (
            f"wan = 'internet'\n[hosts.a]\nnetwork = 'one'\n{BOTH}",
            "15: hosts.a.network: write it in each of 'interfaces'",
        ),
        (
            "wan = 'internet'\n[hosts.a]\ninterfaces = [{network = 'one'}]",
            "15: hosts.a.interfaces: of one, write 'network'",
        ),
        (
            f"wan = 'internet'\n[hosts.a]\ndefault = 'three'\n{BOTH}",
            "15: hosts.a.default: no interface is on 'three'",
        ),
        (
            "wan = 'internet'\n[hosts.a]\n" + BOTH.replace("'one'", "'one', link = 'none'"),
            "15: hosts.a.interfaces.0.link: unknown link 'none'",
        ),
        (
            "wan = 'internet'\n[hosts.a]\n"
            + BOTH.replace("'two'", "'two', over = 'one', link = 'x'"),
            "15: hosts.a.interfaces.1.link: a tunnel's delays and losses are those of what",
        ),
        (
            "uplinks = [{wan = 'internet', adresses = 2}, {wan = 'one'}]\n",
            "13: routers.s.uplinks.0.adresses: unknown key",
        ),
    ],
)
def test_a_file_that_says_it_wrongly_is_refused_with_its_line(lines: str, said: str) -> None:
    with pytest.raises(TestbedError) as error:
        parse(f"{HEAD}{lines}\n", "mine", "mine.toml")
    assert f"mine.toml:{said}" in error.value.message


def test_a_compose_project_of_several_interfaces_is_refused() -> None:
    for world, said in (("dual-homed-phone", "2 interfaces"), ("two-uplinks", "2 uplinks")):
        with pytest.raises(UsageError, match=said):
            render(Source(world, ()))


def test_addresses_are_named_in_the_order_of_the_plan() -> None:
    host = replace(VPN.host("laptop"), addresses=2)
    assert addresses_of(host, host.interfaces[1]) == ("laptop#1", "laptop#2")
    steps = planned(VPN)
    assert steps.addresses["laptop"] == (
        steps.address_on("laptop", "vpn"),
        steps.address_on("laptop", "house"),
    )
    assert steps.owners[IPv4Address(steps.address("laptop"))] == "laptop"
