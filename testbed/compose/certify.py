"""Certificates of the routers of a compose project that is up: declared = measured?"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from testbed.certify.certificates import (
    DEADLINE,
    Certificate,
    concluded,
    held_against,
    inconclusive,
)
from testbed.compose.bench import Bench, benches
from testbed.compose.closed import require_closed
from testbed.compose.running import Container, as_wired, containers, eye, looked_into
from testbed.compose.source import Source
from testbed.errors import TestbedError
from testbed.lab.containers.crew import crew
from testbed.lab.containers.engine import engine
from testbed.lab.containers.remote import Agent
from testbed.lab.forked import forked
from testbed.model.behaviour import Allocation, Behaviour, Protocol
from testbed.model.failure import fault_of
from testbed.model.fault import Ended, Worker
from testbed.model.frozen import FrozenValue
from testbed.model.furnishing import furnished
from testbed.model.profile import Profile

_TIMERS = ("udp", "udp_stream", "tcp_transitory", "tcp_established")
_SCATTERED = (Allocation.HASHED, Allocation.RANDOM)  # told apart when a mapping has expired


class Certified(FrozenValue):
    """A router's certificate.  ``left_out``: axes that it says nothing about."""

    certificate: Certificate
    left_out: tuple[str, ...]


def certified(folder: Path, source: Source) -> Iterator[Certified]:
    """The routers of the project in ``folder``, which is up, as each is done.

    The calling process must have one thread.

    UnfitError: it is not up, there is no engine, or we are not root; BackendError: it is
    not what was rendered, or not closed.
    """
    plan = source.plan()
    profiles = furnished(plan.topology, source.named())
    with _proven_closed(folder, source) as found:
        all_benches = benches(plan, found)
        members = [eye(container) for container in found.values()]
        guests = [member for made in all_benches for member in made.members()]
        with crew([*members, *guests]) as agents:
            tasks = [
                partial(_task, made, profiles[made.router.name], agents, source.certifiable)
                for made in all_benches
            ]
            for index, output, seconds in forked(tasks, len(tasks), DEADLINE):
                yield _from_bytes(all_benches[index], output, seconds)


@contextmanager
def _proven_closed(folder: Path, source: Source) -> Iterator[Mapping[str, Container]]:
    plan = source.plan()
    with engine() as client:
        found = containers(client, folder, plan)
        with (
            crew([eye(container) for container in found.values()]) as agents,
            looked_into(as_wired(plan), agents) as lab,
        ):
            require_closed(client, plan, found, lab)
        yield found


def _task(made: Bench, profile: Profile, agents: Mapping[str, Agent], waits: bool, _: int) -> bytes:
    found = _certified(made, profile, agents, waits=waits)
    return json.dumps([found.certificate.to_json(), found.left_out]).encode()


def _from_bytes(made: Bench, output: bytes, seconds: float) -> Certified:
    try:
        certificate, left_out = json.loads(output)
        return Certified(Certificate.from_json(certificate), tuple(left_out))
    except (ValueError, KeyError, TypeError):
        ended = Ended(Worker.PROBER, seconds)
        return Certified(inconclusive(made.name, ended, seconds), ())


def _certified(
    made: Bench, profile: Profile, agents: Mapping[str, Agent], *, waits: bool
) -> Certified:
    start = time.monotonic()
    own = {node: agents[place] for node, place in made.places().items()}
    try:
        with looked_into(made.plan, own) as lab:
            made.furnish(lab, profile)
            rows = held_against(profile, partial(made.afresh, lab), alone=True)
    except TestbedError as error:
        took, late = time.monotonic() - start, error.crowded
        return Certified(inconclusive(made.name, fault_of(error), took, late=late), ())
    mute = unsaid(profile.behaviour, metered=made.metered, waits=waits, pooled=made.pooled)
    kept = tuple(row for row in rows if row.axis not in mute)
    left_out = tuple(row.axis for row in rows if row.axis in mute)
    return Certified(concluded(made.name, kept, time.monotonic() - start), left_out)


def unsaid(
    behaviour: Behaviour, *, metered: bool, waits: bool, pooled: bool = True
) -> Sequence[str]:
    """The axes on which a measurement says nothing.

    Without a host that the quota knows (``metered``), how many mappings one gets; without
    several external addresses for hosts of the project (``pooled``), who gets which; where
    the prober cannot wait for the project's timers (``waits``), all that needs that.
    """
    axes: list[str] = []
    if not metered and behaviour.quota is not None:
        axes += [f"{protocol}.quota" for protocol in Protocol]
    if not pooled and behaviour.pooling is not None:
        axes += [f"{protocol}.pooling" for protocol in Protocol]
    if waits:
        return axes
    axes += ["refresh", *(f"timeout_{timer}" for timer in _TIMERS)]
    for protocol in Protocol:
        axes.append(f"{protocol}.persistence")
        if behaviour.transport(protocol).allocation in _SCATTERED:
            axes.append(f"{protocol}.allocation")
    return axes
