"""Whether what peers echo comes through: it is in longer packets than what connects them.

An echo is frames of one length, or a stream.  TCP cuts a stream into segments as long as both
ends' interfaces and the ICMP errors of links on the way allow; of a link that swallows long ones
without a word it learns nothing (RFC 2923 section 2.1).  QUIC sends nothing that must arrive in
longer packets than those that opened the connection (RFC 9000 section 14.3).
"""

from collections.abc import Iterator

from testbed.model.outcome import Outcome
from testbed.model.reason import Swallowed
from testbed.model.technique import Relaying
from testbed.predict.model import Model, Result, Setting
from testbed.predict.packet import Way
from testbed.stacks.wire import HEADER_LENGTH, PAYLOAD_LIMIT

ETHERNET = 1500  # bytes of an IP packet
_UDP, _TCP, _TURN = 28, 52, 36  # bytes of headers: IP's are in the first two


def heard(setting: Setting, model: Model, result: Result) -> Result:
    """``result``, or that nothing is heard although they are connected."""
    if not setting.network.topology.swallows:
        return result
    relayed = result.outcome is Outcome.RELAYED
    for origin, target in _legs(setting, result.outcome):
        ways = setting.network.ways.get((origin, target), ())
        length = _length(model, ways, relayed=relayed)
        for way in ways:
            if model.streams and way.mtu is not None:
                length = min(length, way.mtu)  # its router says so
            if way.largest is not None and length > way.largest:
                ends = (origin, target)
                why = Swallowed(result.reason, result.outcome, *ends, length, way.largest)
                return Result(Outcome.NONE, why)
    return result


def _legs(setting: Setting, outcome: Outcome) -> Iterator[tuple[str, str]]:
    """Who sends to whom, there and back."""
    a, b, relay = setting.dialer, setting.listener, setting.server
    match outcome:
        case Outcome.DIRECT:
            yield from ((a, b), (b, a))
        case Outcome.RELAYED:
            yield from ((a, relay), (relay, b), (b, relay), (relay, a))


def _length(model: Model, ways: tuple[Way, ...], *, relayed: bool) -> int:
    """Bytes of a packet of the echo, as it leaves."""
    if model.streams:
        told = (way.mtu for way in (ways[0], ways[-1])) if ways else ()  # the segment size of both
        return min((mtu for mtu in told if mtu is not None), default=ETHERNET)
    if model.relaying is Relaying.CIRCUIT:
        return 0
    headers = _TCP if model.protocol == "tcp" or relayed else _UDP
    return PAYLOAD_LIMIT + HEADER_LENGTH + headers + (_TURN if relayed else 0)
