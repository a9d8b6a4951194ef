"""Echo over datagrams: numbered, sent again when lost, counted when they are back."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from testbed.stacks.wire import PAYLOAD_LIMIT, Frame, Kind, Speaker

ROUNDS = 30  # a datagram is sent at most so often
FRUITLESS = 8  # rounds in a row without anything new that came back: nothing will
PACE = 0.001  # seconds between datagrams: 8 Mbit/s
ROUND_DEADLINE = 0.5  # seconds to wait for the last one to come back


def marked(data: bytes, nonce: bytes) -> bytes:
    """``data`` in which the first bytes are those of ``nonce``."""
    return (nonce + data[len(nonce) :])[: len(data)]


def chunks(count: int, seed: int, nonce: bytes = b"") -> list[bytes]:
    """``count`` random bytes in pieces of at most `PAYLOAD_LIMIT`; equal for equal seeds.

    Each begins with ``nonce``.
    """
    data = random.Random(seed).randbytes(count)
    pieces = (data[at : at + PAYLOAD_LIMIT] for at in range(0, count, PAYLOAD_LIMIT))
    return [marked(piece, nonce) for piece in pieces]


class DatagramEcho:
    """Both ends of an echo; ``send`` takes a datagram to the connected remote."""

    def __init__(self, speaker: Speaker, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._speaker = speaker
        self._send = send
        self._missing: dict[int, bytes] = {}
        self._complete = asyncio.Event()

    def received(self, frame: Frame) -> bytes | None:
        """Take a frame of the other side; gives the datagram that is to go back, if any."""
        if frame.kind is Kind.DATA:
            return self._speaker.say(Kind.BACK, frame.number, frame.payload)
        if frame.kind is Kind.BACK and self._missing.get(frame.number) == frame.payload:
            del self._missing[frame.number]
            if not self._missing:
                self._complete.set()
        return None

    async def run(self, count: int, seed: int, nonce: bytes) -> int:
        """Send ``count`` bytes and give the number of those that came back unaltered."""
        self._missing = dict(enumerate(chunks(count, seed, nonce)))
        self._complete.clear()
        fruitless = 0
        for _ in range(ROUNDS):
            before = len(self._missing)
            for number, payload in list(self._missing.items()):
                await self._send(self._speaker.say(Kind.DATA, number, payload))
                await asyncio.sleep(PACE)
            try:
                async with asyncio.timeout(ROUND_DEADLINE):
                    await self._complete.wait()
                break
            except TimeoutError:
                fruitless = 0 if len(self._missing) < before else fruitless + 1
            if fruitless == FRUITLESS:
                break
        return count - sum(map(len, self._missing.values()))
