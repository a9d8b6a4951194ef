"""Certificates of the routers of a compose project that is up: declared = measured?"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed.backends.containers.crew import crew
from testbed.backends.containers.engine import engine
from testbed.backends.containers.remote import Agent
from testbed.compose.bench import Bench, bench
from testbed.compose.closed import require_closed
from testbed.compose.running import Container, as_wired, containers, eye, looked_into
from testbed.compose.source import Source
from testbed.errors import TestbedError, UnfitError
from testbed.nat.behaviour import Allocation, Behaviour, Protocol
from testbed.nat.certify import Certificate, concluded, held_against, inconclusive
from testbed.nat.profile import Profile

_TIMERS = ("udp", "udp_stream", "tcp_transitory", "tcp_established")
_SCATTERED = (Allocation.HASHED, Allocation.RANDOM)  # told apart when a mapping has expired


@dataclass(frozen=True)
class Certified:
    """A router's certificate.  ``left_out``: axes that it says nothing about."""

    certificate: Certificate
    left_out: tuple[str, ...]


def certified(folder: Path, source: Source) -> Iterator[Certified]:
    """One after another, the routers of the project in ``folder``, which is up.

    UnfitError: it is not up, there is no engine, or we are not root; BackendError: it is
    not what was rendered, or not closed.
    """
    plan, profiles = source.plan(), source.named()
    with _proven_closed(folder, source) as found:
        routers = [(router, profiles[router.profile]) for router in plan.topology.routers]
        benches = [bench(plan, one, profile.behaviour, found) for one, profile in routers]
        members = [eye(container) for container in found.values()]
        guests = [member for made in benches for member in made.members()]
        with crew([*members, *guests]) as agents:
            for made in benches:
                profile = profiles[made.router.profile]
                yield _certified(made, profile, agents, waits=source.certifiable)


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


def _certified(
    made: Bench, profile: Profile, agents: Mapping[str, Agent], *, waits: bool
) -> Certified:
    name, start = f"{made.router.name}: {profile.name}", time.monotonic()
    own = {node: agents[place] for node, place in made.places().items()}
    try:
        with looked_into(made.plan, own) as lab:
            made.furnish(lab, profile)
            rows = held_against(profile, lab)
    except UnfitError:
        raise
    except TestbedError as error:
        return Certified(inconclusive(name, str(error), time.monotonic() - start), ())
    mute = unsaid(profile.behaviour, metered=made.metered, waits=waits)
    kept = tuple(row for row in rows if row.axis not in mute)
    left_out = tuple(row.axis for row in rows if row.axis in mute)
    return Certified(concluded(name, kept, time.monotonic() - start), left_out)


def unsaid(behaviour: Behaviour, *, metered: bool, waits: bool) -> Sequence[str]:
    """The axes on which a measurement says nothing.

    Without a host that the quota knows (``metered``), how many mappings one gets; where
    the prober cannot wait for the project's timers (``waits``), all that needs that.
    """
    axes: list[str] = []
    if not metered and behaviour.quota is not None:
        axes += [f"{protocol}.quota" for protocol in Protocol]
    if waits:
        return axes
    axes += ["refresh", *(f"timeout_{timer}" for timer in _TIMERS)]
    for protocol in Protocol:
        axes.append(f"{protocol}.persistence")
        if behaviour.transport(protocol).allocation in _SCATTERED:
            axes.append(f"{protocol}.allocation")
    return axes
