"""Where the programs of each host listen."""

from collections.abc import Iterable
from itertools import count

from testbed.errors import TopologyError
from testbed.model.topology.node import Host

FIRST_PORT = 4001  # of the first host without a port of its own
PORTS_APART = 10


def ports(hosts: Iterable[Host]) -> dict[str, int]:
    """Of each host.  Who takes one end's port for the other's must not get away with it."""
    found: dict[str, int] = {}
    taken: dict[int, str] = {}
    for host in hosts:
        if host.port is None:
            continue
        if not 0 < host.port < 65536:
            raise TopologyError(f"port {host.port}: 1 to 65535 are possible", node=host.name)
        if (other := taken.setdefault(host.port, host.name)) != host.name:
            raise TopologyError(f"{other!r} has port {host.port}, too", node=host.name)
        found[host.name] = host.port
    free = (port for port in count(FIRST_PORT, PORTS_APART) if port not in taken)
    return found | {host.name: next(free) for host in hosts if host.port is None}
