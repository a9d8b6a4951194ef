"""The prediction that stands beside every verdict."""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from functools import lru_cache

from testbed.errors import ProfileError, UsageError
from testbed.model.behaviour import Behaviour
from testbed.model.ice_agent import AIOICE, IceAgent
from testbed.model.outcome import Outcome
from testbed.model.prediction import HASTE_MS, Prediction
from testbed.model.reason import Raced
from testbed.model.topology import Topology
from testbed.predict import dcutr, ice, ladder, mechanisms
from testbed.predict.mechanisms import Setting
from testbed.predict.network import Network


class Mechanism(StrEnum):
    """How two peers try to reach each other."""

    PLAIN_DIAL_UDP = "plain_dial_udp"
    PLAIN_DIAL_TCP = "plain_dial_tcp"
    PUNCH_UDP = "punch_udp"
    PUNCH_TCP = "punch_tcp"
    ICE = "ice"
    ICE_RELAY_ONLY = "ice_relay_only"
    NO_PUNCH = "no_punch"
    DCUTR_TCP = "dcutr_tcp"
    DCUTR_QUIC = "dcutr_quic"
    DCUTR_OFF = "dcutr_off"  # over TCP, and the next over QUIC: upgrades switched off
    DCUTR_QUIC_OFF = "dcutr_quic_off"
    LADDER_TCP = "ladder_tcp"
    LADDER_QUIC = "ladder_quic"


PROGRAMS: dict[Mechanism, mechanisms.Mechanism] = {
    Mechanism.PLAIN_DIAL_UDP: mechanisms.plain_dial_udp,
    Mechanism.PLAIN_DIAL_TCP: mechanisms.plain_dial_tcp,
    Mechanism.PUNCH_UDP: mechanisms.punch_udp,
    Mechanism.PUNCH_TCP: mechanisms.punch_tcp,
    Mechanism.ICE: ice.ice,
    Mechanism.ICE_RELAY_ONLY: ice.ice_relay_only,
    Mechanism.NO_PUNCH: mechanisms.no_punch,
    Mechanism.DCUTR_TCP: dcutr.dcutr_tcp,
    Mechanism.DCUTR_QUIC: dcutr.dcutr_quic,
    Mechanism.DCUTR_OFF: dcutr.dcutr_off,
    Mechanism.DCUTR_QUIC_OFF: dcutr.dcutr_quic_off,
}
LADDERS: dict[Mechanism, ladder.Climb] = {
    Mechanism.LADDER_TCP: ladder.ladder_tcp,
    Mechanism.LADDER_QUIC: ladder.ladder_quic,
}


def predict(
    topology: Topology,
    behaviours: Mapping[str, Behaviour],
    mechanism: Mechanism,
    dialer: str,
    listener: str,
    *,
    server: str = "server",
    skew_ms: float = 0.0,
    agents: tuple[IceAgent, IceAgent] = (AIOICE, AIOICE),
) -> Prediction:
    """Run the mechanism's programs in a model of the lab.

    ``behaviours`` maps each router's name to its `Behaviour`; the listener begins
    ``skew_ms`` milliseconds after the dialer (before it, if negative); ``agents`` are
    the dialer's and the listener's of ICE.  Raises
    TopologyError for an unknown host, ProfileError for a router without a
    behaviour, UsageError if two roles fall to one host.  The same question is
    answered from memory.
    """
    roles = [topology.host(name).name for name in (dialer, listener, server)]
    if len(set(roles)) != len(roles):
        raise UsageError(f"dialer, listener and server must be three hosts, not {roles}")
    for router in topology.routers:
        if router.name not in behaviours:
            raise ProfileError("no behaviour was given for this router", node=router.name)
    nameless = replace(topology, routers=tuple(replace(r, profile="") for r in topology.routers))
    ordered = tuple((router.name, behaviours[router.name]) for router in topology.routers)

    def begun(apart_ms: float) -> Prediction:
        skew = apart_ms / 1000
        return _predict(nameless, ordered, mechanism, dialer, listener, server, skew, agents)

    told = begun(skew_ms)
    if mechanism is Mechanism.ICE:  # the others repeat their packets too soon for a race
        ends = {begun(skew_ms + ahead).outcome for ahead in (-HASTE_MS, HASTE_MS)}
        told = _raced(told, tuple(sorted(ends - {told.outcome})))
    return told


def _raced(told: Prediction, race: tuple[Outcome, ...]) -> Prediction:
    if not race:
        return told
    return replace(told, reason=Raced(told.reason, race, HASTE_MS), race=race)


@lru_cache(maxsize=8192)
def _predict(
    topology: Topology,
    behaviours: tuple[tuple[str, Behaviour], ...],
    mechanism: Mechanism,
    dialer: str,
    listener: str,
    server: str,
    skew: float,
    agents: tuple[IceAgent, IceAgent],
) -> Prediction:
    if mechanism in LADDERS:
        mapped = ladder.with_mappings(topology, dict(behaviours), (dialer, listener))
        network = Network(topology, mapped)
        climbed = LADDERS[mechanism](Setting(network, dialer, listener, server, skew, agents))
        return Prediction(climbed.outcome, climbed.reason, network.trace, climbed.rung)
    network = Network(topology, dict(behaviours))
    outcome, reason = PROGRAMS[mechanism](Setting(network, dialer, listener, server, skew, agents))
    return Prediction(outcome, reason, network.trace)
