"""The ladder in labs: what nodes say of useless mappings, and stacks broken on purpose."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from trying import CATALOGUE, ran

from testbed.model.behaviour import Hairpin, PortMapping
from testbed.model.breach import Breach, RungClaimed, RungDiffers
from testbed.model.outcome import Rung
from testbed.model.profile import Profile
from testbed.model.verdict import Judgement
from testbed.run import cell as runner
from testbed.run.cell import Ran
from testbed.stacks.registry import ADAPTERS, Stacks
from testbed.studies.punch.cell import Cell
from testbed.traversal import Multiaddr

PEERS = pytest.mark.parametrize("peer", ["ladder-tcp", "ladder-quic"])
pytestmark = pytest.mark.timeout(180)


def served(name: str) -> Profile:
    """A profile whose router maps ports, too."""
    plain = CATALOGUE[name]
    behaviour = replace(plain.behaviour, port_mapping=PortMapping(pcp=True))
    return replace(plain, behaviour=behaviour, path=None)


def said(folder: Path, word: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == word]


def measured(result: Ran) -> tuple[Rung | None, Judgement]:
    assert result.rung is not None
    return result.rung.measured, result.verdict.judgement


# -- under a carrier's NAT --------------------------------------------------------


@PEERS
@pytest.mark.parametrize(
    ("hairpin", "rung"),
    [(Hairpin.EXTERNAL_SOURCE, Rung.PUNCHED), (Hairpin.NONE, Rung.RELAYED)],
)
def test_under_a_carrier_nat_both_say_that_mappings_are_useless_and_go_on(
    peer: str, hairpin: Hairpin, rung: Rung, tmp_path: Path
) -> None:
    shared = CATALOGUE["carrier-grade"]
    shared = replace(shared, behaviour=replace(shared.behaviour, hairpin=hairpin), path=None)
    profiles = {"carrier-grade": shared, "linux-home": served("linux-home")}
    result = ran(
        Cell(peer, ("linux-home", "linux-home"), "carrier"), tmp_path, CATALOGUE | profiles
    )
    assert measured(result) == (rung, Judgement.PASS), result.verdict
    told = {event["peer"]: event for event in said(tmp_path, "port_mapping")}
    assert set(told) == {"a", "b"}
    for event in told.values():
        assert event["trouble"], event
        assert event["external"] is None or not event["external"]["address"].startswith("29.")
    (offer,) = (e["offer"]["multiaddrs"] for e in said(tmp_path, "offer") if e["peer"] == "b")
    assert all("/p2p-circuit" in address for address in offer)


# -- a SYN in vain ------------------------------------------------------------------


def _dials_from_the_listening_port() -> None:
    from testbed.traversal.aio.transports import Transports

    real = Transports.dial

    async def dial(self: Any, *words: Any, fresh: bool = False, **more: Any) -> Any:
        del fresh
        return await real(self, *words, **more)

    Transports.dial = dial  # type: ignore[method-assign]


def test_a_direct_dial_in_vain_from_the_listening_port_would_spoil_the_reversal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Conntrack has the dial's sequence number: the answer to the reversal's SYN is invalid."""
    cell = Cell("ladder-tcp", ("full-cone", "restricted-cone"), "libp2p")
    result = ran(cell, tmp_path / "fresh")
    assert measured(result) == (Rung.REVERSED, Judgement.PASS), result.verdict
    broken(cell.peer, _dials_from_the_listening_port, monkeypatch)
    result = ran(cell, tmp_path / "same")
    assert measured(result)[0] is Rung.RELAYED


# -- stacks that take another rung, or say so -----------------------------------------


def broken(peer: str, breach: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ADAPTERS[peer]

    def entry() -> int:
        breach()
        assert callable(honest.entry)
        return honest.entry()

    lawless = replace(honest, entry=entry)
    monkeypatch.setattr(runner, "stacks", lambda _: Stacks(lawless, lawless))


def _asks_no_gateway() -> None:
    from testbed.traversal.aio.mapped import MappedPorts

    async def nothing(
        self: MappedPorts, sockets: Iterable[Multiaddr], patience: float
    ) -> list[str]:
        del self, sockets, patience
        return []

    MappedPorts.map = nothing  # type: ignore[method-assign]


def _boasts() -> None:
    from testbed.traversal import events, ladder
    from testbed.traversal.aio.host import Host

    real = Host.emit

    def emit(self: Host, event: events.Event) -> None:
        if isinstance(event, events.RungReached):
            event = replace(event, rung=ladder.Rung.DIRECT)
        real(self, event)

    Host.emit = emit  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("profile", "breach", "finding"),
    [
        ("pcp-home", _asks_no_gateway, RungDiffers(Rung.DIRECT, Rung.RELAYED)),
        ("port-restricted", _boasts, RungClaimed("a", Rung.DIRECT, Rung.PUNCHED)),
    ],
)
def test_a_stack_that_asks_for_no_port_or_boasts_is_found_out(
    profile: str,
    breach: Callable[[], None],
    finding: Breach,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    dialer = "symmetric" if profile == "pcp-home" else profile
    cell = Cell("ladder-quic", (dialer, profile), "libp2p")
    broken(cell.peer, breach, monkeypatch)
    result = ran(cell, tmp_path)
    assert result.verdict.judgement is not Judgement.PASS
    assert finding in result.verdict.findings, result.verdict


@PEERS
def test_relay_only_asks_nobody_for_a_port_and_stays_relayed(peer: str, tmp_path: Path) -> None:
    result = ran(Cell(peer, ("pcp-home", "pcp-home"), "libp2p", "relay_only"), tmp_path)
    assert measured(result) == (Rung.RELAYED, Judgement.PASS), result.verdict
    assert not said(tmp_path, "port_mapping")
