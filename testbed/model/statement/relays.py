"""Relays, servers, and what peers got from them."""

from testbed.model.packet import Endpoint, Protocol
from testbed.model.rent import Carriage
from testbed.model.statement import Statement


class ReservationOver(Statement):
    """A reservation at the relay had run out; ``reason`` in the peer's words."""

    node: str
    relay: str
    reason: str


class RelayRefused(Statement):
    """The relay refused a peer; ``reason`` in the peer's words, or an error of TURN."""

    relay: str
    node: str
    reason: str | None


class LastWords(Statement):
    """The relay's last packet to a peer before that gave up."""

    node: str
    at_ms: float


class NotThrough(Statement):
    """A peer was not connected through the relay; ``reason`` in the peer's words."""

    node: str
    relay: str
    reason: str | None


class AskedNothing(Statement):
    """A peer asked the relay for nothing."""

    node: str


class NotLedIn(Statement):
    """A peer asked at a NAT's address, and the NAT led what came there to nobody."""

    router: str
    node: str
    destination: Endpoint


class SentToRelay(Statement):
    """A peer sent to the relay, whose host refuses, or which does not answer."""

    node: str
    relay: str
    refuses: bool


class RelayGone(Statement):
    """The relay is not there."""

    relay: str
    refuses: bool
    node: str


class AnsweredPast(Statement):
    """The relay answered by its own address, past the router that had taken the question in."""

    router: str
    relay: str
    node: str
    source: Endpoint


class FoundNoWay(Statement):
    """A peer found no way through the relay; ``reason`` in the peer's words."""

    node: str
    relay: str
    reason: str | None


class RelayAnswered(Statement):
    """When the relay answered a peer."""

    node: str
    at_ms: float


class RelayEnded(Statement):
    """The relay ended its connection with a peer; ``relayed``: and the relayed one with it."""

    relay: str
    node: str
    relayed: bool = False


class RelayedEnded(Statement):
    """The relay ended the relayed connection alone; ``reason`` in the peer's words."""

    relay: str
    reason: str


class Rented(Statement):
    """A relay was paid for a circuit."""

    relay: str
    carriage: Carriage


# -- public nodes that tell a peer its address ---------------------------------


class Unlearned(Statement):
    """A peer never learned by which address it is seen."""

    node: str


class UnlearnedFor(Statement):
    """The same, where it is known why."""

    what: Unlearned
    why: Statement


class AskedNobody(Statement):
    """A peer asked nobody by the protocol."""

    protocol: Protocol


class Asks(Statement):
    """A peer asks a public node; ``source`` where it matters from where."""

    node: str
    destination: Endpoint
    source: Endpoint | None = None


class QuestionsLastSeen(Statement):
    """A peer's questions are last seen on their way."""

    node: str


class NotSeenAgain(Statement):
    """Packets left a vantage, and are not seen again."""

    node: str
    vantage: str


class MadeNothing(Statement):
    """A peer was answered, and made nothing of it; ``reason`` in its own words."""

    node: str
    reason: str | None


class AnswerCame(Statement):
    """An answer came to a peer."""

    source: Endpoint
    node: str


class AnswersLastSeen(Statement):
    """The answers to a peer are last seen at a node."""

    node: str
    at: str


class LetNoAnswer(Statement):
    """A router let no answer in to a peer."""

    router: str
    node: str


class StoppedAnswer(Statement):
    """A router stopped the answer."""

    router: str


class NoAnswer(Statement):
    """No answer to a peer is in the capture; ``reason`` in its own words."""

    node: str
    reason: str | None


class Unanswered(Statement):
    """A server got packets, and refused or ignored them; ``reason`` in the peer's words."""

    server: Endpoint
    node: str
    refused: bool
    reason: str | None = None
