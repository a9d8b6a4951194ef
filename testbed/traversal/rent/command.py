"""`python -m testbed.traversal rent`: receipts become money, and are audited offline.

fund:    put units into a peer's account, for who runs the ledger
redeem:  a relay has the ledger pay what its book of receipts comes to
release: give back to the payers what is left of contracts that ran out
export:  write a book as lines of text, which `verify` reads
convict: the same of what a ledger refused: false redemptions, and money that was promised twice
verify:  audit such lines; needs nothing but them.  Exit code 1 when a cheat is proven or a line
         is worthless
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import TraversalError
from ..keys import PrivateKey
from ..peer_id import PeerId
from .case import Case
from .cheats import Finding
from .contract import Contract
from .dossier import KINDS, Dossier, lines
from .ledger import LedgerRefusedError
from .sqlite import Book, SqliteLedger
from .statements import Entry, Receipt, Redemption


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m testbed.traversal rent", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, work: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        made = verbs.add_parser(name)
        made.set_defaults(work=work)
        return made

    fund = verb("fund", _fund)
    fund.add_argument("ledger", type=Path)
    fund.add_argument("peer", type=PeerId.parse)
    fund.add_argument("amount", type=int)
    redeem = verb("redeem", _redeem)
    redeem.add_argument("ledger", type=Path)
    redeem.add_argument("book", type=Path)
    redeem.add_argument("--seed", required=True, metavar="HEX", help="the relay's, as of --seed")
    release = verb("release", _release)
    release.add_argument("ledger", type=Path)
    export = verb("export", _export)
    export.add_argument("book", type=Path)
    convict = verb("convict", _convict)
    convict.add_argument("ledger", type=Path)
    verify = verb("verify", _verify)
    verify.add_argument("file", type=Path, nargs="?", help="by default standard input")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    """Exit code 0; 1 when something is wrong with what was given."""
    options = arguments(words)
    try:
        code: int = options.work(options)
    except (TraversalError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return code


def redeem(ledger: SqliteLedger, book: Book, key: PrivateKey, now: int) -> list[dict[str, Any]]:
    """Have every receipt paid; what the ledger refuses is told."""
    told: list[dict[str, Any]] = []
    for contract, receipt in book.redeemable():
        said: dict[str, Any] = {"contract": Contract.open(contract).value.digest.hex()}
        redemption = Redemption(now, Entry(contract, receipt)).seal(key)
        try:
            paid = ledger.redeem(redemption.data, now)
            told.append(said | {"payer": str(paid.payer), "paid": paid.amount})
        except LedgerRefusedError as error:
            told.append(said | {"refused": str(error)})
    return told


def _fund(options: argparse.Namespace) -> int:
    ledger = SqliteLedger(options.ledger)
    ledger.fund(options.peer, options.amount)
    _say(peer=str(options.peer), balance=ledger.balance(options.peer))
    return 0


def _redeem(options: argparse.Namespace) -> int:
    key = PrivateKey.from_seed(bytes.fromhex(options.seed))
    ledger, book = SqliteLedger(options.ledger), Book(options.book, new=False)
    told = redeem(ledger, book, key, _now())
    for said in told:
        _say(**said)
    _say(relay=str(mine := PeerId.from_public_key(key.public)), balance=ledger.balance(mine))
    return int(any("refused" in said for said in told))


def _release(options: argparse.Namespace) -> int:
    _say(released=SqliteLedger(options.ledger).release(_now()))
    return 0


def _export(options: argparse.Namespace) -> int:
    return _print(Book(options.book, new=False).statements())


def _convict(options: argparse.Namespace) -> int:
    return _print(SqliteLedger(options.ledger).statements())


def _print(statements: list[tuple[str, bytes]]) -> int:
    for line in lines(KINDS[kind].open(data) for kind, data in statements):
        print(line)
    return 0


def _verify(options: argparse.Namespace) -> int:
    text = options.file.read_text(encoding="utf-8") if options.file else sys.stdin.read()
    dossier = Dossier.parse(text)
    for case in dossier.cases.values():
        _say(**_contract(case))
    findings = dossier.findings()
    for finding in findings:
        _say(**_told(finding))
    for reason in dossier.worthless:
        _say(worthless=reason)
    for relay, units in dossier.payable().items():
        _say(relay=str(relay), payable=units)
    return int(bool(findings or dossier.worthless))


def _contract(case: Case) -> dict[str, Any]:
    deal, best = case.deal, case.paid
    receipt = best.value if best is not None else Receipt(deal.id, 0, 0, 0, 0, 0, 0, 0, 0)
    return {
        "contract": deal.id.hex(),
        "relay": str(deal.relay),
        "payer": str(deal.payer),
        "target": str(deal.target),
        "up": receipt.up,
        "down": receipt.down,
        "seconds": receipt.seconds,
        "cost": case.cost(receipt),
    }


def _told(finding: Finding) -> dict[str, Any]:
    return {
        "cheat": finding.cheat,
        "accused": str(finding.accused),
        "proof": finding.grade,
        "contract": finding.contract.hex(),
        "exhibits": list(lines(finding.exhibits)),
    }


def _now() -> int:
    return time.time_ns() // 1_000_000


def _say(**words: Any) -> None:
    print(json.dumps(words))
