"""The dialer and the listener: relayed first, then upgraded if py-libp2p can."""

import random
from typing import Any

import trio
from contract import NONCE_BYTES, Failure, Fields, emit, endpoint, longer, now
from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.relay.circuit_v2.config import RelayConfig
from libp2p.relay.circuit_v2.protocol import PROTOCOL_ID as HOP
from libp2p.relay.circuit_v2.protocol import CircuitV2Protocol
from libp2p.relay.circuit_v2.transport import CircuitV2Transport
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr
from node import MEETING, listen_address, meet, new_node, socket_of
from story import Punching, Story

ECHO = TProtocol("/testbed/echo/1.0.0")
# Seconds; those of testbed/stacks/traversal.py where it has the same.
CIRCUIT = 4.0  # from start_at to the relayed connection
ECHOING = 6.0
DIALLING = 2.0  # one dial of DCUtR: py-libp2p's own 10 s outlast the harness's patience
# From the circuit on.  One attempt of py-libp2p's takes 21 s: 3 rounds, each of 5 s and a pause
# of 2 s.  The first begins after at most 2 s of dials to what the other side advertises.
UPGRADING = 8.0
CHUNK = 65536


class Session:
    """One end of a cell.  Its node lives in ``nursery``, until that is cancelled."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._upgrading = trio.CancelScope()

    async def gather(self, configure: Fields) -> Fields:
        """Meet the public nodes, reserve where we are to be dialed, say how that is done."""
        if configure["options"]["mode"] != "punch":
            raise Failure("unsupported", f"no mode {configure['options']['mode']}")
        if not configure["relays"]:
            raise Failure("unsupported", "a relay is needed")
        self._configure = configure
        relay = Multiaddr(configure["relays"][0])
        self._local = endpoint(configure["local_address"], configure["port"])
        self._story = Story(self._local, socket_of(relay) or self._local, configure["role"])
        self._host = new_node(configure)
        self._host.set_stream_handler(ECHO, _send_back)
        self._circuits = CircuitV2Protocol(self._host)
        self._transport = CircuitV2Transport(self._host, self._circuits, RelayConfig())
        await self._nursery.start(self._live)
        emit("listening", local=self._local)
        public = [*configure["relays"], *configure["observers"]]
        if silent := await meet(self._host, public, configure):
            raise Failure("gathering", f"did not say how they see us: {', '.join(silent)}")
        return {"addresses": [], "ice": None, "multiaddrs": [await self._offered(relay)]}

    async def _live(self, task_status: Any) -> None:
        """Run the node until we are cancelled."""
        host = self._host
        async with (
            host.run([listen_address(self._configure)]),
            background_trio_service(self._circuits),
        ):
            host.get_network().register_notifee(self._story)
            if not self._configure["options"]["relay_only"]:
                await self._nursery.start(self._upgrade)
            task_status.started()
            await trio.sleep_forever()

    async def _upgrade(self, task_status: Any) -> None:
        """Let py-libp2p upgrade connections, until nobody waits for that any more.

        The listener leads at once.  Left to themselves both sides would, after 2 s.
        """
        with self._upgrading:
            punching = Punching(self._host, self._story, self._longer(DIALLING))
            async with background_trio_service(punching):
                task_status.started()
                if self._configure["role"] == "listener":
                    await self._story.found.wait()
                    await punching.initiate_hole_punch(self._story.remote)
                await trio.sleep_forever()

    def _longer(self, usual: float) -> float:
        return longer(self._configure, usual)

    async def _offered(self, relay: Multiaddr) -> str:
        """The listener's circuit; of the dialer, its name."""
        if self._configure["role"] == "dialer":
            return f"/p2p/{self._host.get_id()}"
        peer = info_from_p2p_addr(relay).peer_id
        with trio.move_on_after(self._longer(MEETING)) as scope:
            stream = await self._host.new_stream(peer, [HOP])
            if not await self._transport.reserve(stream, peer, self._nursery):
                raise Failure("gathering", f"{relay} accepts no reservation")
            await stream.close()
        if scope.cancelled_caught:
            raise Failure("gathering", f"{relay} does not answer a reservation")
        circuit = f"{relay}/p2p-circuit/p2p/{self._host.get_id()}"
        emit("reserved", relay=socket_of(relay), circuit=circuit)
        return circuit

    async def dial(self, command: Fields) -> Fields:
        """Reach the other side through the relay, or wait to be reached."""
        if not command["remote"]["multiaddrs"]:
            raise Failure("unsupported", "the other side has no multiaddr")
        target = Multiaddr(command["remote"]["multiaddrs"][0])
        self._story.remote = ID.from_string(target.get_peer_id())
        await trio.sleep(max(0, command["start_at"] - now()) / 1e9)
        with trio.move_on_after(self._longer(CIRCUIT)):
            if self._configure["role"] == "dialer":
                await self._reach(target)
            await self._story.found.wait()
        if self._story.first is None:
            raise Failure("timeout", "no connection through the relay")
        return self._story.first

    async def _reach(self, circuit: Multiaddr) -> None:
        try:
            await self._transport.dial(circuit)
        except Exception as error:  # py-libp2p has no common class
            raise Failure("timeout", f"{type(error).__name__}: {error}") from error

    async def follow(self) -> None:
        """``connected`` has been said: tell what becomes of it, and end that in time."""
        self._story.begin()
        if self._configure["options"]["relay_only"]:
            self._story.stay("upgrades are off")
            return
        with trio.move_on_after(self._longer(UPGRADING)):
            await self._story.told.wait()
            return
        self._upgrading.cancel()
        seconds = self._longer(UPGRADING)
        self._story.stay(f"no direct connection in {seconds:g} s of py-libp2p's attempts")

    async def echo(self, count: int, nonce: str) -> int:
        """Send ``count`` bytes by py-libp2p's choice of connection: how many came back.

        They begin with ``nonce``, if there is one.
        """
        drawn = random.Random(self._configure["seed"]).randbytes(count)
        known = bytes.fromhex(nonce)[:count]
        data = known + drawn[len(known) :]
        back = bytearray()
        try:
            with trio.fail_after(self._longer(ECHOING)):
                stream = await self._host.new_stream(self._story.remote, [ECHO])
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stream.write, data)
                    while len(back) < count:
                        back += await stream.read(min(CHUNK, count - len(back)))
                await stream.close()
        except Exception as error:  # py-libp2p has no common class
            raise Failure("lost", f"echo: {error or type(error).__name__}") from error
        return sum(a == b for a, b in zip(data, back, strict=True))

    def end(self) -> None:
        if hasattr(self, "_story"):
            self._story.end()


async def _send_back(stream: Any) -> None:
    """Send back all that comes, and tell what it begins with."""
    first = b""
    try:
        while data := await stream.read(CHUNK):
            if len(first) < NONCE_BYTES:
                first += data[:NONCE_BYTES]
                if len(first) >= NONCE_BYTES:
                    emit("heard", nonce=first[:NONCE_BYTES].hex())
            await stream.write(data)
        await stream.close()
    except StreamError:
        await stream.reset()
