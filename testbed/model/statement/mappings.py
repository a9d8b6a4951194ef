"""By which endpoints NATs sent packets out, and why by another than before."""

from testbed.model.packet import Endpoint
from testbed.model.statement import Statement


class ComesFrom(Statement):
    """Packets come from another endpoint than was told."""

    node: str
    source: Endpoint
    told: Endpoint


class PacketsFrom(Statement):
    """Where the packets of a peer come from."""

    node: str
    source: Endpoint


class ToldOther(Statement):
    """What a peer told, and where its packets come from."""

    node: str
    told: Endpoint
    source: Endpoint


class HadMapped(Statement):
    """A router's conntrack tells of a mapping."""

    router: str
    internal: Endpoint
    told: Endpoint
    remote: Endpoint


class MappingChanged(Statement):
    """Another endpoint for another destination."""

    router: str
    node: str
    told: Endpoint
    external: Endpoint
    remote: Endpoint


class SendsToNothing(Statement):
    """The other peer sends to where nothing of this one comes from."""

    other: str
    told: Endpoint
    node: str


class NeverSource(Statement):
    """A peer told an endpoint that was never the source of a packet of its own."""

    node: str
    told: Endpoint


class OtherSocket(Statement):
    """A peer signalled the address of one socket, and sends from another."""

    node: str
    signalled: Endpoint
    used: Endpoint


class AskedAs(Statement):
    """A peer asked a public node how it is seen."""

    node: str
    remote: Endpoint
    router: str
    external: Endpoint


class LeftAs(Statement):
    """By which endpoint a router sends a peer out."""

    remote: Endpoint
    router: str
    node: str
    external: Endpoint


class LeavesAfterEarly(Statement):
    """By another endpoint, after an early packet was stopped there."""

    node: str
    router: str
    external: Endpoint
    told: Endpoint


class TookEarly(Statement):
    """A router took an early packet itself."""

    source: Endpoint
    told: Endpoint
    lead_ms: float
    node: str
    router: str


class TupleTaken(Statement):
    """An early packet took the endpoint."""

    source: Endpoint
    told: Endpoint
    router: str
    node: str
    external: Endpoint


class Uses(Statement):
    """Somebody else inside has the endpoint."""

    router: str
    external: Endpoint
    remote: Endpoint
    internal: Endpoint


class Collided(Statement):
    """So the peer leaves by another."""

    uses: Uses
    node: str
    external: Endpoint


class Unkept(Statement):
    """Nothing kept a mapping alive; its conntrack may tell when it ended."""

    internal: Endpoint
    external: Endpoint
    idle_s: float
    ended_ms: float | None


class Forgets(Statement):
    """A router forgets a mapping that is idle so long."""

    router: str
    allowed_s: float
    external: Endpoint
    idle_s: float
