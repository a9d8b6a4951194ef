"""The prediction that stands beside every verdict."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from random import Random

from testbed.errors import ProfileError, UsageError
from testbed.model.behaviour import Behaviour, Protocol
from testbed.model.chances import Chances
from testbed.model.frozen import FrozenValue
from testbed.model.ice_agent import UNREAD, IceAgent
from testbed.model.outcome import Outcome
from testbed.model.prediction import HASTE_MS, Prediction
from testbed.model.reason import ByChance, Raced
from testbed.model.topology import Topology
from testbed.predict.lengths import heard
from testbed.predict.model import Model, Openings, Result, Setting
from testbed.predict.network import Holding, Network

FEW_PORTS = 4096  # of a range: no mesh wants so many
RUNS = 500  # of the model, where chance decides


def predict(
    topology: Topology,
    behaviours: Mapping[str, Behaviour],
    model: Model,
    dialer: str,
    listener: str,
    *,
    server: str = "server",
    skew_ms: float = 0.0,
    agents: tuple[IceAgent, IceAgent] = (UNREAD, UNREAD),
    openings: Openings = (),
    runs: int = RUNS,
    borrowed: bool = False,
) -> Prediction:
    """Run ``model`` in a model of the lab.

    ``behaviours`` maps each router's name to its `Behaviour`; the listener begins
    ``skew_ms`` milliseconds after the dialer (before it, if negative); ``agents`` are
    the dialer's and the listener's of ICE, ``openings`` as `Setting` has them.  Where links do
    anything by chance, and the model is a patient one, it is run so many ``runs`` more, each with
    its own seed; ``borrowed``: for programs that repeat what gets lost at times of their own.
    Raises TopologyError for an unknown host, ProfileError for a router without a
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

    asked = _Asked(nameless, ordered, model, dialer, listener, server, skew_ms, agents, openings)
    told = _predict(asked)
    if model.races:
        apart = (asked.later(ahead) for ahead in (-HASTE_MS, HASTE_MS))
        told = _raced(told, [_predict(one).outcome for one in apart])
    if runs and model.patient and topology.by_chance:
        chances = replace(_chances(asked, runs), borrowed=borrowed)
        reason = ByChance(told.reason, told.outcome, chances)
        told = replace(told, outcome=chances.likeliest, reason=reason, race=(), chances=chances)
    return told


def _raced(told: Prediction, ends: Sequence[Outcome]) -> Prediction:
    """``told``, which may come to any of ``ends``; how often, no model of haste says."""
    race = tuple(sorted({*ends} - {told.outcome}))
    if not race:
        return told
    chances = replace(Chances.of([told.outcome, *ends]), borrowed=True)
    reason = Raced(told.reason, race, HASTE_MS)
    return replace(told, reason=reason, race=race, chances=chances)


class _Asked(FrozenValue):
    """One question, by which its answer is remembered."""

    topology: Topology
    behaviours: tuple[tuple[str, Behaviour], ...]
    model: Model
    dialer: str
    listener: str
    server: str
    skew_ms: float
    agents: tuple[IceAgent, IceAgent]
    openings: Openings

    def later(self, ahead_ms: float) -> "_Asked":
        """The same, where the listener begins so much later."""
        return replace(self, skew_ms=self.skew_ms + ahead_ms)

    def prepared(self) -> dict[str, Behaviour]:
        """The behaviours as the model takes them."""
        hosts = (self.dialer, self.listener)
        return _prepared(self.topology, self.behaviours, self.model, hosts)

    def run(self, network: Network) -> Result:
        """What the model comes to in ``network``, which is new."""
        hosts, skew = (self.dialer, self.listener), self.skew_ms / 1000
        at = Setting(network, *hosts, self.server, skew, self.agents, self.openings)
        return heard(at, self.model, self.model.run(at))


@lru_cache(maxsize=8192)
def _predict(asked: _Asked) -> Prediction:
    network = Network(asked.topology, asked.prepared())
    ended = asked.run(network)
    return Prediction(ended.outcome, ended.reason, network.trace, ended.rung)


@lru_cache(maxsize=8192)
def _chances(asked: _Asked, runs: int) -> Chances:
    """How ``runs`` of the model end; who is a little ahead at the common start is chance, too."""
    known, ends = asked.prepared(), []
    for number in range(runs):
        ahead = Random(f"{number}/ahead").uniform(-HASTE_MS, HASTE_MS)
        network = Network(asked.topology, known, str(number))
        ends.append(asked.later(ahead).run(network).outcome)
    return Chances.of(ends)


def _prepared(
    topology: Topology,
    behaviours: tuple[tuple[str, Behaviour], ...],
    model: Model,
    hosts: tuple[str, str],
) -> dict[str, Behaviour]:
    known = dict(behaviours)
    return known if model.prepares is None else model.prepares(topology, known, hosts)


def mappings(
    topology: Topology,
    behaviours: Mapping[str, Behaviour],
    model: Model,
    *,
    agents: tuple[IceAgent, IceAgent] = (UNREAD, UNREAD),
) -> Counter[Holding]:
    """How many mappings the pair of the topology's roles makes each NAT keep."""
    roles = topology.roles
    known = _prepared(topology, tuple(behaviours.items()), model, (roles.a, roles.b))
    network = Network(topology, known)
    model.run(Setting(network, roles.a, roles.b, roles.relay, 0.0, agents))
    return network.mappings()


def is_scarce(behaviour: Behaviour) -> bool:
    """Whether a NAT may have too few mappings for some dozens of pairs."""
    ranges = (behaviour.transport(protocol).ports.size for protocol in Protocol)
    return behaviour.quota is not None or min(ranges) < FEW_PORTS


def crowded(
    wanted: Iterable[Counter[Holding]], behaviours: Mapping[str, Behaviour]
) -> Iterator[tuple[Holding, int, int]]:
    """The NATs that cannot give all pairs what they ``wanted``; with the sum, and what they have.

    Pairs that meet in one lab are predicted each by itself, which only holds elsewhere.
    """
    total: Counter[Holding] = sum(wanted, Counter())
    rooms: Counter[tuple[str, Protocol]] = Counter()
    for one, count in total.items():
        rooms[one.router, one.protocol] += count
    for one, count in total.items():
        behaviour = behaviours[one.router]
        ports = behaviour.transport(one.protocol).ports.size
        if behaviour.quota is not None and count > behaviour.quota:
            yield one, count, behaviour.quota
        elif (together := rooms[one.router, one.protocol]) > ports:
            yield one, together, ports
