"""The two ends of an upgrade, as DCUtR names them, and the packets between them and their relay."""

from ipaddress import IPv4Address

from testbed.evidence.account import WireAccount
from testbed.evidence.clocks import SLACK_NS
from testbed.model.contract import Connected, Event, Path, Step, Upgraded
from testbed.model.frozen import FrozenValue
from testbed.model.journey import Journey
from testbed.model.outcome import StepName
from testbed.model.packet import Endpoint
from testbed.model.plan import Plan
from testbed.verdict.steps import last, leading_step

REPEATED_NS = 10_000_000_000  # by when what got lost has been repeated, or was given up


class Side(FrozenValue):
    """One peer: where it is, by which addresses others know it, what it said."""

    node: str
    routers: tuple[str, ...]  # between it and the internet, the outermost first
    faces: frozenset[IPv4Address]
    events: tuple[Event, ...]
    clock_ns: int

    def step(self, name: StepName) -> int | None:
        """When the step of this name was that led to the upgrade, in capture time."""
        step = leading_step(self.events, name)
        return step.realtime if step else None

    def relay(self, plan: Plan) -> str | None:
        """Through whom it says that it was connected."""
        connected = last(self.events, Connected)
        if connected is None or connected.path is not Path.RELAYED:
            return None
        remote = connected.remote
        return plan.meant(Endpoint(remote.address, remote.port))

    def when(self, kind: type[Connected | Upgraded]) -> int:
        """Of its last event of this kind, in capture time; 0 if there is none.

        A step tells the time of both clocks, and of its own process.
        """
        event, step = last(self.events, kind), last(self.events, Step)
        offset = step.realtime - step.at if step else self.clock_ns
        return event.at + offset if event else 0


def side_of(account: WireAccount, node: str) -> Side:
    plan = account.plan
    routers = plan.topology.path_out(node)
    faces = {ip for name in plan.topology.around(node) for ip in plan.addresses[name]}
    own = tuple(event for name, event in account.events or () if name == node)
    outwards = tuple(router.name for router in reversed(routers))
    return Side(node, outwards, frozenset(faces), own, account.clock_ns or 0)


def sent_by(account: WireAccount, side: Side, to: Side) -> list[Journey]:
    """What left ``side`` towards the other peer."""
    sent = (j for j in account.sent(side.node) if j.first.destination.address in to.faces)
    return [j for j in sent if _concerns(account.plan, j.first.destination, to)]


def _concerns(plan: Plan, endpoint: Endpoint, side: Side) -> bool:
    """An address of its NAT is another host's where the NAT forwards that port to it."""
    return plan.meant(endpoint) in (side.node, *side.routers)


class Wire(FrozenValue):
    """What went between the peers, and through their relay."""

    account: WireAccount
    relay: str

    def sent(self, side: Side, to: Side) -> list[Journey]:
        """What left ``side`` towards the other peer, in order of time."""
        return sent_by(self.account, side, to)

    def got(self, side: Side, source: Side) -> list[Journey]:
        """What reached ``side`` from the other peer, in order of its arrival."""
        came = (j for j in self.account.came(side.node) if j.last.source.address in source.faces)
        return [j for j in came if _concerns(self.account.plan, j.last.source, source)]

    def to_relay(self, side: Side) -> list[Journey]:
        """Payloads of ``side`` that came to the relay."""
        return self._leg(side.node, self.relay)

    def from_relay(self, side: Side) -> list[Journey]:
        """Payloads of the relay that came to ``side``."""
        return self._leg(self.relay, side.node)

    def _leg(self, node: str, to: str) -> list[Journey]:
        sent = self.account.sent(node)
        return [j for j in sent if j.first.payload and j.arrived and j.end.node == to]

    def carried(self, source: Side, target: Side, sent: int, received: int) -> bool:
        """Did the relay take in a payload of ``source`` and then give one to ``target``,

        the first sent at about ``sent``, the second there shortly before ``received``?
        The relay encrypts anew, so the two are tied by time: of what gets lost and is repeated,
        loosely.
        """
        slack = REPEATED_NS if self.account.plan.topology.by_chance else SLACK_NS
        taken = [
            j.last.time_ns
            for j in self.to_relay(source)
            if sent - slack <= j.first.time_ns <= received
        ]
        passed = [
            j.first.time_ns
            for j in self.from_relay(target)
            if received - slack <= j.last.time_ns <= received
        ]
        return any(0 <= out - into <= slack for into in taken for out in passed)
