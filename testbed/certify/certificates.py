"""Certificates: every NAT that is used is first measured to be what its profile says."""

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from typing import Any

from testbed.certify import prober
from testbed.certify.claims import Row, claims, compare, unclaimed
from testbed.certify.prober.limits import LookFor
from testbed.certify.prober.rounds import Labs
from testbed.errors import TestbedError, UnfitError
from testbed.lab.audit import require_closed
from testbed.lab.forked import forked
from testbed.lab.namespaces import Namespaces
from testbed.lab.services.miniupnpd import missing
from testbed.model.behaviour import Timeouts
from testbed.model.failure import fault_of
from testbed.model.fault import Ended, Fault, Worker
from testbed.model.frozen import FrozenValue
from testbed.model.lab import Backend, Lab
from testbed.model.presets import probe_bench
from testbed.model.profile import Profile
from testbed.model.saved import faults_from_json, faults_to_json
from testbed.nat.load import with_timeouts
from testbed.plan.planner import plan
from testbed.words import sentences

JOBS = 16  # mostly waiting for timers: more than the cores
DEADLINE = 120.0  # seconds for one profile, of which small quotas take the most
SHORT = Timeouts(udp=2, udp_stream=3, tcp_transitory=2, tcp_established=3)  # nobody minds these

Progress = Callable[["Certificate"], None]


class Verdict(StrEnum):
    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


class Certificate(FrozenValue):
    """``fault`` is why an INCONCLUSIVE certificate has no rows.

    ``late``: this machine was too busy to measure, and another try may do.
    ``unseen``: axes that are not to be seen with as few mappings as the NAT allows.
    """

    profile: str
    rows: tuple[Row, ...]
    verdict: Verdict
    seconds: float
    fault: Fault | None = None
    late: bool = False
    unseen: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """With ``reason``, the fault in words, for people."""
        faults = [] if self.fault is None else [self.fault]
        reason, told = sentences(faults), faults_to_json(faults)
        return dataclasses.asdict(self) | {"fault": told[0] if told else None, "reason": reason}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Certificate":
        """The inverse of `to_json`; KeyError, TypeError or ValueError for anything else."""
        rows = tuple(Row(**row) for row in data["rows"])
        faults = faults_from_json([data["fault"]] if data["fault"] else [])
        return cls(
            data["profile"],
            rows,
            Verdict(data["verdict"]),
            data["seconds"],
            next(iter(faults), None),
            data["late"],
            tuple(data["unseen"]),
        )


def certify(
    profile: Profile,
    *,
    number: int = 0,
    sabotage: Callable[[Lab], None] | None = None,
    backend: Backend | None = None,
) -> Certificate:
    """Start a bench with ``profile`` under short timers, measure, compare.

    Inside a sandbox.  ``number`` is the lab's.  ``sabotage`` is called with the
    started lab: the negative controls break it there.  Whatever keeps the prober
    from measuring is INCONCLUSIVE, never a verdict on the profile; but a machine that
    lacks a tool or a permission is an UnfitError, unless only such profiles need it.
    """
    start, chosen = time.monotonic(), backend or Namespaces()
    try:
        short = shortened(profile)
        lab_plan = plan(probe_bench(profile), {profile.name: short}, number)
        if lack := missing(lab_plan):
            return inconclusive(profile.name, fault_of(lack), 0.0)

        @contextmanager
        def started() -> Iterator[Lab]:
            with chosen.start(lab_plan) as lab:
                if sabotage is not None:
                    sabotage(lab)
                require_closed(lab)
                yield lab

        rows = _with_own_timers(
            profile, held_against(short, started, alone=not isinstance(chosen, Namespaces))
        )
    except UnfitError:
        raise
    except TestbedError as error:
        took, late = time.monotonic() - start, error.crowded
        return inconclusive(profile.name, fault_of(error), took, late=late)
    unseen = unclaimed(profile.behaviour, mappings=LookFor.mappings)
    found = concluded(profile.name, rows, time.monotonic() - start)
    return dataclasses.replace(found, unseen=unseen)


def held_against(profile: Profile, labs: Labs, *, alone: bool = False) -> tuple[Row, ...]:
    """What `prober.probe` finds beside the claim of ``profile``, by axis."""
    measured = prober.probe(labs, _look_for(profile), alone=alone)
    return compare(profile.behaviour, measured, mappings=LookFor.mappings)


def _with_own_timers(profile: Profile, rows: Sequence[Row]) -> tuple[Row, ...]:
    """The same, which say what ``profile`` declares where they were measured with less."""
    own = claims(profile.behaviour, mappings=LookFor.mappings)
    told = ((row, own[row.axis].declared if row.axis in own else "") for row in rows)
    return tuple(
        dataclasses.replace(row, shortened_from=declared if declared != row.declared else "")
        for row, declared in told
    )


def concluded(name: str, rows: tuple[Row, ...], seconds: float) -> Certificate:
    verdict = Verdict.PASS if all(row.agrees for row in rows) else Verdict.FAIL
    return Certificate(name, rows, verdict, round(seconds, 2))


def inconclusive(name: str, fault: Fault, seconds: float, *, late: bool = False) -> Certificate:
    return Certificate(name, (), Verdict.INCONCLUSIVE, round(seconds, 2), fault, late)


def shortened(profile: Profile) -> Profile:
    """With timers that nobody minds waiting for; equal ones stay equal."""
    timeouts = profile.behaviour.timeouts
    one = timeouts.udp == timeouts.udp_stream
    return with_timeouts(
        profile, dataclasses.replace(SHORT, udp_stream=SHORT.udp) if one else SHORT
    )


def _look_for(profile: Profile) -> LookFor:
    behaviour = profile.behaviour
    ports = {*behaviour.udp.allowed_ports, *behaviour.tcp.allowed_ports}
    return LookFor(ports=tuple(sorted(ports)), forwards=behaviour.forwards)


# Many at once


def certify_all(
    profiles: Sequence[Profile],
    jobs: int = JOBS,
    progress: Progress | None = None,
    backend: Backend | None = None,
) -> list[Certificate]:
    """Certify each profile in a forked worker, ``jobs`` at once; results in the given order.

    The calling process must have one thread.  A worker that dies or takes longer
    than `DEADLINE` makes its profile INCONCLUSIVE.  UnfitError if the machine lacks
    something: then no profile can be measured.
    """
    tasks = [partial(_certify_to_bytes, profile, backend) for profile in profiles]
    results: dict[int, Certificate] = {}
    for index, output, seconds in forked(tasks, jobs, DEADLINE):
        certificate = _from_bytes(profiles[index].name, output, seconds)
        results[index] = certificate
        if progress is not None:
            progress(certificate)
    return [results[index] for index in range(len(profiles))]


def _certify_to_bytes(profile: Profile, backend: Backend | None, slot: int) -> bytes:
    try:
        certificate = certify(profile, number=slot, backend=backend)
    except UnfitError as error:  # for the caller, who is another process
        unfit = {"message": error.message, "node": error.node, "remedy": error.remedy}
        return json.dumps({"unfit": unfit}).encode()
    except Exception as error:  # a crash is a fault of the prober's, not of the NAT's
        certificate = inconclusive(profile.name, fault_of(error, Worker.PROBER), 0.0)
    return json.dumps(certificate.to_json()).encode()


def _from_bytes(name: str, output: bytes, seconds: float) -> Certificate:
    try:
        data = json.loads(output)
        if "unfit" in data:
            raise UnfitError(**data["unfit"])
        return Certificate.from_json(data)
    except (ValueError, KeyError, TypeError):
        return inconclusive(name, Ended(Worker.PROBER, seconds), seconds)
