"""Two peers that know each other's payloads beforehand make none of them pass between them."""

from dataclasses import replace
from typing import Any

import pytest
from test_explain import MS, START, Run

from testbed.evidence.account import WireAccount
from testbed.model.judgement import WireReading
from testbed.model.outcome import Outcome
from testbed.model.path import Unfollowed
from testbed.model.window import Window
from testbed.verdict.sanity import unseen_ways
from testbed.verdict.wire import read_path

PAYLOADS = (b"1" * 1000, b"2" * 1000)
WINDOW = Window(START - MS, START + 1000 * MS, 2000)
OTHER = {"a": "b", "b": "a"}
US = 0.001  # in milliseconds


def echoing() -> Run:
    return Run("full-cone", "full-cone")


def hairpinned(run: Run, at_ms: float, node: str, payload: bytes, ttl: int) -> None:
    """``node`` sends to its own mapped address, and its NAT sends that back inside."""
    nat, own, seen = f"nat-{node}", run.at(node, 4001), run.at(f"nat-{node}", 4001)
    way = [
        (f"{node}:eth0", True, own, seen, 0), (f"{nat}:lan", False, own, seen, 0),
        (f"{nat}:lan", True, seen, own, 0), (f"{node}:eth0", False, seen, own, 0),
    ]  # fmt: skip
    first = len(run.packets)
    run._put(at_ms, way, payload)
    # The NAT's is the one router on its way.
    for index, later in zip(range(first, first + 4), (0, 0, 1, 1), strict=True):
        run.packets[index] = replace(run.packets[index], ttl=ttl - later, ip_id=0)


def forged(run: Run, *, beside_us: float, ttl: int) -> None:
    """Each side sends its part to the other, whose NAT drops it, and hairpins the other's itself.

    The hairpinned packet comes into the NAT so long before the other side's, and goes out just
    after that.
    """
    for number, payload in enumerate(PAYLOADS):
        for node in OTHER:
            at_ms = number * 50.0 + (25.0 if node == "a" else 0.0)
            target = run.at(f"nat-{OTHER[node]}", 4001)
            run.sends(at_ms, node, 4001, target, 4001, stopped=True, payload=payload)
            run.packets[-6:] = [replace(packet, ip_id=0) for packet in run.packets[-6:]]
            arrived_ms = (run.packets[-1].time_ns - START) / MS
            hairpinned(run, arrived_ms - beside_us * US, OTHER[node], payload, ttl)


def read(run: Run) -> WireReading:
    whole = replace(run.evidence(Outcome.DIRECT), window=WINDOW)
    return read_path(WireAccount.of(whole), "a", "b")


def test_an_echo_that_crosses_both_nats_is_direct() -> None:
    run = echoing()
    for number, payload in enumerate(PAYLOADS):
        for node, other in OTHER.items():
            target = run.at(f"nat-{other}", 4001)
            run.sends(number * 50.0, node, 4001, target, 4001, inside=other, payload=payload)
    assert read(run).outcome is Outcome.DIRECT


def test_an_echo_of_a_connection_that_a_nat_moved_beside_another_is_direct() -> None:
    """Within b's network a has another port: Linux rewrites both ends, whichever way it goes."""
    run = echoing()
    for number, payload in enumerate(PAYLOADS):
        for node, other in OTHER.items():
            target = run.at(f"nat-{other}", 4001)
            run.sends(number * 50.0, node, 4001, target, 4001, inside=other, payload=payload)
    known, moved = run.at("nat-a", 4001), run.at("nat-a", 4002)
    for index, packet in enumerate(run.packets):
        if packet.vantage in ("nat-b:lan", "b:eth0"):
            ends: dict[str, Any] = {
                name: moved if getattr(packet, name) == known else getattr(packet, name)
                for name in ("source", "destination")
            }
            run.packets[index] = replace(packet, **ends)
    assert read(run).outcome is Outcome.DIRECT


@pytest.mark.parametrize("ttl", [64, 62])
@pytest.mark.parametrize("beside_us", [15.0, 5000.0, -5000.0])
def test_what_each_side_hairpins_to_itself_came_from_nobody(ttl: int, beside_us: float) -> None:
    """With a TTL of 62 it looks within the NAT as what comes from the other side."""
    run = echoing()
    forged(run, beside_us=beside_us, ttl=ttl)
    reading = read(run)
    assert reading.outcome is Outcome.NONE
    assert isinstance(reading.path, Unfollowed)
    assert unseen_ways(reading)


NONCE = bytes(range(16))
KNOWN = replace(WINDOW, nonce=NONCE.hex())
MARKED = tuple(NONCE + payload[16:] for payload in PAYLOADS)


def crossing(payloads: tuple[bytes, ...]) -> Run:
    """a sends them to b, who sends them back."""
    run = echoing()
    for number, payload in enumerate(payloads):
        for node, other in OTHER.items():
            target = run.at(f"nat-{other}", 4001)
            at_ms = number * 50.0 + (30.0 if node == "b" else 0.0)
            run.sends(at_ms, node, 4001, target, 4001, inside=other, payload=payload)
    return run


@pytest.mark.parametrize(
    ("payloads", "outcome"),
    [
        (MARKED, Outcome.DIRECT),
        (tuple(b"frame" + one for one in MARKED), Outcome.DIRECT),
        (tuple(NONCE + bytes([number]) * 84 for number in range(20)), Outcome.DIRECT),
        (PAYLOADS, Outcome.NONE),
        ((*PAYLOADS, NONCE + b"decoy"), Outcome.NONE),
        (MARKED[:1] * 20, Outcome.DIRECT),  # once is half of what was asked for
        ((MARKED[0][:900],) * 20, Outcome.NONE),
        (tuple(bytes([number]) + MARKED[0][:900] for number in range(20)), Outcome.NONE),
    ],
    ids=[
        *("with the nonce", "within frames", "short", "prepared", "decoys", "half"),
        *("replayed", "replayed under other numbers"),
    ],
)
def test_only_what_holds_the_nonce_shows_a_way(
    payloads: tuple[bytes, ...], outcome: Outcome
) -> None:
    whole = replace(crossing(payloads).evidence(Outcome.DIRECT), window=KNOWN)
    assert read_path(WireAccount.of(whole), "a", "b").outcome is outcome
