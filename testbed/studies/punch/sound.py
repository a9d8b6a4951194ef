"""Whether a cell can be run at all, and by these stacks."""

from collections.abc import Collection
from typing import TypeGuard

from testbed.errors import UsageError
from testbed.model.topology import Topology
from testbed.naming import instead
from testbed.stacks.registry import ADAPTERS, OURS, Adapter, Feature
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.mechanisms import MECHANISMS

MODES = tuple(dict.fromkeys(mode for one in MECHANISMS.values() for mode in one.modes))
LATEST_MS = 10_000.0  # of a skew: peers wait for each other some seconds longer


def require_sane(cell: Cell, where: str = "") -> None:
    """UsageError naming the field that no run can have; ``where`` it came from."""
    names, skew = cell.profiles, cell.skew_ms
    wanted = {
        "peer": (isinstance(cell.peer, str), "a name"),
        "relay": (isinstance(cell.relay, str), "a name"),
        "profiles": (isinstance(names, tuple) and all(isinstance(n, str) for n in names), "names"),
        "topology": (isinstance(cell.topology, str), "a world's name or file"),
        "mode": (cell.mode in MODES, f"one of {', '.join(MODES)}"),
        "repeat": (whole(cell.repeat), "whole, 0 or more"),
        "seed": (whole(cell.seed), "whole, 0 or more"),
        "skew_ms": (
            isinstance(skew, int | float) and 0 <= skew <= LATEST_MS,
            f"a number from 0 to {LATEST_MS:g}",
        ),
    }
    for field, (fits, words) in wanted.items():
        if not fits:
            value = getattr(cell, field)
            remedy = instead(value, MODES) if field == "mode" and isinstance(value, str) else None
            raise UsageError(f"{where}{field} must be {words}, not {value!r}", remedy=remedy)
    _require_world(cell, where)
    require_able(cell, where)


def _require_world(cell: Cell, where: str) -> None:
    """UsageError where the world is unknown, takes fewer NATs, or has nobody for a part."""
    try:
        cell.world.chosen(*cell.profiles)
    except UsageError as error:
        raise UsageError(f"{where}{error.message}", remedy=error.remedy) from None
    if cell.world.world.events:
        raise UsageError(
            f"{where}what happens in {cell.world.name} happens to an established path",
            remedy=f"testbed life --topology {cell.world.word}",
        )
    require_players(cell.build(), where)


def require_players(topology: Topology, where: str = "") -> None:
    """UsageError where nobody plays a part; ``where`` it came from."""
    known, roles = [host.name for host in topology.hosts], topology.roles
    for part, name in (("a", roles.a), ("b", roles.b), ("relay", roles.relay)):
        if name not in known:
            raise UsageError(
                f"{where}nobody in {topology.name} plays {part}: it has no host {name!r}",
                remedy=f"write [roles] {part} = one of {', '.join(known)}",
            )


def require_able(cell: Cell, where: str = "") -> None:
    """UsageError for what its stacks cannot do, with what they can; ``where`` it came from."""
    ends = cell.stacks
    if cell.mode not in cell.mechanism.modes:
        remedy = f"one of: {', '.join(cell.mechanism.modes)}"
        raise UsageError(f"{where}{cell.peer} has no mode {cell.mode!r}", remedy=remedy)
    if cell.skew_ms and ends.contract == "unified":
        raise UsageError(f"{where}{cell.peer} starts when it likes: a skew has no effect on it")
    relay = cell.relaying
    lacks = cell.mechanism.relay_features - relay.features if relay is not None else ()
    if relay is not None and lacks:
        raise UsageError(
            f"{where}{relay.name} has not what {cell.peer} needs of a relay: {', '.join(lacks)}",
            remedy=f"--relay {' or '.join(_able(relay, cell.mechanism.relay_features))}",
        )
    if relay is not None and "announce" not in relay.features and _behind(cell):
        raise UsageError(
            f"{where}{relay.name} cannot be told at which port of a NAT it is reached, and the "
            f"relay of {cell.world.name} is behind {_behind(cell)}",
            remedy=f"--relay {' or '.join(_able(relay, {'announce'}))}; or a relay on the internet",
        )
    if cell.observing and "observers" not in ends.needs:
        raise UsageError(f"{where}{cell.peer} asks no observers: theirs have no effect on it")
    if relay is None and cell.relay != OURS:
        raise UsageError(
            f"{where}{cell.peer} uses no libp2p relay: {cell.relay!r} has no effect on it",
            remedy="leave --relay out, or name a peer of DCUtR: traversal-quic, go-tcp, ...",
        )


def _able(relay: Adapter, features: Collection[Feature]) -> list[str]:
    """The stacks in place of ``relay`` that have these features."""
    able = (one for one in ADAPTERS.values() if one.transport == relay.transport)
    return list(
        dict.fromkeys(
            one.family for one in able if one.plays("relay") and one.features >= set(features)
        )
    )


def _behind(cell: Cell) -> str | None:
    """The router before the relay, if one is."""
    way = cell.build().path_out(cell.roles.relay)
    return way[0].name if way else None


def whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
