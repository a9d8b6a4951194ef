"""Certification: a NAT that is not what its profile says is found out."""

from collections.abc import Callable

import pytest
from broken_nats import (
    FORWARD_DROP,
    INPUT_DROP,
    PINHOLES,
    learning,
    masquerade,
    measured,
    row,
    rules,
    wrong,
)
from shared import profiles_certified

from testbed.certify import prober
from testbed.certify.certificates import Certificate, Verdict, certify_all
from testbed.model.fault import Broke, Crashed, Worker
from testbed.model.lab import Lab
from testbed.model.plan import Engine, LoadRules
from testbed.nat.load import DEFAULT, catalogue, find
from testbed.report.certificates import markdown
from testbed.words import sentence

UNSAID = Broke(None, None, "nothing")


def _route_into_the_lan(lab: Lab) -> None:
    inside = f"{lab.plan.internal['nat-a']}/24".replace(".1/24", ".0/24")
    outside = str(lab.plan.address("nat-a"))
    lab.run("core", ["ip", "route", "add", inside, "via", outside])


def _slow_timers(lab: Lab) -> None:
    for name in ("udp_timeout", "tcp_timeout_established"):
        lab.run("nat-a", ["sysctl", "-qw", f"net.netfilter.nf_conntrack_{name}=30"])


def _cut_off(lab: Lab) -> None:
    lab.run("b", ["iptables", "-I", "INPUT", "-j", "DROP"])


def _added(*commands: str) -> Callable[[Lab], None]:
    """The profile's rules stay; ``commands`` run on the router, {a} and {b} the LAN hosts."""

    def add(lab: Lab) -> None:
        hosts = {name: str(lab.plan.address(name)) for name in ("a", "b")}
        for command in commands:
            lab.run("nat-a", command.format(**hosts).split())

    return add


def _rewritten(old: str, new: str) -> Callable[[Lab], None]:
    """The profile's own rules, in which ``old`` is ``new``."""

    def load(lab: Lab) -> None:
        (step,) = (step for step in lab.plan.of(LoadRules) if step.node == "nat-a")
        assert old in step.text
        lab.run("nat-a", ["nft", "-f", "-"], input=step.text.replace(old, new).encode())

    return load


def _lines(change: Callable[[Lab, str], str]) -> Callable[[Lab], None]:
    """The profile's own rules, in whose text ``change`` was made."""

    def load(lab: Lab) -> None:
        (step,) = (step for step in lab.plan.of(LoadRules) if step.node == "nat-a")
        text = change(lab, step.text)
        assert text != step.text
        loader = {Engine.NFTABLES: ["nft", "-f", "-"], Engine.IPTABLES: ["iptables-restore"]}
        lab.run("nat-a", loader[step.engine], input=text.encode())

    return load


def _named(lab: Lab, text: str) -> str:
    return text.format(**{name: str(lab.plan.address(name)) for name in ("a", "b")})


def _instead(old: str, new: str) -> Callable[[Lab], None]:
    """As `_rewritten`; {a} and {b} are the LAN hosts."""
    return _lines(lambda lab, text: text.replace(_named(lab, old), _named(lab, new)))


def _without(part: str) -> Callable[[Lab], None]:
    """Without the lines that hold ``part``."""

    def cut(lab: Lab, text: str) -> str:
        kept = (line for line in text.splitlines() if _named(lab, part) not in line)
        return "\n".join(kept) + "\n"

    return _lines(cut)


WITHOUT_INPUT_DROP = (FORWARD_DROP, masquerade())
SABOTAGES = {
    "nothing": ("linux-home", rules(INPUT_DROP, FORWARD_DROP, masquerade())),
    "SNAT on the wrong interface": (
        "linux-home",
        rules(INPUT_DROP, FORWARD_DROP, masquerade(interface="lan")),
    ),
    "random ports": (
        "linux-home",
        rules(INPUT_DROP, FORWARD_DROP, masquerade("masquerade fully-random")),
    ),
    "WAN input accepted": ("linux-home", rules(*WITHOUT_INPUT_DROP)),
    "filter chain missing": (
        "eim-adf",
        rules(INPUT_DROP, FORWARD_DROP, PINHOLES, learning(110)),
    ),
    "firewall without a filter": ("firewall", rules()),
    "learned from first packets": (
        "eim-eif",
        rules(INPUT_DROP, FORWARD_DROP, PINHOLES, learning(110, "ct state new")),
    ),
    "learned before translation": (
        "eim-eif",
        rules(INPUT_DROP, FORWARD_DROP, PINHOLES, learning(90)),
    ),
    "no quota": ("carrier-grade", rules(INPUT_DROP, FORWARD_DROP, PINHOLES, learning(110))),
    "a quota of four, not three": ("quota-of-three", _rewritten("size 3;", "size 4;")),
    "a quota of three for all": (
        "quota-of-three",
        _rewritten("jump quota_udp_1", "jump quota_udp_0"),
    ),
    "a symmetric quota of two": ("quota-apdm", _rewritten("size 3;", "size 2;")),
    "nine ports, not eight": ("port-set-apdm", _rewritten("mod 8 seed", "mod 9 seed")),
    "one address of a pool": (
        "paired-pool",
        _rewritten("goto allocate_udp_1", "goto allocate_udp_0"),
    ),
    "seven ports": (
        "port-set",
        _rewritten("udp sport != @owned_udp", "udp sport != 5010 udp sport != @owned_udp"),
    ),
    "no forward": ("port-forward", rules(INPUT_DROP, FORWARD_DROP, masquerade())),
    "LAN addresses answer the WAN": ("linux-home", rules(INPUT_DROP, masquerade())),
    "route from the internet into the LAN": ("linux-home", _route_into_the_lan),
    "no DMZ host": ("dmz-host", rules(INPUT_DROP, FORWARD_DROP, masquerade())),
    "the other host is the DMZ host": (
        "dmz-host",
        _instead("-j DNAT --to-destination {a}", "-j DNAT --to-destination {b}"),
    ),
    "a DMZ host for UDP alone": ("dmz-host", _without("-p tcp -j DNAT")),
    "two hosts of a 1:1 NAT changed about": (
        "one-to-one",
        _instead("dnat ip to {b}", "dnat ip to {a}"),
    ),
    "an address of a 1:1 NAT leads nowhere": ("one-to-one", _without("dnat ip to {b}")),
    "slow timers": ("linux-home", _slow_timers),
    "cut off": ("linux-home", _cut_off),
}
# One more rule on top of a good NAT, each for a part of the traffic.
NAT, WAN = "iptables -t nat -I", "-i wan -p udp"
PARTIAL: dict[str, tuple[set[str], tuple[str, ...]]] = {
    "low source ports are symmetric": (
        {"udp.mapping", "tcp.mapping"},
        tuple(
            f"{NAT} POSTROUTING -o wan -p {p} --sport 1:20000 -j MASQUERADE --random-fully"
            for p in ("udp", "tcp")
        ),
    ),
    "the other LAN host is symmetric": (
        {"udp.mapping"},
        (f"{NAT} POSTROUTING -o wan -s {{b}} -p udp -j MASQUERADE --random-fully",),
    ),
    "WAN input accepted on one port": (
        {"udp.wan_input"},
        (f"iptables -I INPUT {WAN} --dport 4001 -j ACCEPT",),
    ),
    "reset on low ports alone": (
        {"tcp.unsolicited"},
        ("iptables -I INPUT -i wan -p tcp --dport 1:20000 -j REJECT --reject-with tcp-reset",),
    ),
    "undeclared forward": (
        {"forwards"},
        (f"{NAT} PREROUTING {WAN} --dport 4001 -j DNAT --to-destination {{a}}:4001",),
    ),
    "forward for low remote ports": (
        {"forwards"},
        (
            f"{NAT} PREROUTING {WAN} --sport 1:3477 --dport 20001:60000 "
            "-j DNAT --to-destination {a}",
        ),
    ),
    "pings go to a LAN host": (
        {"lan_exposed"},
        (
            "iptables -I FORWARD -i wan -p icmp -j ACCEPT",
            f"{NAT} PREROUTING -i wan -p icmp -j DNAT --to-destination {{a}}",
        ),
    ),
    "the other LAN host is exposed": (
        {"lan_exposed"},
        ("iptables -I FORWARD -i wan -d {b} -j ACCEPT",),
    ),
    "invalid segments leave untranslated": (
        {"lan_exposed"},
        (
            "iptables -D FORWARD -m conntrack --ctstate INVALID "
            "-m comment --comment invalid -j DROP",
        ),
    ),
    "large packets are dropped": (
        {"udp.large", "tcp.large"},
        ("iptables -I FORWARD -m length --length 200: -j DROP",),
    ),
    "one remote port is not let in": (
        {"udp.mapping"},
        (f"iptables -I FORWARD {WAN} --sport 4001 -j DROP",),
    ),
    "half-open connections expire early": (
        {"timeout_tcp_transitory"},
        ("sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_syn_recv=1",),
    ),
}
SABOTAGES |= {name: ("linux-home", _added(*commands)) for name, (_, commands) in PARTIAL.items()}


@pytest.fixture(scope="module")
def found() -> dict[str, Certificate]:
    return measured(SABOTAGES)


def test_the_same_rules_without_a_fault_pass(found: dict[str, Certificate]) -> None:
    assert wrong(found["nothing"]) == set()
    assert found["nothing"].verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("sabotage", "axes"),
    [
        ("SNAT on the wrong interface", {"udp.mapping", "tcp.mapping"}),
        ("random ports", {"udp.mapping", "tcp.mapping", "udp.allocation", "tcp.allocation"}),
        ("WAN input accepted", {"udp.wan_input", "tcp.wan_input", "udp.early_inbound"}),
        ("filter chain missing", {"udp.filtering", "tcp.filtering"}),
        ("firewall without a filter", {"udp.filtering", "tcp.filtering"}),
        ("learned from first packets", {"udp.persistence", "tcp.persistence"}),
        ("learned before translation", {"udp.collision", "tcp.collision"}),
        ("no quota", {"udp.quota", "tcp.quota"}),
        ("a quota of four, not three", {"udp.quota", "tcp.quota"}),
        ("a quota of three for all", {"udp.quota"}),
        ("a symmetric quota of two", {"udp.quota", "tcp.quota"}),
        ("nine ports, not eight", {"udp.pool", "tcp.pool"}),
        ("seven ports", {"udp.pool"}),
        ("one address of a pool", {"udp.pooling"}),
        ("LAN addresses answer the WAN", {"lan_exposed"}),
        ("no forward", {"forwards"}),
        ("no DMZ host", {"exposed", "udp.filtering", "tcp.filtering"}),
        ("the other host is the DMZ host", {"exposed"}),
        ("a DMZ host for UDP alone", {"exposed", "tcp.filtering"}),
        ("two hosts of a 1:1 NAT changed about", {"exposed"}),
        ("an address of a 1:1 NAT leads nowhere", {"exposed"}),
        ("slow timers", {"timeout_udp", "timeout_tcp_established"}),
        *((name, axes) for name, (axes, _) in PARTIAL.items()),
    ],
)
def test_a_sabotage_fails_on_its_axes(
    found: dict[str, Certificate], sabotage: str, axes: set[str]
) -> None:
    assert found[sabotage].verdict is Verdict.FAIL
    assert axes <= wrong(found[sabotage])


def test_a_mapping_learned_from_first_packets_looks_right_at_first(
    found: dict[str, Certificate],
) -> None:
    assert row(found["learned from first packets"], "udp.filtering") == "endpoint_independent"


def test_a_broken_bench_says_nothing_about_the_nat(found: dict[str, Certificate]) -> None:
    assert found["cut off"].verdict is Verdict.INCONCLUSIVE
    assert "did not come to" in sentence(found["cut off"].fault or UNSAID)


def test_a_lab_that_is_not_as_planned_says_nothing_about_the_nat(
    found: dict[str, Certificate],
) -> None:
    certificate = found["route from the internet into the LAN"]
    assert certificate.verdict is Verdict.INCONCLUSIVE
    assert "core has an unplanned route" in sentence(certificate.fault or UNSAID)


def test_a_crashed_prober_is_inconclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> None:
        raise AssertionError("a bug in the prober")

    monkeypatch.setattr(prober, "probe", crash)
    (certificate,) = certify_all([find("linux-home")])
    assert certificate.verdict is Verdict.INCONCLUSIVE
    assert certificate.fault == Crashed(Worker.PROBER, "AssertionError: a bug in the prober")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Certificate]:
    return profiles_certified(tmp_path_factory)


def test_the_documented_catalogue_is_what_is_measured(
    certificates: dict[str, Certificate],
) -> None:
    profiles = catalogue()
    document = markdown([certificates[name] for name in profiles], profiles)
    assert (DEFAULT / "CATALOGUE.md").read_text() == document, (
        "write it anew: testbed nat certify --all --markdown nat-profiles/CATALOGUE.md"
    )


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_a_profile_is_measured_as_it_is_declared(
    certificates: dict[str, Certificate], name: str
) -> None:
    assert wrong(certificates[name]) == set()
    assert certificates[name].verdict is Verdict.PASS
