"""The ICE peer's own judgement: which pairs are relayed, and when their checks may start."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aioice import Candidate, Connection
from aioice.ice import CandidatePair

from testbed.model.contract import Configure, Endpoint, Mode, Options, Role, Transport
from testbed.stacks.ice import PatientConnection
from testbed.stacks.session import now

LOCAL = {
    "host": Candidate.from_sdp("1 1 udp 2130706431 10.0.0.2 5000 typ host"),
    "relay": Candidate.from_sdp("2 1 udp 16777215 29.0.0.34 49152 typ relay"),
}
THEIR_RELAY = "3 1 udp 16777215 29.0.0.35 49153 typ relay raddr 29.0.0.18 rport 443"
REMOTE = {
    "srflx": "4 1 udp 1694498815 29.0.0.18 6000 typ srflx raddr 10.0.1.2 rport 6000",
    "prflx": "5 1 udp 1845501695 29.0.0.18 7777 typ prflx",
    "relay": THEIR_RELAY,
    "rewritten relay": "6 1 udp 1845501695 29.0.0.35 13281 typ prflx",
}


def configure() -> Configure:
    return Configure(
        version=2,
        role=Role.DIALER,
        transport=Transport.UDP,
        local_address=Endpoint.of(("10.0.0.2", 1)).address,
        port=4001,
        stun=None,
        turn=None,
        relays=(),
        observers=(),
        session="00" * 16,
        seed=1,
        options=Options(mode=Mode.PUNCH, relay_only=False),
    )


def pair(local: str, remote: str) -> CandidatePair:
    protocol: Any = SimpleNamespace(local_candidate=LOCAL[local])
    return CandidatePair(protocol, Candidate.from_sdp(REMOTE[remote]))


def connection() -> PatientConnection:
    """One that was told of the other side's relay."""
    made = PatientConnection(configure())
    asyncio.run(made.add_remote_candidate(Candidate.from_sdp(THEIR_RELAY)))
    return made


@pytest.mark.parametrize(
    ("local", "remote", "relayed"),
    [
        ("host", "srflx", False),
        ("host", "prflx", False),
        ("host", "relay", True),
        ("host", "rewritten relay", True),
        ("relay", "srflx", True),
        ("relay", "relay", True),
    ],
)
def test_a_pair_is_relayed_if_either_end_is(local: str, remote: str, relayed: bool) -> None:
    assert connection().is_relayed(pair(local, remote)) is relayed


HOME = {
    "relay": "3 1 udp 16777215 29.0.0.18 49153 typ relay raddr 29.0.0.19 rport 9",
    "srflx": REMOTE["srflx"],
    "prflx": REMOTE["prflx"],
}


@pytest.mark.parametrize("remote", HOME)
def test_who_has_a_relay_at_home_is_told_from_it_by_the_port(remote: str) -> None:
    """Their server-reflexive candidate has the address of their relayed one."""
    made = connection()
    for name in ("relay", "srflx"):
        asyncio.run(made.add_remote_candidate(Candidate.from_sdp(HOME[name])))
    protocol: Any = SimpleNamespace(local_candidate=LOCAL["host"])
    found = CandidatePair(protocol, Candidate.from_sdp(HOME[remote]))
    assert made.is_relayed(found) is (remote == "relay")
    assert made.is_relayed(pair("host", "rewritten relay"))


@pytest.mark.parametrize(("remote", "waits"), [("relay", True), ("srflx", False)])
def test_only_a_relayed_pair_waits_for_its_check(
    remote: str, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    async def note(_self: Connection, _pair: CandidatePair) -> None:
        started.append(now())

    monkeypatch.setattr(Connection, "check_start", note)
    patient, checked = connection(), pair("host", remote)
    patient.relays_from = now() + 50_000_000
    asyncio.run(patient.check_start(checked))
    # "in progress" keeps aioice from choosing the pair again, and others from starving
    assert checked.state is (
        CandidatePair.State.IN_PROGRESS if waits else CandidatePair.State.FROZEN
    )
    assert (started[0] >= patient.relays_from) is waits
