"""A matrix made by hand: rows, and folders with explanations as a run would leave them."""

import json
from collections.abc import Sequence
from ipaddress import IPv4Address
from itertools import product
from pathlib import Path

from made_results import RUN, result
from told import Told

from testbed.files import write_json
from testbed.model.explanation import (
    Cause,
    Citation,
    Diagram,
    Explanation,
    Line,
    Message,
    Segment,
    Wrong,
)
from testbed.model.journey import Fate
from testbed.model.outcome import Outcome
from testbed.model.packet import Endpoint
from testbed.model.refusal import Refusal
from testbed.model.result import Document, Result, Why
from testbed.model.statement.filters import Answered, Dropped
from testbed.model.verdict import Judgement
from testbed.report.files import document
from testbed.words import sentence
from testbed.words.explanations import to_json

PROFILES = ("full-cone", "restricted-cone", "port-restricted", "symmetric")
PEERS = ("punch-udp", "punch-tcp", "ice")
FACTS = {"kernel": "6.1.0", "python": "3.11.2", "nat-testbed": "0.1.0"}
TITLES = {"symmetric": "Symmetric NAT", "full-cone": "Full-cone NAT"}
COLUMNS = ("a", "nat-a", "server", "nat-b", "b")
REFUSED, DROPPED = Answered(protocol="icmp"), Dropped((Refusal.UNSOLICITED,))
START_NS = 1_700_000_000_000_000_000

A, B = Endpoint(IPv4Address("192.168.1.2"), 4001), Endpoint(IPv4Address("192.168.1.2"), 4002)
NAT_A, NAT_B, NEW_B = (
    Endpoint(IPv4Address("29.0.0.2"), 4001),
    Endpoint(IPv4Address("29.0.1.2"), 4002),
    Endpoint(IPv4Address("29.0.1.2"), 50123),
)
SERVER = Endpoint(IPv4Address("29.2.0.2"), 3478)


def matrix(
    out: Path,
    *,
    profiles: Sequence[str] = PROFILES,
    peers: Sequence[str] = PEERS,
    repeats: int = 1,
    differing: Sequence[str] = (),
    unclear: Sequence[str] = (),
    unexplained: Sequence[str] = (),
) -> Document:
    """Write a matrix below ``out``, results.json and all, and give its document.

    ``differing`` and ``unclear`` name the cells (with their repetition) that are not as
    predicted, ``unexplained`` those whose folder has no explanation.
    """
    rows = []
    for peer, a, b, repeat in product(peers, profiles, profiles, range(repeats)):
        row = _row(out, peer, a, b, repeat, differing, unclear)
        rows.append(row)
        _fill(Path(row.folder), row, explained=row.name not in unexplained)
    for peer, profile in product(peers, profiles):
        row = _row(out, peer, profile, profile, 0, (), (), "silent")
        rows.append(row)
        _fill(Path(row.folder), row, explained=True)
    made = document(rows, FACTS, RUN, titles=TITLES)
    write_json(out / "results.json", made.to_json())
    return made


def _row(
    out: Path,
    peer: str,
    a: str,
    b: str,
    repeat: int,
    differing: Sequence[str],
    unclear: Sequence[str],
    mode: str = "punch",
) -> Result:
    pair = f"{peer}/{a}--{b}" + ("" if mode == "punch" else f".{mode}")
    name = f"{pair}/{repeat}"
    closed = {a, b} <= {"port-restricted", "symmetric"} and "symmetric" in (a, b)
    predicted = ("relayed" if peer == "ice" else "none") if closed else "direct"
    if mode == "silent":
        predicted = "none"
    measured: str | None = predicted
    judgement = "pass"
    if name in differing:
        judgement, measured = "fail", "direct" if closed else "none"
    if name in unclear:
        judgement, measured = "inconclusive", None
    bare = result(
        pair,
        repeat,
        judgement=judgement,
        measured=measured,
        predicted=predicted,
        reason=f"{'nobody' if closed else 'b'} gets through, says the oracle",
        packets_cited=[12, 15],
        packets=40,
        seconds=1.25,
        up_ms=80.5,
        connect_ms=None if measured in (None, "none") else 93.5,
        folder=str(out / "cells" / name),
    )
    told = explanation(bare)
    why = Why(cause=told.cause, node=told.node, headline=sentence(told.headline), wrong=told.wrong)
    return bare.model_copy(update={"explanation": why})


def explanation(row: Result) -> Explanation:
    """Why the row ended as it did, as far as this matrix knows."""
    measured = Outcome(row.measured) if row.measured else None
    if row.mode == "silent":
        cause, node, headline = Cause.PUNCHING_OFF, None, "Nobody was to try, and nobody did."
    elif measured is None:
        cause, node = Cause.HARNESS_FAULT, None
        headline = "The capture lost 12 packets at nat-a:wan, so this run has measured nothing."
    elif measured is Outcome.DIRECT:
        cause, node = Cause.BOTH_OPENED, "nat-b"
        headline = "b's own packet #12 opened nat-b for a, whose next one (#15) arrived."
    else:
        cause, node = Cause.MAPPING_CHANGED, "nat-b"
        headline = (
            "nat-b gave b the new port 50123 for its second destination; "
            "a was told 4002, and nat-b dropped what it sent there."
        )
    through = measured is Outcome.DIRECT
    wrong = Wrong.NOBODY
    if row.judgement is Judgement.FAIL:
        wrong = Wrong.NAT
    elif measured is None:
        wrong = Wrong.HARNESS
    cites = (_cite(12, "nat-b:wan", NEW_B, NAT_A), _cite(15, "nat-b:wan", NAT_A, NAT_B))
    return Explanation(
        name=row.name,
        mechanism=row.stack.replace("-", "_"),
        measured=measured,
        predicted=Outcome(row.predicted or "none"),
        judgement=row.judgement,
        cause=cause,
        node=node,
        headline=Told(headline),
        story=(
            Line(Told("Both asked the server for their address, and told it each other.")),
            Line(Told("b sent to a; nat-b chose a port for that."), cites[:1]),
            Line(Told("a sent to where it was told b was."), cites[1:]),
        ),
        decisive=cites,
        wrong=wrong,
        wrong_why=None
        if wrong is Wrong.NOBODY
        else Line(Told(f"It was not the {wrong}'s to do."), cites),
        missing=(Told("the counters of nat-b's drop rules were not recorded"),)
        if not measured
        else (),
        diagram=diagram(through=through),
    )


def diagram(*, through: bool, messages: int = 0) -> Diagram:
    """A punch that got through, or was dropped by nat-b; with ``messages`` more."""
    port = NAT_B if through else NEW_B
    asked = Message(-212.4, "Binding request", _way("a", "nat-a", "server", A, NAT_A, SERVER, 1))
    told = Message(
        -191.9,
        f"Binding success response, you are {NAT_A}",
        (
            Segment("server", "nat-a", SERVER, NAT_A, Fate.TRANSLATED, (3, 4)),
            Segment("nat-a", "a", SERVER, A, Fate.ARRIVED, (5,)),
        ),
    )
    early = Message(
        0.4,
        "Binding request",
        (
            Segment("b", "nat-b", B, NAT_A, Fate.TRANSLATED, (11,)),
            Segment(
                "nat-b", "nat-a", port, NAT_A, Fate.REJECTED, (12, 13), Answered(protocol="icmp")
            ),
        ),
        count=3,
        decisive=True,
    )
    end = Fate.TRANSLATED if through else Fate.DROPPED
    first = Segment("a", "nat-a", A, NAT_B, Fate.TRANSLATED, (14,))
    late = [first, Segment("nat-a", "nat-b", NAT_A, NAT_B, end, (15,))]
    if through:
        late.append(Segment("nat-b", "b", NAT_A, B, Fate.ARRIVED, (16,)))
    else:
        late[1] = Segment(
            "nat-a", "nat-b", NAT_A, NAT_B, end, (15,), Dropped((Refusal.UNSOLICITED,))
        )
    lost = Message(
        61.0, "Binding request", (Segment("nat-b", "nat-a", port, NAT_A, Fate.LOST, (18,)),)
    )
    more = [
        Message(
            70.0 + n, "Application data", _way("a", "nat-a", "server", A, NAT_A, SERVER, 20 + 2 * n)
        )
        for n in range(messages)
    ]
    punched = Message(1.9, "Binding request", tuple(late), decisive=True)
    return Diagram(COLUMNS, (asked, told, early, punched, lost, *more), omitted=22)


def _way(
    start: str, nat: str, to: str, inner: Endpoint, outer: Endpoint, far: Endpoint, number: int
) -> tuple[Segment, ...]:
    return (
        Segment(start, nat, inner, far, Fate.TRANSLATED, (number,)),
        Segment(nat, to, outer, far, Fate.ARRIVED, (number + 1,)),
    )


def _cite(number: int, vantage: str, source: Endpoint, destination: Endpoint) -> Citation:
    time_ns = START_NS + number * 1_000_000
    return Citation(number, vantage, number % 2 == 0, "udp", source, destination, time_ns)


def _fill(folder: Path, row: Result, *, explained: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    events = [
        {"peer": "a", "at": 1_000_000_000, "event": "offer", "offer": {"addresses": [str(NAT_A)]}},
        {"peer": "b", "at": 1_012_000_000, "event": "failed", "class": "timeout"},
    ]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    run = {"start_ns": START_NS + 1_002_000_000, "clock_ns": START_NS, "fault_values": []}
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "capture.pcapng").write_bytes(b"")
    if explained:
        (folder / "explanation.json").write_text(json.dumps(to_json(explanation(row))))
