"""All that is recorded of one run, beside what its peers do: packets, flows, drops, words."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import AF_PACKET, SOCK_RAW

from testbed.capture.conntrack import flow_count
from testbed.capture.drops import drops
from testbed.capture.flows import FlowRecorder, read_flows, unheard
from testbed.capture.pcapng import Recording
from testbed.capture.recorder import record
from testbed.errors import TestbedError
from testbed.model.contract import encode
from testbed.model.explanation import FlowEvent
from testbed.model.lab import Lab
from testbed.studies.punch.attempt import Account


@dataclass(frozen=True)
class Records:
    """What was recorded.  ``flows`` and ``drops`` are None where ``lost`` says why."""

    capture: Recording
    flows: tuple[FlowEvent, ...] | None
    drops: Mapping[str, Mapping[str, int]] | None  # router -> reason -> packets
    clock_ns: int  # from CLOCK_MONOTONIC, the peers', to CLOCK_REALTIME, the capture's
    lost: tuple[str, ...]
    run_s: float  # that the run itself took


@dataclass(frozen=True)
class _Asked:
    """What the routers hold at the end of a run, while they are still recorded."""

    held: Mapping[str, int]  # router -> flows
    drops: Mapping[str, Mapping[str, int]] | None
    lost: tuple[str, ...]


def record_run(lab: Lab, folder: Path, run: Callable[[], Account]) -> tuple[Account, Records]:
    """Call ``run`` while everything is recorded into ``folder``.

    CaptureError when the packets could not be; without the rest a verdict can be had,
    and its absence is in ``Records.lost``.
    """
    routers = [router.name for router in lab.plan.topology.routers]
    told = folder / "conntrack.jsonl"
    with (
        FlowRecorder(lab.socket, routers, told) as witness,
        record(
            lambda vantage: lab.socket(vantage.node, AF_PACKET, SOCK_RAW),
            lab.plan.vantages,
            folder / "capture.pcapng",
            witness=witness,
        ) as recorder,
    ):
        clock_ns = time.time_ns() - time.monotonic_ns()
        began = time.monotonic()
        account = run()
        run_s = time.monotonic() - began
        asked = _ask(lab, routers)
    lines = (b'{"peer":"%s",' % name.encode() + encode(e)[1:] for name, e in account.events)
    (folder / "events.jsonl").write_bytes(b"".join(lines))
    if asked.drops is not None:
        (folder / "drops.json").write_text(
            json.dumps(asked.drops, indent=2) + "\n", encoding="utf-8"
        )
    flows, unsaid = _flows(told, recorder.missed, asked.held)
    lost = (*asked.lost, *unsaid)
    return account, Records(recorder.recording, flows, asked.drops, clock_ns, lost, run_s)


def _ask(lab: Lab, routers: Sequence[str]) -> _Asked:
    """Now, and not after the capture: every packet that is counted is in it, too."""
    try:
        held = {name: flow_count(lab, name) for name in routers}
        return _Asked(held, {name: drops(lab, name) for name in routers}, ())
    except (TestbedError, OSError) as error:
        return _Asked({}, None, (f"the routers' counters: {error}",))


def _flows(
    told: Path, missed: Sequence[str], held: Mapping[str, int]
) -> tuple[tuple[FlowEvent, ...] | None, Sequence[str]]:
    """The events, if they are all there; else why not, and no file that looks whole."""
    if missed:
        return None, missed
    flows = read_flows(told)
    silent = unheard(flows, held)
    if silent:
        told.unlink()
        return None, silent
    return flows, ()
