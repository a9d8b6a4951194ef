"""Is what a peer says of its direct connection borne out by what came to it?  Asked of the wire.

Whether there is such a connection is shown by its echo; this is about whom it is with, and since
when.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address

from testbed.evidence.account import WireAccount
from testbed.evidence.echoes import tells
from testbed.model.address import Endpoint
from testbed.model.breach import Claim, Unfounded
from testbed.model.contract import Connected, Path, Reserved, Upgraded
from testbed.model.outcome import Outcome
from testbed.model.saying import SaidConnected

MARGIN_NS = 5_000_000  # between the clocks of a peer and of the capture


def knowable(account: WireAccount, claims: Sequence[Claim]) -> tuple[Claim, ...]:
    """Those of ``claims`` that their peers could know to be true or not.

    An ICE agent knows a relay by the candidate that names it (RFC 8445 section 7.3.1.3).  Where a
    NAT gives the relay's packets another source, or a relay in the agent's own network sends by
    its private address, no candidate names it, and who takes it for the peer is no liar.
    """
    return tuple(claim for claim in claims if not _misled(account, claim))


def _misled(account: WireAccount, claim: Claim) -> bool:
    """It says direct, and whatever it got of the echo from there was sent by a relay unnamed."""
    said, window = claim.said, account.window
    if claim.outcome is not Outcome.DIRECT or not isinstance(said, SaidConnected) or window is None:
        return False
    events = account.events or ()
    told = {one.relay for _, one in events if isinstance(one, Reserved) and one.relay is not None}
    named = {Endpoint(IPv4Address(one.address), one.port) for one in told}
    if said.remote in named:
        return False
    relays = {(account.plan.meant(one), one.port) for one in named}
    came = [
        (journey.sender, journey.first.source.port)
        for journey in account.came(claim.node)
        if journey.last.source == said.remote
        and window.start_ns <= journey.first.time_ns <= window.end_ns
        and tells(journey.first.payload, window)
    ]
    return bool(came) and all(one in relays for one in came)


def unfounded(account: WireAccount, ends: Sequence[str]) -> list[Unfounded]:
    """Those of ``ends`` that say to be connected to where nothing had come from by then."""
    if account.start_ns is None or account.clock_ns is None:
        return []
    found = []
    for node in ends:
        said = [event for name, event in account.events or () if name == node]
        direct = [
            one
            for one in said
            if isinstance(one, Upgraded) or (isinstance(one, Connected) and one.path is Path.DIRECT)
        ]
        if not direct:
            continue
        told = direct[-1]
        remote = Endpoint(IPv4Address(told.remote.address), told.remote.port)
        came = (
            journey.last.time_ns
            for journey in account.came(node)
            if journey.last.time_ns >= account.start_ns and journey.last.source == remote
        )
        first, at = next(came, None), told.at + account.clock_ns
        if first is None or first > at + MARGIN_NS:
            ms = None if first is None else (first - at) / 1e6
            found.append(Unfounded(node, remote, ms))
    return found
