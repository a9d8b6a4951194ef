"""What stacks are known to do otherwise than the protocol that the oracle plays, as dated data.

A deviation was confirmed by repetition and read in the stack's source; the findings beside
the peer (``images/STACK/FINDINGS.md``) have the packets.  It changes what is expected of a
cell: who does not deviate where the table says so differs, too, and fails the cell.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from testbed.oracle import deviation_conditions as when
from testbed.oracle.deviation_conditions import Case
from testbed.oracle.predict import Outcome, Prediction


@dataclass(frozen=True)
class Deviation:
    """One of them.  ``breach`` is the beginning of what the verdict finds wrong: with the

    protocol, or with what a peer claims.  None where nothing is that packets show.
    """

    name: str
    stack: str
    versions: tuple[str, ...]  # in which it was seen
    condition: Callable[[Case], bool]
    outcome: Outcome | None  # instead of the predicted one, if that changes
    breach: str | None  # a regular expression
    cause: str
    link: str
    date: str  # when it was last confirmed


_HOLEPUNCHER = "https://github.com/libp2p/go-libp2p/blob/v0.51.0/p2p/protocol/holepunch"
_RUST_LIBP2P = "https://github.com/libp2p/rust-libp2p"
_PY_LIBP2P = "https://github.com/libp2p/py-libp2p/blob/v0.8.1/libp2p"
_KEPT = "a (and b )?did not leave the relayed connection$"  # b may see it end with a's process


DEVIATIONS = (
    Deviation(
        name="no public address is signalled, and dials leave from another port",
        stack="js-libp2p",
        versions=("3.3.11",),
        condition=when.nobody_punches,
        outcome=Outcome.RELAYED,
        breach=None,
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
        breach="not crossed at nat-b:wan",
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
        breach="b sent a QUIC Initial of its own",
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
        breach=None,
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
        breach=None,
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
        breach=None,
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
        breach="a claims direct, the wire shows relayed",
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
        breach="not crossed at nat-b:wan|b punched before b's sync_sent",
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
        breach=None,
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
        breach=None,
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
        breach="[ab]'s sync_(sent|received) is missing|a is not the client",
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
        breach="a is not the client",
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
        breach=_KEPT,
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
        breach=None,
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
        breach="b sent a QUIC Initial of its own",
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
        breach=_KEPT,
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
        breach=_KEPT,
        cause="its grace period is 60 s, and the others' close nothing: longer than a cell lasts",
        link=f"{_PY_LIBP2P}/relay/circuit_v2/dcutr.py",
        date="2026-11-21",
    ),
)


def known(case: Case, table: Sequence[Deviation] = DEVIATIONS) -> tuple[Deviation, ...]:
    """Those that apply to ``case``, whose outcome is the oracle's; one may bring on the next."""
    found: list[Deviation] = []
    for one in table:
        if one.condition(case):
            found.append(one)
            case = replace(case, outcome=one.outcome or case.outcome)
    return tuple(found)


def expected(prediction: Prediction, deviations: Iterable[Deviation]) -> Prediction:
    """The prediction as the deviations change it, with their names in its reason."""
    for one in deviations:
        reason = f"{prediction.reason}; but {one.stack}: {one.name} ({one.date})"
        prediction = replace(prediction, outcome=one.outcome or prediction.outcome, reason=reason)
    return prediction


def unexpected(found: Iterable[str], deviations: Iterable[Deviation]) -> list[str]:
    """Of the breaches ``found``, those that nobody knows of; and known ones that are missing."""
    left, missing = list(found), []
    for one in deviations:
        if one.breach is None:
            continue
        rest = [words for words in left if not re.match(one.breach, words)]
        if len(rest) == len(left):
            missing.append(f"{one.stack} deviates no more: {one.name} ({one.link})")
        left = rest
    return left + missing
