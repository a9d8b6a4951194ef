"""libp2p's public nodes: ours for a peer, and a peer as one of them."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import IPv4Address

from testbed.model.contract import (
    Configure,
    Dial,
    Event,
    Failed,
    Mode,
    Offer,
    Options,
    Ready,
    Role,
    Transport,
    Verdicts,
)
from testbed.model.peer_check import Rule
from testbed.peercheck.ground import NODE_PORT, PARTNER_PORT
from testbed.peercheck.partner import Libp2pPartner
from testbed.peercheck.talk import Talk
from testbed.stacks.roles import RolePeer
from testbed.stacks.session import PeerFailure, now
from testbed.traversal import TraversalError

PUBLIC = (Role.RELAY, Role.AUTONAT_SERVER, Role.AUTONAT_CLIENT)


@asynccontextmanager
async def node(role: Role, address: IPv4Address, transport: Transport) -> AsyncIterator[str]:
    """A libp2p node of ours in a public role; its multiaddr."""
    ours = RolePeer()
    configure = Configure(
        version=2,
        role=role,
        transport=transport,
        local_address=address,
        port=NODE_PORT,
        stun=None,
        turn=None,
        relays=(),
        observers=(),
        session=secrets.token_hex(16),
        seed=0,
        options=Options(mode=Mode.PUNCH, relay_only=False),
    )
    try:
        ready = await ours.gather(configure, _ignore)
        assert isinstance(ready, Ready)
        yield ready.addresses[0]
    finally:
        await ours.close()


def _ignore(event: Event) -> None:
    del event


async def serve(talk: Talk, stack: AsyncExitStack) -> None:
    kinds = (Verdicts if talk.role is Role.AUTONAT_CLIENT else Ready, Failed)
    told = await talk.child.wait(kinds, talk.patience.gathering, asked="configure")
    if isinstance(told, Failed):
        await talk.declined(told)
        return
    if isinstance(told, Ready) and talk.role is Role.RELAY:
        await _through(talk, told.addresses[0], stack)
    await talk.close()


async def _through(talk: Talk, relay: str, stack: AsyncExitStack) -> None:
    """Two nodes of ours meet at the peer's relay."""
    ends: list[Libp2pPartner] = []
    offers: list[Offer] = []
    places = ((talk.place.partner, PARTNER_PORT), (talk.place.nobody, NODE_PORT))
    try:
        for role, (address, port) in zip((Role.DIALER, Role.LISTENER), places, strict=True):
            node = Libp2pPartner()
            stack.push_async_callback(node.close)
            configure = talk.configure(role, (relay,)).model_copy(
                update={"local_address": address, "port": port}
            )
            told = await node.gather(configure, _ignore)
            assert isinstance(told, Offer)
            ends.append(node)
            offers.append(told)
        start = now()
        await asyncio.gather(
            *(
                node.dial(Dial(remote=offer, start_at=start))
                for node, offer in zip(ends, reversed(offers), strict=True)
            )
        )
    except (PeerFailure, TraversalError, OSError) as failure:
        talk.child.blame(Rule.NOT_CONNECTED, event="ready", found=str(failure))
