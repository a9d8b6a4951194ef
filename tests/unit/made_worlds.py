"""Worlds in which captures are made by hand: which way a packet takes there, and how it is seen."""

from dataclasses import replace
from functools import cache

from testbed.model.behaviour import Protocol
from testbed.model.packet import Endpoint
from testbed.model.plan import AddBridge, AddLink, End
from testbed.model.presets import preset
from testbed.nat.load import catalogue
from testbed.plan.planner import plan

WORLDS = (
    *("libp2p", "home-and-public", "carrier", "same-lan", "two-carriers"),
    "relay-behind-forward",
)
NODES = ("a", "b", "server")
OTHER = {"a": "b", "b": "a"}
WAY = 10  # ms from a host to the core, and from there to the next


class World:
    """Where the ends and their relay are, and the way from each to each."""

    def __init__(self, name: str) -> None:
        self.plan = steps = plan(preset(name), catalogue())
        ends = [end for link in steps.of(AddLink) for end in (link.a, link.b)]
        ports: tuple[End | AddBridge, ...] = (*ends, *steps.of(AddBridge))
        places = [(one.node, one.ifname, one.mac) for one in ports]
        self.macs = {f"{node}:{i}": bytes.fromhex(mac.replace(":", "")) for node, i, mac in places}
        self.here = {node: Endpoint(steps.address(node), steps.port(node)) for node in NODES}

    def told(self, node: str) -> Endpoint:
        """Where others reach a public ``node``."""
        return self.plan.entrance(node, Protocol.TCP, self.here[node].port)

    def outside(self, node: str, router: str) -> Endpoint:
        """How ``node`` is known outside of a router before it."""
        here, there = self.here[node], self.told(node)
        known = there if there.address == self.plan.address(router) else here
        return replace(known, address=self.plan.address(router))

    def routers(self, node: str) -> list[str]:
        """Nearest first."""
        return [router.name for router in self.plan.topology.path_out(node)]

    def own(self, node: str, other: str) -> list[str]:
        """Those that ``other`` is not behind."""
        return [name for name in self.routers(node) if name not in self.routers(other)]

    def edge(self, node: str) -> str:
        """Where it is seen whether ``node`` lets something out towards its peer."""
        own = self.own(node, OTHER[node])
        return f"{own[-1]}:wan" if own else f"{node}:eth0"

    def inside(self, node: str) -> list[str]:
        """Where packets of ``node`` are seen before its edge."""
        own = self.own(node, OTHER[node])
        vantages = [f"{node}:eth0"]
        for name in own:
            vantages += [f"{name}:lan", f"{name}:wan"]
        return vantages[:-1]

    def way(self, source: str, target: str) -> list[tuple[str, bool, Endpoint, Endpoint, int]]:
        """Where a packet is seen, whether it leaves there, its ends, and ms since it was sent."""
        up, down = self.own(source, target), self.own(target, source)[::-1]
        shared = next((name for name in self.routers(source) if name in self.routers(target)), "")
        here, there = self.here[source], self.here[target]

        def behind(names: list[str]) -> Endpoint:
            """What leads to ``target`` outside of the first of these."""
            return self.outside(target, names[0]) if names else there

        far = behind([shared, *down] if shared else down)
        found = [(f"{source}:eth0", True, here, far, 0)]
        for name in up:
            seen_as = self.outside(source, name)
            found += [(f"{name}:lan", False, here, far, 0), (f"{name}:wan", True, seen_as, far, 0)]
            here = seen_as
        if shared:
            seen_as = replace(here, address=self.plan.address(shared))
            found.append((f"{shared}:lan", False, here, far, WAY))
            here, far = seen_as, behind(down)
            found.append((f"{shared}:lan", True, here, far, WAY))
        else:
            edges = (up[-1] if up else source, down[0] if down else target)
            found += [(f"core:{edges[0]}", False, here, far, WAY)]
            found += [(f"core:{edges[1]}", True, here, far, WAY)]
        for index, name in enumerate(down):
            found.append((f"{name}:wan", False, here, far, 2 * WAY))
            far = behind(down[index + 1 :])
            found.append((f"{name}:lan", True, here, far, 2 * WAY))
        found.append((f"{target}:eth0", False, here, far, 2 * WAY))
        return found


@cache
def world(name: str) -> World:
    return World(name)
