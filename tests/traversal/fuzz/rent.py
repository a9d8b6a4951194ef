"""Targets: statements of rented forwarding, also such as somebody signed on purpose."""

from typing import Any

from testbed.traversal import envelope
from testbed.traversal.errors import ProtocolError
from testbed.traversal.rent.contract import Contract, Deal, Offer, open_offer
from testbed.traversal.rent.dossier import KINDS, Dossier, lines
from testbed.traversal.rent.signed import Signed, Statement
from testbed.traversal.rent.statements import Entry, Redemption

from .. import rented
from .registry import KEY, modes, prefixed, target

_DEAL = rented.deal()
_RECEIPT = rented.receipt(_DEAL, 1, 5, up=9, offered=9)
_COUNT = rented.count(_DEAL, 1, 5, 9)
_CLAIM = rented.claim(_DEAL, 1, 6, 9, 0, _COUNT)
_REDEMPTION = Redemption(rented.START, Entry(_DEAL.data, _RECEIPT.data)).seal(rented.RELAY_KEY)
_ALL: tuple[Signed[Any], ...] = (rented.contract(), _RECEIPT, _COUNT, _CLAIM, _REDEMPTION)
_TYPES: tuple[type[Statement], ...] = (Offer, *KINDS.values())


@target(
    *(seed for n, s in enumerate((rented.offer(), *_ALL)) for seed in prefixed(n, s.value.encode()))
)
def signed_statements(data: bytes) -> None:
    """Any payload under a good signature: it has all of its fields, or is refused."""
    mode, payload = modes(data, len(_TYPES))
    kind = _TYPES[mode]
    signed = kind.open(envelope.seal(KEY, kind.domain, kind.code, payload))
    assert kind.decode(signed.value.encode()) == signed.value
    if isinstance(signed.value, Contract | Offer):
        _judge_deal(signed.data, isinstance(signed.value, Offer))


def _judge_deal(data: bytes, offer: bool) -> None:
    try:
        if offer:
            open_offer(data).value.terms.cost(2**40, 2**20)
        else:
            deal = Deal.open(data)
            assert len({deal.relay, deal.payer, deal.target}) == 3
    except ProtocolError:
        return


@target(*("\n".join(lines(_ALL[:n])).encode() for n in range(1, 6)))
def dossiers(text: bytes) -> None:
    """Any text: what holds is audited, the rest is told as worthless."""
    dossier = Dossier.parse(text.decode("latin1"))
    dossier.findings()
    said = [line for line in text.decode("latin1").splitlines() if line.strip()]
    kept = sum(
        1 + len(c.receipts) + len(c.counts) + len(c.claims) + len(c.redemptions)
        for c in dossier.cases.values()
    )
    assert kept + len(dossier.worthless) <= len(said)
    if not dossier.cases:
        raise ProtocolError("dossier", "has no contract")
