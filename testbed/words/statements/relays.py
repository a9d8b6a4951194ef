"""Sentences about relays, servers, and what peers got from them."""

from testbed.model.statement import relays as it
from testbed.words.statements.text import Words, because


def _refuses(refuses: bool) -> str:
    return "its host refuses" if refuses else "nothing answers"


def _ended(fact: it.RelayEnded) -> str:
    words = f"the relay {fact.relay} ended its connection with {fact.node}"
    return f"{words}, and the relayed one with it" if fact.relayed else words


def _asks(fact: it.Asks) -> str:
    words = f"{fact.node} asks {fact.destination}"
    return f"{words} from {fact.source}" if fact.source else words


def _unanswered(fact: it.Unanswered) -> str:
    how = "refused them" if fact.refused else "did not answer"
    return f"{fact.server} got {fact.node}'s packets and {how}{because(fact.reason)}"


def _made_nothing(fact: it.MadeNothing) -> str:
    return f"{fact.node} was answered, and made nothing of it{because(fact.reason)}"


def _no_connection(reason: str | None) -> str:
    return "no connection" if reason is None else reason


def _not_through(fact: it.NotThrough) -> str:
    why = _no_connection(fact.reason)
    return f"{fact.node} was not connected through {fact.relay}: {why}"


def _found_no_way(fact: it.FoundNoWay) -> str:
    why = _no_connection(fact.reason)
    return f"{fact.node} found no way through the relay {fact.relay}: {why}"


def _rented(fact: it.Rented) -> str:
    one = fact.carriage
    paid = f"{one.up} bytes up and {one.down} down for {one.cost} units"
    words = f"contract {one.contract} with {fact.relay} carried the circuit: {paid}"
    if one.seen_up is None or one.seen_down is None:
        return f"{words}, of which no packet could be opened"
    circuit = one.seen_up + one.seen_down
    seen = (
        "as the packets show"
        if one.agrees
        else (f"and the packets show {one.seen_up} up and {one.seen_down} down")
    )
    taken = f"the dialer's connection to the relay took {one.size} bytes in {one.packets} packets"
    return f"{words}, {seen}; {taken}, {one.size - circuit} more than the circuit"


WORDS: Words = {
    it.ReservationOver: "{node}'s reservation at the relay {relay} had run out: {reason}",
    it.RelayRefused: "the relay {relay} refused {node}: {reason}",
    it.LastWords: "the relay's last words to {node} before that came at {at_ms:.1f} ms",
    it.NotThrough: _not_through,
    it.AskedNothing: "{node} asked the relay for nothing",
    it.NotLedIn: "{router} has no way in for what {node} sends to {destination}",
    it.SentToRelay: lambda fact: (
        f"{fact.node} sent to the relay {fact.relay}, and {_refuses(fact.refuses)}"
    ),
    it.RelayGone: lambda fact: (
        f"the relay {fact.relay} is not there: {_refuses(fact.refuses)} what {fact.node} sends"
    ),
    it.AnsweredPast: (
        "{router} turns {node}'s packets back in and leaves their source as it is, so {relay} "
        "answers past it, from {source}, where {node} asked nobody"
    ),
    it.FoundNoWay: _found_no_way,
    it.RelayAnswered: "the relay answered {node} at {at_ms:.1f} ms",
    it.RelayEnded: _ended,
    it.RelayedEnded: ("the relay {relay} ended the relayed connection and kept its own: {reason}"),
    it.Rented: _rented,
    it.Unlearned: "{node} never learned by which address it is seen",
    it.UnlearnedFor: "{what}: {why}",
    it.AskedNobody: lambda fact: f"it asked nobody by {fact.protocol.upper()}",
    it.Asks: _asks,
    it.QuestionsLastSeen: "{node}'s questions are last seen on their way",
    it.NotSeenAgain: "{node}'s packets left {vantage} and are not seen again",
    it.MadeNothing: _made_nothing,
    it.AnswerCame: "an answer from {source} came to {node}",
    it.AnswersLastSeen: "the answers to {node} are last seen at {at}",
    it.LetNoAnswer: "{router} let no answer in to {node}",
    it.StoppedAnswer: "{router} stopped the answer",
    it.NoAnswer: lambda fact: f"no answer to {fact.node} is in the capture{because(fact.reason)}",
    it.Unanswered: _unanswered,
}
