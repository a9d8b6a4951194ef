"""Whoever changes a router while peers are at work is noticed, and what he leaves behind ends."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.lab import kernel
from testbed.lab.namespaces import NamespaceLab, Namespaces
from testbed.lab.sentry import guarded
from testbed.model.fault import Difference
from testbed.model.presets import two_homes
from testbed.nat.load import catalogue
from testbed.plan.planner import plan

ROUTER, SETTING = "nat-a", "net.netfilter.nf_conntrack_udp_timeout"
RULES, NETWORK = Difference.RULES_CHANGED, Difference.NETWORK_CHANGED
CHANGES = {
    "a table": (RULES, "nft add table ip cheat"),
    "a table, and away": (RULES, "nft add table ip cheat; nft delete table ip cheat"),
    "all rules": (RULES, "nft flush ruleset"),
    "an address": (
        NETWORK,
        "ip address add 192.0.2.1 dev wan; ip address del 192.0.2.1 dev wan",
    ),
    "a route": (
        NETWORK,
        "ip route add 192.0.2.0/24 dev lan; ip route del 192.0.2.0/24",
    ),
    "a rule of routing": (NETWORK, "ip rule add from 192.0.2.1 table 7; ip rule del table 7"),
    "a link": (NETWORK, "ip link add c0 type veth peer name c1; ip link del c0"),
    "forwarding": (
        NETWORK,
        "sysctl -qw net.ipv4.ip_forward=0; sysctl -qw net.ipv4.ip_forward=1",
    ),
    "a setting": (
        Difference.SYSCTL_CHANGED,
        f"sysctl -qw {SETTING}=999",
    ),
    "a process": (Difference.STRANGE_PROCESS, "setsid -f sleep 60 > /dev/null 2>&1"),
}


@pytest.fixture(scope="module")
def lab() -> Iterator[NamespaceLab]:
    steps = plan(two_homes("port-restricted", "upnp-home"), catalogue())
    with Namespaces().start(steps) as lab:
        yield lab


def test_a_lab_that_is_left_alone_has_not_changed(lab: NamespaceLab) -> None:
    with guarded(lab) as guard, lab.socket("a", socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"hello", (str(lab.plan.address("server")), 9))
        assert guard.changes() == []


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_a_router_is_noticed_though_it_is_taken_back(
    name: str, lab: NamespaceLab
) -> None:
    difference, words = CHANGES[name]
    before = lab.sysctls(ROUTER, [SETTING])[SETTING]
    with guarded(lab) as guard:
        lab.run(ROUTER, ["sh", "-ec", words])
        found = guard.changes()
    lab.run(ROUTER, ["sysctl", "-qw", f"{SETTING}={before}"])
    while inside := kernel.processes_in(lab.entrance(ROUTER)[0]):
        for pid in inside:
            os.kill(pid, signal.SIGKILL)
    assert {(one.node, one.difference) for one in found} == {(ROUTER, difference)}


def test_a_gateway_may_change_its_own_table_and_no_other(lab: NamespaceLab) -> None:
    with guarded(lab) as guard:
        lab.run("nat-b", ["nft", "flush", "chain", "inet", "portmap", "mapped"])
        assert guard.changes() == []
        lab.run("nat-b", ["nft", "add", "table", "inet", "cheat"])
        assert [one.what for one in guard.changes()] == ["cheat"]


def test_what_a_peer_leaves_in_a_lab_ends_with_it() -> None:
    with Namespaces().start(plan(two_homes("symmetric", "symmetric"), catalogue())) as lab:
        lab.run("a", ["sh", "-c", "setsid -f sleep 60 > /dev/null 2>&1"])
        end = time.monotonic() + 2.0
        while not (found := _sleeping(lab)):
            assert time.monotonic() < end
    end = time.monotonic() + 2.0
    while any(Path(f"/proc/{pid}/fd").exists() for pid in found) and time.monotonic() < end:
        time.sleep(0.01)
    assert not [pid for pid in found if "sleep" in _name(pid)]


def _sleeping(lab: NamespaceLab) -> list[int]:
    inside = kernel.processes_in(lab.entrance("a")[0])
    return [pid for pid, name in inside.items() if name == "sleep"]


def _name(pid: int) -> str:
    """Nothing of one that has ended, and waits for nobody."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    return "" if ") Z" in state else state
