"""What a pool of external addresses makes of a cell (RFC 4787 section 4.1)."""

from collections import Counter
from dataclasses import replace

import pytest

from testbed.model.behaviour import Behaviour, PortRange, Protocol, Transport
from testbed.model.outcome import Outcome
from testbed.model.presets import preset
from testbed.nat.load import find
from testbed.predict.ice import ICE
from testbed.predict.model import Model
from testbed.predict.network import Holding
from testbed.predict.prediction import crowded, predict
from testbed.predict.punching import PUNCH_UDP


def behind(pool: str, home: str, mechanism: Model) -> Outcome:
    profiles = {"cgn": pool, "nat-a": "linux-home", "nat-b": home}
    nats = {router: find(name).behaviour for router, name in profiles.items()}
    return predict(preset("pooled-carrier", "linux-home", home), nats, mechanism, "a", "b").outcome


@pytest.mark.parametrize(
    ("pool", "home", "punched"),
    [
        ("symmetric", "restricted-cone", True),
        # The peer's filter lets in the address that the STUN server saw, and another one calls.
        ("arbitrary-pool", "restricted-cone", False),
        ("arbitrary-pool", "full-cone", True),
        ("paired-pool", "restricted-cone", True),
        ("paired-pool", "port-restricted", True),
    ],
)
def test_a_filter_by_address_knows_one_address_of_an_arbitrary_pool(
    pool: str, home: str, punched: bool
) -> None:
    assert (behind(pool, home, PUNCH_UDP) is Outcome.DIRECT) is punched
    assert (behind(pool, home, ICE) is Outcome.DIRECT) is punched


def wanted(*counts: int) -> list[Counter[Holding]]:
    """As many mappings for hosts of their own, behind one NAT."""
    return [
        Counter({Holding("nat", Protocol.UDP, f"10.0.0.{host}"): count})
        for host, count in enumerate(counts, 2)
    ]


def narrow(ports: int, quota: int | None = None) -> dict[str, Behaviour]:
    udp = Transport(ports=PortRange(5000, 5000 + ports - 1))
    return {"nat": replace(Behaviour(udp=udp), quota=quota)}


def test_a_nat_is_crowded_when_all_its_hosts_want_more_ports_than_it_has() -> None:
    assert [(count, has) for _, count, has in crowded(wanted(2, 3), narrow(4))] == [(5, 4)] * 2


def test_a_nat_that_has_just_enough_ports_is_not_crowded() -> None:
    assert list(crowded(wanted(2, 2), narrow(4))) == []


def test_a_quota_is_for_each_host_and_counts_what_its_pairs_want_together() -> None:
    (one,) = crowded([*wanted(2, 1), *wanted(2)], narrow(100, quota=3))
    assert one == (Holding("nat", Protocol.UDP, "10.0.0.2"), 4, 3)
    assert list(crowded(wanted(3, 3), narrow(100, quota=3))) == []
