"""A direct path is established, something happens to it, and the echo is watched.

The harness does the faults at their times and records every packet; what became of
the echo is read off the recording, and held against `testbed.predict.life`.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from socket import AF_PACKET, SOCK_RAW
from typing import Any

from testbed.capture.reader import read
from testbed.capture.recorder import record
from testbed.errors import CaptureError, PeerError
from testbed.lab.audit import require_closed
from testbed.lab.namespaces import NamespaceLab, Namespaces
from testbed.lab.network_faults import apply
from testbed.model.network_fault import Fault, MappingTimeout, lasts
from testbed.model.plan import Vantage
from testbed.plan.planner import plan
from testbed.predict.life import Expected, Fate, Transport, expect
from testbed.studies.autonat.nodes import Remote
from testbed.studies.life import datagrams as life_datagrams
from testbed.studies.life import nodes as life_nodes
from testbed.studies.life.stories import Story
from testbed.studies.life.wire import ENDED, Seen, read_life
from testbed.words import sentence

CALM = 0.8  # seconds of echo before the first fault
SETTLING = 7.0  # seconds to try the old connection, and for three rounds of an upgrade
NOTHING = 4.0  # seconds to see that nothing comes any more
STEADY = 1.2  # seconds of direct echo in a row: nothing will change any more

Apply = Callable[[NamespaceLab, Fault], None]


@dataclass(frozen=True)
class Led:
    """One life: what was expected, what the wire shows, what the dialer said of it.

    ``slow``: by how many seconds the harness took longer over its faults than planned.
    ``late``: by how many seconds the dialer or a wire was late at worst.
    """

    story: str
    transport: Transport
    expected: Expected
    seen: Seen
    diary: tuple[dict[str, Any], ...]
    slow: float
    late: float
    capture: Path

    @property
    def findings(self) -> tuple[str, ...]:
        """How wire and model, or wire and dialer, differ; empty if they agree."""
        wanted, seen = self.expected, self.seen
        found = []
        if seen.fate is not wanted.fate:
            found.append(f"{seen.fate}, expected {wanted.fate}: {sentence(wanted.why)}")
        elif wanted.fate is not Fate.LOST and seen.gap < wanted.low:
            found.append(f"a gap of {seen.gap:.2f} s, expected at least {wanted.low:.2f} s")
        elif wanted.fate is not Fate.LOST and seen.gap > wanted.high + 2 * self.slow:
            found.append(f"a gap of {seen.gap:.2f} s, expected at most {wanted.high:.2f} s")
        if seen.moved is not wanted.moved:
            found.append(
                "the dialer is seen at another address than before, and was not to be"
                if seen.moved
                else "the dialer is seen where it was before, and was to be elsewhere"
            )
        closed = any(e["what"] == "closed" and not e["relayed"] for e in self.diary)
        if closed and seen.fate is Fate.SURVIVES:
            found.append("the dialer says that its connection was closed, the wire that it was not")
        if not closed and seen.fate in (Fate.DIRECT, Fate.RELAYED):
            found.append("the dialer says nothing of a closed connection, the wire shows another")
        return tuple(found)


def lead(story: Story, transport: Transport, folder: Path, number: int) -> Led:
    """Lead one life in a lab of its own; ``folder`` gets the capture.

    Inside a sandbox.  TestbedError says what was waited for in vain.
    """
    profiles = story.profiles

    def do(lab: NamespaceLab, fault: Fault) -> None:
        apply(lab, fault, profiles, _wait)

    return lead_with(story, transport, folder, number, do)


def lead_with(story: Story, transport: Transport, folder: Path, number: int, do: Apply) -> Led:
    """As `lead`, with another hand that does the faults."""
    behaviours = {name: profile.behaviour for name, profile in story.profiles.items()}
    expected = expect(story.topology, behaviours, story.course, transport)
    folder.mkdir(parents=True, exist_ok=True)
    capture = folder / "capture.pcapng"
    with Namespaces().start(plan(story.topology, story.profiles, number)) as lab:
        require_closed(lab)
        dialer = _cast(lab, story, transport)
        vantages = _vantages(lab)
        with record(lambda v: lab.socket(v.node, AF_PACKET, SOCK_RAW), vantages, capture) as held:
            began = _asked(dialer, "the first direct connection", do="connect")
            if began is not None:
                raise PeerError(f"no direct connection to begin with: {began}", node="a")
            _wait(CALM)
            fault_ns = time.time_ns()
            slow = _suffer(lab, story, dialer, do)
            _watch(dialer, story, expected)
            end_ns = time.time_ns()
            report = _asked(dialer, "its diary", do="report")
        if held.recording.dropped:
            raise CaptureError(f"{held.recording.dropped} packets were not recorded")
        late = max(float(report["late"]), lab.lateness_ms() / 1000)
        server = lab.plan.address("server")
    routers = [v.node for v in vantages if v.ifname == "lan"]
    seen = read_life(read(capture), routers, server, transport, fault_ns, end_ns)
    diary = tuple(e for e in report["diary"] if e["at"] * 1e9 > fault_ns)
    return Led(story.name, transport, expected, seen, diary, slow, late, capture)


def _suffer(lab: NamespaceLab, story: Story, dialer: Remote, do: Apply) -> float:
    """The faults at their times, a silence to its end; by how many seconds that was too slow."""
    start, planned = time.monotonic(), 0.0
    for at, fault in story.course.faults:
        _wait(max(0.0, start + at - time.monotonic()))
        planned = max(planned, at + lasts(fault))
        if isinstance(fault, MappingTimeout):
            _asked(dialer, "its silence", do="hush")
            _wait(fault.silence)
            _asked(dialer, "its voice", do="speak")
        else:
            do(lab, fault)
    return max(0.0, time.monotonic() - start - planned)


def _watch(dialer: Remote, story: Story, expected: Expected) -> None:
    """Until everything is as it will stay: a direct echo goes on, or all time is over."""
    if expected.fate is Fate.LOST:
        _wait(NOTHING)
        return
    passed = max((at + lasts(fault) for at, fault in story.course.faults), default=0.0)
    limit = max(ENDED, expected.high - passed) + SETTLING
    if expected.fate is Fate.RELAYED:
        _wait(limit)
    else:
        _asked(dialer, "a steady echo", do="steady", seconds=STEADY, limit=limit)


def _vantages(lab: NamespaceLab) -> list[Vantage]:
    """The dialer's wires at their routers' ends, for it may leave one; the WANs, the server."""
    return [
        v for v in lab.plan.vantages
        if v.ifname == "wan" or v.node == "server" or (v.ifname == "lan" and v.node != "nat-b")
    ]  # fmt: skip


def _cast(lab: NamespaceLab, story: Story, transport: Transport) -> Remote:
    """Everybody in their places, ready; who is asked to connect, and so on."""
    timers, server = story.course.timers, str(lab.plan.address("server"))
    if transport is Transport.UDP:
        _start(lab, "server", life_datagrams.reflect)
        ends = [
            _start(lab, n, lambda: life_datagrams.either_end(server, timers)) for n in ("b", "a")
        ]
        seen = [_said(end, "its address") for end in ends]
        for end, other in zip(ends, reversed(seen), strict=True):
            _asked(end, "the punch", do="punch", remote=other)
        for end in ends:
            if failed := _asked(end, "the other's datagrams", do="punched"):
                raise PeerError(failed, node=end.name)
        return ends[1]
    serving = _start(lab, "server", partial(life_nodes.serve_relay, server, transport, timers))
    relay = _said(serving, "the relay's address")
    listener = _start(lab, "b", partial(life_nodes.listen, relay, transport, timers))
    target = _said(listener, "a reservation")
    dialer = _start(lab, "a", partial(life_nodes.dial, target, relay, transport, timers))
    _said(dialer, "the relay's answer")
    return dialer


def _start(lab: NamespaceLab, node: str, work: Callable[[], life_nodes.Work]) -> Remote:
    return Remote(node, lab.spawn(node, lambda: asyncio.run(work())))


def _said(remote: Remote, purpose: str) -> Any:
    try:
        return remote.answer()
    except PeerError as error:
        raise PeerError(f"waited for {purpose}: {error.message}", node=remote.name) from error


def _asked(remote: Remote, purpose: str, /, **command: Any) -> Any:
    try:
        return remote.ask(**command)
    except PeerError as error:
        raise PeerError(f"waited for {purpose}: {error.message}", node=remote.name) from error


def _wait(seconds: float) -> None:
    """Let time go by: the experiment's own, not somebody's who gets ready."""
    time.sleep(seconds)
