"""How labs grow: time and memory a node, from 500 nodes and 100 NATs to 5,000 nodes and 1,000.

Each lab is made in a process of its own, so that nothing is counted that Python, or we, keep of
another one.  A lab is down when the kernel has taken its last namespace apart, which it does
some time after the last descriptor is closed.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from testbed.bench.table import Results, say
from testbed.errors import TestbedError
from testbed.lab import kernel
from testbed.lab.audit import require_closed
from testbed.lab.forked import forked
from testbed.lab.namespaces import Namespaces
from testbed.lab.netlink import Netlink
from testbed.lab.rtnetlink import VethEnd, veth
from testbed.model.presets import BARE
from testbed.model.topology import INTERNET, Host, Network, Router, Scope, Topology
from testbed.nat.load import named
from testbed.plan.planner import plan

SIZES = (500, 1000, 2000, 5000)
ALLOWED = 1.5  # of what a node costs at the first size
_HOME = 5  # nodes: a NAT with four LAN hosts
_PROFILE = "port-restricted"
_DEADLINE = 300.0  # seconds, of one lab
_PHASES = (("planned", "ms"), ("up", "ms"), ("proven closed", "ms"), ("down", "ms"))


def measure(results: Results) -> bool:
    """Time and memory a node at each size; True when both are within what is allowed."""
    first: dict[str, float] = {}
    kept = True
    for count in SIZES:
        found = _apart(count)
        for what, unit in (*_PHASES, ("time in all", "ms"), ("memory", "KB")):
            each = found[what] / count
            ratio = each / first.setdefault(what, each)
            note = f"{ratio:.2f} x that of {SIZES[0]} nodes"
            say(results, f"{count} nodes, {what}, per node", each, unit, note)
            if what in ("time in all", "memory"):
                kept = kept and ratio <= ALLOWED
        say(results, f"{count} nodes and {count // _HOME} NATs", found["time in all"] / 1e3, "s")
    return kept


def homes(count: int) -> Topology:
    """``count`` nodes: the core, and homes of a NAT with four hosts, the last one with three."""
    networks = [Network(INTERNET, Scope.PUBLIC)]
    routers, hosts = [], []
    for home in range(count // _HOME):
        networks.append(Network(f"lan{home}", Scope.PRIVATE))
        routers.append(Router(f"nat{home}", INTERNET, f"lan{home}", _PROFILE, link=BARE))
        hosts += [Host(f"h{home}-{n}", f"lan{home}") for n in range(_HOME - 1)]
    return Topology("homes", tuple(networks), tuple(routers), tuple(hosts[:-1]))


def _apart(count: int) -> dict[str, float]:
    """What a lab of ``count`` nodes costs, in a fork of this process."""
    task: Callable[[int], bytes] = lambda _slot: json.dumps(_cost(count)).encode()  # noqa: E731
    ((_, told, _),) = forked([task], 1, _DEADLINE)
    if not told:
        raise TestbedError(f"a lab of {count} nodes was not made within {_DEADLINE:g} s")
    found: dict[str, float] = json.loads(told)
    return found


def _cost(count: int) -> dict[str, float]:
    """Milliseconds of each phase, and KB while the lab is up."""
    profiles = {one.name: one for one in named([_PROFILE])}
    before, clock = _used_kb(), _Clock()
    steps = plan(homes(count), profiles)
    clock.lap("planned")
    with Namespaces().start(steps) as lab:
        clock.lap("up")
        require_closed(lab)
        clock.lap("proven closed")
        memory = _used_kb() - before
        clock.skip()
    _taken_apart()
    clock.lap("down")
    return clock.laps | {"time in all": sum(clock.laps.values()), "memory": memory}


class _Clock:
    """Milliseconds between what happens."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.skip()

    def skip(self) -> None:
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        self.laps[name] = (time.perf_counter() - self._last) * 1e3
        self.skip()


def _used_kb() -> float:
    """Of this process, and of the kernel for all: what it cannot take back while it is used."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    told = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    kernels = told["SUnreclaim"] + told["Percpu"] + told["KernelStack"]
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024 + kernels


def _taken_apart() -> None:
    """Until the kernel has no namespace of before any more.

    It takes them apart in order: one more is made and given up, with one end of a wire in it.
    When the other end is gone, so are all that were given up before.
    """
    home = kernel.current_netns()
    here = Netlink("here")
    kernel.unshare(kernel.CLONE_NEWNET)
    last = kernel.current_netns()
    kernel.setns(home, kernel.CLONE_NEWNET)
    near, far = (
        VethEnd(home, "last", 100, "02:00:00:00:00:01"),
        VethEnd(last, "last", 100, "02:00:00:00:00:02"),
    )
    here.send([veth(near, far)])
    os.close(last)
    end = time.monotonic() + _DEADLINE
    while near.ifname in here.interfaces():
        if time.monotonic() > end:
            raise TestbedError(f"the kernel did not take the lab apart within {_DEADLINE:g} s")
        time.sleep(0.002)
    here.close()
    os.close(home)
