"""Signed statements as lines of text: what is kept, handed on and audited offline.

A line is the kind and the envelope in base64.
"""

import base64
import binascii
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import ProtocolError
from ..peer_id import PeerId
from .audit import double_contracts, judge, payable
from .case import Case
from .cheats import Finding
from .contract import Contract, Deal
from .signed import Signed, Statement
from .statements import Claim, Count, Receipt, Redemption

KINDS: dict[str, type[Statement]] = {
    "contract": Contract,
    "receipt": Receipt,
    "count": Count,
    "claim": Claim,
    "redemption": Redemption,
}
_NAMES = {kind: name for name, kind in KINDS.items()}


@dataclass
class Dossier:
    """Statements by contract; `worthless` is what no signature or no contract stands behind."""

    cases: dict[bytes, Case] = field(default_factory=dict)
    worthless: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, statements: Iterable[tuple[str, bytes]]) -> "Dossier":
        """Of kinds and envelopes in any order."""
        made, rest = cls(), []
        for kind, data in statements:
            if kind == "contract":
                made._add_contract(data)
            else:
                rest.append((kind, data))
        for kind, data in rest:
            made._add(kind, data)
        return made

    @classmethod
    def parse(cls, text: str) -> "Dossier":
        """Of lines; what cannot be read is among the worthless."""
        found, bad = [], []
        for number, line in enumerate(text.splitlines(), 1):
            try:
                kind, _, encoded = line.strip().partition(" ")
                if kind:
                    found.append((kind, base64.b64decode(encoded, validate=True)))
            except (binascii.Error, ValueError):
                bad.append(f"line {number} is not base64")
        made = cls.of(found)
        made.worthless = bad + made.worthless
        return made

    def findings(self) -> list[Finding]:
        """Everything that is proven."""
        cases = list(self.cases.values())
        return [f for case in cases for f in judge(case)] + list(double_contracts(cases))

    def payable(self) -> dict[PeerId, int]:
        """What each relay may redeem."""
        return payable(self.cases.values())

    def _add_contract(self, data: bytes) -> None:
        try:
            deal = Deal.open(data)
        except ProtocolError as error:
            self.worthless.append(f"contract: {error}")
            return
        self.cases.setdefault(deal.id, Case(deal, Contract.open(data)))

    def _add(self, kind: str, data: bytes) -> None:
        try:
            if kind not in KINDS:
                raise ProtocolError("dossier", "no such kind of statement")
            signed: Signed[Any] = KINDS[kind].open(data)
            if kind == "redemption":
                named = Deal.open(signed.value.demand().contract).id
            else:
                named = signed.value.contract
        except ProtocolError as error:
            self.worthless.append(f"{kind}: {error}")
            return
        case = self.cases.get(named)
        if case is None:
            self.worthless.append(f"{kind}: of a contract that is not here")
            return
        getattr(case, f"{kind}s").append(signed)


def lines(statements: Iterable[Signed[Any]]) -> Iterator[str]:
    """The text form."""
    for signed in statements:
        yield f"{_NAMES[type(signed.value)]} {base64.b64encode(signed.data).decode()}"
