"""py-libp2p's host as this peer uses it: one transport, Noise, and addresses taken apart."""

from contextlib import suppress
from hashlib import sha256
from typing import Any

import trio
from contract import Fields, emit, endpoint, longer
from libp2p import new_host
from libp2p.connection_types import ConnectionType
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as noise_key_pair
from libp2p.network.exceptions import SwarmException
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from multiaddr import Multiaddr
from multiaddr.exceptions import MultiaddrLookupError

MEETING = 3.0  # seconds to meet public nodes
_INWARDS = ("secured_conn", "conn", "stream", "socket", "_socket")  # from a muxer to its socket


def listen_address(configure: Fields) -> Multiaddr:
    kind = "tcp/{}" if configure["transport"] == "tcp" else "udp/{}/quic-v1"
    return Multiaddr(f"/ip4/{configure['local_address']}/{kind.format(configure['port'])}")


def reached(configure: Fields) -> Multiaddr:
    """The address by which others know a public node: behind a NAT, not its own."""
    outside = configure.get("announce")
    if outside is None:
        return listen_address(configure)
    place = {"local_address": outside["address"], "port": outside["port"]}
    return listen_address(configure | place)


def new_node(configure: Fields) -> Any:
    """A host that does not run yet; its identity follows from session and role."""
    words = configure["session"] + configure["role"]
    pair = create_new_key_pair(sha256(words.encode()).digest())
    noise = Noise(pair, noise_privkey=noise_key_pair().private_key)
    return new_host(
        key_pair=pair,
        listen_addrs=[listen_address(configure)],
        sec_opt={NOISE: noise},
        announce_addrs=[reached(configure)] if "announce" in configure else None,
    )


def socket_of(address: Multiaddr) -> Fields | None:
    """The IPv4 endpoint that an address begins with; of a circuit, the relay's."""
    for kind in ("tcp", "udp"):
        try:
            port = int(address.value_for_protocol(kind))
            return endpoint(address.value_for_protocol("ip4"), port)
        except (MultiaddrLookupError, LookupError, ValueError):
            continue
    return None


def relayed(connection: Any) -> bool:
    return connection.get_connection_type() is ConnectionType.RELAYED


def remote_end(connection: Any) -> Fields | None:
    """Where a direct connection goes to."""
    found = (socket_of(address) for address in connection.get_transport_addresses())
    return next((one for one in found if one), None)


def local_end(connection: Any, fallback: Fields) -> Fields:
    """Which port a direct connection leaves from: py-libp2p does not say, its socket does."""
    inner: Any = connection.muxed_conn
    while (word := next((w for w in _INWARDS if hasattr(inner, w)), None)) is not None:
        inner = getattr(inner, word)
    port = inner.getsockname()[1] if hasattr(inner, "getsockname") else fallback["port"]
    return endpoint(fallback["address"], port)


async def meet(host: Any, public: list[str], configure: Fields) -> list[str]:
    """Connect to public nodes and tell how each sees us; those that did not say."""
    servers = {info_from_p2p_addr(Multiaddr(one)).peer_id: one for one in public}
    waiting, seen = dict(servers), trio.Event()
    record = host._observed_addr_manager.record_observation

    def observe(conn: Any, observed: Multiaddr, local: list[Multiaddr]) -> None:
        record(conn, observed, local)
        peer, address = conn.muxed_conn.peer_id, socket_of(observed)
        if peer in waiting and address is not None:
            emit("observed", address=address, server=socket_of(Multiaddr(waiting.pop(peer))))
            if not waiting:
                seen.set()

    async def connect(address: str) -> None:
        with suppress(SwarmException):  # who was not reached says nothing
            await host.connect(info_from_p2p_addr(Multiaddr(address)))

    host._observed_addr_manager.record_observation = observe
    with trio.move_on_after(longer(configure, MEETING)):
        async with trio.open_nursery() as nursery:
            for one in public:
                nursery.start_soon(connect, one)
        await seen.wait()
    host._observed_addr_manager.record_observation = record
    return list(waiting.values())
