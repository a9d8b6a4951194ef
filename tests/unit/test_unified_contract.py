"""The unified-testing contract: what peers are told, and the result that is read."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from testbed.errors import PeerError, UsageError
from testbed.lab.audit import _needless
from testbed.model.breach import Claim
from testbed.model.contract import Transport
from testbed.model.lab import Image, Route
from testbed.model.outcome import Outcome
from testbed.model.presets import preset
from testbed.model.saying import EndedBadly
from testbed.nat.load import find
from testbed.plan.planner import plan
from testbed.stacks import registry as adapter
from testbed.stacks.registry import public, stacks
from testbed.stacks.unified import Keys, Part, Places, environment, read_result
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.external import add_stacks
from testbed.studies.punch.mechanisms import of

LAB = plan(
    preset("two-homes", "full-cone", "symmetric"), {n: find(n) for n in ("full-cone", "symmetric")}
)
PLACES = Places(LAB, "a", "b", "server")
# Those that the runner of libp2p/unified-testing sets, and the guide's that differ.
RUNNER = {
    Part.RELAY: {
        *("REDIS_ADDR", "TEST_KEY", "TRANSPORT", "RELAY_IP", "DIALER_LAN_SUBNET", "DEBUG", "MUXER"),
        *("DIALER_ROUTER_IP", "LISTENER_LAN_SUBNET", "LISTENER_ROUTER_IP", "SECURE_CHANNEL"),
    },
    Part.DIALER: {
        *("IS_DIALER", "REDIS_ADDR", "TEST_KEY", "TRANSPORT", "DIALER_IP", "WAN_SUBNET"),
        *("WAN_ROUTER_IP", "DEBUG", "SECURE_CHANNEL", "MUXER"),
    },
    Part.LISTENER: {
        *("IS_DIALER", "REDIS_ADDR", "TEST_KEY", "TRANSPORT", "LISTENER_IP", "WAN_SUBNET"),
        *("WAN_ROUTER_IP", "DEBUG", "SECURE_CHANNEL", "MUXER"),
    },
}
GUIDE = {
    Part.RELAY: {"IS_RELAY"},
    Part.DIALER: {"PEER_IP", "ROUTER_IP"},
    Part.LISTENER: {"PEER_IP", "ROUTER_IP"},
}


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds is gone after it."""
    known = dict(adapter._KNOWN)
    monkeypatch.setattr(adapter, "_KNOWN", known)
    monkeypatch.setattr(adapter, "ADAPTERS", known)
    monkeypatch.setattr("testbed.studies.punch.external.ADAPTERS", known)


@pytest.mark.parametrize("part", Part)
def test_a_peer_is_told_what_the_runner_and_the_guide_tell_it_and_no_more(part: Part) -> None:
    told = dict(environment(part, PLACES, Transport.TCP, Keys.of(1)))
    assert set(told) == RUNNER[part] | GUIDE[part]


def test_a_standalone_transport_has_no_muxer() -> None:
    told = dict(environment(Part.DIALER, PLACES, Transport.UDP, Keys.of(1)))
    assert told["TRANSPORT"] == "quic-v1"
    assert not {"SECURE_CHANNEL", "MUXER"} & set(told)


def test_addresses_are_those_of_the_lab() -> None:
    dialer = dict(environment(Part.DIALER, PLACES, Transport.TCP, Keys.of(1)))
    assert dialer["DIALER_IP"] == dialer["PEER_IP"] == str(LAB.address("a"))
    assert dialer["WAN_ROUTER_IP"] == str(LAB.internal["nat-a"])
    assert LAB.address("server") in IPv4Network(dialer["WAN_SUBNET"])
    relay = dict(environment(Part.RELAY, PLACES, Transport.TCP, Keys.of(1)))
    assert LAB.address("b") in IPv4Network(relay["LISTENER_LAN_SUBNET"])
    assert relay["DIALER_ROUTER_IP"] in {str(r) for r in LAB.owners if LAB.owners[r] == "core"}


def test_keys_have_the_forms_of_the_guide() -> None:
    keys = Keys("a5b50d5e")
    assert keys.relay == b"a5b50d5e_relay_multiaddr"
    assert keys.listener == b"a5b50d5e_listener_peer_id"
    assert Keys.of(7) == Keys.of(7) != Keys.of(8)
    assert len(Keys.of(3).test) == 8


@pytest.mark.parametrize(
    "text",
    [
        "latency:\n  handshake_plus_one_rtt: 61.50\n  ping_rtt: 40.10\n  unit: ms\n",
        "# Measurements from dialer\nhandshakeTime: 61.5\nunit: ms\n",
        "INF something logged: here\nlatency:\n  handshake_plus_one_rtt: 61.5\n",
    ],
)
def test_either_form_of_a_result_is_read(text: str) -> None:
    assert read_result(text, "a") == 61.5


@pytest.mark.parametrize("text", ["", "ok\n", "latency:\n  ping_rtt: 4\n", "handshakeTime: soon\n"])
def test_what_is_no_result_breaks_the_contract(text: str) -> None:
    with pytest.raises(PeerError):
        read_result(text, "a")


def test_a_peer_that_says_only_that_nothing_is_direct_is_believed_unless_something_is() -> None:
    claim = Claim("a", None, EndedBadly(1, ""))
    assert not claim.denied_by(Outcome.RELAYED)
    assert not claim.denied_by(Outcome.NONE)
    assert claim.denied_by(Outcome.DIRECT)


def test_a_stack_of_the_contract_needs_a_relay_and_has_no_controls() -> None:
    assert add_stacks(["mine=sh", "theirs=image:peer:1"], "dcutr_tcp", "unified") == [
        "mine",
        "theirs",
    ]
    ends = stacks("mine+theirs")
    assert ends.needs == {"relay"}
    assert (of(ends).topology, of(ends).controls) == ("two-homes", ())
    assert ends.listener.command() == Image("peer:1")
    assert public("mine", "tcp") is ends.dialer
    assert Cell("mine", ("a", "b"), relay="theirs").relaying is ends.listener


def test_who_follows_another_contract_does_not_understand_it() -> None:
    add_stacks(["mine=sh"], "dcutr_tcp", "unified")
    with pytest.raises(UsageError, match="do not understand each other"):
        stacks("mine+traversal-tcp")
    with pytest.raises(UsageError, match="follows another contract"):
        assert Cell("traversal-tcp", ("a", "b"), relay="mine").relaying


@pytest.mark.parametrize(
    ("stack", "mechanism", "contract", "words"),
    [
        ("mine=sh", "punch_udp", "unified", "one of DCUtR"),
        ("mine=sh", "dcutr_tcp", "telepathy", "unknown contract 'telepathy'"),
        ("mine=image:", "dcutr_tcp", "unified", "names no image"),
        ("mine=image:a b", "dcutr_tcp", "lines", "names no image"),
    ],
)
def test_what_cannot_be_driven_is_refused(
    stack: str, mechanism: str, contract: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        add_stacks([stack], mechanism, contract)


def test_a_strangers_version_is_the_file_and_it_is_not_run() -> None:
    add_stacks(["mine=sh -c 'exit 1'"], "dcutr_tcp", "unified")
    assert adapter.ADAPTERS["mine"].entry.version().startswith("sha256:")  # type: ignore[union-attr]


GATEWAY, OTHER = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.9")
PLANNED = {
    Route(IPv4Network("0.0.0.0/0"), GATEWAY),
    Route(IPv4Network("10.0.0.0/24"), None),
}


@pytest.mark.parametrize(
    ("network", "gateway", "needless"),
    [
        ("29.0.0.32/28", GATEWAY, True),
        ("29.0.0.32/28", OTHER, False),
        ("29.0.0.32/28", None, False),
        ("10.0.0.128/25", GATEWAY, False),  # by the gateway what is on the link
    ],
)
def test_a_route_is_needless_if_it_leads_where_the_default_route_does(
    network: str, gateway: IPv4Address | None, needless: bool
) -> None:
    assert _needless(Route(IPv4Network(network), gateway), PLANNED) is needless
