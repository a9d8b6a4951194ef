"""What the lab's public hosts have for the ends of a cell: STUN and TURN, or libp2p's nodes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from testbed.model.contract import Endpoint, Keeping, Transport, TurnServer
from testbed.model.lab import Lab
from testbed.stacks.coturn import HTTPS_PORT, PORT, Coturn, coturn
from testbed.stacks.infrastructure import NOTHING_PUBLIC, Infrastructure, infrastructure
from testbed.stacks.registry import Adapter, Stacks


@dataclass(frozen=True)
class Services:
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
) -> Iterator[Services]:
    """Run on ``server``, and on observers, what ``stacks`` need, for as long as it lasts.

    ``relaying`` and ``keep`` are as `infrastructure` has them.
    """
    if "relay" in stacks.needs:
        transport = Transport(stacks.transport)
        with infrastructure(lab, server, transport, seed, relaying, keep) as public:
            yield Services(public=public)
        return
    config = Coturn(lab.plan.addresses[server])
    address = config.addresses[0]
    turn = TurnServer(
        server=Endpoint(address=address, port=HTTPS_PORT),
        transport=Transport.TCP,
        username=config.username,
        password=config.password,
    )
    stun = Endpoint(address=address, port=PORT)
    with coturn(lab, server, config):
        yield Services(
            stun=stun if "stun" in stacks.needs else None,
            turn=turn if "turn" in stacks.needs else None,
        )
