"""No prediction changes unnoticed, nor a time or a packet of the model on the way to it.

``predictions.json`` has the outcome of many cells of every mechanism, and a digest of the whole
trace.  Where a change of the model is meant, this file run by Python writes that one anew, and
its difference shows which cells are concerned.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from digests import digest

from testbed.errors import UsageError
from testbed.model.behaviour import Protocol, Timeouts
from testbed.model.ice_agent import UNREAD, IceAgent
from testbed.model.life import Timers, Transport
from testbed.model.network_fault import (
    Fault,
    LinkDown,
    LinkUp,
    MappingTimeout,
    NatReboot,
    Rebinding,
    Roaming,
    WanAddressChange,
)
from testbed.model.presets import (
    ACCESS,
    carrier,
    home_and_public,
    libp2p,
    observers,
    same_lan,
    two_homes,
)
from testbed.model.topology import INTERNET, Host, Network, Router, Scope, Topology
from testbed.nat.load import catalogue
from testbed.predict import autonat
from testbed.predict.ice import ICE
from testbed.predict.life import Course, expect
from testbed.predict.model import Model
from testbed.predict.prediction import predict
from testbed.stacks.registry import ADAPTERS, public
from testbed.studies.punch.mechanisms import MECHANISMS

FILE = Path(__file__).with_name("predictions.json")
CATALOGUE = catalogue()
# Between them they have every value of every axis.
PROFILES = (
    "port-restricted", "symmetric", "full-cone", "naive-linux", "carrier-grade", "adm-adf",
    "rejecting", "udp-blocked", "sequential", "hairpin-internal", "upnp-home", "firewall",
)  # fmt: skip
OTHERS = (  # on one side
    "corporate", "hotel", "port-forward", "outbound-refresh", "linux-random", "dmz-host",
    "one-to-one",
)  # fmt: skip
SKEWS = (0.0, 40.0, -700.0)  # ms


def models() -> dict[str, Model]:
    return {
        f"{name} {mode}": play.model
        for name, mechanism in MECHANISMS.items()
        for mode, play in mechanism.modes.items()
    }


def worlds() -> Iterator[Topology]:
    """Each pair of profiles, and each profile in the topologies that have another shape."""
    for a, b in product(PROFILES, PROFILES):
        yield two_homes(a, b)
    for a in (*PROFILES, *OTHERS):
        yield from (carrier(a, "symmetric"), home_and_public(a), same_lan(a), libp2p("pf", a))


def cells(model: Model, *agents: IceAgent) -> dict[str, str]:
    """The predictions of ``model`` in every world, one side beginning later by one of the skews."""
    found = {}
    for number, topology in enumerate(worlds()):
        skew = SKEWS[number % len(SKEWS)]
        behaviours = {r.name: CATALOGUE[r.profile].behaviour for r in topology.routers}
        both = (agents[0], agents[-1]) if agents else (UNREAD, UNREAD)
        told = predict(topology, behaviours, model, "a", "b", skew_ms=skew, agents=both)
        profiles = " ".join(router.profile for router in topology.routers)
        end, whole = told.rung or told.outcome, [told.outcome, told.reason, told.trace]
        found[f"{topology.name}: {profiles}, {skew:g}"] = (
            f"{end} {digest([*whole, told.rung, told.race])}"
        )
    return found


def agents() -> dict[str, IceAgent]:
    """What is known of the stacks that do ICE."""
    return {name: one.agent for name, one in ADAPTERS.items() if one.agent != UNREAD}


SHORT = Timeouts(udp=2, udp_stream=2, tcp_transitory=2, tcp_established=2)
HOMES = (
    ("port-restricted", "port-restricted"), ("full-cone", "symmetric"), ("symmetric", "full-cone"),
    ("restricted-cone", "naive-linux"), ("outbound-refresh", "rejecting"),
)  # fmt: skip


def courses() -> dict[str, Course]:
    """What may happen to a path, one by one and one after another."""
    faults: dict[str, tuple[tuple[float, Fault], ...]] = {
        "nothing": (),
        "reboot": ((0.0, NatReboot("nat-a")),),
        "two reboots": ((0.0, NatReboot("nat-a")), (0.5, NatReboot("nat-b", 1.5))),
        "address": ((0.0, WanAddressChange("nat-a")),),
        "far address": ((0.0, WanAddressChange("nat-b")),),
        "rebinding": ((0.0, Rebinding("nat-a")), (3.0, Rebinding("nat-b"))),
        "roaming": ((0.0, Roaming("a", "lan-c")),),
        "silence": ((0.0, MappingTimeout(5.0)),),
    }
    for seconds in (1.0, 2.5, 7.0):
        faults[f"cut {seconds:g}"] = ((0.0, LinkDown("nat-a")), (seconds, LinkUp("nat-a")))
    timers = (Timers(), Timers(None, 6.0), Timers(1.0, 6.0), Timers(4.0, 8.0))
    return {
        f"{name}, {timer.keepalive} {timer.patience:g}": Course(what, timer)
        for (name, what), timer in product(faults.items(), timers)
    }


def fates() -> dict[str, str]:
    """What becomes of the direct path between two homes."""
    found = {}
    cases = product(HOMES, courses().items(), Transport, (True, False))
    for (a, b), (name, course), transport, redials in cases:
        homes = two_homes(a, b)
        homes = replace(
            homes,
            networks=(*homes.networks, Network("lan-c", Scope.PRIVATE)),
            routers=(*homes.routers, Router("nat-c", INTERNET, "lan-c", a, link=ACCESS)),
            hosts=(*homes.hosts, Host("dock", "lan-c")),
        )
        known = {r.name: CATALOGUE[r.profile].behaviour for r in homes.routers}
        known = {router: replace(one, timeouts=SHORT) for router, one in known.items()}
        try:
            told = expect(homes, known, course, transport, redials=redials)
        except UsageError:
            continue  # they have no direct path to begin with
        key = f"{a} {b}: {name}, {transport}{'' if redials else ', once'}"
        found[key] = f"{told.fate} {digest(told)}"
    return found


def reachabilities() -> dict[str, str]:
    """What AutoNAT says behind a NAT, asked by one stack and answered by another."""
    found = {}
    ends = [(client, server) for client in ("go", "rust") for server in ("go", "rust")]
    for name, protocol, (client, server) in product((*PROFILES, *OTHERS), Protocol, ends):
        both = (public(stack, "tcp", "autonat_client").autonat for stack in (client, server))
        told = autonat.between(
            observers(name), {"nat-a": CATALOGUE[name].behaviour}, protocol, *both
        )
        found[f"{name} {protocol} {client} {server}"] = digest(told)
    return found


def everything() -> dict[str, dict[str, str]]:
    found = {name: cells(model) for name, model in models().items()}
    found |= {f"ice of {name}": cells(ICE, agent) for name, agent in agents().items()}
    return found | {"life": fates(), "autonat": reachabilities()}


KEPT: dict[str, dict[str, str]] = (
    json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
)


@pytest.mark.parametrize("name", sorted(KEPT.keys() & models()))
def test_the_predictions_of_a_mechanism_stay(name: str) -> None:
    assert cells(models()[name]) == KEPT[name]


@pytest.mark.parametrize("name", sorted(KEPT.keys() & {f"ice of {one}" for one in agents()}))
def test_the_predictions_of_an_agent_stay(name: str) -> None:
    assert cells(ICE, agents()[name.removeprefix("ice of ")]) == KEPT[name]


def test_the_fates_of_paths_stay() -> None:
    assert fates() == KEPT["life"]


def test_what_autonat_says_stays() -> None:
    assert reachabilities() == KEPT["autonat"]


def test_no_prediction_is_kept_that_nobody_makes() -> None:
    """What is new is not kept at once: a mechanism, or a stack, is one file, or a folder."""
    ice = {f"ice of {name}" for name in agents()}
    assert set(KEPT) <= {*models(), *ice, "life", "autonat"}


if __name__ == "__main__":
    FILE.write_text(json.dumps(everything(), indent=1) + "\n", encoding="utf-8")
