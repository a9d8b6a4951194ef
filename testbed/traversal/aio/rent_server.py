"""Rented forwarding, the relay: offers, contracts for circuits, accounts."""

import asyncio
from dataclasses import dataclass, field

from ..errors import ProtocolError, StreamResetError, TraversalError
from ..events import RentRefused, RentSettled
from ..peer_id import PeerId
from ..relay import Status
from ..rent import (
    ACCOUNT_PROTOCOL,
    HOP_PROTOCOL,
    MAX_STATEMENT,
    OFFER_PROTOCOL,
    STOP_PROTOCOL,
)
from ..rent.contract import Deal, Offer, Terms, terms
from ..rent.ledger import Ledger, LedgerRefusedError
from ..rent.meter import RelayMeter, Tab
from ..rent.sqlite import Book
from .connection import Connection
from .host import Host
from .relay_server import RelayServer, answer, splice
from .rent_circuit import RentedCircuit
from .rent_pipe import now
from .stream import Stream

_TIMEOUT = 15.0
_OFFER_SECONDS = 3600
_DEBTORS = 4096


@dataclass(frozen=True)
class RentOut:
    """What a relay asks (`terms`), where it keeps receipts, and who holds the money.

    Without a ledger receipts are promises.
    """

    terms: Terms = field(default_factory=terms)
    book: Book = field(default_factory=lambda: Book(":memory:"))
    ledger: Ledger | None = None


class RentServer:
    """Beside the plain relay, and by its limits on how many circuits there are."""

    def __init__(self, host: Host, relays: RelayServer, options: RentOut) -> None:
        self._host, self._relays, self._options = host, relays, options
        self._circuits: dict[bytes, RentedCircuit] = {}
        self._tabs: dict[PeerId, Tab] = {}
        host.set_handler(OFFER_PROTOCOL, self._on_offer)
        host.set_handler(HOP_PROTOCOL, self._on_hop)
        host.set_handler(ACCOUNT_PROTOCOL, self._on_account)

    async def _on_offer(self, stream: Stream, connection: Connection) -> None:
        del connection
        host = self._host
        until = now() + _OFFER_SECONDS * 1000
        offer = Offer(host.peer.multihash, self._options.terms, until)
        await stream.write_frame(offer.seal(host.identity).data)

    async def _on_hop(self, stream: Stream, connection: Connection) -> None:
        async with asyncio.timeout(_TIMEOUT):
            frame = await stream.read_frame(MAX_STATEMENT)
        try:
            deal = Deal.open(frame)
            deal.check_open(now())
        except ProtocolError:
            await answer(stream, Status.MALFORMED_MESSAGE)
            return
        status = self._judge(deal, connection)
        if status is Status.OK:
            status = self._relays.admit(connection, deal.target)
        if status is not Status.OK:
            await answer(stream, status)
            return
        try:
            await self._bridge(stream, deal)
        finally:
            self._relays.ledger.close(deal.payer, deal.target)

    def _judge(self, deal: Deal, connection: Connection) -> Status:
        ours = deal.relay == self._host.peer and deal.payer == connection.peer
        if connection.relayed or not ours or deal.id in self._circuits:
            return Status.PERMISSION_DENIED
        owed = self._tabs.get(deal.payer, Tab()).unpaid
        if owed + deal.terms.every > deal.terms.credit:
            self._host.emit(RentRefused(deal.payer, f"owes {owed} bytes"))
            return Status.RESOURCE_LIMIT_EXCEEDED
        return Status.OK

    def _tab(self, payer: PeerId) -> Tab:
        """The payer's; the oldest of too many debtors is forgotten: it could as well be renamed."""
        live = {c.meter.deal.payer for c in self._circuits.values()}
        gone = [debtor for debtor in self._tabs if debtor not in live]
        for debtor in gone[: max(len(self._tabs) - _DEBTORS, 0)]:
            del self._tabs[debtor]
        return self._tabs.setdefault(payer, Tab())

    async def _bridge(self, stream: Stream, deal: Deal) -> None:
        meter = RelayMeter(deal, self._tab(deal.payer), now())
        circuit = RentedCircuit(meter, self._options.book, self._host.identity)
        self._circuits[deal.id] = circuit
        try:
            other = await self._reach(stream, deal)
            if other is None:
                return
            circuit.begin(stream, other)
            await self._carry(circuit, stream, other)
        finally:
            self._host.spawn(self._settle(circuit))

    async def _reach(self, stream: Stream, deal: Deal) -> Stream | None:
        """The other end's stream; None where the payer was told why there is none."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                other = await self._relays.open_stop(deal.target, STOP_PROTOCOL, deal.data)
        except (TraversalError, TimeoutError):
            await answer(stream, Status.CONNECTION_FAILED)
            return None
        try:
            await asyncio.to_thread(self._book, deal)
            await answer(stream, Status.OK, deal.terms.limit)
        except (ProtocolError, LedgerRefusedError) as error:
            other.abort()
            self._host.emit(RentRefused(deal.payer, str(error)))
            await answer(stream, Status.PERMISSION_DENIED)
            return None
        except BaseException:
            other.abort()
            raise
        return other

    def _book(self, deal: Deal) -> None:
        """The contract is on record, and its money held, before anything passes."""
        if self._options.ledger is not None:
            self._options.ledger.hold(deal, now())
        self._options.book.open_deal(deal)

    async def _carry(self, circuit: RentedCircuit, stream: Stream, other: Stream) -> None:
        watcher = self._host.spawn(circuit.watch())
        try:
            forward = circuit.carry(stream, other, up=True)
            back = circuit.carry(other, stream, up=False)
            await splice(stream, other, forward, back, circuit.meter.deal.terms.duration)
        except StreamResetError as error:
            raise StreamResetError(circuit.cheat or str(error)) from error
        finally:
            watcher.cancel()

    async def _settle(self, circuit: RentedCircuit) -> None:
        meter = circuit.meter
        if meter.total:
            await circuit.settle()
            paid, cost = meter.paid, 0
            if paid is not None:
                cost = meter.deal.terms.cost(paid.value.total, paid.value.seconds)
            cheat = circuit.cheat or ""
            self._host.emit(
                RentSettled(
                    meter.deal.relay, meter.deal.payer, meter.deal.target, meter.deal.id.hex(),
                    meter.up, meter.down, cost, cheat,
                )
            )  # fmt: skip
        self._circuits.pop(meter.deal.id, None)
        tab = meter.tab
        others = (c.meter.tab for c in self._circuits.values())
        if not tab.unpaid and all(t is not tab for t in others):
            self._tabs.pop(meter.deal.payer, None)

    async def _on_account(self, stream: Stream, connection: Connection) -> None:
        async with asyncio.timeout(_TIMEOUT):
            circuit = self._circuits.get(await stream.read_frame(32))
        if circuit is None:
            raise ProtocolError("account", "of no circuit that is here")
        deal = circuit.meter.deal
        if connection.peer == deal.payer:
            await circuit.serve_payer(stream)
        elif connection.peer == deal.target:
            await circuit.serve_target(stream)
        else:
            raise ProtocolError("account", "of a circuit of others")
