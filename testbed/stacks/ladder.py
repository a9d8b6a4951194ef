"""Our own traversal stack as a peer that climbs the whole ladder.

Each side asks its gateway for a port, and public nodes whether it can be reached
(AutoNAT v2).  The listener offers what strangers can dial, and its circuit address; the
dialer tries all of that at once, and what is left to the listener is as in
`testbed.stacks.traversal`: it dials back, then both punch.
"""

from dataclasses import replace

from testbed.model.contract import Configure, Endpoint, FailureClass, PortMapping, Reserved, Role
from testbed.stacks.session import PeerFailure, now, serve
from testbed.stacks.traversal import TraversalPeer, refusal
from testbed.traversal import Multiaddr, Node, NodeOptions
from testbed.traversal.ladder import AT_ONCE, LadderOptions, Prospects
from testbed.traversal.portmap.options import PortMapOptions

LADDER = LadderOptions(AT_ONCE, stagger=0.0, map_patience=2.5, proof_patience=6.0)
# A gateway that maps answers within milliseconds, but to a search up to a second later.
PORT_MAPPING = PortMapOptions(
    lifetime=600, probe_timeout=1.5, request_timeout=2.0, close_timeout=0.5
)


class LadderPeer(TraversalPeer):
    """One session; see `testbed.stacks.session.Stack`."""

    def _options(self, configure: Configure) -> NodeOptions:
        plain = replace(super()._options(configure), advertise_unproven=False)
        if configure.options.relay_only:  # the offer has circuits alone
            return plain
        return replace(plain, ladder=LADDER, port_mapping=PORT_MAPPING)

    async def _offered(self, node: Node) -> tuple[str, ...]:
        """The listener's direct addresses and circuits; of the dialer, its name."""
        if self._configure.options.relay_only:
            return await super()._offered(node)
        listens = self._configure.role is Role.LISTENER
        relay = Multiaddr.parse(self._configure.relays[0])
        prospects = await node.prepare(*((relay,) if listens else ()))
        self._tell_of_mappings(prospects)
        if not listens:
            return (f"/p2p/{node.peer}",)
        if not prospects.addresses:
            detail = refusal(next(iter(prospects.refusals), None))
            raise PeerFailure(FailureClass.GATHERING, "; ".join(prospects.troubles), detail)
        for circuit in (a for a in prospects.addresses if a.is_relayed):
            server = Endpoint.of(relay.socket_address)
            self._emit(Reserved(at=now(), relay=server, circuit=str(circuit)))
        return tuple(str(address.with_peer(node.peer)) for address in prospects.addresses)

    def _tell_of_mappings(self, prospects: Prospects) -> None:
        for mapping in prospects.mapped:
            outside = mapping.external
            self._emit(
                PortMapping(
                    at=now(),
                    service=mapping.service,
                    external=Endpoint.of((str(outside.address), outside.port)),
                    trouble=mapping.useless,
                )
            )
        if not prospects.mapped and prospects.troubles:
            why = prospects.troubles[0][:1000]
            self._emit(PortMapping(at=now(), service=None, external=None, trouble=why))


def main() -> int:
    """The ladder as a peer process."""
    return serve(LadderPeer)
