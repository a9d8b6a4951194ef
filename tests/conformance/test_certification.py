"""Certification: a NAT that is not what its profile says is found out."""

import json
from pathlib import Path

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

from testbed.backends.base import Lab
from testbed.nat import certify as module
from testbed.nat.certify import Certificate, Verdict, certified, certify_all
from testbed.nat.load import DEFAULT, catalogue, find
from testbed.report.certificates import markdown


def _route_into_the_lan(lab: Lab) -> None:
    inside = f"{lab.plan.internal['nat-a']}/24".replace(".1/24", ".0/24")
    outside = str(lab.plan.address("nat-a"))
    lab.run("core", ["ip", "route", "add", inside, "via", outside])


def _leak(lab: Lab) -> None:
    rules(INPUT_DROP, masquerade())(lab)
    _route_into_the_lan(lab)


def _slow_timers(lab: Lab) -> None:
    for name in ("udp_timeout", "tcp_timeout_established"):
        lab.run("nat-a", ["sysctl", "-qw", f"net.netfilter.nf_conntrack_{name}=30"])


def _cut_off(lab: Lab) -> None:
    lab.run("b", ["ip", "link", "set", "eth0", "down"])


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
    "no forward": ("port-forward", rules(INPUT_DROP, FORWARD_DROP, masquerade())),
    "route from the internet into the LAN": ("linux-home", _leak),
    "slow timers": ("linux-home", _slow_timers),
    "cut off": ("linux-home", _cut_off),
}


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
        ("route from the internet into the LAN", {"lan_exposed"}),
        ("no forward", {"forwards"}),
        ("slow timers", {"timeout_udp", "timeout_tcp_established"}),
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
    assert "did not come to" in found["cut off"].reason


def test_a_crashed_prober_is_inconclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise AssertionError("a bug in the prober")

    monkeypatch.setattr(module.prober, "probe", crash)
    (certificate,) = certify_all([find("linux-home")])
    assert certificate.verdict is Verdict.INCONCLUSIVE
    assert "a bug in the prober" in certificate.reason


def test_only_a_pass_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed = Certificate("linux-home", (), Verdict.PASS, 1.0)
    failed = Certificate("eim-eif", (), Verdict.FAIL, 1.0)
    asked: list[list[str]] = []

    def fake(profiles: list[object], *_: object) -> list[Certificate]:
        names = [profile.name for profile in profiles]  # type: ignore[attr-defined]
        asked.append(names)
        return [one for one in (passed, failed) if one.profile in names]

    monkeypatch.setattr(module, "certify_all", fake)
    profiles = [find("linux-home"), find("eim-eif")]
    for _ in range(2):
        assert certified(profiles, tmp_path) == {"linux-home": passed, "eim-eif": failed}
    assert asked == [["linux-home", "eim-eif"], ["eim-eif"]]
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["verdict"] == "PASS"


def test_a_certificate_is_for_one_claim_and_one_rule_set() -> None:
    keys = {module.key(find(name)) for name in ("eim-eif", "full-cone", "eim-adf")}
    assert len(keys) == 2  # full-cone is eim-eif by another name


@pytest.fixture(scope="module")
def certificates() -> dict[str, Certificate]:
    found = certify_all(list(catalogue().values()))
    return {certificate.profile: certificate for certificate in found}


@pytest.mark.xdist_group("catalogue")
def test_the_documented_catalogue_is_what_is_measured(
    certificates: dict[str, Certificate],
) -> None:
    profiles = catalogue()
    document = markdown([certificates[name] for name in profiles], profiles)
    assert (DEFAULT / "CATALOGUE.md").read_text() == document, (
        "write it anew: testbed nat certify --all --markdown nat-profiles/CATALOGUE.md"
    )


@pytest.mark.xdist_group("catalogue")
@pytest.mark.parametrize("name", sorted(catalogue()))
def test_a_profile_is_measured_as_it_is_declared(
    certificates: dict[str, Certificate], name: str
) -> None:
    assert wrong(certificates[name]) == set()
    assert certificates[name].verdict is Verdict.PASS
