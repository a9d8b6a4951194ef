"""What the lab's public hosts have for the ends of a cell: STUN and TURN, or libp2p's nodes."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from testbed.errors import PeerError
from testbed.lab.services.watch import Beginning
from testbed.model.behaviour import Protocol
from testbed.model.contract import Endpoint, Keeping, Ready, Role, Transport, TurnServer
from testbed.model.entrance import RELAY_PORTS
from testbed.model.frozen import FrozenValue
from testbed.model.lab import Lab
from testbed.model.plan import Plan
from testbed.stacks.client import PeerClient
from testbed.stacks.coturn import HTTPS_PORT, PORT, Coturn, await_ready, coturn
from testbed.stacks.coturn import begin as coturn_begin
from testbed.stacks.infrastructure import (
    NOTHING_PUBLIC,
    OURS_OBSERVE,
    Infrastructure,
    begin_relay,
    infrastructure,
)
from testbed.stacks.registry import Adapter, Stacks


class Services(FrozenValue):
    """As peers are told of them."""

    stun: Endpoint | None = None
    turn: TurnServer | None = None
    public: Infrastructure = NOTHING_PUBLIC


@contextmanager
def services(
    lab: Lab,
    stacks: Stacks,
    server: str,
    seed: int,
    relaying: Adapter | None = None,
    keep: Keeping | None = None,
    observing: Mapping[str, Adapter] = OURS_OBSERVE,
) -> Iterator[Services]:
    """Run on ``server``, and on observers, what ``stacks`` need, for as long as it lasts.

    ``relaying``, ``keep`` and ``observing`` are as `infrastructure` has them.
    """
    if "relay" in stacks.needs:
        transport = Transport(stacks.transport)
        with infrastructure(lab, server, transport, seed, relaying, keep, observing) as public:
            yield Services(public=public)
        return
    config = _coturn(lab.plan, server)
    turn = TurnServer(
        server=_told(lab.plan, server, Protocol.TCP, HTTPS_PORT),
        transport=Transport.TCP,
        username=config.username,
        password=config.password,
    )
    protocol = Protocol(stacks.transport)
    stun = _told(lab.plan, server, protocol, PORT)
    with coturn(lab, server, config):
        yield Services(
            stun=stun if "stun" in stacks.needs else None,
            turn=turn if "turn" in stacks.needs else None,
        )


def _coturn(plan: Plan, server: str) -> Coturn:
    """Behind a NAT it has one address, tells the NAT's, and relays at the ports that are open."""
    addresses = plan.addresses[server]
    outside = plan.entrance(server, Protocol.UDP, RELAY_PORTS[0]).address
    if outside == addresses[0]:
        return Coturn(addresses)
    ports = plan.reached_ports(server, RELAY_PORTS)
    return Coturn(addresses[:1], ports=ports, external=outside)


def _told(plan: Plan, server: str, protocol: Protocol, port: int) -> Endpoint:
    there = plan.entrance(server, protocol, port)
    return Endpoint(address=there.address, port=there.port)


def begin_again(
    lab: Lab,
    stacks: Stacks,
    server: str,
    seed: int,
    relaying: Adapter | None = None,
    keep: Keeping | None = None,
) -> Callable[[float], None]:
    """Start what relays on ``server`` anew, after its end; the other arguments are as before.

    What is returned waits until it is ready, for so many seconds at most; TestbedError if it
    is not.
    """
    if "relay" in stacks.needs:
        transport = Transport(stacks.transport)
        client = begin_relay(lab, server, transport, seed, relaying, keep)
        beginning = Beginning(server, Role.RELAY.value, client.process)
        return lambda seconds: _await_relay(client, beginning, seconds)
    config = _coturn(lab.plan, server)
    process = coturn_begin(lab, server, config)
    return lambda seconds: await_ready(lab, server, config, process, seconds)


def _await_relay(client: PeerClient, beginning: Beginning, seconds: float) -> None:
    try:
        client.wait((Ready,), time.monotonic() + seconds)
    except PeerError as error:
        raise beginning.unready(error.message) from error
