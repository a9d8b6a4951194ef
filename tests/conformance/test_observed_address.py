"""The observed address equals what the router's conntrack holds."""

from functools import partial
from unittest.mock import patch

import observed
import pytest
from observed import Observation
from shared import once
from sweep import Outcome, sweep

from testbed.lab.namespaces import Namespaces
from testbed.model.behaviour import Mapping, Protocol
from testbed.nat.load import catalogue
from testbed.plan.planner import plan
from testbed.studies.autonat.reachability import bench
from testbed.traversal import Multiaddr, Node, identify
from testbed.traversal.aio.connection import Connection

JOBS = 4
CATALOGUE = catalogue()
Found = dict[str, Outcome[tuple[Observation, ...]]]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Found:
    def everywhere() -> Found:
        found = sweep(list(CATALOGUE.values()), bench, observed.measure, JOBS)
        return {profile.name: outcome for profile, outcome in found}

    return once(tmp_path_factory, "observed", everywhere)


@pytest.mark.parametrize("profile", CATALOGUE)
def test_over_tcp_every_observer_tells_what_conntrack_holds(profile: str, measured: Found) -> None:
    _check(profile, Protocol.TCP, measured)


@pytest.mark.parametrize("profile", CATALOGUE)
def test_over_quic_every_observer_tells_what_conntrack_holds(profile: str, measured: Found) -> None:
    _check(profile, Protocol.UDP, measured)


def _check(profile: str, protocol: Protocol, measured: Found) -> None:
    outcome = measured[profile]
    assert outcome.result is not None, outcome.error
    found = [one for one in outcome.result if one.protocol is protocol]
    assert len(found) == 4
    assert all(one.agrees for one in found), found
    behaviour = CATALOGUE[profile].behaviour
    nat = behaviour.transport(protocol)
    ports = [bench(profile).port(one.observer) for one in found]
    out = [not nat.blocked and port in (nat.allowed_ports or ports) for port in ports]
    if nat.mapping is not Mapping.ENDPOINT_INDEPENDENT and behaviour.quota is not None:
        out = [reachable and n < behaviour.quota for n, reachable in enumerate(out)]
    assert [one.told is not None for one in found] == out  # else it would prove nothing


# Negative control


def _lie(node: Node, connection: Connection) -> bytes:
    """What identify says and pushes, but with the port one too high."""
    remote = connection.remote
    wrong = Multiaddr.from_socket(str(remote.ip), (remote.port or 0) + 1, remote.transport or "")
    protocols = frozenset(node.host.handlers)
    info = identify.PeerInfo(node.peer, node.addresses(), protocols, wrong)
    return identify.encode(info, node.options.identity.public)


def _make_a_liar(node: Node) -> None:
    # A push says it, too, and comes when the observer learns an address: the last word counts.
    patch.object(node.identify, "_message", partial(_lie, node)).start()


@pytest.mark.parametrize("profile", ["linux-home", "symmetric"])
def test_an_observer_that_lies_about_the_address_is_detected(profile: str) -> None:
    with Namespaces().start(plan(bench(profile), CATALOGUE)) as lab:
        found = observed.measure(lab, {"observer-3": _make_a_liar})
    suspects = {(one.observer, one.protocol) for one in found if not one.agrees}
    assert suspects == {("observer-3", protocol) for protocol in Protocol}
    assert all(one.told is not None and one.held is not None for one in found)
