"""All that is recorded of one run, beside what its peers do: packets, flows, drops, words."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from socket import AF_PACKET, SOCK_RAW
from typing import TypeVar

from testbed.capture.conntrack import flow_count
from testbed.capture.drops import drops
from testbed.capture.flows import FlowRecorder, read_flows, save_flows, unheard
from testbed.capture.pcapng import Recording, VantageCount, Writer, created
from testbed.capture.recorder import record
from testbed.errors import TestbedError
from testbed.files import json_text
from testbed.model.contract_lines import encode
from testbed.model.frozen import FrozenValue
from testbed.model.gap import Gap, NoCounters
from testbed.model.journey import FlowEvent
from testbed.model.lab import Lab
from testbed.model.packet import Packet
from testbed.studies.punch.attempt import Account, Cut
from testbed.studies.punch.evidence import Notes

CAPTURE, CONNTRACK, DROPS, EVENTS, NOTES = (
    "capture.pcapng",
    "conntrack.jsonl",
    "drops.json",
    "events.jsonl",
    "run.json",
)
_IN, _OUT = 1, 2  # epb_flags
T = TypeVar("T")


class Records(FrozenValue):
    """What was recorded.  ``flows`` and ``drops`` are None where ``lost`` says why."""

    capture: Recording
    flows: tuple[FlowEvent, ...] | None
    drops: Mapping[str, Mapping[str, int]] | None  # router -> reason -> packets
    clock_ns: int  # from CLOCK_MONOTONIC, the peers', to CLOCK_REALTIME, the capture's
    gaps: tuple[Gap, ...]
    run_s: float  # that the run itself took


class _Asked(FrozenValue):
    """What the routers hold at the end of a run, while they are still recorded."""

    held: Mapping[str, int]  # router -> flows
    drops: Mapping[str, Mapping[str, int]] | None
    gaps: tuple[Gap, ...]


def record_run(lab: Lab, folder: Path, run: Callable[[], T]) -> tuple[T, Records]:
    """Call ``run`` while everything is recorded into ``folder``; what it gives, and the records.

    CaptureError when the packets could not be; without the rest a verdict can be had,
    and its absence is in ``Records.gaps``.
    """
    routers = [router.name for router in lab.plan.topology.routers]
    told = folder / CONNTRACK
    with (
        FlowRecorder(lab.socket, routers, told) as witness,
        record(
            lambda vantage: lab.socket(vantage.node, AF_PACKET, SOCK_RAW),
            lab.plan.vantages,
            folder / CAPTURE,
            witness=witness,
        ) as recorder,
    ):
        clock_ns = time.time_ns() - time.monotonic_ns()
        began = time.monotonic()
        given = run()
        run_s = time.monotonic() - began
        asked = _ask(lab, routers)
    _save_drops(folder, asked.drops)
    flows, gaps = _flows(told, recorder.missed, asked.held)
    gaps = (*asked.gaps, *gaps)
    return given, Records(recorder.recording, flows, asked.drops, clock_ns, gaps, run_s)


def save_events(folder: Path, account: Account | Cut, records: Records) -> None:
    """What the peers said, into the folder of their cell, and by which clock.

    Of a run that was cut short that is all that will be known, beside what broke it.
    """
    if isinstance(account, Cut):
        notes = Notes(account.start_ns, records.clock_ns, gaps=records.gaps)
        (folder / NOTES).write_text(json_text(notes.to_json()), encoding="utf-8")
    lines = (b'{"peer":"%s",' % name.encode() + encode(e)[1:] for name, e in account.events)
    (folder / EVENTS).write_bytes(b"".join(lines))


def save_share(
    folder: Path,
    records: Records,
    packets: Sequence[Packet],
    flows: tuple[FlowEvent, ...] | None,
    run_s: float,
) -> Records:
    """What of ``records`` is one cell's, into its folder, as if it had been recorded alone.

    ``packets`` are in order of time.  A packet that the whole capture lost may have been
    anybody's.  The routers' counters are those of all.
    """
    names = [count.name for count in records.capture.counts]
    places = {name: index for index, name in enumerate(names)}
    lost = {count.name: count.dropped for count in records.capture.counts}
    seen = Counter(packet.vantage for packet in packets)
    counts = tuple(VantageCount(name, seen[name], lost[name]) for name in names)
    path = folder / CAPTURE
    with created(path) as file:
        writer = Writer(file, names)
        for packet in packets:
            way = _OUT if packet.outgoing else _IN
            writer.packet(
                places[packet.vantage],
                packet.time_ns,
                bytes(packet.frame),
                packet.original_length,
                way,
            )
        end = packets[-1].time_ns if packets else time.time_ns()
        for index, count in enumerate(counts):
            writer.statistics(index, end, count.packets, count.dropped)
    if flows is not None:
        save_flows(folder / CONNTRACK, flows)
    _save_drops(folder, records.drops)
    return replace(records, capture=Recording(path, counts), flows=flows, run_s=run_s)


def _save_drops(folder: Path, drops: Mapping[str, Mapping[str, int]] | None) -> None:
    if drops is not None:
        (folder / DROPS).write_text(json_text(drops), encoding="utf-8")


def _ask(lab: Lab, routers: Sequence[str]) -> _Asked:
    """Now, and not after the capture: every packet that is counted is in it, too."""
    try:
        held = {name: flow_count(lab, name) for name in routers}
        return _Asked(held, {name: drops(lab, name) for name in routers}, ())
    except (TestbedError, OSError) as error:
        return _Asked({}, None, (NoCounters(str(error)),))


def _flows(
    told: Path, missed: Sequence[Gap], held: Mapping[str, int]
) -> tuple[tuple[FlowEvent, ...] | None, Sequence[Gap]]:
    """The events, if they are all there; else why not, and no file that looks whole."""
    if missed:
        return None, missed
    flows = read_flows(told)
    silent = unheard(flows, held)
    if silent:
        told.unlink()
        return None, silent
    return flows, ()
