"""The lab's public libp2p nodes: a relay, and observers, all of our own stack.

Each runs in its host's namespace, answers AutoNAT, and listens on one transport.
"""

import asyncio
import gc
import importlib
import json
import os
import select
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from testbed.backends.base import Lab, Process
from testbed.errors import BackendError
from testbed.peers.contract import PUNCH_PORT, Transport

OBSERVER = "observer-"  # the beginning of an observer's name
DEADLINE = 10.0  # seconds until all are ready
DIAL_BACK = 1.0  # seconds until a node says that it could not reach us; a dial takes 0.16
LAST_WORDS = 2000  # bytes


@dataclass(frozen=True)
class Infrastructure:
    """Where the public nodes are: multiaddrs with /p2p/."""

    relays: tuple[str, ...] = ()
    observers: tuple[str, ...] = ()


NOTHING_PUBLIC = Infrastructure()


@contextmanager
def infrastructure(
    lab: Lab, relay: str, transport: Transport, seed: int
) -> Iterator[Infrastructure]:
    """Run the nodes while the context lasts; BackendError if one is not ready in time.

    ``relay`` is the host that relays; every host called observer-... observes.  Equal
    seeds give equal peer ids.
    """
    names = [relay, *(n for n in lab.plan.addresses if n.startswith(OBSERVER))]
    with ExitStack() as stack:
        processes = {}
        for name in names:
            local = str(lab.plan.address(name))
            work = partial(serve, local, transport, (seed, name), relays=name == relay)
            processes[name] = lab.spawn(name, work)
            stack.callback(processes[name].kill)
        end = time.monotonic() + DEADLINE
        ready = [_ready(name, process, end) for name, process in processes.items()]
        yield Infrastructure(relays=(ready[0],), observers=tuple(ready[1:]))


def serve(local: str, transport: Transport, identity: tuple[object, ...], *, relays: bool) -> int:
    """One node, in its process, until the lab ends it.  Says its multiaddr on stdout."""
    gc.freeze()  # as in `testbed.peers.session.serve`
    asyncio.run(_serve(local, transport, identity, relays))
    return 0


async def _serve(local: str, transport: Transport, words: tuple[object, ...], relays: bool) -> None:
    from testbed.peers.traversal import identity, listen_address
    from testbed.traversal import Node, NodeOptions, RelayLimits
    from testbed.traversal.aio.autonat_server import AutonatOptions

    options = NodeOptions(
        identity=identity(*words),
        relay=RelayLimits() if relays else None,
        autonat_server=True,
        autonat=AutonatOptions(dial_timeout=DIAL_BACK),
        autonat_interval=0,
    )
    async with Node(options) as node:
        bound = await node.listen(listen_address(local, PUNCH_PORT, transport))
        line = json.dumps({"address": str(bound.with_peer(node.peer))})
        os.write(1, line.encode() + b"\n")
        await asyncio.get_running_loop().create_future()


def _ready(name: str, process: Process, end: float) -> str:
    """The node's multiaddr, from its first line."""
    line = b""
    while not line.endswith(b"\n"):
        wait = max(0.0, end - time.monotonic())
        more = b""
        if select.select([process.stdout], [], [], wait)[0]:
            more = os.read(process.stdout.fileno(), 4096)
        if not more:
            raise BackendError(f"the public node is not ready: {_last_words(process)}", node=name)
        line += more
    address: str = json.loads(line)["address"]
    return address


def _last_words(process: Process) -> str:
    process.kill()
    words = os.read(process.stderr.fileno(), LAST_WORDS)
    return words.decode(errors="replace") or "it said nothing"


def warm() -> None:
    """Import what the nodes and the peers need, before they are forked."""
    importlib.import_module("testbed.peers.traversal")
