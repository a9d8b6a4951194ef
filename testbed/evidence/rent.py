"""What was paid for, beside what the packets show of it.

Receipts are opened by their signatures, packets by the keys that the ends logged: neither the
ends' own counters nor the relay's are asked.
"""

from collections.abc import Iterator

from testbed.evidence.account import WireAccount
from testbed.evidence.unsealed import Connection, connections, keys
from testbed.evidence.unsealed.stream import frame
from testbed.model.contract import Accounted
from testbed.model.frozen import FrozenValue
from testbed.model.rent import Carriage, Proven
from testbed.traversal.rent import HOP_PROTOCOL, STOP_PROTOCOL
from testbed.traversal.rent.case import Case
from testbed.traversal.rent.dossier import Dossier


class Rented(FrozenValue):
    """What the dialer's statements come to."""

    carried: tuple[Carriage, ...]
    proven: tuple[Proven, ...] = ()
    worthless: int = 0  # statements that no signature stands behind


def read_rent(account: WireAccount, ends: tuple[str, str]) -> Rented | None:
    """Of the dialer and the listener; None where nobody told of any statements."""
    told = {
        node: event for node, event in account.events or () if isinstance(event, Accounted)
    }  # the last of each
    dialer, listener = ends
    if dialer not in told:
        return None
    dossier = Dossier.parse("\n".join(told[dialer].statements))
    near, far = (
        connections(account.seen(node), keys(told[node].keys)) if node in told else []
        for node in (dialer, listener)
    )
    proven = (
        Proven(finding.cheat.value, str(finding.accused), finding.contract.hex())
        for finding in dossier.findings()
    )
    carried = tuple(_carriage(case, near, far) for case in dossier.cases.values())
    return Rented(carried, tuple(proven), len(dossier.worthless))


def _carriage(case: Case, near: list[Connection], far: list[Connection]) -> Carriage:
    deal, paid = case.deal, case.paid
    contract = deal.data
    at_payer = next(_circuits(near, HOP_PROTOCOL, contract), None)
    at_target = next(_circuits(far, STOP_PROTOCOL, contract), None)
    seen_up = seen_down = None
    if at_payer is not None and at_target is not None:
        sent, got = at_payer[1]
        answered, received = at_target[1]
        seen_up, seen_down = min(sent, received), min(got, answered)
    packets = at_payer[0].packets if at_payer is not None else ()
    return Carriage(
        contract=deal.id.hex(),
        relay=str(deal.relay),
        up=paid.value.up if paid else 0,
        down=paid.value.down if paid else 0,
        cost=case.cost(paid.value) if paid else 0,
        seen_up=seen_up,
        seen_down=seen_down,
        packets=len(packets),
        size=sum(packet.length for packet in packets),
    )


def _circuits(
    found: list[Connection], protocol: str, contract: bytes
) -> Iterator[tuple[Connection, tuple[int, int]]]:
    """Where the circuit of a contract is, and how many of its bytes the node sent and got there.

    Each direction begins with a frame: the contract, and the answer.
    """
    for connection in found:
        for stream in connection.streams:
            (first, sent), (other, got) = frame(stream.sent), frame(stream.got)
            if stream.protocol == protocol and contract in (first, other):
                yield connection, (len(sent), len(got))
