"""How far hosts are from one another, and what that asks of the patience of their programs."""

from testbed.model.topology import Topology

USUAL_S = 0.2  # of a round trip by the relay, for which peers' own deadlines are made
# Of a dial by the relay: the relay is asked and asks (2), multistream-select, Noise and Yamux
# (5), a stream with identify (2), and one of them once more for what may get lost.
ROUND_TRIPS = 12


def round_trip_s(topology: Topology, one: str, other: str) -> float:
    """Seconds between two hosts by their preferred interfaces, without jitter.

    A router that both are behind is not left by what they send each other.
    """
    near, far = (topology.host(name).interfaces[0] for name in (one, other))
    here, there = topology.path_out(one, near), topology.path_out(other, far)
    links = [topology.wire(one, near), topology.wire(other, far)]
    links += [
        router.interfaces[0].link
        for router in (*here, *there)
        if (router in here) != (router in there)
    ]
    regions = topology.regions.round_trip_ms(topology.region(one, near), topology.region(other))
    delays = sum(link.up.delay_ms + link.down.delay_ms for link in links)
    return (regions + delays) / 1000


def extra_time_s(topology: Topology, ends: tuple[str, str], relay: str) -> float:
    """By how much each deadline of a peer is to be longer in a world as large as this.

    0 where a round trip from one of ``ends`` by the relay to the other takes no longer than usual.
    """
    by_relay = sum(round_trip_s(topology, end, relay) for end in ends if end != relay)
    return ROUND_TRIPS * max(0.0, by_relay - USUAL_S)
