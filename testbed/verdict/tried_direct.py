"""Was a direct path tried before there was none, or a relayed one?  Asked of the wire.

What a mechanism that has a relay prescribes, whether or not the relay carried the connection.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import field
from ipaddress import IPv4Address, IPv4Network

from testbed.evidence.account import WireAccount
from testbed.evidence.protocols.stun import authentic
from testbed.model.address import Endpoint
from testbed.model.breach import TriedLittle
from testbed.model.contract import Offer, Offered
from testbed.model.frozen import FrozenValue
from testbed.model.journey import Journey, Label
from testbed.model.plan import AddLink
from testbed.model.trace import TraceStep
from testbed.verdict.tried import expired, is_call, told_before_offer, unasked, withheld

# What is sent again where nobody answers, at the least.  RFC 8445 section 14.3 repeats a check
# after 0.5 s; libp2p's DCUtR makes three attempts, of which each dials once where that is answered.
CHECKS, DIALS = 2, 3
DIALED_S = 3.0  # seconds from the first dial to the last: each of three attempts takes 2 s
RELAYED_CHECKS = 1  # of each pair, before one through a relay was taken


class Indirect(FrozenValue):
    """An attempt that came to no direct path: to a relayed one, or to none.

    ``trace`` is the model's of it, ``senders`` are those who had to try; ``fewest`` are the dials
    that are enough of those who are known to make less than others.
    """

    account: WireAccount
    senders: Sequence[str]
    ends: tuple[str, str]
    server: str
    relayed: bool
    trace: tuple[TraceStep, ...]
    fewest: Mapping[str, int] = field(default_factory=dict)

    def other(self, node: str) -> str:
        return self.ends[1] if node == self.ends[0] else self.ends[0]

    def since_start(self, node: str) -> Iterator[Journey]:
        """What ``node`` sent after the common start; nothing, if there was none."""
        start = self.account.start_ns
        if start is not None:
            yield from (j for j in self.account.sent(node) if j.first.time_ns >= start)


# -- ICE -------------------------------------------------------------------------------


def untried_checks(case: Indirect) -> list[TriedLittle]:
    """Who checked less than RFC 8445 has an agent check, or left out what it had learned.

    Each agent asks the STUN and the TURN server, offers what it is told, and checks every
    candidate of the other's (sections 5.1.1, 6.1.2 and 6.1.4.2), but such as it has no route to.
    """
    found = []
    offers = {node: _offer(case.account, node) for node in case.ends}
    for node in case.senders:
        own, other = offers[node], offers[case.other(node)]
        if own is None or own.ice is None:
            found += list(unasked(case.account, [node], case.server))
        elif _held_back(case, node, own):
            found.append(TriedLittle(node, 0, 0.0, answered=True))
        elif case.account.start_ns is not None and other is not None:
            found += list(_unchecked(case, node, other))
    return found


def _unchecked(case: Indirect, node: str, offer: Offer) -> Iterator[TriedLittle]:
    """The candidate that ``node`` checked least often, where that is too seldom."""
    times: dict[str, list[int]] = {}
    key = offer.ice.pwd.encode() if offer.ice else b""
    for journey in case.since_start(node):
        label = case.account.labels.get(journey.first.number)
        request = label is not None and _is(label, "Binding", "request")
        if request and not expired(journey) and authentic(journey.first.payload, key):
            times.setdefault(str(journey.first.destination), []).append(journey.first.time_ns)
    due = [
        str(one.endpoint)
        for one in candidates(offer)
        if not _on_link(case.account, node, one.endpoint.address)
        and not (case.relayed and one.kind == "relay")
    ]
    answered = times.keys() & set(_answering(case, node))  # no check of theirs is repeated
    fewest = min((times.get(one, []) for one in due if one not in answered), key=len, default=None)
    if fewest is not None and len(fewest) < (RELAYED_CHECKS if case.relayed else CHECKS):
        seconds = (fewest[-1] - fewest[0]) / 1e9 if fewest else 0.0
        yield TriedLittle(node, len(fewest), seconds)


def _answering(case: Indirect, node: str) -> Iterator[str]:
    """Whence answers to checks came to ``node``, after the start."""
    start = case.account.start_ns or 0
    for journey in case.account.came(node):
        label = case.account.labels.get(journey.first.number)
        if journey.last.time_ns >= start and label and _is(label, "Binding", "success"):
            yield str(journey.last.source)


def _held_back(case: Indirect, node: str, own: Offer) -> bool:
    """Whether a server told ``node`` an address, and its offer has none of that kind."""
    offered = candidates(own)
    if withheld(case.account, node, case.server, {str(one.endpoint) for one in offered}):
        return True
    told = told_before_offer(case.account, node, case.server)
    relayed = any(_is(label, "Allocate", "success") for label in told)
    return relayed and not any(one.kind == "relay" for one in offered)


class Candidate(FrozenValue):
    """Of an offer: RFC 8839 section 5.1.  ``kind``: host, srflx, prflx or relay."""

    kind: str
    endpoint: Endpoint


def candidates(offer: Offer) -> list[Candidate]:
    """Those over UDP and IPv4; others cannot be followed, and are left out."""
    found = []
    for parts in (line.split() for line in (offer.ice.candidates if offer.ice else ())):
        try:
            address, port = IPv4Address(parts[4]), int(parts[5])
            kind = parts[parts.index("typ") + 1]
        except (ValueError, IndexError):
            continue
        if parts[2].lower() == "udp":
            found.append(Candidate(kind, Endpoint(address, port)))
    return found


# -- libp2p ------------------------------------------------------------------------------


def untried_calls(case: Indirect) -> list[TriedLittle]:
    """Who dialed less over TCP than the mechanism prescribes; as `_untried`."""
    return _untried(case, lambda _node, journey: is_call(journey.first))


def untried_initials(case: Indirect) -> list[TriedLittle]:
    """Who did less over QUIC: the dialer dials, and the listener sends what it likes."""
    return _untried(case, lambda node, journey: node == case.ends[1] or _begins(case, journey))


def _begins(case: Indirect, journey: Journey) -> bool:
    """Whether it is a client's first word of a QUIC connection (RFC 9000 section 14.1)."""
    label = case.account.labels.get(journey.first.number)
    return label is not None and label.protocol == "quic" and "Initial" in label.own


def _untried(case: Indirect, is_dial: Callable[[str, Journey], bool]) -> list[TriedLittle]:
    """Who dialed less than the mechanism prescribes: the relay, and then the other end.

    A peer that has no offer must have asked the relay or an observer in vain.  Where the model
    has an end dial the other (which it has not where no address is known that could be dialed),
    it is seen to dial the other's network, or the NATs before that, each time that it tries.
    """
    if case.account.start_ns is None:
        observers = case.account.plan.topology.observers
        return list(unasked(case.account, case.senders, case.server, *observers))
    found = []
    for node in case.senders if case.relayed else ():
        other = case.other(node)
        around = {other, *case.account.plan.topology.around(other)}
        if not _foretold(case.trace, node, around):
            continue
        owners = case.account.plan.owners
        times = [
            journey.first.time_ns
            for journey in case.since_start(node)
            if owners.get(journey.first.destination.address) in around
            and is_dial(node, journey)
            and not expired(journey)
        ]
        seconds = (times[-1] - times[0]) / 1e9 if times else 0.0
        due, due_s = (case.fewest[node], 0.0) if node in case.fewest else (DIALS, DIALED_S)
        if len(times) < due or seconds < due_s:
            found.append(TriedLittle(node, len(times), seconds))
    return found


def _foretold(trace: Sequence[TraceStep], node: str, around: Collection[str]) -> bool:
    """Whether the model has ``node`` itself send to one of the others."""
    return any(
        step.source.address == node and step.destination.address.partition("#")[0] in around
        for step in trace
    )


# -- both --------------------------------------------------------------------------------


def _is(label: Label, method: str, kind: str) -> bool:
    return label.field("method") == method and label.field("class") == kind


def _offer(account: WireAccount, node: str) -> Offer | None:
    told = (one for name, one in account.events or () if name == node and isinstance(one, Offered))
    return next((one.offer for one in told), None)


def _on_link(account: WireAccount, node: str, address: IPv4Address) -> bool:
    """Whether ``node`` asks its own network for ``address``: nobody may have it there."""
    networks: list[IPv4Network] = [
        one.network
        for link in account.plan.of(AddLink)
        for end in (link.a, link.b)
        if end.node == node
        for one in end.addresses
    ]
    return any(address in network for network in networks)
