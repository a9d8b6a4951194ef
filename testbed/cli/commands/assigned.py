"""Which host runs which stack: ``--at HOST=STACK``, and ``roles.at`` of a world's file.

A word of the command line wins over the file's.  Who is not named runs what ``--peer`` says; if
one end is named and ``--peer`` is not, both run the same.
"""

from collections.abc import Mapping, Sequence

from testbed.errors import UsageError
from testbed.model.presets import Found
from testbed.model.topology import Topology
from testbed.naming import instead, twice
from testbed.stacks.registry import ADAPTERS, Stacks, adapter, compatible, stacks


def read(words: Sequence[str]) -> dict[str, str]:
    """Host -> stack of the words of ``--at``; UsageError for what is none."""
    found: dict[str, str] = {}
    for word in words:
        host, given, stack = word.partition("=")
        if not (host and given and stack):
            raise UsageError(f"--at {word!r}: HOST=STACK is needed", remedy="--at a=ice")
        found[host] = stack
    if again := twice(word.partition("=")[0] for word in words):
        raise UsageError(f"--at names {again[0]!r} twice", remedy="name each host once")
    return found


def known(found: Mapping[str, str]) -> str | None:
    """A stack that is named for an end, if one is: its mechanism says in which world it is tried.

    What relays may be called by its family alone (``rust``).
    """
    return next((stack for stack in found.values() if stack in ADAPTERS), None)


def assigned(world: Found, words: Mapping[str, str], players: Sequence[str]) -> dict[str, str]:
    """The file's and the words', for ``players``: the hosts whose stacks can be chosen.

    UsageError for a host that is none of them, with those that are.
    """
    topology = world.topology()
    hosts = [host.name for host in topology.hosts]
    said = {host: one for host, one in world.world.roles.at.items() if host in players}
    for host, stack in words.items():
        if host not in players:
            what = "plays no part that a stack can be chosen for" if host in hosts else "is no host"
            raise UsageError(
                f"--at {host}={stack}: {host} {what} in {world.name}",
                remedy=instead(host, players),
            )
    for host, stack in words.items():
        if said.get(host) == stack:
            raise UsageError(f"--at {host}={stack} has no effect: the world's file says so")
    return {**said, **words}


def players(topology: Topology) -> tuple[str, ...]:
    """The hosts whose stacks can be chosen for a cell, its two ends first."""
    roles = topology.roles
    return (roles.a, roles.b, roles.relay, *topology.observers)


def require_change(words: Mapping[str, str], topology: Topology, casts: Sequence[Stacks]) -> None:
    """UsageError for an end that would run in all ``casts`` what it is told to."""
    roles = topology.roles
    for number, host in enumerate((roles.a, roles.b)):
        if host in words and {one.both[number].name for one in casts} == {words[host]}:
            raise UsageError(f"--at {host}={words[host]} has no effect: it runs that anyway")


def ends(at: Mapping[str, str], topology: Topology, peer: str | None, default: str) -> str:
    """The stacks of the two ends, as `Cell.peer` has them.

    ``peer`` is what the user named for those that ``at`` does not; UsageError where that is
    nobody, and where the two do not understand each other.
    """
    roles = topology.roles
    dialer, listener = at.get(roles.a), at.get(roles.b)
    if dialer and listener:
        if peer is not None:
            raise UsageError(f"--peer {peer} has no effect: --at says what both ends run")
        return _pair(topology, dialer, listener)
    rest = stacks(peer or dialer or listener or default)
    return _pair(topology, dialer or rest.dialer.name, listener or rest.listener.name)


def _pair(topology: Topology, dialer: str, listener: str) -> str:
    """UsageError naming the hosts whose stacks do not understand each other."""
    one, other = adapter(dialer), adapter(listener)
    if not compatible(one, other):
        roles = topology.roles
        raise UsageError(
            f"{roles.a} and {roles.b} do not understand each other: {one.name} is of "
            f"{one.mechanism}, {other.name} of {other.mechanism}",
            remedy="name stacks of one mechanism and one contract: --at, or --peer for the other",
        )
    return Stacks(one, other).name


def observers(at: Mapping[str, str], topology: Topology) -> tuple[tuple[str, str], ...]:
    """The observers that run another stack than ours, in their order."""
    return tuple((host, at[host]) for host in topology.observers if host in at)


def relays(at: Mapping[str, str], topology: Topology, relay: str | None) -> str | None:
    """What relays; UsageError where ``--relay`` says so, too."""
    chosen = at.get(topology.roles.relay)
    if chosen is not None and relay is not None:
        raise UsageError(
            f"--relay {relay} has no effect: {topology.roles.relay} runs {chosen}",
            remedy="leave one of --relay and --at out",
        )
    return chosen or relay
