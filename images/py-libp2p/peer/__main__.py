"""py-libp2p as a peer: relayed first, then upgraded if it can (libp2p relay/DCUtR.md).

It speaks the testbed's contract on its standard streams, and words for humans on stderr.
"""

import importlib
import logging
import os
import sys
from collections.abc import AsyncIterator
from importlib.metadata import version

import trio
from contract import LINE_LIMIT, ContractError, Failure, Fields, emit, parse
from dns.resolver import BaseResolver

ORDER = {  # what a command needs, and where it leads while it is carried out
    "configure": ("start", "gathering"),
    "dial": ("offered", "dialing"),
    "echo": ("connected", "echoing"),
}


class Conversation:
    """The contract's order.  Commands are carried out in ``nursery``, one at a time."""

    def __init__(self, nursery: trio.Nursery) -> None:
        # half a second of imports, which --version does without
        self._session = importlib.import_module("session").Session(nursery)
        self._public = importlib.import_module("public").Public(nursery)
        self._nursery = nursery
        self._state = "start"

    def take(self, command: Fields) -> bool:
        """Begin with a command; False if it was ``close``."""
        name = command["command"]
        if name == "close" and self._state != "start":
            self._session.end()
            return False
        needs, leads = ORDER.get(name, ("", ""))
        if self._state == "failed" and name != "configure":
            return True  # it crossed our event, and is without effect
        if needs != self._state:
            raise ContractError(f"{name!r} is out of order")
        self._state = leads
        self._nursery.start_soon(self._obey, command)
        return True

    def left(self) -> None:
        """stdin has ended, which tells a public node to; ContractError of others."""
        if self._state != "serving":
            raise ContractError("the harness went away without a word")

    async def _obey(self, command: Fields) -> None:
        try:
            if command["command"] == "configure":
                await self._configured(command)
            elif command["command"] == "dial":
                first = await self._session.dial(command)
                self._say("connected", "connected", **first)
                await self._session.follow()
            else:
                count = await self._session.echo(command["bytes"], command.get("nonce", ""))
                self._say("echoed", "connected", bytes=count)
        except* Failure as group:
            failure = _first(group)
            self._say("failed", "failed", failure=failure.failure, reason=failure.reason)

    async def _configured(self, command: Fields) -> None:
        match command["role"]:
            case "dialer" | "listener":
                offer = await self._session.gather(command)
                self._say("offer", "offered", offer=offer, accepts=["nonce"])
            case "relay" | "autonat_server":
                self._say("ready", "serving", **await self._public.serve(command))
            case "autonat_client":
                self._say("verdicts", "serving", **await self._public.ask(command))
            case other:
                raise Failure("unsupported", f"no role {other}")

    def _say(self, event: str, state: str, **more: object) -> None:
        emit(event, **more)
        self._state = state


def _first(group: BaseExceptionGroup[Failure]) -> Failure:
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    assert isinstance(inner, Failure)
    return inner


async def lines() -> AsyncIterator[bytes]:
    """stdin, line by line, until it ends."""
    kept = b""
    async with trio.lowlevel.FdStream(0) as stdin:
        async for more in stdin:
            *whole, kept = (kept + more).split(b"\n")
            if max(map(len, (*whole, kept))) > LINE_LIMIT:
                raise ContractError("a line is too long")
            for line in whole:
                yield line


async def run() -> None:
    """Speak the contract until ``close``."""
    async with trio.open_nursery() as nursery:
        conversation = Conversation(nursery)
        async for line in lines():
            if not conversation.take(parse(line)):
                break
        else:
            conversation.left()
        nursery.cancel_scope.cancel()
    emit("closed")
    os._exit(0)  # py-libp2p's system tasks may take longer to end than the harness waits


def main(words: list[str]) -> int:
    if words == ["--version"]:
        print(f"py-libp2p {version('libp2p')}")
        return 0
    if words:
        print("usage: py-libp2p [--version]", file=sys.stderr)
        return 1
    # It is not even imported where /etc/resolv.conf names no server, as in a lab without DNS.
    BaseResolver.read_resolv_conf = lambda *_: None  # type: ignore[method-assign]
    if "LIBP2P_DEBUG" not in os.environ:
        logging.disable()  # it logs what goes wrong, which is told in events here
    broken = 0
    try:
        trio.run(run)
    except* ContractError as group:
        print(*group.exceptions, file=sys.stderr)
        broken = 1
    return broken


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
