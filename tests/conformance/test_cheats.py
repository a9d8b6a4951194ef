"""The zoo of cheats: no peer that cheats gets a PASS, and no honest one is accused.

Each is a cell of a stack of ours, changed in one way (`cheats`), in a fork of its own.
"""

import pickle
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cheats
import pytest
from explain_breaks import boast, deaf, mute, upgrades_anyway
from explain_corpus import peer
from patience import repeated, too_busy
from shared import once
from sly_zoo import SLY
from test_confusions import starts_late
from zoo import Cheat, Kind, cheat

from testbed.lab.forked import forked
from testbed.lab.namespaces import Namespaces
from testbed.model.breach import BreachKind
from testbed.model.fault import FaultKind
from testbed.model.lab import Confinement
from testbed.model.outcome import Outcome
from testbed.model.verdict import Judgement, Troubled
from testbed.nat.load import catalogue
from testbed.run.cell import run_cell
from testbed.stacks.adapter import Adapter
from testbed.stacks.ice import IcePeer
from testbed.stacks.punch_udp import UdpPuncher
from testbed.studies.punch.cell import Cell
from testbed.verdict.agreement import contradiction

pytestmark = pytest.mark.timeout(900)  # the first test runs all 88 cells

JOBS, DEADLINE, TRIES = 6, 60.0, 3
CLOSED = Cell("punch-udp", ("symmetric", "port-restricted"))  # none is predicted
OPEN = Cell("punch-udp", ("full-cone", "full-cone"))  # direct is, and they hairpin
FAIL, INCONCLUSIVE, PASS = Judgement.FAIL, Judgement.INCONCLUSIVE, Judgement.PASS


def silent(mode: str) -> Cell:
    return Cell("punch-udp", ("full-cone", "full-cone"), mode=mode)


ICE = Cell("ice", ("symmetric", "symmetric"))
LIBP2P = Cell("traversal-quic", ("port-restricted", "port-restricted"), "libp2p")
K, B = FaultKind, BreachKind
ZOO: Mapping[str, Cheat] = {
    **SLY,
    # who does not try, where none is predicted
    "denies that STUN answered": cheat(
        CLOSED, cheats.gathers(cheats.denies_its_answer), FAIL, B.TRIED_LITTLE
    ),
    "asks no STUN server": cheat(
        CLOSED, cheats.gathers(cheats.asks_nobody), FAIL, B.NEVER_SENT
    ),
    "gives up at once": cheat(CLOSED, cheats.dials(cheats.gives_up), FAIL, B.NEVER_SENT),
    "sends a byte to a stranger": cheat(
        CLOSED, cheats.dials(cheats.sends_a_byte_to_a_stranger), FAIL, B.TRIED_LITTLE
    ),
    "gives up early": cheat(
        CLOSED, cheats.dials(cheats.sends(cheats.probe, 8)), FAIL, B.TRIED_LITTLE
    ),
    "probes another port": cheat(
        CLOSED, cheats.dials(cheats.sends(cheats.probe, 50, further=1)), FAIL,
        B.TRIED_LITTLE,
    ),
    "sends noise for probes": cheat(
        CLOSED, cheats.dials(cheats.sends(cheats.noise, 50)), FAIL, B.TRIED_LITTLE
    ),
    "listener gives up at once": cheat(CLOSED, mute, FAIL, B.NEVER_SENT),
    # who says what is not so
    "claims a connection where none is": cheat(CLOSED, cheats.pretends(), FAIL),
    "claims a connection without a packet": cheat(OPEN, cheats.pretends(), FAIL),
    "echoes by files in /tmp": cheat(OPEN, cheats.by_files("/tmp"), FAIL),
    "echoes by shared memory": cheat(OPEN, cheats.by_files("/dev/shm"), FAIL),
    "echoes by a socket of the machine": Cheat(OPEN, cheats.by_socket, FAIL),
    "hands the payload over in its offer": cheat(OPEN, cheats.by_the_offer, FAIL),
    "claims to be relayed": cheat(OPEN, cheats.calls_it_relayed, FAIL),
    "claims TURN's way to be direct": cheat(ICE, boast, FAIL),
    "was connected before the start": cheat(OPEN, cheats.lies_of_time, FAIL),
    "answers for the other": cheat(CLOSED, cheats.one_answers_for_both, FAIL),
    "hears nobody": cheat(OPEN, deaf, FAIL),
    # who forges
    "hairpins what the other should have sent": cheat(OPEN, cheats.hairpins(to=None), FAIL),
    "hairpins, and sends to a stranger": cheat(OPEN, cheats.hairpins(to=cheats.STRANGER), FAIL),
    "hairpins, and is told the nonce by a file": Cheat(
        OPEN, lambda folder: cheats.hairpins(to=None, channel=folder), FAIL
    ),
    # whose echo is not what was asked for
    "echoes what it had prepared": cheat(OPEN, cheats.echoing(cheats.prepared), FAIL),
    "sent the echo before it was asked": cheat(OPEN, cheats.half_in_advance, FAIL),
    "echoes by a file, with decoys on the wire": Cheat(OPEN, cheats.with_decoys, FAIL),
    "sends one payload again and again": cheat(OPEN, cheats.echoing(cheats.replays), FAIL),
    "does not say what its stream began with": cheat(
        LIBP2P, cheats.hears(lambda _: None), FAIL, B.NONCE_UNHEARD
    ),
    "says that its stream began otherwise": cheat(
        LIBP2P, cheats.hears(lambda nonce: nonce[::-1]), FAIL, B.NONCE_UNHEARD
    ),
    "streams by a file": Cheat(LIBP2P, cheats.streams_by_a_file, FAIL),
    "streams by a file, with decoys on the wire": Cheat(
        LIBP2P, lambda folder: cheats.streams_by_a_file(folder, decoys=2000), FAIL
    ),
    # who is late by itself
    "sleeps before it starts": cheat(
        Cell("punch-tcp", ("rejecting-icmp", "rejecting-icmp")), starts_late, FAIL, B.BELATED
    ),
    # who has a relay, and does not try to do without
    "offers no address that STUN told": cheat(
        ICE, cheats.offers_without("srflx"), FAIL, B.TRIED_LITTLE
    ),
    "checks no direct candidate": cheat(ICE, cheats.checks_relays_alone, FAIL, B.NEVER_SENT),
    "offers nothing at all": cheat(ICE, cheats.gathers_in_vain, FAIL),
    "says that it punches, and does not": cheat(
        Cell("traversal-tcp", ("symmetric", "symmetric"), "libp2p"), cheats.punches_nothing,
        FAIL, B.TRIED_LITTLE,
    ),
    "denies that the relay answered": cheat(
        Cell("traversal-quic", ("udp-blocked", "full-cone"), "libp2p"),
        cheats.denies_the_relay, FAIL, B.TRIED_LITTLE,
    ),
    # controls
    "punches in silence": cheat(silent("silent"), cheats.in_silence_too, FAIL),
    "punches where it is to dial": cheat(
        Cell("punch-udp", ("port-restricted",) * 2, mode="plain_dial"),
        cheats.in_silence_too, FAIL,
    ),
    "upgrades what is to stay relayed": cheat(
        Cell("traversal-tcp", ("full-cone", "full-cone"), "libp2p", mode="relay_only"),
        upgrades_anyway, FAIL,
    ),
    # who breaks the conversation, or what is kept of it
    "says half a line": cheat(
        CLOSED, cheats.writing(cheats.half_a_line(), then=cheats.ends), INCONCLUSIVE,
        K.PEER_FAILED,
    ),
    "floods its output": cheat(
        CLOSED, cheats.writing(b"x" * 200_000), INCONCLUSIVE, K.PEER_FAILED
    ),
    "floods its output with lines": cheat(
        CLOSED, cheats.writing(b"x\n" * 100_000), INCONCLUSIVE, K.PEER_FAILED
    ),
    "leaves without a word": cheat(
        CLOSED, cheats.writing(b"", then=cheats.ends), INCONCLUSIVE, K.PEER_FAILED
    ),
}  # fmt: skip
# What each would get who is not confined: the second line of defence.
ESCAPES: Mapping[str, Cheat] = {
    # who changes the lab
    "opens the routers": cheat(
        CLOSED, cheats.changing_routers("nft flush ruleset"), INCONCLUSIVE, K.LAB_DIFFERS
    ),
    "changes rules and takes them back": cheat(
        CLOSED, cheats.changing_routers("nft add table ip cheat", "nft delete table ip cheat"),
        INCONCLUSIVE, K.LAB_DIFFERS,
    ),
    "adds an address and takes it away": cheat(
        CLOSED,
        cheats.changing_routers(
            "ip address add 192.0.2.1/24 dev wan", "ip address del 192.0.2.1/24 dev wan"
        ),
        INCONCLUSIVE, K.LAB_DIFFERS,
    ),
    "switches a setting of the routers": cheat(
        CLOSED,
        cheats.changing_routers("sysctl -qw net.ipv4.ip_forward=0 net.ipv4.ip_forward=1"),
        INCONCLUSIVE, K.LAB_DIFFERS,
    ),
    "leaves a process in the routers": cheat(
        CLOSED, cheats.changing_routers("setsid -f sleep 8"), INCONCLUSIVE, K.LAB_DIFFERS
    ),
    "lays a wire to the other": Cheat(
        OPEN, lambda folder: cheats.by_a_wire(folder, left=True), INCONCLUSIVE, K.LAB_DIFFERS
    ),
    "lays a wire and takes it away": Cheat(
        OPEN, lambda folder: cheats.by_a_wire(folder, left=False), FAIL
    ),
    # who ends what others rely on
    "kills coturn": cheat(
        ICE, cheats.signalling("turnserver", signal.SIGKILL)(IcePeer), INCONCLUSIVE,
        K.SERVICE_FAILED,
    ),
    "stops coturn": cheat(
        ICE, cheats.signalling("turnserver", signal.SIGSTOP)(IcePeer), INCONCLUSIVE,
        K.SERVICE_FAILED,
    ),
    "stops coturn for a while": cheat(
        ICE, cheats.signalling("turnserver", signal.SIGSTOP, signal.SIGCONT)(IcePeer),
        INCONCLUSIVE, K.SERVICE_FAILED,
    ),
    "kills coturn where none is predicted": cheat(
        CLOSED, cheats.signalling("turnserver", signal.SIGKILL)(UdpPuncher), INCONCLUSIVE,
        K.SERVICE_FAILED,
    ),
    "kills all that it can see": cheat(OPEN, cheats.kills_the_other, INCONCLUSIVE),
    "takes the results away": Cheat(CLOSED, cheats.takes_the_results, INCONCLUSIVE),
    "plants a link for the capture": Cheat(CLOSED, cheats.plants_a_link, INCONCLUSIVE),
}  # fmt: skip
HONEST: Mapping[str, Cheat] = {
    "nothing is changed, and none predicted": cheat(CLOSED, lambda: None, PASS),
    "nothing is changed, and direct predicted": cheat(OPEN, lambda: None, PASS),
    "nothing is changed, and relayed predicted": cheat(ICE, lambda: None, PASS),
    "echoes in short frames": cheat(OPEN, cheats.in_short_frames, PASS),
    "accepts no nonce": cheat(OPEN, cheats.accepting_nothing, PASS),
    "streams as it should": cheat(LIBP2P, lambda: None, PASS),
    "is relayed by libp2p in spite of punches": cheat(
        Cell("traversal-tcp", ("symmetric", "symmetric"), "libp2p"), lambda: None, PASS
    ),
    "cannot reach its relay": cheat(
        Cell("traversal-quic", ("udp-blocked", "full-cone"), "libp2p"), lambda: None, PASS
    ),
    "UDP is blocked": cheat(Cell("punch-udp", ("udp-blocked", "full-cone")), lambda: None, PASS),
}
# A confined peer has no file that the other sees: free, these try what the nonce is for.
BY_FILES = {name for name in ZOO if "by a file" in name}
FREE = "free: "  # before the name of one that runs without a confinement
ALL = {
    **ZOO,
    **HONEST,
    **{name: replace(one, due=PASS, kind=None) for name, one in ESCAPES.items()},
    **{FREE + name: one for name, one in ESCAPES.items()},
}


@dataclass(frozen=True)
class Found:
    """What became of a cell."""

    judgement: Judgement
    measured: Outcome | None
    kinds: tuple[Kind, ...]
    why: str
    clash: Any
    late: bool
    foreknown: int  # ends of which the result says that they accept no nonce


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Found]:
    folder = tmp_path_factory.mktemp("cheats")
    return once(tmp_path_factory, "cheats", lambda: _run(folder))


def _run(folder: Path) -> dict[str, Found]:
    """All at once; what a busy machine made of a cell is run again, beside fewer others."""
    done: dict[str, Found] = {}
    for tries in range(TRIES):
        left = [name for name in ALL if name not in done]
        tasks = [_task(name, folder / f"{index}-{tries}") for index, name in enumerate(left)]
        for index, output, seconds in forked(tasks, max(2, JOBS >> tries), DEADLINE):
            assert output, f"{left[index]}: the worker died after {seconds:.0f} s"
            one = pickle.loads(output)
            if not one.late or tries == TRIES - 1:
                done[left[index]] = one
            else:
                repeated(f"{left[index]}: late")
    return done


def unconfined(self: Adapter, port: int) -> Confinement | None:
    """No confinement: as the harness's own programs run."""
    del self, port
    return None


def _task(name: str, folder: Path) -> Callable[[int], bytes]:
    one = ALL[name]

    def run(slot: int) -> bytes:
        if name.startswith(FREE) or name in BY_FILES:
            Adapter.confinement = unconfined  # type: ignore[method-assign]
        folder.mkdir(parents=True)
        peer(one.cell.peer, one.change(folder), one.entry)(folder)
        ran = run_cell(one.cell, catalogue(), Namespaces(), folder, number=120 + slot)
        because, explanation = ran.verdict.because, ran.explanation
        assert explanation is not None
        faults = because.faults if isinstance(because, Troubled) else ()
        late = ran.late and one.due is not INCONCLUSIVE
        result = Found(
            ran.verdict.judgement,
            ran.verdict.measured,
            tuple(one.kind for one in (*faults, *ran.verdict.findings)),
            f"{because} {ran.verdict.findings} {explanation.cause} {explanation.headline}",
            contradiction(ran.verdict, explanation),
            late,
            len(ran.foreknown),
        )
        return pickle.dumps(result)

    return run


def test_there_are_at_least_thirty_cheats() -> None:
    assert len(ZOO) + len(ESCAPES) >= 30


@pytest.mark.parametrize("name", [*ZOO, *(FREE + name for name in ESCAPES)])
def test_a_cheat_gets_what_is_due_to_it(name: str, found: Mapping[str, Found]) -> None:
    """Where the machine was too busy to the last a doubt is left, and never a PASS."""
    one, due = found[name], ALL[name]
    assert one.judgement is (INCONCLUSIVE if one.late else due.due), one.why
    if due.kind is not None:
        assert due.kind in one.kinds, one.why


@pytest.mark.parametrize("name", ESCAPES)
def test_a_confined_peer_changes_nothing_but_its_own_node(
    name: str, found: Mapping[str, Found]
) -> None:
    """It finds no way, does as it is told, and the cell is as if it had not tried."""
    one = found[name]
    if one.late:
        too_busy(one.why)
    assert one.judgement is PASS, one.why


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_peer_is_never_accused(name: str, found: Mapping[str, Found]) -> None:
    one = found[name]
    if one.late:
        too_busy(one.why)
    assert one.judgement is PASS, one.why


def test_only_a_result_of_peers_that_accept_no_nonce_says_so(found: Mapping[str, Found]) -> None:
    told = {name: one.foreknown for name, one in found.items() if one.foreknown}
    assert told == {"accepts no nonce": 1}


def test_no_explanation_denies_its_verdict(found: Mapping[str, Found]) -> None:
    assert {name: one.clash for name, one in found.items() if one.clash} == {}
