"""Known deviations account for their own breaches alone, and hold for their own versions."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from testbed.model.address import Endpoint, Sight
from testbed.model.behaviour import Allocation, Behaviour, Filtering, Hairpin, Mapping, Protocol
from testbed.model.breach import (
    Breach,
    DeviationGone,
    FalseClaim,
    FirstNoise,
    NotClient,
    NotCrossed,
    OwnInitial,
    PunchedEarly,
    RelayKept,
    StepMissing,
)
from testbed.model.deviation import Deviation
from testbed.model.outcome import Outcome, StepName
from testbed.model.presets import carrier, home_and_public
from testbed.model.version import Built
from testbed.nat.load import catalogue
from testbed.predict.deviations import DEVIATIONS, uncovered, unexpected
from testbed.predict.nats_as_one import as_one
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import deviations, prediction, strangers
from testbed.words import sentence

CATALOGUE = catalogue()
END = Endpoint(IPv4Address("29.0.0.2"), 4001)
SIGHT = Sight(7, "nat-b:wan", False, "udp", END, END, 3)
LIE = FalseClaim("a", Outcome.DIRECT, Outcome.RELAYED, "connected")
A_SERVES = NotClient("a", "b", FirstNoise(96, 32))
SYNCS = (StepName.SYNC_SENT, StepName.SYNC_RECEIVED)
KEPT_ROW = "the relayed connection is kept"
KEPT = ({RelayKept("a"), RelayKept("a", "b")}, {RelayKept("b")})

# By stack and name: breaches that a deviation accounts for, and some that it does not.
ACCOUNTS: dict[tuple[str, str], tuple[set[Breach], set[Breach]]] = {
    ("js-libp2p", "what it was told is dialed, and nothing comes towards that"): (
        {NotCrossed("b", "nat-b:wan", SIGHT, SIGHT)},
        {NotCrossed("a", "nat-a:wan", SIGHT, SIGHT), LIE},
    ),
    ("go-libp2p", "the third attempt swaps roles"): (
        {OwnInitial("b", SIGHT)},
        {OwnInitial("a", SIGHT), A_SERVES},
    ),
    ("py-libp2p", "over QUIC it closes its dial of a punch, and the dialer has told of it"): (
        {LIE},
        {
            FalseClaim("b", Outcome.DIRECT, Outcome.RELAYED, "connected"),
            FalseClaim("a", Outcome.RELAYED, Outcome.DIRECT, "connected"),
            FalseClaim("a", Outcome.DIRECT, Outcome.NONE, "connected"),
        },
    ),
    ("py-libp2p", "over QUIC nothing comes towards its dial"): (
        {NotCrossed("b", "nat-b:wan", SIGHT, SIGHT), PunchedEarly("b", StepName.SYNC_SENT)},
        {PunchedEarly("a", StepName.SYNC_RECEIVED), NotCrossed("a", "nat-a:wan", SIGHT, SIGHT)},
    ),
    ("py-libp2p", "the dialer leads, too"): (
        {A_SERVES, *(StepMissing(node, step) for node in "ab" for step in SYNCS)},
        {StepMissing("a", StepName.CONNECT_SENT), NotClient("b", "a", FirstNoise(96, 32))},
    ),
    ("go-libp2p", "the third attempt swaps roles over TCP"): (
        {A_SERVES},
        {NotClient("b", "a", FirstNoise(96, 32)), OwnInitial("a", SIGHT)},
    ),
    ("go-libp2p", "the relayed connection is kept"): KEPT,
    ("rust-libp2p", "the relayed connection is kept"): KEPT,
    ("rust-libp2p", "over QUIC the listener dials, too"): (
        {OwnInitial("b", SIGHT)},
        {OwnInitial("a", SIGHT), NotClient("b", "a")},
    ),
    ("py-libp2p", "the relayed connection is kept for a minute"): KEPT,
}


def test_what_each_deviation_accounts_for_is_written_down_here() -> None:
    assert {(one.stack, one.name) for one in DEVIATIONS if one.breaches} == set(ACCOUNTS)


@pytest.mark.parametrize("row", DEVIATIONS, ids=lambda row: f"{row.stack}: {row.name}")
def test_a_deviation_accounts_for_its_own_breaches_and_no_other(row: Deviation) -> None:
    own, others = ACCOUNTS.get((row.stack, row.name), (set(), {LIE, A_SERVES}))
    for breach in own:
        assert unexpected([breach], [row]) == []
    gone = [DeviationGone(row.stack, row.name, row.link)] if own else []
    for breach in others:
        assert unexpected([breach], [row]) == [breach, *gone]
    assert unexpected([], [row]) == gone


def test_a_deviation_is_known_whatever_the_hosts_of_its_roles_are_called() -> None:
    (row,) = [one for one in DEVIATIONS if (one.stack, one.name) == ("go-libp2p", KEPT_ROW)]
    breach = RelayKept("laptop", "home")
    assert unexpected([breach], [row], ("laptop", "home")) == []
    gone = DeviationGone(row.stack, row.name, row.link)
    assert unexpected([breach], [row], ("home", "laptop")) == [breach, gone]


KEPT_CELL = Cell("go-quic", ("full-cone", "full-cone"), "libp2p")


def names(cell: Cell, **versions: str) -> list[str]:
    told = {name.replace("_", "-"): version for name, version in versions.items()}
    return [one.name for one in deviations(cell, CATALOGUE, told)]


def test_a_deviation_holds_for_the_versions_that_it_was_seen_in() -> None:
    assert names(KEPT_CELL) == ["the relayed connection is kept"]
    assert names(KEPT_CELL, go_quic="go-libp2p v0.51.0") == ["the relayed connection is kept"]
    assert names(KEPT_CELL, go_quic="absent") == ["the relayed connection is kept"]
    third = Cell("traversal-quic+go-quic", ("restricted-cone", "symmetric"), "libp2p")
    assert names(third, go_quic="go-libp2p v0.51.0") == ["the third attempt swaps roles"]
    assert names(third, go_quic="go-libp2p v0.46.0") == []  # which another row covers


def test_a_version_that_no_row_covers_is_told_and_judged_without_the_table() -> None:
    versions = {"go-quic": "go-libp2p v0.99.0", "js-quic": "js-libp2p 3.3.11"}
    assert deviations(KEPT_CELL, CATALOGUE, versions) == ()
    assert prediction(KEPT_CELL, CATALOGUE, versions) != prediction(KEPT_CELL, CATALOGUE)
    mixed = Cell("js-quic+go-quic", ("full-cone", "full-cone"), "libp2p")
    assert strangers([KEPT_CELL, mixed], versions) == (Built("go-libp2p", "v0.99.0"),)
    assert "go-libp2p v0.99.0" in sentence(Built("go-libp2p", "v0.99.0"))
    assert strangers([KEPT_CELL, mixed], {}) == ()


def test_a_stack_that_the_table_does_not_know_has_no_version_to_miss() -> None:
    assert uncovered([Built("pion", "v4.0.0"), Built("go-libp2p", "v0.46.0")]) == ()


# -- in every world -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topology", "profiles"),
    [
        ("libp2p", ("port-restricted", "port-restricted")),
        ("two-homes", ("port-restricted", "port-restricted")),
        ("home-and-public", ("symmetric",)),
        ("carrier", ("linux-home", "linux-home")),
        ("same-lan", ("carrier-grade",)),
    ],
)
def test_a_deviation_holds_whatever_the_number_of_nats_and_observers(
    topology: str, profiles: tuple[str, ...]
) -> None:
    for peer in ("go-tcp", "go-quic"):
        cell = Cell(peer, profiles, topology)
        assert "the relayed connection is kept" in {d.name for d in deviations(cell, CATALOGUE)}


def test_nats_in_a_row_are_as_strict_as_the_strictest_and_a_shared_one_filters_nothing() -> None:
    topology = carrier("full-cone", "symmetric")
    behaviours = {r.name: CATALOGUE[r.profile].behaviour for r in topology.routers}
    ends = [as_one(topology, behaviours, Protocol.UDP, pair) for pair in (("a", "b"), ("b", "a"))]
    assert ends[0].mapping is Mapping.ENDPOINT_INDEPENDENT
    assert ends[0].filtering is Filtering.ENDPOINT_INDEPENDENT
    assert ends[0].allocation is not Allocation.PRESERVING  # the carrier's
    assert ends[1].mapping is Mapping.ADDRESS_AND_PORT_DEPENDENT
    assert ends[1].filtering is Filtering.ADDRESS_AND_PORT_DEPENDENT
    assert as_one(home_and_public(), {"nat-a": Behaviour()}, Protocol.TCP, ("b", "a")).plain


@pytest.mark.parametrize(
    ("nat", "outcome"), [("restricted-cone", "relayed"), ("hairpin", "direct")]
)
def test_no_deviation_leads_through_a_shared_nat_that_does_not_hairpin(
    nat: str, outcome: str
) -> None:
    """rust-libp2p gets in over QUIC where datagrams open nothing, and here nothing gets in."""
    behaviour = CATALOGUE["restricted-cone"].behaviour
    hairpins = replace(behaviour, hairpin=Hairpin.EXTERNAL_SOURCE)
    profiles = {**CATALOGUE, "hairpin": replace(CATALOGUE["restricted-cone"], behaviour=hairpins)}
    told = prediction(Cell("rust-quic", (nat,), "same-lan"), profiles)
    assert told.outcome == outcome
