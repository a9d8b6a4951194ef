"""Our stack in every role of the contract: an end of a cell, a public node, AutoNAT's client."""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from testbed.model.contract import (
    ENDS,
    AddressVerdict,
    Configure,
    Endpoint,
    Listening,
    Reachable,
    Ready,
    Role,
    Verdicts,
)
from testbed.stacks.keeping import kept
from testbed.stacks.session import Emit, PeerFailure, Told, now, serve
from testbed.stacks.traversal import TraversalPeer, identity, listen_address
from testbed.traversal import Multiaddr, Node, NodeOptions, RelayLimits, RentOut, TraversalError
from testbed.traversal.aio.autonat_server import AutonatOptions
from testbed.traversal.aio.host import HostLimits
from testbed.traversal.aio.path_watch import PathOptions
from testbed.traversal.autonat_v1 import Reachability

DIAL_BACK = 1.0  # seconds until a server says that it could not reach us; a dial takes 0.16


class RolePeer(TraversalPeer):
    """One session; see `testbed.stacks.session.Stack`."""

    async def gather(self, configure: Configure, emit: Emit) -> Told:
        if configure.role in ENDS:
            return await super().gather(configure, emit)
        asks = configure.role is Role.AUTONAT_CLIENT
        self._node = node = Node(_asking(configure) if asks else _serving(configure))
        address = listen_address(configure.local_address, configure.port, configure.transport)
        bound = await node.listen(address)
        if not asks:
            told = (*map(Multiaddr.parse, _announced(configure)), bound)[0]
            return Ready(at=now(), addresses=(str(told.with_peer(node.peer)),))
        self._configure, self._emit = configure, emit
        emit(Listening(at=now(), local=Endpoint.of(bound.socket_address)))
        await asyncio.gather(*(_tried(self._connect(node, one)) for one in configure.observers))
        return _verdicts(*await node.probe_reachability())


def _serving(configure: Configure) -> NodeOptions:
    return NodeOptions(
        identity=identity(configure.session, configure.role),
        relay=_limits(configure) if configure.role is Role.RELAY else None,
        rent_out=RentOut() if configure.role is Role.RELAY else None,  # to those who ask for it
        limits=kept(HostLimits(), configure.keep),
        paths=PathOptions(enabled=False),  # its questions would keep the mappings of peers alive
        autonat_server=True,
        autonat=AutonatOptions(dial_timeout=DIAL_BACK),
        autonat_interval=0,
        announce=_announced(configure),
    )


def _announced(configure: Configure) -> tuple[str, ...]:
    """Where a public node behind a NAT is reached."""
    if configure.announce is None:
        return ()
    return (listen_address(*configure.announce.pair, configure.transport),)


def _limits(configure: Configure) -> RelayLimits:
    """Those it is told, or the field's; or none on a circuit whose ends are to keep it.

    All peers of a mesh may be behind one address: it may have as many reservations as there are.
    """
    field = RelayLimits(reservations_per_ip=RelayLimits.reservations)
    if configure.keep:
        return replace(field, duration=0, data=0)
    return replace(field, **configure.limits.model_dump()) if configure.limits else field


def _asking(configure: Configure) -> NodeOptions:
    return NodeOptions(identity=identity(configure.session, configure.role), autonat_interval=0)


async def _tried(meeting: Coroutine[Any, Any, None]) -> None:
    """A server that cannot be met is one that is not asked."""
    with suppress(PeerFailure, TraversalError, TimeoutError):
        await meeting


def _verdicts(node: Reachability, by_address: Mapping[Multiaddr, Reachability]) -> Verdicts:
    v2 = (
        AddressVerdict(address=Endpoint.of(address.socket_address), verdict=_word(verdict))
        for address, verdict in by_address.items()
    )
    return Verdicts(at=now(), v1=_word(node), v2=tuple(v2))


def _word(verdict: Reachability) -> Reachable:
    return Reachable[verdict.name]


def main() -> int:
    """Our stack as a peer process."""
    return serve(RolePeer)
