"""What py-libp2p does, told as the contract's events.

It has no events of DCUtR.  Its messages are seen as they are read and written, its punches by
a subclass that changes nothing, and its connections by a notifee.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import trio
from contract import Fields, emit, now
from libp2p.abc import INotifee
from libp2p.rcmgr.manager import Direction
from libp2p.relay.circuit_v2 import dcutr
from libp2p.relay.circuit_v2.pb.dcutr_pb2 import HolePunch
from node import local_end, relayed, remote_end

_WORDS = {HolePunch.CONNECT: "connect", HolePunch.SYNC: "sync"}


class Story(INotifee):
    """Of one connection to ``remote``, from the relay's circuit on."""

    def __init__(self, local: Fields, relay: Fields, role: str) -> None:
        self.remote: Any = None
        self.first: Fields | None = None  # what "connected" says
        self.found = trio.Event()  # ... is there
        self.told = trio.Event()  # "upgraded" or "stayed" was said
        self._local, self._relay, self._role = local, relay, role
        self._waiting: list[Callable[[], None]] = []  # from before "connected" was said
        self._begun = False
        self._over = False
        self._sessions: list[Any] = []  # DCUtR's streams: each is an attempt
        self._punches = 0  # that are under way

    def begin(self) -> None:
        """``connected`` has been said: say what was kept back."""
        self._begun = True
        for event in self._waiting:
            event()
        self._waiting.clear()

    def end(self) -> None:
        """It is not py-libp2p that closes connections now."""
        self._over = True

    def stay(self, reason: str) -> None:
        if not self.told.is_set():
            self.told.set()
            self._say("stayed", reason=reason)

    def _say(self, event: str, **more: Any) -> None:
        more.setdefault("at", now())
        if self._begun:
            emit(event, **more)
        else:
            self._waiting.append(partial(emit, event, **more))

    def _step(self, name: str) -> None:
        self._say("step", name=name, attempt=len(self._sessions), realtime=time.time_ns())

    # DCUtR

    def message(self, stream: Any, kind: int, way: str) -> None:
        """A message, just before it is written or just after it was read."""
        if stream.muxed_conn.peer_id != self.remote:
            return
        if not any(stream is one for one in self._sessions):
            self._sessions.append(stream)
        self._step(f"{_WORDS[kind]}_{way}")

    def punch_begins(self) -> None:
        self._punches += 1
        self._step("punching")

    def punch_ends(self, success: bool) -> None:
        self._punches -= 1
        if not success and not self._over:
            self._step("failed")

    # connections

    async def connected(self, _network: Any, conn: Any) -> None:
        if conn.muxed_conn.peer_id != self.remote:
            return
        if self.first is None:
            remote = self._relay if relayed(conn) else remote_end(conn)
            path = "relayed" if relayed(conn) else "direct"
            self.first = {"at": now(), "local": self._local, "remote": remote, "path": path}
            self.found.set()
        elif not relayed(conn) and not self.told.is_set():
            self.told.set()
            local, remote = local_end(conn, self._local), remote_end(conn)
            how = self._how(conn)
            count = len(self._sessions) if how == "punched" else 0
            self._say("upgraded", local=local, remote=remote, how=how, attempts=count)

    def _how(self, conn: Any) -> str:
        if self._punches:
            return "punched"
        from_us = conn.direction is Direction.OUTBOUND
        return "direct" if from_us is (self._role == "dialer") else "reversed"

    async def disconnected(self, _network: Any, conn: Any) -> None:
        if conn.muxed_conn.peer_id == self.remote and relayed(conn) and not self._over:
            self._step("relay_left")

    async def opened_stream(self, _network: Any, stream: Any) -> None: ...

    async def closed_stream(self, _network: Any, stream: Any) -> None: ...

    async def listen(self, _network: Any, multiaddr: Any) -> None: ...

    async def listen_close(self, _network: Any, multiaddr: Any) -> None: ...


class Punching(dcutr.DCUtRProtocol):  # type: ignore[misc]
    """py-libp2p's DCUtR as it is, with a story told of it; it looks from the circuit on."""

    def __init__(self, host: Any, story: Story, dial_timeout: float) -> None:
        super().__init__(host, dial_timeout=dial_timeout)
        self._story = story
        watch(story)

    async def _auto_drive_loop(self) -> None:
        """Look every 2 s for whom to upgrade to, from the circuit on.

        Looks that are counted from the start come by chance between the circuit and the other
        side's CONNECT, and then both lead: the more often, the longer the way to the relay.
        """
        await self._story.found.wait()
        await super()._auto_drive_loop()

    async def _perform_hole_punch(
        self, peer_id: Any, addrs: list[Any], as_responder: bool = False
    ) -> bool:
        self._story.punch_begins()
        success = False
        try:
            success = await super()._perform_hole_punch(peer_id, addrs, as_responder)
        finally:
            self._story.punch_ends(success)
        return success


def watch(story: Story) -> None:
    """Have the story told of each message that py-libp2p's DCUtR reads and writes."""
    read, write = dcutr.read_dcutr_msg, dcutr.write_delimited_msg

    async def read_and_tell(stream: Any, kind: Any) -> Any:
        message = await read(stream, kind)
        story.message(stream, message.type, "received")
        return message

    async def tell_and_write(stream: Any, message: Any) -> None:
        story.message(stream, message.type, "sent")
        await write(stream, message)

    dcutr.read_dcutr_msg = read_and_tell
    dcutr.write_delimited_msg = tell_and_write
