"""AutoNAT in the model: what it says, what is true, and why the two differ."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import UsageError
from testbed.model.autonat_agent import UNREAD_AUTONAT, AutonatAgent
from testbed.model.behaviour import (
    Allocation,
    Behaviour,
    Filtering,
    Forward,
    Mapping,
    Protocol,
    Transport,
    WanInput,
)
from testbed.model.furnishing import behaviours
from testbed.model.presets import FOLDER, libp2p, observers, preset
from testbed.model.statement.reachability import (
    NoneAsked,
    NotAsked,
    ServerOpened,
    TooFewAgree,
)
from testbed.model.topology import INTERNET, Router, Topology
from testbed.nat.load import catalogue
from testbed.predict.autonat import (
    Address,
    AddressVerdict,
    NodeVerdict,
    Prediction,
    Reachability,
    between,
    predict,
)
from testbed.stacks.registry import public
from testbed.studies.autonat.study import AutonatCase

EIM, ADM, APDM = Mapping.ENDPOINT_INDEPENDENT, Mapping.ADDRESS_DEPENDENT, (
    Mapping.ADDRESS_AND_PORT_DEPENDENT
)  # fmt: skip
EIF, ADF, APDF = (
    Filtering.ENDPOINT_INDEPENDENT,
    Filtering.ADDRESS_DEPENDENT,
    Filtering.ADDRESS_AND_PORT_DEPENDENT,
)
IN, OUT, UNASKED = (
    Address(True, AddressVerdict.REACHABLE),
    Address(False, AddressVerdict.UNREACHABLE),
    Address(False, AddressVerdict.UNKNOWN),
)
CATALOGUE = catalogue()
both = pytest.mark.parametrize("protocol", Protocol)
HOME = observers("linux-home")
CLIENT_PORT = HOME.port("a")


def at_home(behaviour: Behaviour, protocol: Protocol, *rest: Any, **more: Any) -> Prediction:
    return predict(HOME, {"nat-a": behaviour}, protocol, *rest, **more)


def asking(servers: int) -> Topology:
    """The world with so few observers."""
    left = HOME.observers[:servers]
    return replace(HOME, roles=replace(HOME.roles, observers=left))


def agent(stack: str) -> AutonatAgent:
    """As the folder of the stack describes it."""
    return public(stack, "tcp", "autonat_client").autonat


def behind(
    mapping: Mapping,
    filtering: Filtering,
    protocol: Protocol = Protocol.UDP,
    rules: AutonatAgent = UNREAD_AUTONAT,
    topology: Topology = HOME,
    **rest: object,
) -> Prediction:
    allocation = Allocation.PRESERVING if mapping is EIM else Allocation.RANDOM
    axes = Transport(mapping, filtering, allocation)
    behaviour = replace(Behaviour(udp=axes, tcp=axes), **rest)  # type: ignore[arg-type]
    return predict(topology, {"nat-a": behaviour}, protocol, rules)


@both
def test_endpoint_independent_filtering_is_public_and_both_versions_say_so(
    protocol: Protocol,
) -> None:
    found = behind(EIM, EIF, protocol)
    assert found == Prediction(Reachability(NodeVerdict.PUBLIC, (IN,)), ())


@both
def test_port_dependent_filtering_is_private_and_both_versions_say_so(protocol: Protocol) -> None:
    found = behind(EIM, APDF, protocol)
    assert found == Prediction(Reachability(NodeVerdict.PRIVATE, (OUT,)), ())


@both
def test_address_dependent_filtering_deceives_both_versions(protocol: Protocol) -> None:
    found = behind(EIM, ADF, protocol)
    deceived = Address(False, AddressVerdict.REACHABLE)
    assert found.outcome == Reachability(NodeVerdict.PUBLIC, (deceived,))
    (note,) = found.notes
    assert note == ServerOpened(("v1", "v2"))


@pytest.mark.parametrize("mapping", [ADM, APDM])
def test_a_mapping_for_each_server_lets_version_2_escape_the_deception(mapping: Mapping) -> None:
    """Three servers in four have never been contacted from the address in question."""
    found = behind(mapping, ADF)
    assert found.outcome == Reachability(NodeVerdict.PUBLIC, tuple(sorted([UNASKED] + 3 * [OUT])))
    assert found.notes[0] == ServerOpened(("v1",))


@pytest.mark.parametrize("mapping", [ADM, APDM])
def test_a_symmetric_mapping_leaves_addresses_nobody_asks_about(mapping: Mapping) -> None:
    found = behind(mapping, APDF)
    assert found.outcome == Reachability(NodeVerdict.PRIVATE, tuple(sorted([UNASKED] + 3 * [OUT])))
    assert found.notes == (NotAsked(unasked=1, addresses=4, asked=3),)


def test_a_node_that_asks_only_about_what_all_observe_has_no_verdict_behind_symmetric() -> None:
    """go-libp2p's activation threshold: with ``asked`` 0 nothing is presented."""
    found = behind(APDM, APDF, rules=AutonatAgent(asked=0))
    assert {address.v2 for address in found.outcome.addresses} == {AddressVerdict.UNKNOWN}


def test_a_port_forward_is_reachable_whatever_the_filter() -> None:
    forward = Forward(Protocol.UDP, CLIENT_PORT, 0, CLIENT_PORT)
    found = behind(EIM, APDF, forwards=(forward,))
    assert found == Prediction(Reachability(NodeVerdict.PUBLIC, (IN,)), ())


def test_a_forward_to_another_transport_changes_nothing() -> None:
    forward = Forward(Protocol.TCP, CLIENT_PORT, 0, CLIENT_PORT)
    assert behind(EIM, APDF, forwards=(forward,)) == behind(EIM, APDF)


def test_a_firewall_without_translation_is_judged_at_the_nodes_own_address() -> None:
    found = behind(Mapping.NONE, APDF)
    assert found.outcome == Reachability(NodeVerdict.PRIVATE, (OUT,))


def test_who_reaches_no_server_gets_no_verdict() -> None:
    axes = Transport(EIM, APDF, blocked=True)
    found = at_home(Behaviour(udp=axes), Protocol.UDP)
    assert found.outcome == Reachability(NodeVerdict.UNKNOWN, (UNASKED,))
    assert found.notes == (NoneAsked(),)


def test_a_router_that_takes_packets_itself_is_not_a_node_that_is_reached() -> None:
    assert behind(EIM, APDF, wan_input=WanInput.ACCEPT).outcome.v1 is NodeVerdict.PRIVATE


def test_three_servers_are_too_few_for_version_1_and_enough_for_version_2() -> None:
    found = behind(EIM, EIF, topology=asking(3))
    assert found.outcome == Reachability(NodeVerdict.UNKNOWN, (IN,))
    assert found.notes == (TooFewAgree("v1"),)


def test_two_servers_are_too_few_for_either() -> None:
    found = behind(EIM, EIF, topology=asking(2))
    assert found.outcome == Reachability(
        NodeVerdict.UNKNOWN, (Address(True, AddressVerdict.UNKNOWN),)
    )
    assert found.notes == (TooFewAgree("v1"), TooFewAgree("v2"))


@both
def test_a_client_that_needs_observers_to_agree_asks_about_nothing_behind_a_dependent_nat(
    protocol: Protocol,
) -> None:
    go = agent("go")
    found = behind(APDM, ADF, protocol, go)
    assert {one.v2 for one in found.outcome.addresses} == {AddressVerdict.UNKNOWN}
    unasked = [note for note in found.notes if isinstance(note, NotAsked)]
    assert [note.asked for note in unasked] == [0]
    assert behind(EIM, EIF, protocol, go).outcome == behind(EIM, EIF, protocol).outcome


@pytest.mark.parametrize("protocol", Protocol)
def test_who_takes_its_own_port_for_the_observed_one_asks_about_an_address_of_nobody(
    protocol: Protocol,
) -> None:
    found = behind(APDM, APDF, protocol, agent("rust")).outcome
    assert found.v1 is NodeVerdict.PRIVATE
    assert sorted(found.addresses) == sorted([UNASKED] * 4 + [OUT])


def test_a_server_that_adds_nothing_refuses_who_asks_about_nothing() -> None:
    behaviour = Behaviour(udp=Transport(APDM, APDF), tcp=Transport(APDM, APDF))
    asked = {
        adding: at_home(behaviour, Protocol.TCP, agent("go"), adding=adding).outcome.v1
        for adding in (True, False)
    }
    assert asked == {True: NodeVerdict.PRIVATE, False: NodeVerdict.UNKNOWN}


@pytest.mark.parametrize("protocol", Protocol)
def test_gos_answer_to_a_nonce_is_lost_on_rust_over_quic_alone(protocol: Protocol) -> None:
    opened = Behaviour(udp=Transport(EIM, EIF), tcp=Transport(EIM, EIF))
    closed = Behaviour(udp=Transport(EIM, APDF), tcp=Transport(EIM, APDF))

    def v2(behaviour: Behaviour, client: str, server: str) -> AddressVerdict:
        behaviours, ends = {"nat-a": behaviour}, (agent(client), agent(server))
        [address] = between(HOME, behaviours, protocol, *ends).outcome.addresses
        return address.v2

    lost = protocol is Protocol.UDP
    expected = AddressVerdict.UNKNOWN if lost else AddressVerdict.REACHABLE
    assert v2(opened, "go", "rust") is expected
    assert v2(closed, "go", "rust") is AddressVerdict.UNREACHABLE
    for pair in (("go", "go"), ("go", "traversal"), ("rust", "rust"), ("traversal", "rust")):
        assert v2(opened, *pair) is AddressVerdict.REACHABLE


def test_two_nats_in_a_row_are_as_closed_as_the_more_closed_of_them() -> None:
    """The home lets everybody in, and its carrier nobody whom it has not seen."""
    nested = replace(
        libp2p(),
        routers=(Router("cgn", INTERNET, "lan-b", "any"), Router("nat-a", "lan-b", "lan-a", "any")),
        hosts=tuple(host for host in libp2p().hosts if host.name != "b"),
    )
    open_home, strict = (Behaviour(udp=Transport(EIM, one)) for one in (EIF, APDF))
    for inner, outer, expected in ((open_home, strict, OUT), (open_home, open_home, IN)):
        behaviours = {"nat-a": inner, "cgn": outer}
        found = predict(nested, behaviours, Protocol.UDP)
        assert found.outcome.addresses == (expected,)


def test_a_client_on_the_internet_is_reached_where_it_is_seen() -> None:
    public = replace(
        HOME,
        networks=(HOME.networks[0],),
        routers=(),
        hosts=tuple(replace(host, network=INTERNET) for host in HOME.hosts),
    )
    found = predict(public, {}, Protocol.TCP)
    assert found == Prediction(Reachability(NodeVerdict.PUBLIC, (IN,)), ())


SERVED = preset("home-observers", "linux-home")


def served(nat: str, protocol: Protocol, topology: Topology = SERVED) -> Prediction:
    """Of a node behind ``nat``, whose servers are behind routers of their own."""
    declared = behaviours(topology, CATALOGUE) | {"nat-a": CATALOGUE[nat].behaviour}
    return predict(topology, declared, protocol)


@both
@pytest.mark.parametrize("nat", ["full-cone", "restricted-cone", "port-restricted", "symmetric"])
def test_a_server_behind_a_router_that_leads_to_it_says_what_a_public_one_does(
    nat: str, protocol: Protocol
) -> None:
    assert served(nat, protocol) == at_home(CATALOGUE[nat].behaviour, protocol)


@both
def test_a_server_that_no_port_leads_to_is_not_asked(protocol: Protocol) -> None:
    shut = [replace(router, forwards=()) for router in SERVED.routers]
    fewer = replace(SERVED, routers=tuple(shut))
    left = [one for one in SERVED.observers if one in ("observer-3", "observer-4")]
    found = served("full-cone", protocol, fewer)
    assert found == at_home_with(len(left), protocol)
    assert found.notes


def at_home_with(servers: int, protocol: Protocol) -> Prediction:
    declared = {"nat-a": CATALOGUE["full-cone"].behaviour}
    return predict(asking(servers), declared, protocol)


@both
def test_servers_whose_routers_let_nothing_out_dial_nobody_back(protocol: Protocol) -> None:
    """They are asked by a port that leads in, and their own dials end at their routers."""
    mute = Transport(allowed_ports=(9,))
    declared = behaviours(SERVED, CATALOGUE) | {"nat-a": CATALOGUE["full-cone"].behaviour}
    for home in ("home-1", "home-2", "home-3"):
        declared[home] = replace(declared[home], udp=mute, tcp=mute)
    found = predict(SERVED, declared, protocol).outcome
    assert found.v1 is NodeVerdict.UNKNOWN  # one of four says that it came through
    assert found.addresses == (Address(True, AddressVerdict.UNREACHABLE),)


def test_a_server_that_shares_a_nat_with_who_asks_is_refused(tmp_path: Path) -> None:
    text = (FOLDER / "home-observers.toml").read_text(encoding="utf-8")
    mine = tmp_path / "mine.toml"
    apart = 'network = "lan-4"'
    mine.write_text(text.replace(apart, 'network = "lan-a"'), encoding="utf-8")
    AutonatCase(CATALOGUE["full-cone"], topology="home-observers").require_possible()
    with pytest.raises(UsageError, match="observer-4 is behind nat-a, as a is"):
        AutonatCase(CATALOGUE["full-cone"], topology=str(mine)).require_possible()
