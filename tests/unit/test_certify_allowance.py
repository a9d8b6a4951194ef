"""How many mappings a NAT allows, and what of it those show."""

from testbed.certify.allowance import ENOUGH, Allowance, declared, needed, small
from testbed.model.behaviour import Allocation, Behaviour, PortRange, Protocol, Transport


def test_a_quota_is_each_hosts_and_a_pool_all_hosts() -> None:
    assert Allowance(host=3).covers("aaabbb")
    assert not Allowance(host=3).covers("aaaab")
    assert Allowance(whole=3).covers("aab")
    assert not Allowance(whole=3).covers("aabb")
    assert ENOUGH.covers("a" * 999)


def test_a_number_that_no_experiment_reaches_is_no_limit() -> None:
    assert small(64, 128) == ENOUGH
    assert small(63, 127) == Allowance(63, 127)


def test_ports_that_the_hosts_bring_themselves_are_no_pool() -> None:
    eight = PortRange(5008, 5015)
    for allocation, whole in ((Allocation.PRESERVING, None), (Allocation.HASHED, 8)):
        behaviour = Behaviour(udp=Transport(ports=eight, allocation=allocation), quota=5)
        assert declared(behaviour, Protocol.UDP) == Allowance(5, whole)
        assert declared(behaviour, Protocol.TCP) == Allowance(5, None)


def test_a_socket_has_a_mapping_for_each_contact_unless_it_keeps_one() -> None:
    assert needed("collision", "address_and_port_dependent") == (0, 1, 1)
    assert needed("collision", "endpoint_independent") == (0, 1)
