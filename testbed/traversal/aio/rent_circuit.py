"""One rented circuit at its relay: bytes on credit, accounts of both ends, the end."""

import asyncio
import contextlib

from ..errors import ProtocolError, StreamResetError, TraversalError
from ..keys import PrivateKey
from ..rent import MAX_STATEMENT
from ..rent.cheats import Cheat, CheatError
from ..rent.meter import RelayMeter
from ..rent.signed import Signed
from ..rent.sqlite import Book
from ..rent.statements import Receipt
from .rent_pipe import now
from .stream import Stream

_CHUNK = 65536


class RentedCircuit:
    """`cheat` is what the payer was caught at, which ends the circuit."""

    def __init__(self, meter: RelayMeter, book: Book, identity: PrivateKey) -> None:
        self.meter = meter
        self.cheat: Cheat | None = None
        self._book, self._identity = book, identity
        self._ends: tuple[Stream, ...] = ()
        self._lent = asyncio.Event()
        self._payer: Stream | None = None
        self._payer_left, self._target_left = asyncio.Event(), asyncio.Event()
        self._claiming = asyncio.Lock()
        self._claimed_at = self._claimed_total = 0

    @property
    def patience(self) -> float:
        """Seconds."""
        return self.meter.deal.terms.patience / 1000

    # Bytes.

    async def carry(self, source: Stream, sink: Stream, *, up: bool) -> None:
        """One direction: no byte beyond the credit."""
        while data := await source.read(_CHUNK):
            while data:
                room = await self._room()
                part, data = data[:room], data[room:]
                self.meter.passed(**{"up" if up else "down": len(part)})
                try:
                    await sink.write(part)
                except TraversalError:  # nobody reads this direction any more
                    source.close_read()
                    return
        sink.close_write()

    async def _room(self) -> int:
        while not (room := self.meter.may_pass(now())):
            if self.meter.exhausted(now()):
                raise StreamResetError("the contract carries no more")
            if self.cheat is not None or self._payer_left.is_set():
                raise StreamResetError("no receipt will come")
            self._lent.clear()
            await self._lent.wait()
        return room

    # Accounts.

    async def serve_payer(self, stream: Stream) -> None:
        """Receipts come, claims go, until the payer has said its last."""
        if self._payer is not None:
            raise ProtocolError("account", "the payer has one")
        self._payer = stream
        try:
            while True:
                data = await stream.read_frame(MAX_STATEMENT)
                receipt = self.meter.check_receipt(data)
                await asyncio.to_thread(self._store, receipt)
                self.meter.credit(receipt)
                self._lent.set()
        except CheatError as error:
            self._caught(error.cheat)
            raise
        except StreamResetError:
            return
        finally:
            self._payer_left.set()
            self._lent.set()

    def _store(self, receipt: Signed[Receipt]) -> None:
        value = receipt.value
        self._book.store(receipt, self.meter.deal.terms.cost(value.total, value.seconds))

    async def serve_target(self, stream: Stream) -> None:
        """Counts come, until the target has said its last."""
        try:
            while not self.meter.counted_all:
                self.meter.take_count(await stream.read_frame(MAX_STATEMENT))
                await self._claim_soon()
        finally:
            self._target_left.set()

    async def _claim_soon(self) -> None:
        """Tell the payer, unless it was told a moment ago."""
        terms = self.meter.deal.terms
        moved = self.meter.total - self._claimed_total >= terms.every // 2
        waited = now() - self._claimed_at >= terms.patience // 4
        if moved or waited or self.meter.counted_all:
            await self._claim()

    async def _claim(self) -> None:
        if self._payer is None:
            return
        async with self._claiming:
            self._claimed_at, self._claimed_total = now(), self.meter.total
            value = self.meter.claim(now(), *self._under_way())
            claim = value.seal(self._identity)  # a thread would cost more than the signature
            with contextlib.suppress(TraversalError):
                await self._payer.write_frame(claim.data)
                self.meter.claimed(claim)

    def _under_way(self) -> tuple[int, int]:
        """What left us and is not known to have arrived, up and down."""
        up, down = (s.undelivered for s in self._ends[::-1])
        return up, down

    # Life.

    def begin(self, payer: Stream, target: Stream) -> None:
        """The two streams whose bytes are carried."""
        self._ends = (payer, target)

    async def watch(self) -> None:
        """Tell the payer at times; end the circuit of one that does not pay."""
        while True:
            await asyncio.sleep(self.patience / 4)
            cheat = self.meter.overdue(now())
            if cheat is not None:
                self._caught(cheat)
                return
            await self._claim_soon()

    def _caught(self, cheat: Cheat) -> None:
        self.cheat = self.cheat or cheat
        self._lent.set()
        for stream in self._ends:
            stream.abort()

    async def settle(self) -> None:
        """The circuit has ended: the target's last count, our last claim, the last receipt."""
        await _within(self.patience, self._target_left)
        await self._claim()
        if self._payer is not None and self.cheat is None:
            await _within(self.patience, self._payer_left)
        if self.cheat is None and self.meter.unpaid >= self.meter.deal.terms.every:
            self.cheat = Cheat.DOES_NOT_PAY
        if self.cheat is not None:
            await self._claim()
            await asyncio.to_thread(self._keep_evidence)

    def _keep_evidence(self) -> None:
        case = self.meter.case
        for kind, row in (("claim", case.claims), ("count", case.counts)):
            for signed in row:
                self._book.keep(kind, signed.data)


async def _within(seconds: float, event: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
