"""From relayed to direct, in round trips of the link, beside the protocol's minimum.

The clock is B's, who leads the upgrade: from the moment when its end of the relayed
connection is secure to the moment when a direct one is.  D is the direct round trip.
The relay is as far from A as from B is from A, so that the relayed round trip is 2 D.

The minimum, in D:

- *before CONNECT*, 0: what B knows of its own address it learnt when it reserved, and a
  stream with a single protocol may carry data behind the proposal at once
  (multistream-select; rust-libp2p calls that V1Lazy).
- *signalling*, 3: CONNECT there and CONNECT back are one relayed round trip; B then
  sends SYNC and waits half of that, while SYNC travels (relay/DCUtR.md, The Protocol).
- *handshake* over TCP, 2.5: SYNs cross and each is answered by SYN/ACK, 1 (RFC 9293
  section 3.5); Noise XX has three messages from A, who is its initiator, to B, 1.5
  (noise/README.md); the muxer is agreed on inside them
  (connections/inlined-muxer-negotiation.md), and /noise itself need not be waited for.
- *handshake* over QUIC, 1.5: A is the client, and B knows A's certificate with the
  client's second flight (RFC 8446 section 2, RFC 9001 section 4).

That makes 5.5 over TCP and 4.5 over QUIC.  What takes longer is waiting for a
negotiation before going on, asking A with identify whether it can be dialed before
punching, and computation.
"""

import json
import statistics
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial

from testbed.bench.process import forever, hear, serve, tell
from testbed.bench.table import Results, say
from testbed.errors import TestbedError
from testbed.lab.namespaces import Namespaces
from testbed.model.contract import Transport
from testbed.model.presets import ACCESS, two_homes
from testbed.nat.load import catalogue
from testbed.plan.planner import plan
from testbed.stacks.infrastructure import infrastructure
from testbed.stacks.traversal import identity, listen_address
from testbed.traversal import Node, NodeOptions, events

RUNS = 9  # a transport
DEADLINE = 20.0  # seconds, of one run
ROUND_TRIP = 2 * (ACCESS.up.delay_ms + ACCESS.down.delay_ms) / 1e3  # seconds between two homes
RELAYED = 2.0  # the relayed round trip, in direct ones


@dataclass(frozen=True)
class Phases:
    """Three times one after the other, and the attempts; the unit is the user's."""

    before: float
    signalling: float
    handshake: float
    attempts: int = 1

    @property
    def total(self) -> float:
        return self.before + self.signalling + self.handshake


def minimum(transport: Transport) -> Phases:
    """In direct round trips; the module's text derives it."""
    return Phases(0.0, 1.5 * RELAYED, 2.5 if transport is Transport.TCP else 1.5)


def phases(told: Iterable[events.Event]) -> Phases | None:
    """In seconds, from what B's node told of its one upgrade; None where there was none.

    Failed attempts belong to the signalling.
    """
    relayed = connect = punching = None
    attempts = 0
    for event in told:
        match event:
            case events.ConnectionOpened(relayed=True):
                relayed = event.at
            case events.PunchStep(step="connect_sent"):
                connect, attempts = connect or event.at, event.attempt
            case events.PunchStep(step="punching"):
                punching = event.at
            case events.ConnectionOpened() if relayed is not None:
                if connect is None or punching is None:
                    return None  # not by a punch
                return Phases(connect - relayed, punching - connect, event.at - punching, attempts)
    return None


def measure(results: Results) -> None:
    """Both transports between two home routers of Linux."""
    for transport in (Transport.TCP, Transport.UDP):
        name = "TCP" if transport is Transport.TCP else "QUIC"
        runs = [found for _ in range(RUNS) if (found := _run(transport)) is not None]
        if not runs:
            raise TestbedError(f"{name}: none of {RUNS} relayed connections became direct")
        least = minimum(transport)
        median = statistics.median(run.total for run in runs) / ROUND_TRIP
        first = sum(run.attempts == 1 for run in runs)
        note = f"{median * ROUND_TRIP * 1e3:.0f} ms; {first} of {RUNS} at the first attempt"
        say(results, f"relayed to direct, {name}, in round trips", median, "RTT", note)
        for phase in ("before", "signalling", "handshake"):
            part = statistics.median(getattr(run, phase) for run in runs) / ROUND_TRIP
            note = f"at least {getattr(least, phase):.1f}"
            say(results, f"  {_PHASES[phase]}, {name}", part, "RTT", note)
        say(results, f"  {name} / the protocol's minimum", median / least.total, "x",
            f"minimum: {least.total:.1f} RTT")  # fmt: skip


_PHASES = {
    "before": "identify, opening the stream",
    "signalling": "CONNECT, CONNECT, SYNC and the wait",
    "handshake": "opening and securing the connection",
}


def _run(transport: Transport) -> Phases | None:
    """One upgrade in a lab of its own, so that no NAT remembers the one before."""
    steps = plan(two_homes(), catalogue())
    with Namespaces().start(steps) as lab, ExitStack() as stack:
        public = stack.enter_context(infrastructure(lab, "server", transport, 1))
        end = time.monotonic() + DEADLINE
        listen = partial(
            _listen, (str(lab.plan.address("b")), lab.plan.port("b")), transport, public.relays[0]
        )
        b = lab.spawn("b", partial(serve, listen))
        stack.callback(b.kill)
        dial = partial(
            _dial, (str(lab.plan.address("a")), lab.plan.port("a")), transport, hear(b, end)
        )
        a = lab.spawn("a", partial(serve, dial))
        stack.callback(a.kill)
        found = json.loads(hear(b, end))
    return Phases(**found) if found else None


async def _listen(local: tuple[str, int], transport: Transport, relay: str) -> None:
    """B: reserves, says its circuit address, and after the upgrade how long it took."""
    async with Node(_options("b")) as node:
        await node.listen(listen_address(*local, transport))
        held = await node.reserve(relay)
        tell(str(held.addresses[0]))
        told = []
        async for event in node.events():
            told.append(event)
            if isinstance(event, events.Upgraded | events.UpgradeFailed):
                break
        found = phases(told)
        tell(json.dumps(asdict(found) if found else None))


async def _dial(local: tuple[str, int], transport: Transport, circuit: str) -> None:
    """A: dials through the relay, and stays until it is killed."""
    async with Node(_options("a")) as node:
        await node.listen(listen_address(*local, transport))
        await node.dial(circuit)
        await forever()


def _options(name: str) -> NodeOptions:
    return NodeOptions(identity=identity("bench", name), autonat_interval=0)
