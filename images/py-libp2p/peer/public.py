"""The other roles: a public node, which relays and answers AutoNAT, and who asks it."""

from typing import Any

import trio
from contract import Failure, Fields, emit, endpoint
from libp2p.host.autonat.autonat import AutoNATService, AutoNATStatus
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.relay.circuit_v2.protocol import CircuitV2Protocol
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr
from node import listen_address, meet, new_node, reached

VERDICTS = 40.0  # seconds; one server after the other is asked
_WORDS = {
    AutoNATStatus.UNKNOWN: "unknown",
    AutoNATStatus.PUBLIC: "public",
    AutoNATStatus.PRIVATE: "private",
}


class Public:
    """A node in ``nursery``, until that is cancelled."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    async def serve(self, configure: Fields) -> Fields:
        """It observes, answers AutoNAT (it has version 1 alone), and relays if that is its role."""
        host = new_node(configure)
        AutoNATService(host)
        circuits = CircuitV2Protocol(host, allow_hop=configure["role"] == "relay")
        await self._nursery.start(self._live, host, configure, circuits)
        return {"addresses": [f"{reached(configure)}/p2p/{host.get_id()}"]}

    async def ask(self, configure: Fields) -> Fields:
        """Ask servers about the addresses that py-libp2p advertises: what it concludes."""
        host = new_node(configure)
        await self._nursery.start(self._live, host, configure, CircuitV2Protocol(host))
        emit("listening", local=endpoint(configure["local_address"], configure["port"]))
        await meet(host, configure["observers"], configure)
        known = host.get_network().connections
        servers = [info_from_p2p_addr(Multiaddr(one)).peer_id for one in configure["observers"]]
        asking = AutoNATService(host, serve=False)
        with trio.move_on_after(VERDICTS) as scope:
            await asking.check_reachability([one for one in servers if one in known])
        if scope.cancelled_caught:
            raise Failure("gathering", f"no verdict in {VERDICTS:g} s")
        return {"v1": _WORDS[asking.get_status()], "v2": None}

    async def _live(
        self, host: Any, configure: Fields, circuits: CircuitV2Protocol, task_status: Any
    ) -> None:
        async with host.run([listen_address(configure)]), background_trio_service(circuits):
            task_status.started()
            await trio.sleep_forever()
