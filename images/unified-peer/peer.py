#!/usr/bin/env python3
"""Our traversal stack under libp2p's unified-testing hole-punch contract.

Written from the published guide (libp2p/unified-testing, docs/write-a-hole-punch-test-app.md)
and its runner, which differ in some names; both are understood.  All that is told comes by
the environment, the result goes to stdout as YAML, words for humans to stderr.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
import time

from testbed.traversal import Multiaddr, Node, NodeOptions, PrivateKey, RelayLimits, TraversalError
from testbed.traversal.aio.upgrade_service import UpgradeOptions

# Seconds.  Their runner ends a test after 180.
MEETING = 60.0  # until the others have said who they are
POLL = 0.1
DIALING = 10.0
PUNCHING = 12.0  # a pair that cannot takes three attempts, 8 s


class Trouble(Exception):
    """It cannot be done; the words go to stderr, the exit code is 1."""


def told(*names: str) -> str:
    """The first of these variables that is set."""
    for name in names:
        if value := os.environ.get(name):
            return value
    raise Trouble(f"none of the variables is set: {', '.join(names)}")


def key(name: str) -> str:
    """Of Redis, for this test."""
    return f"{told('TEST_KEY')}_{name}"


def say(words: str) -> None:
    """To whoever reads logs."""
    print(words, file=sys.stderr, flush=True)


class Redis:
    """SET and GET over one connection (RESP2)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls) -> "Redis":
        host, _, port = told("REDIS_ADDR").rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def ask(self, *words: str) -> str | None:
        parts = [f"*{len(words)}\r\n".encode()]
        parts += [b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words]
        self._writer.write(b"".join(parts))
        line = (await self._reader.readline()).decode().strip()
        if line.startswith("$") and line != "$-1":
            return (await self._reader.readexactly(int(line[1:]) + 2))[:-2].decode()
        if not line or line.startswith("-"):
            raise Trouble(f"Redis said {line!r} to {words[0]}")
        return None

    async def wait_for(self, key: str) -> str:
        """The value, once somebody has set it."""
        end = time.monotonic() + MEETING
        while time.monotonic() < end:
            if value := await self.ask("GET", key):
                return value
            await asyncio.sleep(POLL)
        raise Trouble(f"nobody set {key} within {MEETING:g} s")


def address(ip: str) -> str:
    """Where to listen: any port of ``ip``, on the transport that is asked for."""
    match told("TRANSPORT"):
        case "tcp":
            secure, muxer = told("SECURE_CHANNEL"), told("MUXER")
            if (secure, muxer) != ("noise", "yamux"):
                raise Trouble(f"over TCP only noise and yamux are spoken, not {secure}, {muxer}")
            return f"/ip4/{ip}/tcp/0"
        case "quic-v1":
            return f"/ip4/{ip}/udp/0/quic-v1"
        case other:
            raise Trouble(f"the transport {other} is not spoken")


def node(relay: Multiaddr | None) -> Node:
    """A peer of ``relay``, or the relay itself.

    Where that has a private address, as in their networks, all have: these are dialed, too.
    """
    return Node(
        NodeOptions(
            identity=PrivateKey.generate(),
            relay=RelayLimits() if relay is None else None,
            upgrade=UpgradeOptions(punch_timeout=2.0, reversal_timeout=1.0),
            allow_private=relay is not None and not relay.is_public,
            autonat_interval=0,
        )
    )


def route(network: str, gateway: str, interface: str) -> None:
    """Their containers have no default route; where there is one, this is not needed."""
    if network not in os.environ or gateway not in os.environ:
        return
    words = ["ip", "route", "replace", os.environ[network], "via", os.environ[gateway]]
    with contextlib.suppress(OSError):
        words += ["dev", interface]
        done = subprocess.run(
            words, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
        say(f"route to {os.environ[network]}: {done.stderr.strip() or 'set'}")


async def serve_relay() -> None:
    """Until we are killed."""
    for side in ("DIALER", "LISTENER"):
        route(f"{side}_LAN_SUBNET", f"{side}_ROUTER_IP", "wan0")
    ip = told("RELAY_IP")
    async with node(None) as relay:
        bound = (await relay.listen(address(ip))).with_peer(relay.peer)
        redis = await Redis.connect()
        await redis.ask("SET", key("relay_multiaddr"), str(bound))
        say(f"relaying at {bound}")
        await asyncio.get_running_loop().create_future()


async def meet(peer: Node, ip: str, relay: Multiaddr) -> None:
    """Listen, connect from there to the relay, and be told by it how it sees us."""
    await peer.listen(address(ip))
    connection = await peer.dial(relay, timeout=DIALING)
    await peer.identify.wait(connection, DIALING)
    say(f"the relay {relay} sees us as {', '.join(map(str, peer.observed.punchable))}")


async def listen(ip: str) -> None:
    """Until we are killed.  Our name is set once the relay takes connections for us."""
    redis = await Redis.connect()
    relay = Multiaddr.parse(await redis.wait_for(key("relay_multiaddr")))
    async with node(relay) as peer:
        await meet(peer, ip, relay)
        await peer.reserve(relay)
        await redis.ask("SET", key("listener_peer_id"), str(peer.peer))
        say(f"waiting as {peer.peer}")
        async for event in peer.events():
            say(str(event))


async def dial(ip: str) -> None:
    """By the relay to the listener, wait until that is direct, ping, and tell the times."""
    redis = await Redis.connect()
    relay = Multiaddr.parse(await redis.wait_for(key("relay_multiaddr")))
    async with node(relay) as peer:
        await meet(peer, ip, relay)
        name = await redis.wait_for(key("listener_peer_id"))
        target = Multiaddr.parse(f"{relay}/p2p-circuit/p2p/{name}")
        began = time.perf_counter()
        connection = await peer.dial(target, timeout=DIALING)
        say(f"connected by {connection.remote}")
        direct = await peer.wait_direct(connection.peer, PUNCHING)
        took = time.perf_counter() - began
        ping = await peer.ping(direct.peer)
        say(f"direct to {direct.remote}")
        report((took + ping) * 1e3, ping * 1e3)


def report(handshake: float, ping: float) -> None:
    """First as their runner reads it, then as the guide says."""
    print(f"latency:\n  handshake_plus_one_rtt: {handshake:.2f}")
    print(f"  ping_rtt: {ping:.2f}\n  unit: ms")
    print(f"handshakeTime: {handshake:.2f}\nunit: ms", flush=True)


async def run() -> None:
    """Who are we?  Their runner's relay is told by its address alone."""
    if os.environ.get("IS_RELAY") == "true" or "RELAY_IP" in os.environ:
        await serve_relay()
        return
    dialing = told("IS_DIALER") == "true"
    route("WAN_SUBNET", "WAN_ROUTER_IP", "lan0")
    ip = told("DIALER_IP" if dialing else "LISTENER_IP", "PEER_IP")
    await (dial(ip) if dialing else listen(ip))


def main() -> int:
    """0, or 1 if there is no direct connection."""
    try:
        asyncio.run(run())
    except (Trouble, TraversalError, TimeoutError, OSError, ValueError) as error:
        say(f"{type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
