"""What stacks are known to do otherwise than the protocol that the oracle plays, as dated data.

A deviation was confirmed by repetition and read in the stack's source; the findings beside
the peer (``images/STACK/FINDINGS.md``) have the packets.  It changes what is expected of a
cell: who does not deviate where the table says so differs, too, and fails the cell.  It is
true of the versions in which it was seen, and applies to no other.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace

from testbed.model.breach import Breach, BreachKind, DeviationGone
from testbed.model.outcome import Outcome, StepName
from testbed.model.prediction import Prediction
from testbed.model.reason import Deviates
from testbed.model.version import Built
from testbed.predict import deviation_conditions as when
from testbed.predict.deviation_conditions import Case


@dataclass(frozen=True)
class Pattern:
    """Breaches of one kind.  A field that is None may have any value."""

    kind: BreachKind
    node: str | None = None
    vantage: str | None = None
    step: StepName | None = None
    claimed: Outcome | None = None
    measured: Outcome | None = None

    def fits(self, breach: Breach) -> bool:
        """Whether ``breach`` is one of them."""
        wanted = {one.name: getattr(self, one.name) for one in fields(self)}
        found = vars(breach)
        return all(found.get(name) == value for name, value in wanted.items() if value is not None)


@dataclass(frozen=True)
class Deviation:
    """One of them.  ``breaches``: what the verdict finds wrong by it, any of these.

    None where packets show nothing that is wrong.
    """

    name: str
    stack: str
    versions: tuple[str, ...]  # in which it was seen
    condition: Callable[[Case], bool]
    outcome: Outcome | None  # instead of the predicted one, if that changes
    breaches: tuple[Pattern, ...]
    cause: str
    link: str
    date: str  # when it was last confirmed

    def covers(self, case: Case) -> bool:
        """Whether it was seen in a version that the case has of its stack."""
        versions = {end.version for end in case.built if end.stack == self.stack}
        return not versions or not versions.isdisjoint(self.versions)


_HOLEPUNCHER = "https://github.com/libp2p/go-libp2p/blob/v0.51.0/p2p/protocol/holepunch"
_RUST_LIBP2P = "https://github.com/libp2p/rust-libp2p"
_PY_LIBP2P = "https://github.com/libp2p/py-libp2p/blob/v0.8.1/libp2p"
_KEPT = (Pattern(BreachKind.RELAY_KEPT, "a"),)  # b may see it end with a's process
_NOT_CROSSED = Pattern(BreachKind.NOT_CROSSED, vantage="nat-b:wan")
_A_SERVES = Pattern(BreachKind.NOT_CLIENT, "a")
_B_DIALS = Pattern(BreachKind.OWN_INITIAL, "b")


DEVIATIONS = (
    Deviation(
        name="no public address is signalled, and dials leave from another port",
        stack="js-libp2p",
        versions=("3.3.11",),
        condition=when.nobody_punches,
        outcome=Outcome.RELAYED,
        breaches=(),
        cause="CONNECT has only addresses that are verified: of TCP identify drops what was "
        "observed, as Node cannot dial from the port that it listens on; over QUIC a second "
        "socket dials; so only private ones are left, and a side without others gives up",
        link="https://github.com/libp2p/js-libp2p/issues/2620",
        date="2026-11-21",
    ),
    Deviation(
        name="what it was told is dialed, and nothing comes towards that",
        stack="js-libp2p",
        versions=("3.3.11",),
        condition=when.one_sided,
        outcome=None,
        breaches=(_NOT_CROSSED,),
        cause="the listener has no public address of its to dial: the dialer's gets in alone, "
        "where nat-b lets everybody in",
        link="https://github.com/libp2p/js-libp2p/issues/2620",
        date="2026-11-21",
    ),
    Deviation(
        name="the third attempt swaps roles",
        stack="go-libp2p",
        versions=("v0.51.0",),
        condition=when.third_dial_gets_in,
        outcome=Outcome.DIRECT,
        breaches=(_B_DIALS,),
        cause="in its last attempt the listener dials as a client, too, for the sake of releases "
        "before 0.41; over QUIC the dial itself gets in where random datagrams open nothing",
        link=f"{_HOLEPUNCHER}/holepuncher.go",
        date="2026-11-21",
    ),
    Deviation(
        name="what is accepted in a punch is served",
        stack="go-libp2p",
        versions=("v0.46.0", "v0.51.0"),
        condition=when.both_serve,
        outcome=Outcome.RELAYED,
        breaches=(),
        cause="a is the client, whoever's SYN came first, but its listener takes each connection "
        "that it accepts for inbound: where only b's SYN gets in, both are servers, and nobody "
        "begins",
        link="https://github.com/libp2p/go-libp2p/blob/v0.51.0/p2p/net/upgrader/listener.go",
        date="2026-11-21",
    ),
    Deviation(
        name="over TCP a SYN that comes to the listening socket leaves no client",
        stack="rust-libp2p",
        versions=("0.54.1", "0.57.1"),
        condition=when.served_alone,
        outcome=Outcome.RELAYED,
        breaches=(),
        cause="the listener plays the server's part in a dial of a punch, and so does the dialer "
        "on what it accepts: both wait. Its listener does not dial what the dialer advertises, "
        "either, before it punches",
        link=f"{_RUST_LIBP2P}/blob/libp2p-v0.57.1/protocols/dcutr/src/behaviour.rs",
        date="2026-11-21",
    ),
    Deviation(
        name="over QUIC it dials from fresh sockets, and signals the address it listens on",
        stack="py-libp2p",
        versions=("0.8.1",),
        condition=when.fresh_sockets,
        outcome=Outcome.RELAYED,
        breaches=(),
        cause="each dial binds a socket of its own to port 0, and so do the random datagrams; "
        "what is predicted for CONNECT is predicted for TCP alone, so over QUIC it has the "
        "private address; and where the listener's dial gets in, it is closed: a connection "
        "that has roles already is not taken for a punch",
        link=f"{_PY_LIBP2P}/relay/circuit_v2/dcutr.py",
        date="2026-11-21",
    ),
    Deviation(
        name="over QUIC it closes its dial of a punch, and the dialer has told of it",
        stack="py-libp2p",
        versions=("0.8.1",),
        condition=when.closed_unseen,
        outcome=None,
        breaches=(
            Pattern(BreachKind.FALSE_CLAIM, "a", claimed=Outcome.DIRECT, measured=Outcome.RELAYED),
        ),
        cause="the dial that gets in is closed after the handshake, as a connection that has "
        "roles already is not taken for a punch; go and rust take a QUIC connection for good "
        "once its handshake is done (ours waits for a ping's answer), and fall back to the relay",
        link=f"{_PY_LIBP2P}/network/swarm.py",
        date="2026-11-21",
    ),
    Deviation(
        name="over QUIC nothing comes towards its dial",
        stack="py-libp2p",
        versions=("0.8.1",),
        condition=when.enters_alone,
        outcome=None,
        breaches=(
            _NOT_CROSSED,
            Pattern(BreachKind.PUNCHED_EARLY, "b", step=StepName.SYNC_SENT),
        ),
        cause="the listener was told a private address: the dialer's dial gets in alone, where "
        "nat-b lets everybody in",
        link=f"{_PY_LIBP2P}/relay/circuit_v2/dcutr.py",
        date="2026-11-21",
    ),
    Deviation(
        name="the listening port is signalled, whatever the NAT makes of it",
        stack="py-libp2p",
        versions=("0.8.1",),
        condition=when.port_foretold,
        outcome=Outcome.RELAYED,
        breaches=(),
        cause="ordinary dials leave from other ports, so what is observed of them is of no use: "
        "of it CONNECT takes the address and puts the listening port to it",
        link=f"{_PY_LIBP2P}/relay/circuit_v2/dcutr.py",
        date="2026-11-21",
    ),
    Deviation(
        name="what is accepted in a punch is served",
        stack="py-libp2p",
        versions=("0.8.1",),
        condition=when.both_serve_py,
        outcome=Outcome.RELAYED,
        breaches=(),
        cause="where only the listener's SYN gets in, the dialer takes it for any other and plays "
        "the server's part, as the listener does; and nobody has an address to reverse to",
        link=f"{_PY_LIBP2P}/network/swarm.py",
        date="2026-11-21",
    ),
    Deviation(
        name="the dialer leads, too",
        stack="py-libp2p",
        versions=("0.8.1",),
        condition=when.led_by_py,
        outcome=Outcome.DIRECT,
        breaches=(
            Pattern(BreachKind.STEP_MISSING, step=StepName.SYNC_SENT),
            Pattern(BreachKind.STEP_MISSING, step=StepName.SYNC_RECEIVED),
            _A_SERVES,
        ),
        cause="its loop looks every 2 s for peers to upgrade to, whichever side dialed; js-libp2p "
        "takes up its CONNECT, and as A dials, as a client, where py-libp2p's NAT lets it in",
        link=f"{_PY_LIBP2P}/relay/circuit_v2/dcutr.py",
        date="2026-11-21",
    ),
    Deviation(
        name="the third attempt swaps roles over TCP",
        stack="go-libp2p",
        versions=("v0.51.0",),
        condition=when.third_dial_is_served,
        outcome=Outcome.DIRECT,
        breaches=(_A_SERVES,),
        cause="in its last attempt the listener dials as a client, for the sake of releases before "
        "0.41: what a serves wrongly, it then serves rightly",
        link=f"{_HOLEPUNCHER}/holepuncher.go",
        date="2026-11-21",
    ),
    Deviation(
        name="the relayed connection is kept",
        stack="go-libp2p",
        versions=("v0.46.0", "v0.51.0"),
        condition=when.nobody_leaves,
        outcome=None,
        breaches=_KEPT,
        cause="nothing closes the relayed connection once there is a direct one; relay/DCUtR.md "
        "wants it closed after a grace period",
        link=f"{_HOLEPUNCHER}/svc.go",
        date="2026-11-21",
    ),
    Deviation(
        name="behind a NAT that changes ports, the listening port is signalled",
        stack="rust-libp2p",
        versions=("0.57.1",),
        condition=when.port_forgotten,
        outcome=Outcome.RELAYED,
        breaches=(),
        cause="identify takes an observed port that is not the listening one for a dial's own, "
        "and puts the listening port in its place: since 0.57 it looks at the port alone, while "
        "0.54 asked whether the dial had left from the listening port",
        link=f"{_RUST_LIBP2P}/pull/6096",
        date="2026-11-21",
    ),
    Deviation(
        name="over QUIC the listener dials, too",
        stack="rust-libp2p",
        versions=("0.54.1", "0.57.1"),
        condition=when.dials_too,
        outcome=Outcome.DIRECT,
        breaches=(_B_DIALS,),
        cause="the transport sends random datagrams only for a dial from a new port, which no "
        "punch is: the listener's is made as a client; it gets in where datagrams open nothing",
        link=f"{_RUST_LIBP2P}/blob/libp2p-v0.57.1/transports/quic/src/transport.rs",
        date="2026-11-21",
    ),
    Deviation(
        name="the relayed connection is kept",
        stack="rust-libp2p",
        versions=("0.54.1", "0.57.1"),
        condition=when.kept_by_rust,
        outcome=None,
        breaches=_KEPT,
        cause="nothing closes the relayed connection once there is a direct one; relay/DCUtR.md "
        "wants it closed after a grace period",
        link=f"{_RUST_LIBP2P}/blob/libp2p-v0.57.1/protocols/dcutr/src/handler/relayed.rs",
        date="2026-11-21",
    ),
    Deviation(
        name="the relayed connection is kept for a minute",
        stack="py-libp2p",
        versions=("0.8.1",),
        condition=when.kept_by_py,
        outcome=None,
        breaches=_KEPT,
        cause="its grace period is 60 s, and the others' close nothing: longer than a cell lasts",
        link=f"{_PY_LIBP2P}/relay/circuit_v2/dcutr.py",
        date="2026-11-21",
    ),
)


def known(case: Case, table: Sequence[Deviation] = DEVIATIONS) -> tuple[Deviation, ...]:
    """Those that apply to ``case``, whose outcome is the oracle's; one may bring on the next.

    None, where the case has a version of a stack that no row of that stack covers.
    """
    if uncovered(case.built, table):
        return ()
    found: list[Deviation] = []
    for one in table:
        if one.covers(case) and one.condition(case):
            found.append(one)
            case = replace(case, outcome=one.outcome or case.outcome)
    return tuple(found)


def uncovered(built: Iterable[Built], table: Sequence[Deviation] = DEVIATIONS) -> tuple[Built, ...]:
    """Those of ``built`` whose stack the table knows, but not in this version."""
    versions: dict[str, set[str]] = {}
    for row in table:
        versions.setdefault(row.stack, set()).update(row.versions)
    found = (end for end in built if end.version not in versions.get(end.stack, {end.version}))
    return tuple(dict.fromkeys(found))


def expected(prediction: Prediction, deviations: Iterable[Deviation]) -> Prediction:
    """The prediction as the deviations change it, with their names in its reason."""
    for one in deviations:
        reason = Deviates(prediction.reason, one.stack, one.name, one.date)
        prediction = replace(prediction, outcome=one.outcome or prediction.outcome, reason=reason)
    return prediction


def unexpected(found: Iterable[Breach], deviations: Iterable[Deviation]) -> list[Breach]:
    """Of the breaches ``found``, those that nobody knows of; and known ones that are missing."""
    left, missing = list(found), list[Breach]()
    for one in deviations:
        if not one.breaches:
            continue
        rest = [breach for breach in left if not any(p.fits(breach) for p in one.breaches)]
        if len(rest) == len(left):
            missing.append(DeviationGone(one.stack, one.name, one.link))
        left = rest
    return left + missing
