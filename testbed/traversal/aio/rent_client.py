"""Rented forwarding, the two ends: the payer that dials, and the target that counts."""

import asyncio
import contextlib
import secrets
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from .. import relay
from ..errors import DialError, DialFailure, NegotiationError, ProtocolError, TraversalError
from ..events import RelayBroke, RentSettled
from ..multiaddr import Multiaddr
from ..peer_id import PeerId
from ..rent import ACCOUNT_PROTOCOL, HOP_PROTOCOL, MAX_STATEMENT, OFFER_PROTOCOL, STOP_PROTOCOL
from ..rent.cheats import Cheat, CheatError
from ..rent.choice import Bounds, Choice
from ..rent.contract import Contract, Deal, Offer, open_offer
from ..rent.meter import PayerMeter, TargetMeter
from ..rent.signed import Signed
from ..rent.sqlite import Book
from .connection import Connection
from .host import Host
from .relay_client import Circuit, RelayClient, ask
from .rent_pipe import MeteredPipe, now
from .stream import Stream

_TIMEOUT = 15.0
_SETTLING = 5.0  # seconds at most that a node which closes waits for last words
_EXPIRES = 24 * 3600_000  # ms that a relay has to redeem


@dataclass(frozen=True)
class Rent:
    """What a node pays for circuits; with a `budget` of 0 for a contract it only counts.

    `bounds` has the prices that it accepts.  In its `book` it keeps each contract with the receipt
    that it gave, and all that shows a cheat of the relay's: what `export` and `verify` take.
    """

    budget: int = 0
    bounds: Bounds = field(default_factory=Bounds)
    book: Book | None = None


class RentClient:
    """`dial` pays for a circuit; what others bring to us as rented is counted."""

    def __init__(self, host: Host, relays: RelayClient, options: Rent) -> None:
        self.choice = Choice(options.bounds)
        self.meters: dict[bytes, PayerMeter] = {}  # of circuits that live or settle
        self._host, self._relays, self._options = host, relays, options
        self._work: set[asyncio.Task[None]] = set()
        self._pipes: set[MeteredPipe] = set()
        host.set_handler(STOP_PROTOCOL, self._on_stop)

    async def offer(self, connection: Connection) -> Signed[Offer] | None:
        """The relay's offer, which is asked for once while it is valid; None where it has none."""
        known = self.choice.offer(connection.peer, now())
        if known is not None:
            return known
        try:
            async with asyncio.timeout(_TIMEOUT):
                async with self._host.exchange(connection, OFFER_PROTOCOL) as stream:
                    offer = open_offer(await stream.read_frame(MAX_STATEMENT))
        except NegotiationError:
            return None
        if offer.signer != connection.peer:
            raise ProtocolError("offer", "another relay's")
        self.choice.learn(offer, connection.round_trip)
        return offer

    async def dial(self, through: Connection, target: PeerId, timeout: float) -> Connection:
        """A circuit that is paid for, if the relay offers one, the price is right and the target
        counts, else a plain one.  Raises DialError.
        """
        offer = None
        with contextlib.suppress(TraversalError, TimeoutError):
            offer = await self.offer(through)
        pays = offer is not None and self.choice.accepts(through.peer, offer.value.terms, now())
        if offer is None or not self._options.budget or not pays:
            return await self._relays.dial(through, target, timeout)
        data = offer.data

        async def connect(through: Connection, target: PeerId) -> Circuit:
            return await self._rent(through, target, data)

        try:
            return await self._relays.dial(through, target, timeout, connect)
        except DialError as error:
            if error.failure is not DialFailure.RELAY_REFUSED:
                raise
        return await self._relays.dial(through, target, timeout)  # the target may know no rent

    async def order(self, addresses: list[Multiaddr]) -> list[Multiaddr]:
        """The circuits' addresses by choice, the others first and as they are."""
        circuits = [a for a in addresses if a.is_relayed]
        if len(circuits) < 2 or not self._options.budget:
            return addresses
        relays = {a: a.relay().peer_id for a in circuits}
        await asyncio.gather(*(self._survey(r) for r in set(relays.values()) if r is not None))
        ranks = {a: self.choice.rank(relays[a], now()) for a in circuits}
        return [a for a in addresses if not a.is_relayed] + sorted(circuits, key=ranks.__getitem__)

    async def _survey(self, relay: PeerId) -> None:
        """Have the offer of a relay that we are connected to."""
        for connection in self._host.connections_to(relay, relayed=False)[:1]:
            with contextlib.suppress(TraversalError, TimeoutError):
                await self.offer(connection)

    async def close(self) -> None:
        """End the circuits that are paid for, and settle."""
        paid = [c for c in self._host.connections if c.relayed]
        if self._work:
            await asyncio.gather(*(c.close("the node closes") for c in paid))
        for pipe in tuple(self._pipes):
            pipe.abort()  # also of what is no connection yet
        if self._work:
            await asyncio.wait(self._work, timeout=_SETTLING)

    # The payer.

    async def _rent(self, through: Connection, target: PeerId, offer: bytes) -> Circuit:
        host, began = self._host, now()
        contract = Contract(
            offer, host.peer.multihash, target.multihash, secrets.randbits(52),
            self._options.budget, began, began + _EXPIRES,
        )  # fmt: skip
        deal = Deal.open(contract.seal(host.identity).data)
        stream, said = await ask(host, through, HOP_PROTOCOL, deal.data)
        pipe, meter = MeteredPipe(stream), PayerMeter(deal, began)
        self.meters[deal.id] = meter
        self._spawn(pipe, self._account(_Account(host, through, meter, pipe), meter))
        return pipe, said.limit or None

    async def _account(self, account: "_Account", meter: PayerMeter) -> None:
        """Until the circuit is settled, and what was signed on it is in our book."""
        try:
            await account.run()
        finally:
            # Also of an account that was cut short; waiting for a thread might be cut short, too.
            if self._options.book is not None:
                _keep(self._options.book, meter, account.cheat)
            self._left(meter, account.cheat, account.reason)

    def _left(self, meter: PayerMeter, cheat: Cheat | None, reason: str) -> None:
        """A circuit is settled, or its relay was caught."""
        deal, last = meter.deal, meter.last
        self.meters.pop(deal.id, None)
        self.choice.ended(deal.relay, now(), kept=cheat is None)
        if cheat is not None:
            self._host.emit(RelayBroke(deal.relay, deal.target, deal.id.hex(), cheat, reason))
        cost = deal.terms.cost(last.total, last.seconds) if last else 0
        self._host.emit(
            RentSettled(
                deal.relay, deal.payer, deal.target, deal.id.hex(),
                meter.offered, meter.got, cost, cheat or "",
            )
        )  # fmt: skip

    def _spawn(self, pipe: MeteredPipe, work: Coroutine[Any, Any, None]) -> None:
        """The account of a circuit, which ends with its pipe."""
        task = self._host.spawn(work)
        self._work.add(task)
        self._pipes.add(pipe)
        task.add_done_callback(self._work.discard)
        task.add_done_callback(lambda _: self._pipes.discard(pipe))

    # The target.

    async def _on_stop(self, stream: Stream, connection: Connection) -> None:
        async with asyncio.timeout(_TIMEOUT):
            deal, status = self._asked(await stream.read_frame(MAX_STATEMENT), connection)
            said = relay.StopMessage(relay.StopType.STATUS, status=status)
            await stream.write_frame(said.encode())
        if deal is None or status is not relay.Status.OK:
            return
        pipe = MeteredPipe(stream)
        self._spawn(pipe, self._count(connection, TargetMeter(deal, now()), pipe))
        try:
            await self._relays.accept(pipe, connection, deal.payer, deal.terms.limit)
        finally:
            pipe.abort()

    def _asked(self, frame: bytes, connection: Connection) -> tuple[Deal | None, relay.Status]:
        try:
            deal = Deal.open(frame)
            deal.check_open(now())
        except ProtocolError:
            return None, relay.Status.MALFORMED_MESSAGE
        if deal.relay != connection.peer or deal.target != self._host.peer:
            return None, relay.Status.PERMISSION_DENIED
        return deal, self._relays.may_bring(connection, deal.payer)

    async def _count(self, connection: Connection, meter: TargetMeter, pipe: MeteredPipe) -> None:
        with contextlib.suppress(TraversalError):
            async with self._host.exchange(connection, ACCOUNT_PROTOCOL) as stream:
                await stream.write_frame(meter.deal.id)
                while not meter.last.final:
                    over = pipe.over.is_set()
                    meter.received, meter.sent = pipe.read_count, pipe.written
                    if (count := meter.count(now(), final=over)) is not None:
                        await stream.write_frame(count.seal(self._host.identity).data)
                    await pipe.moved(meter.deal.terms.every, meter.deal.terms.patience / 4000)


class _Account:
    """The payer's side of one contract: claims come, receipts go."""

    def __init__(
        self,
        host: Host,
        through: Connection,
        meter: PayerMeter,
        pipe: MeteredPipe,
    ) -> None:
        self.cheat: Cheat | None = None  # the relay's, why it was left
        self.reason = ""
        self._host, self._through, self._meter, self._pipe = host, through, meter, pipe
        self._heard = asyncio.Event()
        self._judged_at = meter.began

    @property
    def _patience(self) -> float:
        return self._meter.deal.terms.patience / 1000

    async def run(self) -> None:
        """Until the circuit is settled."""
        with contextlib.suppress(TraversalError):
            async with self._host.exchange(self._through, ACCOUNT_PROTOCOL) as stream:
                await stream.write_frame(self._meter.deal.id)
                await self._live(stream)
        self._pipe.abort()

    async def _live(self, stream: Stream) -> None:
        reading = self._host.spawn(self._read(stream))
        try:
            while self.cheat is None and not self._pipe.over.is_set():
                await self._pay(stream)
                await self._wait(self._patience / 4)
                if now() - self._judged_at >= self._patience * 250:
                    self._judge()
            self._pipe.abort()
            await self._last_word(stream)
        finally:
            reading.cancel()

    async def _read(self, stream: Stream) -> None:
        try:
            while True:
                data = await stream.read_frame(MAX_STATEMENT)
                self._see()
                self._meter.take_claim(data, now())
                self._heard.set()
        except CheatError as error:
            self._caught(error.cheat, error.reason)
        except ProtocolError as error:
            self._caught(Cheat.SILENT, str(error))
        except TraversalError:
            self._pipe.abort()
        self._heard.set()

    def _see(self) -> None:
        self._meter.offered, self._meter.got = self._pipe.written, self._pipe.read_count

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                over = asyncio.ensure_future(self._pipe.over.wait())
                heard = asyncio.ensure_future(self._heard.wait())
                try:
                    await asyncio.wait([over, heard], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    over.cancel()
                    heard.cancel()
        self._heard.clear()

    def _judge(self) -> None:
        self._judged_at = now()
        for finding in self._meter.judge()[:1]:
            self._caught(finding.cheat, finding.grade)
        if self._meter.silent(now()):
            self._caught(Cheat.SILENT, "the other end's count is kept from us")

    def _caught(self, cheat: Cheat, reason: str) -> None:
        if self.cheat is None:
            self.cheat, self.reason = cheat, reason

    async def _last_word(self, stream: Stream) -> None:
        """Nothing passes any more; what the target has last to say is paid, too."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * self._patience):
                while self.cheat is None and not self._meter.all_confirmed():
                    self._heard.clear()
                    await self._heard.wait()
        await self._pay(stream, final=True)
        self._judge()

    async def _pay(self, stream: Stream, *, final: bool = False) -> None:
        self._see()
        receipt = self._meter.receipt(now(), final=final)
        if receipt is not None:
            signed = receipt.seal(self._host.identity)
            self._meter.signed(signed)
            await stream.write_frame(signed.data)


def _keep(book: Book, meter: PayerMeter, cheat: Cheat | None) -> None:
    """What was signed on a contract: all of it where the relay was caught."""
    case = meter.case
    book.open_deal(meter.deal)
    if (paid := case.paid) is not None:
        book.store(paid, case.cost(paid.value))
    if cheat is not None:
        for kind, row in (("claim", case.claims), ("receipt", case.receipts)):
            for signed in row:
                book.keep(kind, signed.data)
