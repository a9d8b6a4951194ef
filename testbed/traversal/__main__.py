"""`python -m testbed.traversal`: run a node by hand; events come out as JSON lines.

listen:  python -m testbed.traversal --listen /ip4/0.0.0.0/tcp/4001 --reserve <relay>
dial:    python -m testbed.traversal --listen /ip4/0.0.0.0/tcp/4001 --dial <address>
relay:   python -m testbed.traversal --listen /ip4/0.0.0.0/tcp/4001 --relay --autonat
rented:  the relay with --rent-out 100 --book FILE --ledger FILE, the ends with --rent BUDGET
money:   python -m testbed.traversal rent --help
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Sequence

from .aio.connection import Connection
from .aio.rent_client import Rent
from .aio.rent_server import RentOut
from .aio.stream import Stream
from .errors import TraversalError
from .keys import PrivateKey
from .node import Node
from .options import NodeOptions
from .relay import RelayLimits
from .rent import command
from .rent.contract import terms
from .rent.sqlite import Book, SqliteLedger

ECHO = "/testbed/echo/1.0.0"


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m testbed.traversal", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--listen", action="append", default=[], metavar="MULTIADDR")
    parser.add_argument("--seed", metavar="HEX", help="32 bytes: the same peer id every time")
    parser.add_argument("--relay", action="store_true", help="serve as a circuit relay v2")
    parser.add_argument("--autonat", action="store_true", help="serve AutoNAT v1 and v2")
    parser.add_argument("--allow-private", action="store_true", help="use private addresses too")
    parser.add_argument("--connect", action="append", default=[], metavar="MULTIADDR")
    parser.add_argument("--reserve", action="append", default=[], metavar="MULTIADDR")
    parser.add_argument("--dial", metavar="MULTIADDR", help="dial, echo a line, wait for direct")
    parser.add_argument("--rent-out", type=int, metavar="PRICE", help="forward for units a MiB")
    parser.add_argument("--book", default=":memory:", help="the relay's receipts: a file")
    parser.add_argument("--ledger", help="where the money is: a file")
    parser.add_argument("--rent", type=int, metavar="BUDGET", help="pay for circuits, and count")
    parser.add_argument("--seconds", type=float, help="stop after this time")
    return parser.parse_args(words)


async def echo(stream: Stream, connection: Connection) -> None:
    """Send everything back."""
    del connection
    while data := await stream.read():
        await stream.write(data)


async def _print_events(node: Node) -> None:
    async for event in node.events():
        print(json.dumps(event.to_dict()), flush=True)


async def _run(options: argparse.Namespace) -> int:
    seed = bytes.fromhex(options.seed) if options.seed else None
    node = Node(
        NodeOptions(
            identity=PrivateKey.from_seed(seed) if seed else PrivateKey.generate(),
            relay=RelayLimits() if options.relay else None,
            autonat_server=options.autonat,
            allow_private=options.allow_private,
            rent=None if options.rent is None else Rent(options.rent),
            rent_out=None if options.rent_out is None else _rent_out(options),
        )
    )
    node.set_handler(ECHO, echo)
    printer = asyncio.create_task(_print_events(node))
    try:
        for address in options.listen:
            bound = await node.listen(address)
            print(json.dumps({"address": str(bound.with_peer(node.peer))}), flush=True)
        for address in options.connect:
            await node.dial(address)
        for address in options.reserve:
            await node.reserve(address)
        if options.dial:
            await _dial(node, options.dial)
        await _until_stopped(options.seconds)
        return 0
    except (TraversalError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        await node.close()
        await printer


def _rent_out(options: argparse.Namespace) -> RentOut:
    ledger = SqliteLedger(options.ledger) if options.ledger else None
    return RentOut(terms(options.rent_out), Book(options.book), ledger)


async def _dial(node: Node, address: str) -> None:
    connection = await node.dial(address)
    stream = await node.open_stream(connection.peer, [ECHO], allow_limited=True)
    await stream.write(b"hello\n")
    stream.close_write()
    answer = await stream.read()
    print(json.dumps({"echo": answer.decode(), "relayed": connection.relayed}), flush=True)


async def _until_stopped(seconds: float | None) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


def main() -> int:
    """Exit code 0, or 1 when something could not be done."""
    words = sys.argv[1:]
    return command.main(words[1:]) if words[:1] == ["rent"] else asyncio.run(_run(arguments(words)))


if __name__ == "__main__":
    sys.exit(main())
