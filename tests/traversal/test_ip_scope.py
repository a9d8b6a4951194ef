"""Who may be dialed, and who counts as one under the limits."""

import ipaddress
from types import SimpleNamespace
from typing import Any

import pytest

from testbed.traversal import Multiaddr, PeerId, PrivateKey, RelayLimits, relay
from testbed.traversal.aio.host import Host, HostLimits
from testbed.traversal.autonat_v1 import RateLimiter, RateLimits, Reachability, Status, Votes

NEVER = [
    "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "192.88.99.1", "198.18.0.1",
    "224.0.0.251", "239.1.1.1", "240.0.0.1", "255.255.255.255", "0.0.0.0",
    "ff0e::1", "fe80::1", "fec0::1", "fd00::1", "::1", "::", "64:ff9b:1::808:808",
    "64:ff9b::a9fe:a9fe", "2002:a00:1::1", "2002:808:808::1", "3fff::1",
    "2002:a9fe:a9fe::1", "::ffff:10.0.0.1",
]  # fmt: skip
STRANGERS = ["8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808"]
ONE_HOUSE = [f"2a00:1450:4001:80{n:x}::{n:x}" for n in range(16)]


def named(ip: str, port: int = 4001) -> Multiaddr:
    return Multiaddr.from_socket(ip, port, "tcp")


def stranger() -> PeerId:
    return PeerId.from_public_key(PrivateKey.generate().public)


@pytest.mark.parametrize("ip", NEVER)
def test_what_no_stranger_can_have_is_not_public(ip: str) -> None:
    assert not named(ip).is_public


@pytest.mark.parametrize("ip", STRANGERS)
def test_unicast_addresses_of_the_internet_are_public(ip: str) -> None:
    assert named(ip).is_public


def test_addresses_of_one_ipv6_customer_are_one_party_and_the_next_is_another() -> None:
    assert len({named(ip).party for ip in ONE_HOUSE}) == 1
    assert named("2a00:1450:4001:900::1").party != named(ONE_HOUSE[0]).party
    assert named("8.8.8.8").party != named("8.8.4.4").party
    assert named("::ffff:8.8.8.8").party == named("8.8.8.8").party


def test_a_customer_gets_a_relays_reservations_for_one_party() -> None:
    ledger = relay.Ledger(RelayLimits(reservations_per_ip=2))
    answers = [ledger.reserve(stranger(), named(ip).party, 0)[0] for ip in ONE_HOUSE]
    assert answers.count(relay.Status.OK) == 2


def test_a_customer_with_many_identities_gets_half_of_the_requests_that_are_served() -> None:
    limiter = RateLimiter(RateLimits(overall=30, per_peer=3))
    served = 0
    for n in range(60):
        served += limiter.admit(stranger(), 0.0, named(f"2a00:1450:1:{n:x}::1").party)
    assert served == 15
    assert limiter.admit(stranger(), 0.0, named("2a00:1450:2::1").party)


def test_a_customer_gets_the_connections_of_one_party() -> None:
    def connection(ip: str) -> Any:
        return SimpleNamespace(peer=stranger(), remote=named(ip), relayed=False)

    host = Host(PrivateKey.generate(), HostLimits(connections_per_ip=4))
    for ip in ONE_HOUSE[:4]:
        there = connection(ip)
        assert not host._over_limit(there)
        host._connections[there.peer] = [there]
    assert host._over_limit(connection(ONE_HOUSE[5]))
    assert not host._over_limit(connection("8.8.8.8"))


def test_a_customer_has_one_vote_on_our_reachability() -> None:
    votes = Votes(threshold=3)
    for ip in ONE_HOUSE:
        votes.add(ipaddress.ip_address(ip), Status.OK)
    assert votes.verdict is Reachability.UNKNOWN
