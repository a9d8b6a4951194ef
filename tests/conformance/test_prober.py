"""The prober measures hand-written NATs as what they are, right or wrong."""

import json

import broken_nats
import pytest
from broken_nats import (
    FORWARD_DROP,
    HAIRPIN,
    INPUT_DROP,
    PINHOLES,
    hairpin_source,
    learning,
    masquerade,
    measured,
    row,
    rules,
    wrong,
)

from testbed.certify.certificates import DEADLINE, Certificate, concluded, inconclusive
from testbed.model.fault import Ended, Worker
from testbed.words import sentence

# Which profile a NAT is held against does not matter here: only what was measured is read.
CASES = {
    "masquerade": ("linux-home", rules(INPUT_DROP, FORWARD_DROP, masquerade())),
    "random": ("linux-home", rules(INPUT_DROP, FORWARD_DROP, masquerade("masquerade random"))),
    "naive": ("linux-home", rules(masquerade())),
    "pinholes": ("eim-eif", rules(INPUT_DROP, FORWARD_DROP, PINHOLES, learning(110))),
    "hairpin, untranslated source": ("eim-eif", rules(INPUT_DROP, HAIRPIN, learning(110))),
    "hairpin, external source": (
        "eim-eif",
        rules(INPUT_DROP, HAIRPIN, learning(110), hairpin_source("snat to {external}")),
    ),
    "hairpin, router's LAN address": (
        "eim-eif",
        rules(INPUT_DROP, HAIRPIN, learning(110), hairpin_source("masquerade")),
    ),
    "snat on the LAN side": ("linux-home", rules(INPUT_DROP, masquerade(interface="lan"))),
    "plain router": ("firewall", rules()),
    "no UDP": (
        "linux-home",
        rules(
            INPUT_DROP,
            masquerade(),
            "chain out { type filter hook forward priority 0\n meta l4proto udp drop\n}",
        ),
    ),
    "web only": (
        "corporate",
        rules(
            INPUT_DROP,
            masquerade(),
            "chain out { type filter hook forward priority 0\n"
            'iifname "lan" tcp dport != { 80, 443 } drop\n}',
        ),
    ),
    "rejecting": (
        "linux-home",
        rules(
            'chain input { type filter hook input priority 0\n iifname "wan" ct state new '
            "meta l4proto tcp reject with tcp reset\n"
            'iifname "wan" ct state new reject with icmp port-unreachable\n}',
            masquerade(),
        ),
    ),
}


@pytest.fixture(scope="module")
def found() -> dict[str, Certificate]:
    return measured(CASES)


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize(
    ("nat", "axis", "value"),
    [
        ("masquerade", "mapping", "endpoint_independent"),
        ("masquerade", "filtering", "address_and_port_dependent"),
        ("masquerade", "allocation", "preserving"),
        ("masquerade", "overloading", "yes"),
        ("masquerade", "collision", "separate"),
        ("masquerade", "early_inbound", "kept"),
        ("masquerade", "persistence", "kept"),
        ("masquerade", "unsolicited", "drop"),
        ("masquerade", "wan_input", "drop"),
        ("masquerade", "quota", "none"),
        ("random", "mapping", "address_and_port_dependent"),
        ("random", "allocation", "random"),
        ("naive", "wan_input", "accept"),
        ("pinholes", "mapping", "endpoint_independent"),
        ("pinholes", "filtering", "endpoint_independent"),
        ("pinholes", "persistence", "kept"),
        ("plain router", "mapping", "none"),
        ("plain router", "filtering", "endpoint_independent"),
    ],
)
def test_a_nat_is_measured_as_what_it_is(
    found: dict[str, Certificate], nat: str, protocol: str, axis: str, value: str
) -> None:
    assert row(found[nat], f"{protocol}.{axis}") == value


@pytest.mark.parametrize(
    ("nat", "axis", "value"),
    [
        ("masquerade", "refresh", "both"),
        ("masquerade", "udp.hairpin", "none"),
        ("pinholes", "tcp.hairpin", "none"),
        ("hairpin, untranslated source", "udp.hairpin", "internal_source"),
        ("hairpin, untranslated source", "tcp.hairpin", "internal_source"),
        ("hairpin, external source", "udp.hairpin", "external_source"),
        ("hairpin, external source", "tcp.hairpin", "external_source"),
        ("hairpin, router's LAN address", "udp.hairpin", "inconsistent"),
        ("snat on the LAN side", "udp.mapping", "none"),
        ("snat on the LAN side", "tcp.blocked", "yes"),  # no handshake is ever completed
        ("masquerade", "lan_exposed", "no"),
        ("naive", "udp.early_inbound", "moved"),
        ("naive", "udp.unsolicited", "icmp"),
        ("naive", "tcp.unsolicited", "reset"),
        ("rejecting", "udp.unsolicited", "icmp"),
        ("rejecting", "tcp.unsolicited", "reset"),
        ("rejecting", "udp.wan_input", "drop"),
        ("rejecting", "udp.early_inbound", "kept"),
        ("no UDP", "udp.blocked", "yes"),
        ("no UDP", "tcp.blocked", "no"),
        ("web only", "tcp.allowed_ports", "443, 80"),
    ],
)
def test_an_axis_is_measured_as_what_it_is(
    found: dict[str, Certificate], nat: str, axis: str, value: str
) -> None:
    assert row(found[nat], axis) == value


@pytest.mark.parametrize(
    "timer",
    ["timeout_udp", "timeout_udp_stream", "timeout_tcp_transitory", "timeout_tcp_established"],
)
def test_a_timer_is_bracketed(found: dict[str, Certificate], timer: str) -> None:
    assert timer not in wrong(found["masquerade"]), row(found["masquerade"], timer)


def test_what_a_busy_machine_kept_from_being_measured_is_measured_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the reason is counted; nothing is measured here."""
    late = inconclusive("linux-home", Ended(Worker.PROBER, 1.0), 1.0, late=True)
    sound = concluded("linux-home", (), 1.0)
    answers, told = [{"x": sound}, {"x": late}], list[str]()
    monkeypatch.setattr(broken_nats, "_measured", lambda *_: answers.pop())
    monkeypatch.setattr(broken_nats, "repeated", told.append)
    assert measured({"x": ("linux-home", rules())}) == {"x": sound}
    assert told == [f"x: {sentence(Ended(Worker.PROBER, 1.0))}"]


def test_a_worker_that_was_not_done_in_time_spoils_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = json.dumps(concluded("linux-home", (), 1.0).to_json()).encode()
    ended = [(0, done, 1.0), (1, b"", DEADLINE), (2, b"", 1.0)]
    monkeypatch.setattr(broken_nats, "forked", lambda *_: iter(ended))
    cases = dict.fromkeys(("sound", "slow", "crashed"), ("linux-home", rules()))
    found = broken_nats._measured(cases, 3)
    assert [one.late for one in found.values()] == [False, True, False]
    assert [one.verdict.value for one in found.values()] == ["PASS", *["INCONCLUSIVE"] * 2]
