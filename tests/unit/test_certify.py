"""Holding claims against findings, without any lab."""

import collections.abc
import dataclasses
import json
import os
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from testbed.certify import certificates as module
from testbed.certify import store
from testbed.certify.certificates import Certificate, Verdict, certify_all
from testbed.certify.claims import Row, claims, compare, unclaimed
from testbed.certify.measured import (
    AT_LEAST_ADDRESS,
    PRESERVING_WITHIN,
    Finding,
    Measured,
    MeasuredPortMapping,
    MeasuredTransport,
    Value,
    forward_name,
    unseen,
)
from testbed.certify.prober.timers import Watch, refresh, scattered
from testbed.certify.prober.waiting import Sample, Waiting, lifetime, together
from testbed.certify.store import certified, default_cache
from testbed.errors import BusyError, ProbeError, UnfitError
from testbed.lab.forked import forked
from testbed.model.behaviour import (
    Allocation,
    Behaviour,
    Filtering,
    Forward,
    Hairpin,
    Mapping,
    PortRange,
    Protocol,
    Timeouts,
    Transport,
    WanInput,
)
from testbed.model.plan import AddNode, Plan
from testbed.model.profile import Profile
from testbed.model.statement.probing import Circumstance, Met, PortsCounted
from testbed.model.topology import Topology
from testbed.nat.load import find, with_timeouts
from testbed.plan.planner import plan

DAILY = Behaviour(timeouts=Timeouts(2, 2, 2, 3))

SEEN = PortsCounted(40)


def transport(**changes: Value | None) -> MeasuredTransport:
    """What a port-restricted NAT shows, but for ``changes``."""
    values: dict[str, Value | None] = {
        "blocked": False,
        "allowed_ports": "all",
        "mapping": "endpoint_independent",
        "pooling": None,
        "large": "passed",
        "filtering": "address_and_port_dependent",
        "unexposed_filtering": None,
        "allocation": "preserving",
        "ports": (20001, 20400),
        "overloading": False,
        "collision": "separate",
        "early_inbound": "kept",
        "persistence": "kept",
        "hairpin": "none",
        "exposed_host": None,
        "unsolicited": "drop",
        "wan_input": "drop",
        "quota": "none",
        "pool": "none",
    }
    return MeasuredTransport(**{k: Finding(v, SEEN) for k, v in (values | changes).items()})


def measured(udp: MeasuredTransport | None = None, **changes: Value | None) -> Measured:
    values: dict[str, Value | None] = {
        "refresh": "both",
        "timeout_udp": (1.5, 2.5),
        "timeout_udp_stream": (1.5, 2.5),
        "timeout_tcp_transitory": (1.5, 2.5),
        "timeout_tcp_established": (2.5, 3.5),
        "forwards": (),
        "reflected": None,
        "lan_exposed": False,
        "services": (),
        "services_outside": (),
        "leases": None,
        "secure_mode": None,
    }
    exposed = Finding(changes.pop("exposed", "none"), SEEN)
    findings: dict[str, Any] = {k: Finding(v, SEEN) for k, v in (values | changes).items()}
    without = {field.name: Finding(None, SEEN) for field in dataclasses.fields(MeasuredPortMapping)}
    return Measured(
        udp=udp or transport(),
        tcp=transport(hairpin=None),
        port_mapping=MeasuredPortMapping(**without),
        more={"exposed": exposed},
        **findings,
    )


def wrong(behaviour: Behaviour, found: Measured) -> set[str]:
    return {row.axis for row in compare(behaviour, found, mappings=600) if not row.agrees}


def test_a_nat_that_is_what_it_claims_agrees_on_every_axis() -> None:
    assert wrong(DAILY, measured()) == set()


@pytest.mark.parametrize(
    ("axis", "value"),
    [
        ("mapping", "address_dependent"),
        ("large", "lost"),
        ("filtering", "inconsistent"),
        ("allocation", "random"),
        ("collision", "crossed"),
        ("early_inbound", "moved"),
        ("persistence", "lost"),
        ("hairpin", "external_source"),
        ("unsolicited", "icmp"),
        ("wan_input", "accept"),
        ("overloading", True),
        ("blocked", True),
        ("quota", 64),
    ],
)
def test_another_value_does_not_agree(axis: str, value: Value) -> None:
    assert wrong(DAILY, measured(transport(**{axis: value}))) == {f"udp.{axis}"}


def test_an_axis_that_was_not_observed_does_not_agree() -> None:
    assert wrong(DAILY, measured(transport(mapping=None), refresh=None)) == {
        "udp.mapping",
        "refresh",
    }


@pytest.mark.parametrize("bounds", [(0.5, 1.5), (2.5, 3.5), (3.5, None), (0.0, 0.5)])
def test_a_timer_outside_its_bounds_does_not_agree(bounds: tuple[float, float | None]) -> None:
    assert wrong(DAILY, measured(timeout_udp=bounds)) == {"timeout_udp"}


def test_scattered_ports_must_lie_in_the_range_and_span_it() -> None:
    ports = PortRange(30000, 39999)
    one = Transport(allocation=Allocation.RANDOM, ports=ports)
    claim = claims(Behaviour(udp=one), mappings=600)["udp.ports"]
    assert claim.holds((30100, 39000))
    assert not claim.holds((30100, 30900))
    assert not claim.holds((1024, 39000))
    assert not claim.holds(None)


def test_a_blocked_protocol_claims_no_mapping() -> None:
    found = claims(Behaviour(udp=Transport(blocked=True)), mappings=600)
    assert "udp.mapping" not in found
    assert "refresh" not in found
    assert found["udp.blocked"].holds(True)


def test_a_firewall_claims_no_ports_and_no_hidden_lan() -> None:
    none = Transport(mapping=Mapping.NONE)
    found = claims(Behaviour(udp=none, tcp=none), mappings=600)
    assert not {"udp.allocation", "tcp.collision", "lan_exposed", "udp.hairpin"} & set(found)
    assert "udp.filtering" in found


def test_hairpinning_is_claimed_where_the_filter_would_let_it_in() -> None:
    closed = claims(DAILY, mappings=600)
    assert "udp.hairpin" in closed
    assert "tcp.hairpin" not in closed
    one = Transport(filtering=Filtering.ENDPOINT_INDEPENDENT)
    found = claims(Behaviour(tcp=one, hairpin=Hairpin.EXTERNAL_SOURCE), mappings=600)
    assert found["tcp.hairpin"].holds("external_source")


def test_an_accepting_router_takes_early_datagrams_but_resets_early_connections() -> None:
    found = claims(Behaviour(wan_input=WanInput.ACCEPT), mappings=600)
    assert found["udp.early_inbound"].declared == "moved"
    assert found["tcp.early_inbound"].declared == "kept"


def test_allowed_ports_agree_in_any_order_and_no_other() -> None:
    tcp = Transport(allowed_ports=(443, 80))
    claim = claims(Behaviour(tcp=tcp), mappings=600)["tcp.allowed_ports"]
    assert claim.holds(("80", "443"))
    assert not claim.holds("all")
    assert not claim.holds(("80", "443", "3478"))


def test_a_forward_must_be_found() -> None:
    forward = Forward(Protocol.UDP, 4001, 0, 4002)
    behaviour = dataclasses.replace(DAILY, forwards=(forward,))
    assert wrong(behaviour, measured()) == {"forwards"}
    assert wrong(behaviour, measured(forwards=("udp 4001 -> host 0 port 4002",))) == set()


def test_a_lifetime_lies_between_the_last_alive_and_the_first_dead() -> None:
    samples = [Sample(2.5, False), Sample(0.5, True), Sample(1.5, True), Sample(3.5, False)]
    assert lifetime(samples).value == (1.5, 2.5)
    assert lifetime(samples[1:3]).value == (1.5, None)
    assert lifetime([Sample(0.5, False), Sample(1.5, True)]).value == "inconsistent"
    assert lifetime([]).value is None


def test_experiments_run_side_by_side_in_order_of_their_pauses() -> None:
    seen: list[str] = []

    def waits(name: str, pause: float) -> Waiting[None]:
        yield pause
        seen.append(name)

    together([waits("late", 0.05), waits("early", 0.01)])
    assert seen == ["early", "late"]


def test_a_machine_that_cannot_keep_time_measures_nothing() -> None:
    def hogs() -> Waiting[None]:
        yield 0.0
        threading.Event().wait(0.8)  # in the place of a busy machine

    def waits() -> Waiting[None]:
        yield 0.01

    with pytest.raises(ProbeError, match="too busy"):
        together([hogs(), waits()])


def test_refreshing_shows_only_when_the_timer_is_shorter_than_the_watch() -> None:
    short, long = Finding((1.5, 2.5), SEEN), Finding((3.5, None), SEEN)
    lasted = [Watch(5.0, True, None, SEEN)]
    assert refresh(lasted, short).value == "both"
    assert refresh(lasted, long).value is None
    assert refresh([Watch(1.4, False, None, SEEN)], short).value == "outbound"
    assert refresh([Watch(5.0, True, False, SEEN)], short).value == "inconsistent"


def test_hashed_and_random_differ_by_what_comes_after_expiry() -> None:
    chosen, short, long = (
        Finding("scattered", SEEN),
        Finding((1.5, 2.5), SEEN),
        Finding((3.5, None), SEEN),
    )
    assert scattered(chosen, [True, True], short).value == "hashed"
    assert scattered(chosen, [False, False], short).value == "random"
    assert scattered(chosen, [True, False], short).value == "inconsistent"
    assert scattered(chosen, [True, True], long).value is None
    assert scattered(Finding("preserving", SEEN), [], long).value == "preserving"


def test_measured_is_plain_json_with_every_axis() -> None:
    data = json.loads(json.dumps(measured().to_json()))
    assert data["udp.mapping"]["value"] == "endpoint_independent"
    assert data["timeout_udp"]["value"] == [1.5, 2.5]
    assert data["tcp.hairpin"]["value"] is None
    assert set(claims(DAILY, mappings=600)) <= set(data)
    assert unseen(Circumstance.FILTERED).evidence == Met(Circumstance.FILTERED)
    assert data["tcp.hairpin"]["evidence"] == "40 mappings"


def test_a_certificate_survives_json() -> None:
    rows = (Row("udp.mapping", "none", "none", True, "seen"),)
    certificate = Certificate("x", rows, Verdict.FAIL, 1.5)
    assert Certificate.from_json(json.loads(json.dumps(certificate.to_json()))) == certificate


def test_the_cache_is_where_xdg_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache() == Path("/somewhere/nat-testbed/certificates")


def passing(name: str) -> Certificate:
    """A certificate as certification itself would give it."""
    behaviour = with_timeouts(find(name), Timeouts(2, 3, 2, 3)).behaviour
    found = claims(behaviour, mappings=600)
    rows = tuple(Row(axis, claim.declared, "", True, "") for axis, claim in found.items())
    return Certificate(name, rows, Verdict.PASS, 1.0)


def test_only_a_pass_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed = passing("linux-home")
    failed = Certificate("eim-eif", (), Verdict.FAIL, 1.0)
    asked: list[list[str]] = []

    def fake(profiles: list[object], *_: object) -> list[Certificate]:
        names = [profile.name for profile in profiles]  # type: ignore[attr-defined]
        asked.append(names)
        return [one for one in (passed, failed) if one.profile in names]

    monkeypatch.setattr(store, "certify_all", fake)
    profiles = [find("linux-home"), find("eim-eif")]
    for _ in range(2):
        assert certified(profiles, tmp_path) == {"linux-home": passed, "eim-eif": failed}
    assert asked == [["linux-home", "eim-eif"], ["eim-eif"]]
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["verdict"] == "PASS"


GOOD = passing("linux-home")


@pytest.mark.parametrize(
    "kept",
    [
        dataclasses.replace(GOOD, profile="somebody-else"),
        dataclasses.replace(GOOD, verdict=Verdict.FAIL),
        dataclasses.replace(GOOD, rows=()),
        dataclasses.replace(GOOD, rows=GOOD.rows[1:]),
        dataclasses.replace(GOOD, rows=(*GOOD.rows, Row("more", "", "", True, ""))),
        dataclasses.replace(GOOD, rows=(Row("udp.blocked", "yes", "", True, ""), *GOOD.rows[1:])),
        dataclasses.replace(
            GOOD, rows=(dataclasses.replace(GOOD.rows[0], agrees=False), *GOOD.rows[1:])
        ),
    ],
    ids=["name", "verdict", "no rows", "row missing", "row too many", "claim", "disagreement"],
)
def test_a_kept_certificate_is_believed_only_if_it_is_whole(
    kept: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "certify_all", lambda profiles, *_: [GOOD for _ in profiles])
    profile = find("linux-home")
    file = tmp_path / f"linux-home-{store.key(profile)}.json"
    for written, asked in ((GOOD, False), (kept, True)):
        file.write_text(json.dumps(written.to_json() | {"seconds": 99.0}))
        assert (certified([profile], tmp_path)["linux-home"].seconds != 99.0) is asked


def test_a_certificate_is_for_one_claim_and_one_rule_set() -> None:
    keys = {store.key(find(name)) for name in ("eim-eif", "full-cone", "eim-adf")}
    assert len(keys) == 2  # full-cone is eim-eif by another name


def _other_sysctls(patch: pytest.MonkeyPatch) -> None:
    def other(topology: Topology, profiles: collections.abc.Mapping[str, Profile]) -> Plan:
        made = plan(topology, profiles)
        steps = [
            dataclasses.replace(step, sysctls=(*step.sysctls, ("net.ipv4.ip_no_pmtu_disc", "1")))
            if isinstance(step, AddNode)
            else step
            for step in made.steps
        ]
        return dataclasses.replace(made, steps=tuple(steps))

    patch.setattr("testbed.certify.store.plan", other)


@pytest.mark.parametrize(
    "change",
    [
        _other_sysctls,
        lambda patch: patch.setattr(store, "_tools", lambda: ("nftables v9", "iptables v9")),
        lambda patch: patch.setattr(store, "_sources", lambda: ["another prober"]),
        lambda patch: patch.setattr(platform, "release", lambda: "9.9"),
        lambda patch: patch.setattr(platform, "version", lambda: "#2 built otherwise"),
    ],
    ids=["sysctls of a node", "tools", "sources", "kernel", "kernel build"],
)
def test_a_certificate_ends_with_what_it_was_measured_with(
    change: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = store.key(find("linux-home"))
    change(monkeypatch)
    assert store.key(find("linux-home")) != before


def test_the_sources_are_those_of_nats_and_backends() -> None:
    text = "\n".join(store._sources())
    for name in ("class Subject", "def compare", "class Measured", "class NamespaceLab"):
        assert name in text


def test_a_machine_without_a_tool_is_unfit_not_inconclusive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Toolless:
        name = "toolless"

        def start(self, _: Plan) -> NoReturn:
            raise UnfitError("'nft' is not installed", node="nat-a", remedy="apt-get install it")

    monkeypatch.setattr(module, "Namespaces", Toolless)
    with pytest.raises(UnfitError) as caught:
        certify_all([find("linux-home"), find("eim-eif")], jobs=2)
    error = caught.value
    assert (error.message, error.node) == ("'nft' is not installed", "nat-a")
    assert error.remedy == "apt-get install it"


def test_forked_gives_each_output_and_no_slot_twice() -> None:
    tasks = [lambda slot, n=n: b"%d %d" % (n, slot) for n in range(5)]
    found = {index: output.split() for index, output, _ in forked(tasks, 2, 10.0)}
    assert {index: int(words[0]) for index, words in found.items()} == {n: n for n in range(5)}
    assert {int(words[1]) for words in found.values()} <= {0, 1}


def test_a_worker_that_dies_gives_nothing() -> None:
    assert [output for _, output, _ in forked([lambda _: os._exit(3)], 1, 10.0)] == [b""]


def test_a_forked_crash_is_told_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    def crash(_: int) -> bytes:
        raise ValueError("a reason")

    assert [output for _, output, _ in forked([crash], 1, 10.0)] == [b""]
    assert "ValueError: a reason" in capfd.readouterr().err


def test_a_worker_past_its_deadline_is_ended() -> None:
    def hang(_: int) -> bytes:
        os.read(os.pipe()[0], 1)
        return b"never"

    ((_, output, seconds),) = forked([hang], 1, 0.2)
    assert output == b""
    assert 0.2 <= seconds < 5.0


@pytest.mark.parametrize(
    ("error", "late"), [(BusyError("1.0 s"), True), (ProbeError("1 s"), False)]
)
def test_that_a_machine_was_too_busy_is_a_value_and_not_read_off_words(
    error: ProbeError, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        name = "broken"

        def start(self, _plan: object) -> object:
            raise error

    monkeypatch.setattr(module, "missing", lambda _plan: None)
    found = module.certify(find("linux-home"), backend=Broken())  # type: ignore[arg-type]
    assert (found.verdict, found.late) == (Verdict.INCONCLUSIVE, late)
    assert Certificate.from_json(found.to_json()) == found


def test_the_order_of_forwards_says_nothing() -> None:
    both = [Forward(protocol, 4001, 0, 4001) for protocol in (Protocol.TCP, Protocol.UDP)]
    found = measured(forwards=tuple(forward_name(one) for one in reversed(both)))
    for forwards in (both, both[::-1]):
        assert wrong(dataclasses.replace(DAILY, forwards=tuple(forwards)), found) == set()


def test_behind_one_open_port_a_dependence_on_the_port_is_not_demanded() -> None:
    for mapping in (Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT):
        one = Transport(mapping=mapping, allowed_ports=(53,))
        found = measured(transport(mapping=AT_LEAST_ADDRESS, allowed_ports=("53",)))
        assert "udp.mapping" not in wrong(dataclasses.replace(DAILY, udp=one), found)
        independent = dataclasses.replace(one, mapping=Mapping.ENDPOINT_INDEPENDENT)
        assert "udp.mapping" in wrong(dataclasses.replace(DAILY, udp=independent), found)
        more = dataclasses.replace(one, allowed_ports=(53, 80))
        assert "udp.mapping" in wrong(dataclasses.replace(DAILY, udp=more), found)


def test_ports_that_are_kept_in_a_range_alone_are_not_preserved() -> None:
    assert "udp.allocation" in wrong(DAILY, measured(transport(allocation=PRESERVING_WITHIN)))


def test_a_plain_router_is_held_to_nothing_that_it_has_not_got() -> None:
    plain = Transport(mapping=Mapping.NONE, filtering=Filtering.ENDPOINT_INDEPENDENT)
    axes = set(claims(Behaviour(udp=plain, tcp=plain), mappings=600))
    absent = {"refresh", "timeout_udp", "udp.unsolicited", "tcp.persistence", "lan_exposed"}
    assert not axes & absent
    assert {"udp.filtering", "udp.mapping", "forwards"} <= axes


SMALL = PortRange(5008, 5015)


def _asked(quota: int | None = None, **axes: Any) -> dict[str, str]:
    """What is claimed of TCP behind a NAT that allows so much: axis -> declared."""
    behaviour = Behaviour(tcp=dataclasses.replace(Transport(), **axes), quota=quota)
    found = claims(behaviour, mappings=600)
    return {axis.removeprefix("tcp."): claim.declared for axis, claim in found.items()}


def test_a_quota_and_a_pool_are_claimed_where_they_can_be_reached() -> None:
    pooled = {"allocation": Allocation.SEQUENTIAL, "ports": SMALL}
    for quota, axes, expected in (
        (None, {}, ("none", "none")),
        (3, {}, ("3", "none")),
        (None, pooled, (None, "8")),  # the first host gets all, which no quota has to do with
        (3, pooled, ("3", "none")),  # both hosts together get six of eight ports
        (5, pooled, ("5", "8")),
        (9, pooled, (None, "8")),
        (900, {}, ("none", "none")),
    ):
        found = _asked(quota, **axes)
        assert (found.get("quota"), found.get("pool")) == expected, (quota, axes)


def test_what_takes_more_mappings_than_there_are_is_not_claimed() -> None:
    dependent: dict[str, Any] = {
        "mapping": Mapping.ADDRESS_AND_PORT_DEPENDENT,
        "filtering": Filtering.ENDPOINT_INDEPENDENT,
        "allocation": Allocation.RANDOM,
    }
    every = _asked(**dependent).keys()
    assert every - _asked(3, **dependent).keys() == set()
    assert every - _asked(1, **dependent).keys() == {
        "mapping",
        "allocation",
        "overloading",
        "collision",
        "hairpin",
    }


def test_what_is_not_to_be_seen_is_told() -> None:
    tight = Behaviour(quota=3, tcp=Transport(allocation=Allocation.RANDOM, ports=SMALL))
    assert unclaimed(tight, mappings=600) == ()
    pooled = Behaviour(udp=Transport(allocation=Allocation.SEQUENTIAL, ports=SMALL))
    assert unclaimed(pooled, mappings=600) == ("udp.quota",)


def test_two_mappings_do_not_tell_whether_the_port_alone_makes_another_one() -> None:
    symmetric = Transport(mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT, allocation=Allocation.RANDOM)
    claim = claims(Behaviour(udp=symmetric, quota=2), mappings=600)["udp.mapping"]
    assert claim.holds(AT_LEAST_ADDRESS)
    assert not claim.holds("endpoint_independent")
    assert not claims(Behaviour(udp=symmetric, quota=3), mappings=600)["udp.mapping"].holds(
        AT_LEAST_ADDRESS
    )


def test_of_few_ports_a_random_one_may_come_back() -> None:
    chosen, timer = Finding("scattered", SEEN), Finding((1.5, 2.5), SEEN)
    assert scattered(chosen, [True, False, False], timer, few=True).value == "random"
    assert scattered(chosen, [True, False, False], timer).value == "inconsistent"
    assert scattered(chosen, [True, True, True], timer, few=True).value == "hashed"
