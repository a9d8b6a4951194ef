"""Receipts beside packets in made worlds: both ends' connections to the relay, opened and held."""

from typing import ClassVar

from made_worlds import World, world
from test_unsealed import BACK, BYTES, HEADER, NOISE, Said, data, segments

from testbed.evidence.account import WireAccount
from testbed.evidence.rent import read_rent
from testbed.model.breach import Breach, CheatProven, ReceiptDisputed, WorthlessStatements
from testbed.model.contract import Accounted
from testbed.traversal import PeerId, PrivateKey, noise
from testbed.traversal.rent import HOP_PROTOCOL, STOP_PROTOCOL
from testbed.traversal.rent.contract import Contract, Deal, Offer, terms
from testbed.traversal.rent.dossier import lines
from testbed.traversal.rent.statements import Claim, Receipt
from testbed.verdict.rent import check_rent

RELAY, PAYER, TARGET = (PrivateKey.from_seed(bytes([n]) * 32) for n in (11, 12, 13))
NAMES = [PeerId.from_public_key(key.public).multihash for key in (RELAY, PAYER, TARGET)]
OFFER = Offer(NAMES[0], terms(), 2000).seal(RELAY)
SIGNED = Contract(OFFER.data, NAMES[1], NAMES[2], 7, 1000, 1000, 9000).seal(PAYER)
DEAL = Deal.open(SIGNED.data)
PREFIX = bytes([len(SIGNED.data) & 0x7F | 0x80, len(SIGNED.data) >> 7])


def receipt(up: int, down: int, key: PrivateKey = PAYER) -> str:
    value = Receipt(DEAL.id, 1, 1500, up, down, 0, up, down, 1)
    return next(lines([value.seal(key)]))


class Paid:
    """A rented circuit in a world; the ends say what they signed, and their keys."""

    world: ClassVar[World] = world("libp2p")

    def __init__(self, *statements: str) -> None:
        packets, events = [], []
        for node, protocol in (("a", HOP_PROTOCOL), ("b", STOP_PROTOCOL)):
            log: list[str] = []
            ends = str(self.world.here[node]), str(self.world.told("server"))
            packets += segments(_said(log, protocol), ends=ends, node=node)
            told = (*lines([SIGNED]), *statements) if node == "a" else ()
            events.append((node, Accounted(at=0, statements=told, keys=tuple(log))))
        self.account = WireAccount(self.world.plan, packets, tuple(events))

    def check(self) -> list[Breach]:
        found = read_rent(self.account, ("a", "b"))
        assert found is not None
        return check_rent(found, "a")


def _said(log: list[str], protocol: str) -> Said:
    """What a node's connection to the relay carries: the circuit, and what comes before it."""
    a = noise.Handshake(PAYER, initiator=True, muxers=("/yamux/1.0.0",), key_log=log.append)
    b = noise.Handshake(RELAY, initiator=False, muxers=("/yamux/1.0.0",))
    said = [(True, HEADER + NOISE), (False, HEADER + NOISE)]
    for ours, writer, reader in ((True, a, b), (False, b, a), (True, a, b)):
        message = writer.data_to_send()
        reader.receive_data(message)
        said.append((ours, message))
    assert a.channel is not None
    assert b.channel is not None
    agreed = HEADER + bytes([len(protocol) + 1]) + protocol.encode() + b"\n"
    asks = protocol == HOP_PROTOCOL  # of the target it is asked
    for ours, body in ((asks, PREFIX + SIGNED.data), (not asks, b"\x02ok")):
        channel = a.channel if ours else b.channel
        said.append((ours, channel.seal(data(1, agreed + body))))
    for ours, body in ((asks, BYTES), (not asks, BACK)):
        channel = a.channel if ours else b.channel
        said.append((ours, channel.seal(data(1, body))))
    return said


def test_a_receipt_for_what_the_packets_of_both_ends_show_is_let_pass() -> None:
    assert Paid(receipt(len(BYTES), len(BACK))).check() == []


def test_a_receipt_for_a_byte_more_or_less_is_disputed() -> None:
    for up, down in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        (found,) = Paid(receipt(len(BYTES) + up, len(BACK) + down)).check()
        assert isinstance(found, ReceiptDisputed)
        assert (found.carriage.seen_up, found.carriage.seen_down) == (len(BYTES), len(BACK))


def test_a_cheat_that_the_statements_prove_is_found_and_so_are_worthless_ones() -> None:
    inflated = next(lines([Claim(DEAL.id, 1, 1200, 1 << 20, 0, b"").seal(RELAY)]))
    proven = Paid(receipt(len(BYTES), len(BACK)), inflated, "receipt AAAA").check()
    assert [type(one) for one in proven] == [CheatProven, WorthlessStatements]
