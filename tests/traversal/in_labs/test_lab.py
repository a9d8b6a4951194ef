"""Through real NATs in namespaces: what is measured there, not on loopback."""

import json
import re

import pytest

from testbed.traversal.security import TLS

from .lab import Remote, World, world

BOTH = pytest.mark.parametrize("transport", ["tcp", "udp"])
pytestmark = pytest.mark.timeout(120)
# An attempt that must succeed has the node's own five seconds: a busy machine costs two.
STRAIGHT = {"reversal_timeout": 1.0}
QUICK = STRAIGHT | {"punch_timeout": 2.0}


def mapped(w: World, node: Remote, router: str, observer: Remote) -> set[tuple[str, int]]:
    """Where the router's conntrack has mapped the node's flow to an observer."""
    table = w.lab.run(router, ["cat", "/proc/net/nf_conntrack"]).decode()
    found = set()
    for line in table.splitlines():
        fields = re.findall(r"(src|dst|sport|dport)=(\S+)", line)
        if len(fields) < 8 or w.transport not in line.split():
            continue
        original, reply = dict(fields[:4]), dict(fields[4:8])
        if (original["src"], original["sport"]) != (node.ip, str(node.port)):
            continue
        if original["dst"] == observer.ip:
            found.add((reply["dst"], int(reply["dport"])))
    return found


@BOTH
@pytest.mark.parametrize("profile", ["eim-eif", "adm-adf", "apdm-apdf", "linux-home"])
def test_the_observed_address_is_what_the_router_has_mapped(profile: str, transport: str) -> None:
    with world(profile, None, transport) as w:
        w.observe(w.a)
        w.a.ask("addresses")  # brings in the events
        seen = [e for e in w.a.events if e["event"] == "AddressObserved"]
        assert len({e["observer"] for e in seen}) == 4
        for observer in w.observers:
            [event] = [e for e in seen if f"/{observer.ip}/" in e["observer"]]
            _, _, ip, _, port, *_ = event["observed"].split("/")
            assert mapped(w, w.a, "nat-a", observer) == {(ip, int(port))}


@BOTH
@pytest.mark.parametrize(
    ("profile", "mapping"),
    [("eim-apdf", "endpoint_independent"), ("apdm-apdf", "endpoint_dependent"), (None, "none")],
)
def test_the_mapping_behaviour_is_inferred_from_four_observers(
    profile: str | None, mapping: str, transport: str
) -> None:
    with world(profile, None, transport) as w:
        w.observe(w.a)
        key = {"tcp": "tcp", "udp": "quic-v1"}[transport]
        assert w.a.ask("addresses")[key] == mapping


@BOTH
def test_a_punch_goes_connect_connect_sync_and_then_leaves_the_relay(transport: str) -> None:
    with world("port-restricted", "port-restricted", transport, upgrade=STRAIGHT) as w:
        w.observe(w.a, w.b)
        w.relayed()
        w.a.ask("wait_direct", peer=w.b.peer, timeout=30)
        for node in (w.a, w.b):
            assert node.wait_any(10, "Upgraded")["how"] == "punched"
            node.wait_any(10, "RelayLeft")
        assert [e["step"] for e in w.b.events if e["event"] == "PunchStep"] == [
            "connect_sent", "connect_received", "sync_sent", "punching",
        ]  # fmt: skip
        assert [e["step"] for e in w.a.events if e["event"] == "PunchStep"] == [
            "connect_received", "connect_sent", "sync_received", "punching",
        ]  # fmt: skip
        opened = [e for e in w.a.events if e["event"] == "ConnectionOpened"]
        to_b = [e["relayed"] for e in opened if e["peer"] == w.b.peer]
        assert to_b == [True, False]
        before = relay_bytes(w)
        assert w.a.ask("echo", peer=w.b.peer, bytes=1_000_000)
        assert relay_bytes(w) - before < 5_000  # keepalives, not a megabyte


def relay_bytes(w: World) -> int:
    """What the relay's interface has carried both ways."""
    [link] = json.loads(w.lab.run("relay", ["ip", "-json", "-stats", "link", "show", "eth0"]))
    return int(link["stats64"]["rx"]["bytes"] + link["stats64"]["tx"]["bytes"])


@BOTH
def test_the_side_that_dials_is_the_client_whoever_is_behind_which_nat(transport: str) -> None:
    """A, the client, is the one that dialed the relay; both directions are tried."""
    for a, b in (("eim-adf", "eim-apdf"), ("eim-apdf", "eim-adf")):
        with world(a, b, transport, upgrade=STRAIGHT) as w:
            w.observe(w.a, w.b)
            w.relayed()
            w.a.ask("wait_direct", peer=w.b.peer, timeout=30)
            assert w.a.ask("echo", peer=w.b.peer, bytes=1000)


def test_a_punch_over_tcp_is_secured_by_tls_where_nothing_else_is_spoken() -> None:
    """The SYNs cross, and A is the client of TLS whichever made the connection."""
    told = {"upgrade": STRAIGHT, "security": [TLS]}
    for a, b in (("port-restricted", "port-restricted"), ("eim-adf", "eim-apdf")):
        with world(a, b, "tcp", **told) as w:
            w.observe(w.a, w.b)
            w.relayed()
            w.a.ask("wait_direct", peer=w.b.peer, timeout=30)
            assert w.a.ask("echo", peer=w.b.peer, bytes=300_000)
            paths = [c for c in w.a.ask("connections") if c["peer"] == w.b.peer]
            assert {c["security"] for c in paths} == {TLS}
            assert not all(c["relayed"] for c in paths)


@BOTH
def test_two_random_nats_stay_relayed_after_three_attempts_and_still_talk(transport: str) -> None:
    quick = QUICK | {"punch_timeout": 0.7}
    with world("apdm-apdf", "apdm-apdf", transport, upgrade=quick) as w:
        w.observe(w.a, w.b)
        w.relayed()
        w.b.wait_any(30, "UpgradeFailed")
        attempts = {e["attempt"] for e in w.b.events if e["event"] == "PunchStep"}
        assert attempts == {1, 2, 3}
        assert w.a.ask("echo", peer=w.b.peer, bytes=10_000)
        assert [c["relayed"] for c in w.a.ask("connections") if c["peer"] == w.b.peer] == [True]


@BOTH
def test_a_plain_dial_to_the_observed_address_fails_before_the_punch(transport: str) -> None:
    """The negative control: nothing but the punch opens the way."""
    with world("port-restricted", "port-restricted", transport) as w:
        w.observe(w.a, w.b)
        target = w.b.ask("addresses")["punch"][0]
        answer = w.a.ask_raw("connect", addrs=[f"{target}/p2p/{w.b.peer}"], timeout=2)
        assert "timeout" in answer["error"]


@BOTH
def test_with_punching_off_the_pair_stays_relayed(transport: str) -> None:
    with world("eim-eif", "eim-eif", transport, upgrade={"enabled": False}) as w:
        w.observe(w.a, w.b)
        w.relayed()
        answer = w.a.ask_raw("wait_direct", peer=w.b.peer, timeout=3)
        assert "DeadlineError" in answer["error"]


@BOTH
def test_a_public_dialer_is_reached_by_reversal(transport: str) -> None:
    with world(None, "apdm-apdf", transport) as w:
        w.observe(w.b)
        w.relayed()
        w.a.ask("wait_direct", peer=w.b.peer, timeout=15)
        assert w.b.wait_any(10, "Upgraded")["how"] == "reversed"


@BOTH
@pytest.mark.parametrize(
    ("profile", "verdict"),
    # AutoNAT cannot see an address-dependent filter: the server's own IP is let in.
    [("eim-eif", "PUBLIC"), ("eim-adf", "PUBLIC"), ("eim-apdf", "PRIVATE")],
)
def test_autonat_says_of_a_nat_what_its_protocol_can_say(
    profile: str, verdict: str, transport: str
) -> None:
    with world(profile, None, transport) as w:
        w.observe(w.a)
        probe = w.a.ask("probe", deadline=60)
        assert probe["v1"] == verdict
        assert set(probe["v2"].values()) == {verdict}


@BOTH
def test_an_address_proven_private_is_not_advertised(transport: str) -> None:
    with world("eim-apdf", None, transport) as w:
        w.observe(w.a)
        observed = w.a.ask("addresses")["punch"]
        assert set(observed) <= set(w.a.ask("addresses")["advertised"])
        w.a.ask("probe", deadline=60)
        assert not set(observed) & set(w.a.ask("addresses")["advertised"])
        assert w.a.ask("addresses")["punch"] == observed


@BOTH
@pytest.mark.parametrize("profile", ["naive-linux", "linux-home"])
def test_an_unproven_address_that_is_kept_back_is_not_dialed_before_the_punch(
    profile: str, transport: str
) -> None:
    """Over UDP that dial would make the naive NAT move A's mapping, and the punch fail."""
    quiet = {"advertise_unproven": False, "upgrade": STRAIGHT}
    with world(profile, "linux-home", transport, **quiet) as w:
        w.observe(w.a, w.b)
        w.relayed()
        assert w.b.wait_any(30, "Upgraded", "UpgradeFailed").get("how") == "punched"
        assert not [e for e in w.b.events if e.get("step") == "reversed"]


def test_a_dial_in_vain_before_the_punch_spoils_it_behind_a_naive_nat() -> None:
    """The same pair with the address advertised: why the option exists."""
    with world("naive-linux", "linux-home", "udp", upgrade=QUICK) as w:
        w.observe(w.a, w.b)
        w.relayed()
        assert w.b.wait_any(30, "Upgraded", "UpgradeFailed")["event"] == "UpgradeFailed"
