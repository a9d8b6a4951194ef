"""Known deviations account for their own breaches alone, and hold for their own versions."""

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from testbed.errors import UsageError
from testbed.model.address import Endpoint, Sight
from testbed.model.behaviour import Allocation, Behaviour, Filtering, Hairpin, Mapping, Protocol
from testbed.model.breach import (
    Breach,
    BreachKind,
    DeviationGone,
    FalseClaim,
    FirstNoise,
    NotClient,
    NotCrossed,
    OwnInitial,
    PunchedEarly,
    RelayKept,
    StepMissing,
    StepsSwapped,
    StepUnseen,
)
from testbed.model.chances import Chances
from testbed.model.deviation import Case, Deviation, End, Match, Pattern
from testbed.model.outcome import Outcome, StepName
from testbed.model.prediction import Prediction
from testbed.model.presets import carrier, find, home_and_public, two_homes
from testbed.model.reason import UpgradesOff
from testbed.model.version import Built
from testbed.nat.load import catalogue
from testbed.predict.deviations import (
    DEVIATIONS,
    expected,
    fewest,
    known,
    uncovered,
    unexpected,
)
from testbed.predict.nats_as_one import as_one, reached
from testbed.stacks import folders
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import deviations, prediction, strangers
from testbed.verdict.upgrade import UNTOLD_BY_CHANCE
from testbed.words import sentence

CATALOGUE = catalogue()
BEHAVIOURS = dict.fromkeys(("nat-a", "nat-b"), CATALOGUE["full-cone"].behaviour)
END = Endpoint(IPv4Address("29.0.0.2"), 4001)
SIGHT = Sight(7, "nat-b:wan", False, "udp", END, END, 3)
LIE = FalseClaim("a", Outcome.DIRECT, Outcome.RELAYED)
A_SERVES = NotClient("a", "b", FirstNoise(96, 32))
SYNCS = (StepName.SYNC_SENT, StepName.SYNC_RECEIVED)
OWN_DIAL_ROW = "over QUIC the listener dials, too"
KEPT_ROW = "the relayed connection is kept"
KEPT: tuple[set[Breach], set[Breach]] = ({RelayKept("a"), RelayKept("a", "b")}, {RelayKept("b")})

# By stack and name: breaches that a deviation accounts for, and some that it does not.
ACCOUNTS: dict[tuple[str, str], tuple[set[Breach], set[Breach]]] = {
    ("js-libp2p", "what it was told is dialed, and nothing comes towards that"): (
        {NotCrossed("b", "nat-b:wan", SIGHT, SIGHT)},
        {NotCrossed("a", "nat-a:wan", SIGHT, SIGHT), LIE},
    ),
    (
        "js-libp2p",
        "its private address is told, and leads a dialer to it that is in its network, or behind a"
        " NAT of it",
    ): ({RelayKept("a", "b"), RelayKept("a", None)}, {RelayKept("b", None), LIE}),
    (
        "js-libp2p",
        "its private address is told as the dialer, and leads a listener of its network to it",
    ): (
        {A_SERVES, OwnInitial("b", SIGHT), RelayKept("a", "b"), RelayKept("a", None)},
        {OwnInitial("a", SIGHT), RelayKept("b", None), LIE},
    ),
    ("js-libp2p", "its attempt fails although the connection that it made stays"): (
        {RelayKept("a", "b")},
        {RelayKept("b", None), LIE},
    ),
    ("js-libp2p", "as the listener it dials alone, as a client"): (
        {
            PunchedEarly("a", StepName.SYNC_RECEIVED),
            NotCrossed("a", "nat-a:wan", SIGHT, SIGHT),
            A_SERVES,
            OwnInitial("b", SIGHT),
        },
        {PunchedEarly("b", StepName.SYNC_SENT), NotCrossed("b", "nat-b:wan", SIGHT, SIGHT), LIE},
    ),
    ("go-libp2p", "the third attempt swaps roles"): (
        {OwnInitial("b", SIGHT)},
        {OwnInitial("a", SIGHT), A_SERVES},
    ),
    ("py-libp2p", "over QUIC it closes its dial of a punch, and the dialer has told of it"): (
        {LIE},
        {
            FalseClaim("b", Outcome.DIRECT, Outcome.RELAYED),
            FalseClaim("a", Outcome.RELAYED, Outcome.DIRECT),
            FalseClaim("a", Outcome.DIRECT, Outcome.NONE),
        },
    ),
    ("py-libp2p", "where its dial was closed, the dialer leads"): (
        {
            StepsSwapped("a", StepName.CONNECT_RECEIVED, "b", StepName.CONNECT_SENT),
            StepUnseen("b", StepName.CONNECT_SENT, "server"),
            OwnInitial("b", SIGHT),
        },
        {OwnInitial("a", SIGHT), LIE},
    ),
    ("py-libp2p", "over QUIC both dial, and the listener's may be the first"): (
        {OwnInitial("b", SIGHT)},
        {OwnInitial("a", SIGHT), A_SERVES},
    ),
    ("py-libp2p", "over QUIC nothing comes towards its dial"): (
        {NotCrossed("b", "nat-b:wan", SIGHT, SIGHT), PunchedEarly("b", StepName.SYNC_SENT)},
        {PunchedEarly("a", StepName.SYNC_RECEIVED), NotCrossed("a", "nat-a:wan", SIGHT, SIGHT)},
    ),
    ("py-libp2p", "the dialer leads, too"): (
        {
            A_SERVES,
            OwnInitial("b", SIGHT),
            *(StepMissing(node, step) for node in "ab" for step in SYNCS),
        },
        {
            StepMissing("a", StepName.CONNECT_SENT),
            NotClient("b", "a", FirstNoise(96, 32)),
            OwnInitial("a", SIGHT),
        },
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
    gone = [DeviationGone(row.stack, row.name, row.link)] if own and not row.raced else []
    for breach in others:
        assert unexpected([breach], [row]) == [breach, *gone]
    assert unexpected([], [row]) == gone


def test_a_breach_that_a_race_decides_is_known_and_never_missing() -> None:
    (row,) = [one for one in DEVIATIONS if one.raced and one.stack == "py-libp2p"]
    mine, other = OwnInitial("b", SIGHT), OwnInitial("a", SIGHT)
    assert unexpected([mine], [row]) == unexpected([], [row]) == []
    assert unexpected([mine, other], [row]) == [other]
    surely = row.model_copy(update={"raced": False})
    assert unexpected([], [surely]) == [DeviationGone(row.stack, row.name, row.link)]


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


# Without four observers nobody is dialed back, and an open NAT is met by a punch alone.
@pytest.mark.parametrize("world", ["two-homes", "three-homes-one-carrier", "far-relay"])
@pytest.mark.parametrize(
    ("peer", "outcome", "names"),
    [
        ("go-quic", Outcome.DIRECT, {"the third attempt swaps roles", KEPT_ROW}),
        ("go-v0.46-quic", Outcome.RELAYED, set[str]()),
        (
            "go-tcp",
            Outcome.DIRECT,
            {
                "what is accepted in a punch is served",
                "the third attempt swaps roles over TCP",
                KEPT_ROW,
            },
        ),
        ("go-v0.46-tcp", Outcome.RELAYED, {"what is accepted in a punch is served"}),
    ],
)
def test_behind_an_open_nat_that_is_not_dialed_back_go_deviates_as_behind_a_restricted_one(
    world: str, peer: str, outcome: Outcome, names: set[str]
) -> None:
    cell = Cell(peer, ("full-cone", "symmetric"), world)
    assert prediction(cell, CATALOGUE).outcome is outcome
    assert {one.name for one in deviations(cell, CATALOGUE)} == names
    if peer == "go-tcp":  # where it is dialed back, it plays the server's part rightly
        reversed_ = replace(cell, topology="libp2p")
        assert {one.name for one in deviations(reversed_, CATALOGUE)} == {KEPT_ROW}


@pytest.mark.parametrize("dialer", ["rust-tcp", "rust-v0.54-tcp"])
def test_behind_an_open_nat_that_is_not_dialed_back_rust_serves_what_it_accepts(
    dialer: str,
) -> None:
    swaps = "the third attempt swaps roles over TCP"
    for listener, outcome in (("go", "direct"), ("go-v0.46", "relayed"), ("traversal", "relayed")):
        cell = Cell(f"{dialer}+{listener}-tcp", ("full-cone", "symmetric"), "two-homes")
        assert prediction(cell, CATALOGUE).outcome == outcome
        assert (swaps in names(cell)) is (listener == "go")
        reversed_ = prediction(replace(cell, topology="libp2p"), CATALOGUE)
        assert reversed_.outcome is Outcome.DIRECT


@pytest.mark.parametrize("dialer", ["go", "go-v0.46", "rust", "rust-v0.54"])
@pytest.mark.parametrize("transport", ["tcp", "quic"])
def test_a_private_address_that_js_tells_leads_who_is_behind_a_nat_of_its_network(
    dialer: str, transport: str
) -> None:
    nats = ("restricted-cone", "full-cone")
    cell = Cell(f"{dialer}-{transport}+js-{transport}", nats, "guest-and-house")
    assert prediction(cell, CATALOGUE).outcome is Outcome.DIRECT
    for others in (f"js-{transport}+{dialer}-{transport}", f"traversal-{transport}+js-{transport}"):
        other = Cell(others, nats, "guest-and-house")
        assert prediction(other, CATALOGUE).outcome is Outcome.RELAYED


@pytest.mark.parametrize("world", ["same-lan", "lan-party", "two-phones-one-carrier"])
@pytest.mark.parametrize(
    ("listener", "outcomes"),
    [
        ("go", ("direct", "direct")),
        ("go-v0.46", ("relayed", "relayed")),
        ("rust", ("relayed", "direct")),
        ("traversal", ("relayed", "relayed")),
    ],
)
def test_a_private_address_that_js_tells_as_the_dialer_leads_who_dials_as_a_client(
    world: str, listener: str, outcomes: tuple[str, str]
) -> None:
    nats = ("restricted-cone",) * len(find(world).world.options)
    for transport, outcome in zip(("tcp", "quic"), outcomes, strict=True):
        cell = Cell(f"js-{transport}+{listener}-{transport}", nats, world)
        assert prediction(cell, CATALOGUE).outcome == outcome
        assert (
            prediction(
                replace(cell, topology="two-homes", profiles=("symmetric",) * 2), CATALOGUE
            ).outcome
            is Outcome.RELAYED
        )


@pytest.mark.parametrize("dialer", ["go-tcp", "go-v0.46-tcp"])
def test_behind_an_open_nat_that_is_not_dialed_back_go_serves_beside_ours(dialer: str) -> None:
    cell = Cell(f"{dialer}+traversal-tcp", ("full-cone", "symmetric"), "two-homes")
    assert prediction(cell, CATALOGUE).outcome is Outcome.RELAYED
    reversed_ = replace(cell, topology="libp2p")
    assert prediction(reversed_, CATALOGUE).outcome is Outcome.DIRECT


def test_what_py_signals_leads_nowhere_behind_a_carrier_that_changes_the_port() -> None:
    cell = Cell("py-tcp+js-tcp", ("full-cone", "symmetric"), "three-homes-one-carrier")
    assert prediction(cell, CATALOGUE).outcome is Outcome.RELAYED
    assert "the dialer leads, too" not in names(cell)
    at_home = replace(cell, topology="two-homes")
    assert prediction(at_home, CATALOGUE).outcome is Outcome.DIRECT
    assert "the dialer leads, too" in names(at_home)


@pytest.mark.parametrize(
    ("listener", "nat"),
    [("js-tcp", "full-cone"), ("js-quic", "full-cone"), ("js-tcp", "symmetric")],
)
def test_behind_an_open_home_of_a_carrier_rust_signals_a_port_that_leads_nowhere(
    listener: str, nat: str
) -> None:
    transport = listener.partition("-")[2]
    cell = Cell(f"rust-{transport}+{listener}", ("full-cone", nat), "three-homes-one-carrier")
    assert prediction(cell, CATALOGUE).outcome is Outcome.RELAYED
    assert prediction(replace(cell, topology="two-homes"), CATALOGUE).outcome is Outcome.DIRECT


def test_who_reaches_no_relay_is_led_by_no_dialer() -> None:
    cell = Cell("py-tcp+js-tcp", ("full-cone", "symmetric"), "relay-behind-cgn")
    assert prediction(cell, CATALOGUE).outcome is Outcome.NONE
    assert deviations(cell, CATALOGUE) == ()


@pytest.mark.parametrize("world", ["satellite-lossy", "bad-wifi"])
def test_where_links_lose_a_stack_of_others_may_end_as_the_model_may(world: str) -> None:
    told = prediction(Cell("go-quic", ("full-cone", "symmetric"), world), CATALOGUE)
    assert told.outcome is Outcome.DIRECT  # by go's third attempt, which the model has not
    assert told.chances is not None
    assert told.chances.borrowed
    assert told.beside(Outcome.RELAYED) is Outcome.RELAYED
    ours = prediction(Cell("traversal-quic", ("full-cone", "symmetric"), world), CATALOGUE)
    assert ours.chances is not None
    assert not ours.chances.borrowed


def test_a_breach_that_nobody_looked_for_is_not_missing() -> None:
    row = next(one for one in DEVIATIONS if one.name == "over QUIC the listener dials, too")
    assert unexpected([], [row]) == [DeviationGone(row.stack, row.name, row.link)]
    assert unexpected([], [row], untold=UNTOLD_BY_CHANCE) == []
    kept = next(one for one in DEVIATIONS if one.name == KEPT_ROW)
    assert unexpected([], [kept], untold=UNTOLD_BY_CHANCE) != []


def test_what_one_end_left_untold_excuses_no_row_of_the_other_end() -> None:
    of_listener = Pattern(kind=BreachKind.NOT_CROSSED, role="b")
    row = next(one for one in DEVIATIONS if of_listener in one.breaches)
    gone = [DeviationGone(row.stack, row.name, row.link)]
    role: End | None
    for role, missing in (("a", gone), ("b", []), (None, [])):
        pattern = Pattern(kind=BreachKind.NOT_CROSSED, role=role)
        assert unexpected([], [row], untold=[pattern]) == missing
    assert unexpected([], [row], untold=[Pattern(kind=BreachKind.NOT_CLIENT, role="b")]) == gone


SEEN = """
[[deviation]]
name = "it goes by its own address, or not"
order = 1
versions = ["1.0"]
cause = "both sides dial"
link = "https://example.org/"
date = "2026-11-30"
seen = { direct = 14, relayed = 4, none = 2 }
when = [
    { listener_reached = true, outcome = ["relayed"] },
]

[[deviation]]
name = "the relayed connection is kept"
order = 2
versions = ["1.0"]
cause = "nothing closes it"
link = "https://example.org/"
date = "2026-11-30"
breaches = [
    { kind = "relay_kept", role = "a" },
]
when = [
    { outcome = ["direct"] },
]
"""


@pytest.fixture
def rows(tmp_path: Path) -> tuple[Deviation, ...]:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "deviations.toml").write_text(SEEN, encoding="utf-8")
    return folders.deviations(tmp_path)


def behind_one_nat(*, near: bool) -> Case:
    nat = as_one(two_homes("full-cone", "full-cone"), BEHAVIOURS, Protocol.TCP, ("a", "b"))
    return Case("go-tcp", "go-tcp", False, nat, nat, Outcome.RELAYED, (), False, None, near, near)


def test_a_stack_that_ends_in_several_ways_is_predicted_by_how_often_it_was_seen_to(
    rows: tuple[Deviation, ...],
) -> None:
    applying = known(behind_one_nat(near=True), rows)
    told = expected(Prediction(Outcome.RELAYED, UpgradesOff(), ()), applying)
    assert told.chances == Chances(20, 14, 4, 2)
    assert (told.outcome, told.beside(Outcome.NONE)) == (Outcome.DIRECT, Outcome.NONE)
    assert known(behind_one_nat(near=False), rows) == ()


@pytest.mark.parametrize(
    ("ended", "names"),
    [
        (Outcome.DIRECT, ["it goes by its own address, or not", KEPT_ROW]),
        (Outcome.RELAYED, ["it goes by its own address, or not"]),
        (None, ["it goes by its own address, or not", KEPT_ROW]),
    ],
)
def test_what_else_it_does_follows_from_how_it_ended(
    rows: tuple[Deviation, ...], ended: Outcome | None, names: list[str]
) -> None:
    assert [one.name for one in known(behind_one_nat(near=True), rows, ended)] == names


def test_a_rate_of_few_cells_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    text = SEEN.replace("direct = 14", "direct = 1")
    (tmp_path / "mine" / "deviations.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="a rate takes 10 cells or more"):
        folders.deviations(tmp_path)


def test_a_file_that_is_too_deep_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "deviations.toml").write_text("a = " + "[" * 5000 + "]" * 5000)
    with pytest.raises(UsageError, match="recursion"):
        folders.deviations(tmp_path)


@pytest.mark.parametrize(
    ("world", "peer", "profiles", "outcome"),
    [
        # In one network the dialer's own dial comes to what identify told it, over any transport.
        ("same-lan", "py-tcp", ("symmetric",), "direct"),
        ("same-lan", "py-tcp+traversal-tcp", ("port-restricted",), "direct"),
        ("same-lan", "py-tcp+rust-tcp", ("symmetric",), "direct"),
        ("guest-and-house", "py-tcp", ("port-restricted", "symmetric"), "direct"),
        # As the listener it tells that address over QUIC alone, and not everybody dials it.
        ("same-lan", "go-tcp+py-tcp", ("port-restricted",), "relayed"),
        ("same-lan", "go-quic+py-quic", ("port-restricted",), "direct"),
        ("same-lan", "traversal-quic+py-quic", ("port-restricted",), "relayed"),
        # To a public listener a NAT of the dialer's is no hindrance.
        ("home-and-public", "py-quic", ("symmetric",), "direct"),
        ("home-and-public", "traversal-quic+py-quic", ("port-restricted",), "direct"),
        ("public-both", "py-quic", (), "direct"),
        # Who dials a public dialer back needs no punch; py-libp2p's own dial is closed, or served.
        ("public-to-hard", "py-tcp+traversal-tcp", ("symmetric",), "direct"),
        ("public-to-hard", "py-quic+go-quic", ("symmetric",), "direct"),
        ("public-to-hard", "py-tcp", ("symmetric",), "relayed"),
        # ... but over QUIC the dialer finds that out, leads, and is dialed by a client.
        ("public-to-hard", "py-quic", ("symmetric",), "direct"),
        ("public-to-hard", "py-quic", ("full-cone",), "direct"),
        # js-libp2p tells of a private address of its own, and of no public one.
        ("same-lan", "py-tcp+js-tcp", ("symmetric",), "direct"),
        ("same-lan", "py-quic+js-quic", ("symmetric",), "direct"),
        ("same-lan", "js-quic+py-quic", ("full-cone",), "direct"),
        ("same-lan", "js-tcp+py-tcp", ("full-cone",), "relayed"),  # both serve
        ("guest-and-house", "py-quic+js-quic", ("port-restricted", "symmetric"), "direct"),
        ("public-to-hard", "js-tcp+py-tcp", ("full-cone",), "relayed"),
        ("public-to-hard", "js-quic+py-quic", ("full-cone",), "relayed"),
        ("public-to-hard", "py-quic+js-quic", ("symmetric",), "direct"),
        ("home-and-public", "py-tcp+js-tcp", ("full-cone",), "relayed"),
        ("home-and-public", "py-quic+js-quic", ("symmetric",), "relayed"),
        ("home-and-public", "js-tcp+py-tcp", ("symmetric",), "direct"),
        ("public-both", "js-tcp+py-tcp", (), "direct"),
        ("public-both", "py-quic+js-quic", (), "direct"),
        ("public-to-hard", "go-quic+py-quic", ("port-restricted",), "relayed"),
        # Behind a NAT each nothing changes.
        ("two-homes", "py-quic", ("port-restricted", "port-restricted"), "relayed"),
        ("carrier", "py-quic", ("port-restricted", "port-restricted"), "relayed"),
    ],
)
def test_py_libp2p_dials_the_address_that_the_other_has_of_its_own(
    world: str, peer: str, profiles: tuple[str, ...], outcome: str
) -> None:
    assert prediction(Cell(peer, profiles, world), CATALOGUE).outcome == outcome


@pytest.mark.parametrize("peer", ["go-tcp+js-tcp", "go-v0.46-quic+js-quic"])
def test_beside_go_a_listening_js_libp2p_is_a_client_where_it_has_an_address_to_tell(
    peer: str,
) -> None:
    alone = "as the listener it dials alone, as a client"
    assert alone in names(Cell(peer, ("full-cone", "full-cone"), "two-homes"))
    assert alone not in names(Cell(peer, ("full-cone",), "home-and-public"))


@pytest.mark.parametrize("peer", ["rust-tcp+js-tcp", "traversal-quic+js-quic"])
def test_a_listening_js_libp2p_dials_alone_and_gets_in_where_everybody_is_let_in(peer: str) -> None:
    alone = "as the listener it dials alone, as a client"
    cell = Cell(peer, ("full-cone",), "home-and-public")
    assert prediction(cell, CATALOGUE).outcome is Outcome.DIRECT
    assert alone in names(cell)
    assert alone in names(Cell(peer, ("full-cone", "full-cone"), "two-homes"))
    assert alone not in names(Cell(peer, ("symmetric",), "home-and-public"))
    assert alone not in names(Cell(peer, ("full-cone", "full-cone"), "libp2p"))


def test_go_that_dials_a_public_dialer_back_needs_no_third_attempt() -> None:
    assert names(Cell("py-tcp+go-tcp", ("symmetric",), "public-to-hard")) == [
        "the relayed connection is kept for a minute"
    ]


def test_the_dial_that_py_libp2p_closes_gets_in_at_the_address_that_a_public_one_has() -> None:
    closed = "over QUIC it closes its dial of a punch, and the dialer has told of it"
    leads = "where its dial was closed, the dialer leads"
    assert closed in names(Cell("go-quic+py-quic", ("symmetric",), "public-to-hard"))
    assert leads in names(Cell("py-quic", ("symmetric",), "public-to-hard"))
    for row, cell in (
        (closed, Cell("go-quic+py-quic", ("full-cone",), "same-lan")),
        (closed, Cell("py-quic", ("symmetric",), "public-to-hard")),
        (leads, Cell("py-quic", ("full-cone", "full-cone"), "libp2p")),
        (leads, Cell("py-quic", ("full-cone",), "same-lan")),
        (leads, Cell("py-quic", (), "public-both")),
    ):
        assert row not in names(cell)


@pytest.mark.parametrize("peer", ["py-quic+traversal-quic", "js-quic+traversal-quic"])
def test_nothing_has_to_come_towards_a_dial_of_a_listener_without_a_nat(peer: str) -> None:
    rows = {
        "over QUIC nothing comes towards its dial",
        "what it was told is dialed, and nothing comes towards that",
    }
    assert rows & set(names(Cell(peer, ("full-cone", "full-cone"), "libp2p")))
    assert not rows & set(names(Cell(peer, ("full-cone",), "home-and-public")))
    assert not rows & set(names(Cell("py-quic+traversal-quic", ("full-cone",), "public-to-hard")))


@pytest.mark.parametrize("other", ["rust", "rust-v0.54"])
def test_which_of_two_dials_is_first_is_a_race_where_both_get_in(other: str) -> None:
    first, always = "over QUIC both dial, and the listener's may be the first", OWN_DIAL_ROW
    peer = f"py-quic+{other}-quic"
    worlds: tuple[tuple[str, tuple[str, ...], str], ...] = (
        ("public-both", (), first),
        ("public-to-hard", ("full-cone",), first),
        ("public-to-hard", ("symmetric",), always),
        ("public-to-hard", ("port-restricted",), always),
    )
    for world, nats, row in worlds:
        assert {first, always} & set(names(Cell(peer, nats, world))) == {row}


@pytest.mark.parametrize(
    ("world", "peer", "profiles", "dials"),
    [
        # A public address of js-libp2p's is told to nobody: whoever knows no other dials nothing.
        ("public-to-hard", "js-tcp+py-tcp", ("symmetric",), {"b": 0}),
        ("home-and-public", "py-tcp+js-tcp", ("symmetric",), {"a": 0}),
        ("public-to-hard", "js-tcp+go-tcp", ("full-cone",), {"a": 0, "b": 0}),
        ("public-to-hard", "js-quic+rust-quic", ("full-cone",), {"a": 0, "b": 0}),
        ("home-and-public", "go-v0.46-tcp+js-tcp", ("full-cone",), {"a": 0, "b": 0}),
        ("home-and-public", "rust-tcp+js-tcp", ("symmetric",), {"a": 0, "b": None}),
        # What is accepted is not sent again: one dial in each of two rounds.
        ("public-to-hard", "py-tcp", ("symmetric",), {"a": 2, "b": 2}),
        ("same-lan", "js-tcp+py-tcp", ("symmetric",), {"a": 2, "b": 2}),
        ("two-homes", "py-tcp", ("symmetric", "symmetric"), {"a": 2, "b": None}),
    ],
)
def test_who_has_no_address_or_no_time_for_a_dial_is_let_off(
    world: str, peer: str, profiles: tuple[str, ...], dials: dict[str, int | None]
) -> None:
    cell = Cell(peer, profiles, world)
    assert prediction(cell, CATALOGUE).outcome is Outcome.RELAYED
    told = fewest(deviations(cell, CATALOGUE))
    assert {end: told.get(end) for end in dials} == dials


def test_a_row_is_not_told_where_what_causes_it_is_not_so() -> None:
    row = chained("relays", Outcome.RELAYED, Outcome.DIRECT)
    row = row.model_copy(update={"unless": (Match(listener_reached=True),)})
    assert not row.condition(replace(behind_one_nat(near=True), outcome=Outcome.DIRECT))
    assert row.condition(replace(behind_one_nat(near=False), outcome=Outcome.DIRECT))


@pytest.mark.parametrize(
    ("world", "ends"),
    [
        ("same-lan", {"a", "b"}),
        ("lan-party", {"a", "b"}),
        ("public-both", {"a", "b"}),
        ("home-and-public", {"b"}),
        ("public-to-hard", {"a"}),
        ("guest-and-house", {"b"}),  # the house's LAN, which the guest's way out crosses
        ("carrier", set[str]()),  # behind a router each
        ("two-homes", set[str]()),
        ("firewalls-only", set[str]()),  # which have a filter, though they translate nothing
        ("vpn-on", set[str]()),
    ],
)
def test_an_end_is_met_at_its_own_address_in_each_network_that_the_others_way_crosses(
    world: str, ends: set[str]
) -> None:
    topology = find(world).topology(*(["full-cone"] * len(find(world).world.options)))
    a, b = topology.roles.a, topology.roles.b
    met = {"a": reached(topology, (b, a)), "b": reached(topology, (a, b))}
    assert {end for end, there in met.items() if there} == ends


def chained(name: str, outcome: Outcome | None, when: Outcome) -> Deviation:
    return Deviation(
        name=name, stack="toy", order=1, versions=("1",), when=(Match(outcome=(when,)),),
        outcome=outcome, cause="it does", link="https://example.org", date="2026-01-01",
    )  # fmt: skip


def test_a_deviation_brings_on_another_also_across_one_that_changes_no_outcome() -> None:
    rows = (
        chained("relays", Outcome.RELAYED, Outcome.DIRECT),
        chained("says so", None, Outcome.RELAYED),
        chained("gives up", Outcome.NONE, Outcome.RELAYED),
        chained("never", Outcome.DIRECT, Outcome.DIRECT),
    )
    nat = CATALOGUE["full-cone"].behaviour.udp
    case = Case("toy", "toy", True, nat, nat, Outcome.DIRECT)
    assert [one.name for one in known(case, rows)] == ["relays", "says so", "gives up"]


@pytest.mark.parametrize("world", ["satellite-lossy", "bad-wifi"])
def test_where_chance_decides_the_deviations_are_those_that_lead_to_how_it_ended(
    world: str,
) -> None:
    js = Cell("js-tcp", ("port-restricted", "port-restricted"), world)
    relayed = deviations(js, CATALOGUE, None, Outcome.RELAYED)
    assert relayed == deviations(js, CATALOGUE)  # it never punches
    assert relayed
    go = Cell("go-tcp", ("port-restricted", "port-restricted"), world)
    assert {one.name for one in deviations(go, CATALOGUE, None, Outcome.DIRECT)} == {KEPT_ROW}
    assert deviations(go, CATALOGUE, None, Outcome.RELAYED) == ()  # but for loss it were direct
