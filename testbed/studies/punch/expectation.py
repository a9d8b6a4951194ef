"""What is expected of a cell: the oracle's prediction, and how stacks are known to deviate."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from testbed.errors import UsageError
from testbed.model.behaviour import Behaviour, Protocol
from testbed.model.deviation import Case, Deviation
from testbed.model.furnishing import behaviours
from testbed.model.outcome import Outcome, Rung
from testbed.model.prediction import Prediction
from testbed.model.profile import Profile
from testbed.model.reason import ByChance, Climbed, Lost, Raced, Reason, Stated
from testbed.model.topology import AS_IT_IS, Topology
from testbed.model.trace import OfLength, Unrouted
from testbed.model.version import Built
from testbed.predict.deviations import come_to, expected, known, uncovered
from testbed.predict.ice import ICE
from testbed.predict.model import Openings
from testbed.predict.nats_as_one import as_one, is_public, leads, reached
from testbed.predict.prediction import RUNS, crowded, is_scarce, mappings, predict
from testbed.stacks.adapter import Adapter, Main
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.external import own
from testbed.studies.punch.mechanism import PUNCH

_RUNS_BORROWED = 100  # where no rate is held: an end that is rarer is looked for once it is seen
_CHOSEN = (40011, 40021)  # of the ephemeral ports, two


def prediction(
    cell: Cell,
    profiles: Mapping[str, Profile],
    versions: Mapping[str, str] | None = None,
    runs: int = RUNS,
) -> Prediction:
    """What the oracle says of ``cell``, as known deviations of its stacks change it.

    ``versions``: what the program of a stack says of itself, by the stack's name
    (`testbed.stacks.versions`).  A stack of which nothing is known is taken for one that the
    table of deviations covers.  ``runs``: of the model, where chance decides.
    """
    plain = _predicted(cell, profiles, runs)
    return _stated(cell, expected(plain, _known(cell, profiles, versions or {}, plain)))


def _stated(cell: Cell, told: Prediction) -> Prediction:
    """What the world's file expects, where it does, in place of the model's prediction."""
    world = cell.world
    stated = world.world.expect
    own = cell.profiles == world.chosen() and cell.conditions == AS_IT_IS
    if stated is None or cell.control or not own or cell.meeting is not None:
        return told
    outcome = Outcome(stated.outcome)
    return replace(
        told,
        outcome=outcome,
        reason=Stated(told.outcome, told.reason, stated.within_s),
        rung=told.rung if outcome is told.outcome else None,
        race=(),
        chances=None,
        within_s=stated.within_s,
    )


def deviations(
    cell: Cell,
    profiles: Mapping[str, Profile],
    versions: Mapping[str, str] | None = None,
    ended: Outcome | None = None,
) -> tuple[Deviation, ...]:
    """The known deviations that apply to ``cell``; ``versions`` as in `prediction`.

    ``ended``: how it ended, where chance decides.
    """
    return _known(cell, profiles, versions or {}, _predicted(cell, profiles), ended)


def cast(cells: Iterable[Cell]) -> frozenset[str]:
    """The names of all stacks that take part in ``cells``, relays too."""
    ends = {end.name for cell in cells for end in cell.stacks.both}
    relays = {relay.name for cell in cells if (relay := cell.relaying) is not None}
    return frozenset(ends | relays)


def strangers(cells: Iterable[Cell], versions: Mapping[str, str] | None) -> tuple[Built, ...]:
    """Stacks of ``cells`` that the table of deviations knows, but not in their version.

    Their cells are judged without the table.
    """
    built = (one for cell in cells for one in _built(cell, versions or {}))
    return uncovered(dict.fromkeys(built))


def _built(cell: Cell, versions: Mapping[str, str]) -> tuple[Built, ...]:
    """The stacks of ``cell``, as far as they say their name and version."""
    told = (versions.get(end.name, "").partition(" ") for end in cell.stacks.both)
    return tuple(Built(stack, version) for stack, _, version in told if version)


def _predicted(cell: Cell, profiles: Mapping[str, Profile], runs: int = RUNS) -> Prediction:
    topology = _listening(cell)
    borrowed = not all(map(_has_our_patience, cell.stacks.both))
    declared = behaviours(topology, profiles)
    return predict(
        topology,
        declared,
        cell.play.model,
        topology.roles.a,
        topology.roles.b,
        server=topology.roles.relay,
        skew_ms=cell.skew_ms,
        agents=cell.stacks.agents,
        openings=_openings(cell),
        runs=_RUNS_BORROWED if borrowed and runs == RUNS else runs,
        borrowed=borrowed,
    )


def _openings(cell: Cell) -> Openings:
    """By which packets the hosts of ``cell`` open connections of QUIC."""
    roles, ends = cell.roles, cell.stacks
    found = {roles.a: ends.dialer, roles.b: ends.listener, **cell.observing}
    if cell.relaying is not None:
        found[roles.relay] = cell.relaying
    return tuple((host, one.opening) for host, one in found.items())


def _has_our_patience(end: Adapter) -> bool:
    """Whether the model's times are those by which it is to be judged: when it repeats what.

    Releases of others have times of their own, which only those of ICE agents are known of.
    """
    known = end.mechanism == ICE.name and not end.agent.assumed
    return known or isinstance(end.entry, Main) or bool(own([end.name]))


def require_room(cells: Iterable[Cell], profiles: Mapping[str, Profile]) -> None:
    """UsageError where the pairs ``cells`` of a mesh share a NAT that has too little for all.

    Who would go without is chance, and each is predicted by itself.
    """
    wanted = []
    declared: dict[str, Behaviour] = {}
    for cell in cells:
        topology = cell.build()
        declared = declared or behaviours(topology, profiles)
        ways = [topology.path_out(end) for end in (topology.roles.a, topology.roles.b)]
        if not any(is_scarce(declared[router.name]) for way in ways for router in way):
            continue  # there is enough for all, whatever they want
        wanted.append(mappings(topology, declared, cell.play.model, agents=cell.stacks.agents))
    for one, count, room in crowded(wanted, declared):
        kind = one.protocol.value.upper()
        raise UsageError(
            f"{one.router} has {room} {kind} mappings for {one.subscriber}, and the pairs that "
            f"share it want {count}: who goes without is chance",
            remedy="fewer pairs by --select, or another profile there",
        )


def _listening(cell: Cell) -> Topology:
    """The world of ``cell``, as far as it is known where its ends listen.

    Peers of the unified-testing contract are told no port, and take any: the kernel's choice is
    one that no profile forwards.
    """
    topology = cell.build()
    if cell.stacks.contract != "unified":
        return topology
    chosen = dict(zip((topology.roles.a, topology.roles.b), _CHOSEN, strict=True))
    hosts = (replace(host, port=chosen.get(host.name, host.port)) for host in topology.hosts)
    return replace(topology, hosts=tuple(hosts))


def _climbed(reason: Reason) -> Rung | None:
    """By which rung the model goes direct, without what chance may do; None: by none."""
    match reason:
        case Climbed(rung=rung):
            return rung
        case ByChance(reason=inner) | Raced(reason=inner):
            return _climbed(inner)
        case _:
            return None


def _wayless(reason: Reason) -> bool:
    """Whether no dial comes to the other end, however it is made.

    Packets of a connection are too long for the way, or the end is seen by an address inside.
    """
    match reason:
        case Lost(ways=ways):
            losses = (way.loss for way in ways if way.loss is not None)
            return any(isinstance(loss.drop, OfLength | Unrouted) for loss in losses)
        case ByChance(reason=inner) | Raced(reason=inner):
            return _wayless(inner)
        case _:
            return False


def _known(
    cell: Cell,
    profiles: Mapping[str, Profile],
    versions: Mapping[str, str],
    plain: Prediction,
    ended: Outcome | None = None,
) -> tuple[Deviation, ...]:
    """The table is of stacks behind one NAT each: those on the way of a side count as one."""
    if cell.mode != PUNCH:
        return ()
    ends, quic = cell.stacks, cell.stacks.transport == "udp"
    topology, protocol = cell.build(), Protocol.UDP if quic else Protocol.TCP
    declared = behaviours(topology, profiles)
    a, b = topology.roles.a, topology.roles.b
    nats = (
        as_one(topology, declared, protocol, (a, b)),
        as_one(topology, declared, protocol, (b, a)),
    )
    names, built = (ends.dialer.name, ends.listener.name), _built(cell, versions)
    way = leads(topology, declared, (a, b)) and not _wayless(plain.reason)
    rung = plain.rung or _climbed(plain.reason)
    met = reached(topology, (b, a)), reached(topology, (a, b))
    seen = is_public(topology, a), is_public(topology, b)
    case = Case(*names, quic, *nats, plain.outcome, built, way, rung, *met, *seen)
    found = known(case, ended=ended)
    if ended is None or come_to(found, plain.outcome, ended) is ended:
        return found
    by_chance = ended if plain.chances is not None else plain.beside(ended)
    return known(replace(case, outcome=by_chance), ended=ended)
