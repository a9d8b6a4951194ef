"""What a prediction is made by: a technique with its model, which runs in a network of Python."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from testbed.model.behaviour import Behaviour
from testbed.model.distance import extra_time_s
from testbed.model.frozen import FrozenValue
from testbed.model.ice_agent import UNREAD, IceAgent
from testbed.model.outcome import Outcome, Rung
from testbed.model.reason import Reason
from testbed.model.technique import Relaying, Technique
from testbed.model.topology import Topology
from testbed.predict.network import Network
from testbed.stacks.adapter import SHORTEST, Opening

Openings = tuple[tuple[str, Opening], ...]  # by the host


class Setting(FrozenValue):
    """Who runs a model where; ``skew`` is how many seconds the listener is late.

    ``agents`` are the dialer's and the listener's, where the technique is ICE; ``openings`` are
    how hosts open connections of QUIC, where that is not by the shortest packets.
    """

    network: Network
    dialer: str
    listener: str
    server: str
    skew: float
    agents: tuple[IceAgent, IceAgent] = (UNREAD, UNREAD)
    openings: Openings = ()

    @property
    def hosts(self) -> tuple[str, str]:
        return self.dialer, self.listener

    def port(self, host: str) -> int:
        """Where ``host`` listens."""
        return self.network.topology.port(host)

    def opening(self, host: str) -> Opening:
        """By which packets ``host`` opens a connection of QUIC."""
        return dict(self.openings).get(host, SHORTEST)

    @property
    def extra(self) -> float:
        """Seconds by which the deadlines of programs are longer, as they are told."""
        return extra_time_s(self.network.topology, self.hosts, self.server)

    def starts(self) -> tuple[float, float]:
        """When the dialer and the listener begin, from the present moment."""
        now = self.network.now
        return now + max(0.0, -self.skew), now + max(0.0, self.skew)


class Result(NamedTuple):
    """How a model ended.  ``rung`` is for models that climb a ladder; None: no connection."""

    outcome: Outcome
    reason: Reason
    rung: Rung | None = None


Hosts = tuple[str, ...]
Prepared = Callable[[Topology, Mapping[str, Behaviour], Hosts], dict[str, Behaviour]]


@dataclass(frozen=True, kw_only=True)
class Model(Technique):
    """A technique and the function that plays both its ends and the server.

    ``races``: chance at a common start may decide, because packets are repeated too late to make
    up for it.  ``patient``: its programs repeat what gets lost, at the times of our own stacks,
    so that it can be run in a network of chance.  ``prepares`` gives the behaviours of the
    routers once both hosts have asked their gateways for ports.
    """

    run: Callable[[Setting], Result]
    races: bool = False
    patient: bool = False
    prepares: Prepared | None = None

    @property
    def streams(self) -> bool:
        """Whether what peers echo is a stream of TCP, which fills its segments."""
        return self.relaying is Relaying.CIRCUIT and self.protocol == "tcp"
