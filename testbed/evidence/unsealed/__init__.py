"""libp2p's streams as packets carried them, opened by keys that an end of theirs logged.

The lines are of `testbed.traversal.NodeOptions.key_log`.  A key that does not fit opens nothing, so
that a peer may keep its keys, but not give others in their place.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from testbed.evidence.unsealed import noise, quic
from testbed.evidence.unsealed.stream import Stream, stream
from testbed.model.frozen import FrozenValue
from testbed.model.packet import Endpoint, Packet

_NOISE = "NOISE"
_SECRETS = {"CLIENT_TRAFFIC_SECRET_0": 0, "SERVER_TRAFFIC_SECRET_0": 1}


class Keys(FrozenValue):
    """By what the client sent first, in hex: the two keys of what it and the server sent."""

    noise: Mapping[bytes, tuple[bytes, bytes]]
    quic: tuple[tuple[bytes, bytes], ...]


def keys(lines: Iterable[str]) -> Keys:
    """What a key log has; lines of any other kind are left out."""
    pairs: dict[bytes, tuple[bytes, bytes]] = {}
    secrets: dict[str, dict[int, bytes]] = defaultdict(dict)
    for line in lines:
        label, *words = line.split()
        if label == _NOISE and len(words) == 3:
            first, ours, theirs = map(bytes.fromhex, words)
            pairs[first] = (ours, theirs)
        elif label in _SECRETS and len(words) == 2:
            secrets[words[0]][_SECRETS[label]] = bytes.fromhex(words[1])
    both = ((one[0], one[1]) for one in secrets.values() if len(one) == 2)
    return Keys(pairs, tuple(both))


class Connection(FrozenValue):
    """One connection of a node that could be opened, and the packets that it took, both ways."""

    streams: tuple[Stream, ...]
    packets: tuple[Packet, ...]


def connections(packets: Sequence[Packet], known: Keys) -> list[Connection]:
    """Those of one vantage's ``packets``, in order of time, that ``known`` opens."""
    flows: dict[tuple[str, Endpoint, Endpoint], list[Packet]] = defaultdict(list)
    for packet in packets:
        if packet.protocol in ("tcp", "udp"):
            near, far = packet.source, packet.destination
            ends = (near, far) if packet.outgoing else (far, near)
            flows[packet.protocol, *ends].append(packet)
    found = []
    for (protocol, _, _), flow in flows.items():
        pieces = noise.pieces(flow, known.noise) if protocol == "tcp" else _by_udp(flow, known)
        ordered = sorted(pieces, key=lambda piece: piece.stream)
        streams = [stream(list(some)) for _, some in groupby(ordered, lambda piece: piece.stream)]
        if streams:
            found.append(Connection(tuple(streams), tuple(flow)))
    return found


def _by_udp(flow: Sequence[Packet], known: Keys) -> list[noise.Piece]:
    return next((found for pair in known.quic if (found := quic.pieces(flow, pair))), [])
