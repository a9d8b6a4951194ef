"""What this project promises of its puncher, behind NATs that are measured first."""

import socket

import pytest


@pytest.mark.parametrize("theirs", ["home", "port-restricted"])
def test_homes_reach_each_other_directly(puncher, nat_pair, theirs):
    verdict = puncher.connect(nat_pair("home", theirs))
    assert verdict.direct
    assert verdict.passed


def test_behind_two_symmetric_nats_it_fails_and_says_so(puncher, nat_pair):
    verdict = puncher.connect(nat_pair("symmetric", "symmetric"))
    assert not verdict.connected
    assert verdict.passed  # it was to be expected, and nobody claimed to be connected


def test_it_understands_another_implementation(puncher, peer, nat_pair):
    verdict = puncher.connect(nat_pair("symmetric", "full-cone"), to=peer("punch-udp"))
    assert verdict.direct


def test_a_server_sees_the_router_and_not_the_host(lab):
    with lab("two-homes", "home", "symmetric") as net, net.socket("server") as server:
        server.bind((net.address("server"), 5000))
        server.settimeout(5)
        with net.socket("a", socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"who am I?", server.getsockname())
        _, seen = server.recvfrom(100)
        assert seen[0] == net.address("nat-a")
    assert net.capture.stat().st_size > 0
