"""Rules as found in the wild are measured for what they are, or refused with the reason.

Each file of ``rules/wild`` is written in the form in which a product or a guide publishes its
rules: the table below says what class each has, and where its addresses and names were found.
"""

from pathlib import Path
from typing import Any

import pytest
from probing import Class, Probed, Refused, Wanted, all_probed, held
from shared import once

WILD = Path(__file__).parent / "rules" / "wild"
EIM, APDM = "endpoint_independent", "address_and_port_dependent"
EIF, APDF = EIM, APDM
LEAKY = {"lan_exposed": True}


def _linux(**more: Any) -> dict[str, Any]:
    return {"mapping": EIM, "filtering": APDF, "allocation": "preserving", "large": "passed"} | more


def _random(**more: Any) -> dict[str, Any]:
    return {"mapping": APDM, "filtering": APDF, "allocation": "random"} | more


NAIVE = {"udp.unsolicited": "icmp", "tcp.unsolicited": "reset", "udp.early_inbound": "moved"}
SILENT = {"udp.unsolicited": "drop", "tcp.unsolicited": "drop"}
POOL = ["185.12.64.10", "185.12.64.11", "185.12.64.12", "185.12.64.13"]
SETS: dict[str, Class | Refused] = {
    "docker.rules": Class(
        _linux(),
        {**NAIVE, "forwards": ["tcp 8080 -> host 0 port 80"]},
        {"lan": "docker0", "inside": "172.17.0.0/16"},
    ),
    "podman.nft": Class(_linux(), {**NAIVE, "forwards": ["tcp 8080 -> host 0 port 80"]}),
    "lxd.nft": Class(_linux(), {**NAIVE, **LEAKY}, {"lan": "lxdbr0", "inside": "10.158.24.0/24"}),
    "libvirt.rules": Class(
        _linux(allocation="preserving_within"), NAIVE, {"inside": "192.168.122.0/24"}
    ),
    "flannel.rules": Class(_random(), {}, {"inside": "10.244.0.0/16"}),
    "kind-masq-agent.rules": Class(_linux(), NAIVE),
    "fw4.nft": Class(
        _linux(),
        {
            **{"udp.unsolicited": "icmp", "tcp.unsolicited": "reset", "lan_exposed": False},
            **{"forwards": ["tcp 8443 -> host 0 port 443"]},
            **{"reflected": ["tcp 8443 -> host 0 port 443"]},
        },
        {"wan": "pppoe-wan", "lan": "br-lan", "external": ["91.10.20.30"]},
    ),
    "ufw.rules": Class(_linux(), SILENT, {"wan": "eth0", "lan": "eth1"}),
    "firewalld.nft": Class(_linux(unsolicited="icmp code 13"), {"lan_exposed": False}),
    "masquerade-random.rules": Class(_random(), SILENT, {"wan": "ppp0", "lan": "br0"}),
    "masquerade-fully-random.rules": Class(_random(), SILENT),
    "masquerade-persistent.nft": Class(_linux(), SILENT),
    "snat-pool.rules": Class(_linux(pooling="arbitrary"), {}, {"external": POOL}),
    "snat-pool-persistent.rules": Class(_linux(pooling="paired"), {}, {"external": POOL}),
    "pool-by-subscriber.nft": Class(
        _linux(pooling="paired", overloading=None), SILENT, {"inside": "100.64.0.0/22"}
    ),
    "pool-random.nft": Class(_random(pooling="arbitrary")),
    "port-range.rules": Class(_linux(allocation="preserving_within")),
    "dmz.rules": Class(
        {"mapping": EIM, "filtering": EIF, "unsolicited": None, "exposed_host": "a"},
        {"exposed": "first_host", "forwards": []},
    ),
    "dmz-tcp.rules": Class(
        {"mapping": EIM},
        {
            **{"udp.filtering": APDF, "tcp.filtering": EIF, "tcp.exposed_host": "a"},
            **{"forwards": ["tcp all -> 10.0.0.2"], "exposed": "inconsistent"},
        },
    ),
    "dnat-all-udp.nft": Class(
        {"mapping": EIM},
        {
            **{"udp.filtering": EIF, "tcp.filtering": APDF},
            "forwards": ["udp all but 443 -> 192.168.8.20"],
        },
    ),
    "one-to-one.rules": Class(
        {"mapping": EIM, "filtering": EIF, "pooling": "paired", "overloading": None},
        {"exposed": "each_host"},
        {"external": ["195.20.30.41", "195.20.30.42", "195.20.30.40"]},
    ),
    "netmap.rules": Class(
        {"mapping": EIM, "filtering": EIF, "pooling": "paired"},
        {"exposed": "each_host"},
        {"external": ["195.20.31.0/24"]},
    ),
    "netmap-behind-a-firewall.nft": Class(
        {"mapping": EIM, "filtering": APDF, "pooling": "paired"}, {"exposed": "none"}
    ),
    "reflection.rules": Class(
        _linux(),
        {
            name: ["udp 25565 -> host 0 port 25565", "tcp 25565 -> host 0 port 25565"]
            for name in ("forwards", "reflected")
        },
    ),
    "full-cone.nft": Class({"mapping": EIM, "filtering": EIF}, SILENT),
    "tcp-only.rules": Class(
        _linux(), {"udp.allowed_ports": ["53"], "tcp.allowed_ports": ["443", "80"]}
    ),
    "restore-script.sh": Class(_linux(), SILENT, {"wan": "eth0", "lan": "eth1"}),
    "firewall-only.nft": Class(
        {"mapping": "none", "filtering": APDF},
        SILENT,
        words=("--wan", "outside", "--lan", "inside"),
    ),
    "tproxy.rules": Refused("a transparent proxy in the router"),
    "redirect.nft": Refused("a program in the router that listens"),
    "nfqueue.rules": Refused("a program in the router that reads the queue"),
    "flowtable.nft": Refused("flow tables take"),
    "broken.nft": Refused("line 1: Error: syntax error"),
    "broken.rules": Refused("line 3"),
    "two-uplinks.rules": Refused("which of them leads to the internet"),
    "wrong-names.rules": Refused("which of them leads to the LAN"),
}
AGAIN: dict[str, tuple[str, Class | Refused]] = {
    "one of two uplinks": (
        "two-uplinks.rules",
        Class(_linux(), {}, {"wan": "wwan0"}, ("--wan", "wwan0", "--without", "eth0")),
    ),
    "names that the rules have not": (
        "ufw.rules",
        Refused("would match nothing", ("--wan", "ens3", "--lan", "ens4")),
    ),
    "names that rules have in part": (
        "wrong-names.rules",
        Refused("would match nothing", ("--wan", "eth1", "--lan", "br0")),
    ),
    "a LAN that the rules do not translate": (
        "ufw.rules",
        Refused("no packet of the bench matched", ("--address", "10.99.0.1/24")),
    ),
    "an interface that no rule names": (
        "ufw.rules",
        Refused("do not name it", ("--without", "wg0")),
    ),
}
CASES: dict[str, Wanted] = {
    name: (WILD / file, kind)
    for name, (file, kind) in ({name: (name, SETS[name]) for name in SETS} | AGAIN).items()
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Probed]:
    return once(tmp_path_factory, "wild", lambda: all_probed(CASES))


def test_every_file_is_tried() -> None:
    assert {path.name for path in WILD.iterdir()} - {"README.md"} == set(SETS)


@pytest.mark.parametrize("case", CASES)
def test_rules_have_their_class_or_are_refused(case: str, found: dict[str, Probed]) -> None:
    held(CASES[case], found[case])
