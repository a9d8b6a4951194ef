"""A ledger and a relay's book of receipts, each one SQLite file."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ProtocolError
from ..peer_id import PeerId
from .audit import false_redemption
from .case import Case
from .contract import Contract, Deal
from .ledger import LedgerRefusedError, Paid
from .signed import Signed
from .statements import Receipt, Redemption

_LEDGER = """
CREATE TABLE IF NOT EXISTS accounts (
  peer BLOB PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0)) STRICT;
CREATE TABLE IF NOT EXISTS holds (
  contract BLOB PRIMARY KEY, payer BLOB NOT NULL, serial INTEGER NOT NULL, relay BLOB NOT NULL,
  held INTEGER NOT NULL, paid INTEGER NOT NULL DEFAULT 0 CHECK (paid BETWEEN 0 AND held),
  expires INTEGER NOT NULL, released INTEGER NOT NULL DEFAULT 0,
  data BLOB NOT NULL, other BLOB, redemption BLOB,
  UNIQUE (payer, serial)) STRICT;
"""
_BOOK = """
CREATE TABLE IF NOT EXISTS deals (
  id BLOB PRIMARY KEY, contract BLOB NOT NULL, receipt BLOB,
  worth INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE IF NOT EXISTS statements (
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, data BLOB NOT NULL UNIQUE) STRICT;
"""


class _File:
    """One connection, one transaction at a time, from any thread."""

    def __init__(self, path: Path | str, schema: str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._lock = threading.Lock()
        # FULL: what was acknowledged outlives a loss of power, not only of the process.
        self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {schema}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


class _FalseError(LedgerRefusedError):
    """A relay asks to be paid by what is no receipt of its contract."""

    def __init__(self, deal: Deal, reason: str) -> None:
        super().__init__(reason)
        self.deal = deal


class SqliteLedger(_File):
    """`Ledger` in a file, which several processes may share.

    Of each hold it keeps one thing that convicts: another contract of its serial, and a false
    redemption.
    """

    def __init__(self, path: Path | str) -> None:
        super().__init__(path, _LEDGER)

    def fund(self, peer: PeerId, amount: int) -> None:
        """Whoever runs the ledger puts money into an account."""
        if amount <= 0:
            raise LedgerRefusedError(f"{amount} is no amount")
        with self._transaction() as db:
            _give(db, peer.multihash, amount)

    def balance(self, peer: PeerId) -> int:
        """What a peer may spend."""
        with self._transaction() as db:
            row = db.execute(
                "SELECT balance FROM accounts WHERE peer = ?", (peer.multihash,)
            ).fetchone()
        return int(row[0]) if row else 0

    def hold(self, deal: Deal, now: int) -> None:
        """As `Ledger` has it."""
        contract, payer = deal.contract, deal.payer.multihash
        if now >= contract.expires:
            raise LedgerRefusedError("the contract has run out")
        with self._transaction() as db:
            same = db.execute(
                "SELECT contract FROM holds WHERE payer = ? AND serial = ?",
                (payer, contract.serial),
            ).fetchone()
            if same is not None:
                db.execute(
                    "UPDATE holds SET other = ? WHERE contract = ? AND other IS NULL AND ?",
                    (deal.data, same[0], same[0] != deal.id),
                )
            else:
                _hold(db, deal)
        if same is not None and same[0] != deal.id:
            raise LedgerRefusedError("the payer used this serial for another contract")

    def redeem(self, data: bytes, now: int) -> Paid:
        """As `Ledger` has it."""
        try:
            case, receipt = opened_redemption(data)
        except _FalseError as error:
            with self._transaction() as db:
                db.execute(
                    "UPDATE holds SET redemption = ? WHERE contract = ? AND redemption IS NULL",
                    (data, error.deal.id),
                )
            raise
        deal = case.deal
        with self._transaction() as db:
            row = db.execute(
                "SELECT paid, expires, released FROM holds WHERE contract = ?", (deal.id,)
            ).fetchone()
            if row is None:
                raise LedgerRefusedError("no money is held for this contract")
            paid, expires, released = row
            if released or now >= expires:
                raise LedgerRefusedError("the contract has run out")
            amount = max(case.cost(receipt.value) - paid, 0)
            db.execute("UPDATE holds SET paid = paid + ? WHERE contract = ?", (amount, deal.id))
            _give(db, deal.relay.multihash, amount)
        return Paid(deal.relay, deal.payer, amount)

    def release(self, now: int) -> int:
        """As `Ledger` has it."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT contract, payer, held - paid FROM holds"
                " WHERE NOT released AND expires <= ?",
                (now,),
            ).fetchall()
            for contract, payer, left in rows:
                db.execute("UPDATE holds SET released = 1 WHERE contract = ?", (contract,))
                _give(db, payer, left)
        return sum(left for _, _, left in rows)

    def statements(self) -> list[tuple[str, bytes]]:
        """What convicts those who tried to cheat here, as `Dossier.of` takes it."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT data, other, redemption FROM holds"
                " WHERE other IS NOT NULL OR redemption IS NOT NULL ORDER BY rowid"
            ).fetchall()
        kinds = ("contract", "contract", "redemption")
        return [
            (k, bytes(data)) for row in rows for k, data in zip(kinds, row, strict=True) if data
        ]

    def total(self) -> int:
        """All money, on accounts and held: only `fund` changes it."""
        with self._transaction() as db:
            (free,) = db.execute("SELECT coalesce(sum(balance), 0) FROM accounts").fetchone()
            (held,) = db.execute(
                "SELECT coalesce(sum(held - paid), 0) FROM holds WHERE NOT released"
            ).fetchone()
        return int(free + held)


def _hold(db: sqlite3.Connection, deal: Deal) -> None:
    contract, payer = deal.contract, deal.payer.multihash
    taken = db.execute(
        "UPDATE accounts SET balance = balance - ? WHERE peer = ? AND balance >= ?",
        (contract.budget, payer, contract.budget),
    )
    if not taken.rowcount:
        raise LedgerRefusedError("the payer has not as much")
    db.execute(
        "INSERT INTO holds (contract, payer, serial, relay, held, expires, data)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (deal.id, payer, contract.serial, deal.relay.multihash, contract.budget,
         contract.expires, deal.data),
    )  # fmt: skip


def _give(db: sqlite3.Connection, peer: bytes, amount: int) -> None:
    db.execute(
        "INSERT INTO accounts (peer, balance) VALUES (?, ?)"
        " ON CONFLICT (peer) DO UPDATE SET balance = balance + excluded.balance",
        (peer, amount),
    )


def opened_redemption(data: bytes) -> tuple[Case, Signed[Receipt]]:
    """The deal and the receipt, if the relay may redeem it.  Raises LedgerRefusedError."""
    try:
        signed = Redemption.open(data)
        entry = signed.value.demand()
        deal = Deal.open(entry.contract)
        case = Case(deal, Contract.open(entry.contract))
    except ProtocolError as error:
        raise LedgerRefusedError(str(error)) from error
    if signed.signer != deal.relay:
        raise LedgerRefusedError("only the contract's relay redeems it")
    cheat = false_redemption(case, entry.receipt)
    if cheat is not None:
        raise _FalseError(deal, f"{cheat}: not a receipt of this contract")
    return case, Receipt.open(entry.receipt)


class Book(_File):
    """A relay's contracts, each with the receipt that is worth most, and what shows cheats.

    What `store` returned from outlives a crash.
    """

    def __init__(self, path: Path | str, *, new: bool = True) -> None:
        if not (new or Path(path).exists()):
            raise FileNotFoundError(f"{path}: no book of receipts")
        super().__init__(path, _BOOK)

    def open_deal(self, deal: Deal) -> None:
        """Note a contract; it is for one circuit.  Raises ProtocolError where it had one."""
        with self._transaction() as db:
            done = db.execute(
                "INSERT OR IGNORE INTO deals (id, contract) VALUES (?, ?)", (deal.id, deal.data)
            )
            if not done.rowcount:
                raise ProtocolError("contract", "had a circuit before")

    def store(self, receipt: Signed[Receipt], worth: int) -> None:
        """Keep a receipt where it is worth more than the one that is there."""
        with self._transaction() as db:
            db.execute(
                "UPDATE deals SET receipt = ?, worth = ? WHERE id = ? AND worth <= ?",
                (receipt.data, worth, receipt.value.contract, worth),
            )

    def keep(self, kind: str, data: bytes) -> None:
        """Keep any other statement, to be shown."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO statements (kind, data) VALUES (?, ?)", (kind, data))

    def redeemable(self) -> list[tuple[bytes, bytes]]:
        """Contracts and their receipts."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT contract, receipt FROM deals WHERE receipt IS NOT NULL ORDER BY rowid"
            ).fetchall()
        return [(bytes(contract), bytes(receipt)) for contract, receipt in rows]

    def statements(self) -> list[tuple[str, bytes]]:
        """Everything, as `Dossier.of` takes it."""
        with self._transaction() as db:
            deals = db.execute("SELECT contract, receipt FROM deals ORDER BY rowid").fetchall()
            rest = db.execute("SELECT kind, data FROM statements ORDER BY id").fetchall()
        found = [("contract", bytes(contract)) for contract, _ in deals]
        found += [("receipt", bytes(receipt)) for _, receipt in deals if receipt is not None]
        return found + [(str(kind), bytes(data)) for kind, data in rest]
