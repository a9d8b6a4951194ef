"""A node driven by JSON lines on stdin, for tests that run one in every namespace.

Every line on stdout is an event, or `{"answer": ...}` / `{"error": ...}` to a command.
"""

import asyncio
import json
import os
import sys
from typing import Any

from testbed.traversal import Node, NodeOptions, PrivateKey, RelayLimits
from testbed.traversal.__main__ import ECHO, echo
from testbed.traversal.aio.host import HostLimits
from testbed.traversal.aio.upgrade_service import UpgradeOptions
from testbed.traversal.errors import TraversalError
from testbed.traversal.peer_id import PeerId
from testbed.traversal.security import BOTH


def say(line: dict[str, Any]) -> None:
    os.write(1, (json.dumps(line) + "\n").encode())


def options(config: dict[str, Any]) -> NodeOptions:
    seed = bytes.fromhex(config["seed"]) if "seed" in config else os.urandom(32)
    return NodeOptions(
        identity=PrivateKey.from_seed(seed),
        relay=RelayLimits(**config["relay"]) if "relay" in config else None,
        autonat_server=config.get("autonat", False),
        autonat_interval=0,
        upgrade=UpgradeOptions(**config.get("upgrade", {})),
        limits=HostLimits(dial_timeout=config.get("dial_timeout", 10.0)),
        allow_private=config.get("allow_private", False),
        advertise_unproven=config.get("advertise_unproven", True),
        security=tuple(config.get("security", BOTH)),
    )


async def print_events(node: Node) -> None:
    async for event in node.events():
        say(event.to_dict())


async def obey(node: Node, c: dict[str, Any]) -> Any:
    match c["cmd"]:
        case "listen":
            return str((await node.listen(c["addr"])).with_peer(node.peer))
        case "connect":
            connection = await node.dial(*c["addrs"], timeout=c.get("timeout"))
            await node.identify.wait(connection)
            return {"remote": str(connection.remote), "relayed": connection.relayed}
        case "reserve":
            return [str(a) for a in (await node.reserve(c["addr"])).addresses]
        case "wait_direct":
            found = await node.wait_direct(PeerId.parse(c["peer"]), c["timeout"])
            return str(found.remote)
        case "echo":
            stream = await node.open_stream(PeerId.parse(c["peer"]), [ECHO], allow_limited=True)
            data = os.urandom(c["bytes"])
            writing = asyncio.ensure_future(stream.write(data))
            got = await stream.read_exactly(len(data))
            await writing
            await stream.close()
            return got == data
        case "probe":
            verdict, by_address = await node.probe_reachability()
            return {"v1": verdict.name, "v2": {str(a): v.name for a, v in by_address.items()}}
        case "addresses":
            return {
                "advertised": [str(a) for a in node.addresses()],
                "punch": [str(a) for a in node.punch_addresses()],
                "tcp": node.mapping("tcp"),
                "quic-v1": node.mapping("quic-v1"),
            }
        case "connections":
            return [
                {"peer": str(x.peer), "relayed": x.relayed, "security": x.security}
                for x in node.host.connections
            ]
    raise ValueError(c["cmd"])


async def run(config: dict[str, Any]) -> int:
    node = Node(options(config))
    node.set_handler(ECHO, echo)
    printing = asyncio.create_task(print_events(node))
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(0, "rb"))
    say({"peer": str(node.peer)})
    while line := await reader.readline():
        command = json.loads(line)
        try:
            async with asyncio.timeout(command.get("deadline", 30)):
                say({"answer": await obey(node, command)})
        except (TraversalError, OSError) as error:
            say({"error": f"{type(error).__name__}: {error}"})
    await node.close()
    await printing
    return 0


def main(config: dict[str, Any]) -> int:
    return asyncio.run(run(config))


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
