"""The table of `sly_cheats`, with what is due to each."""

from collections.abc import Mapping

import sly_cheats as sly
from cheats import punches_nothing, writing
from zoo import Cheat, cheat

from testbed.model.breach import BreachKind as B
from testbed.model.fault import FaultKind as K
from testbed.model.verdict import Judgement
from testbed.stacks.punch_tcp import TcpPuncher
from testbed.stacks.punch_udp import UdpPuncher
from testbed.studies.punch.cell import Cell

FAIL, INCONCLUSIVE = Judgement.FAIL, Judgement.INCONCLUSIVE
CLOSED = Cell("punch-udp", ("symmetric", "port-restricted"))  # none is predicted
CLOSED_TCP = Cell("punch-tcp", ("symmetric", "symmetric"))
OPEN = Cell("punch-udp", ("full-cone", "full-cone"))  # direct is
ICE = Cell("ice", ("symmetric", "symmetric"))  # relayed is
RELAYED = Cell("traversal-tcp", ("symmetric", "symmetric"), "libp2p")
RELAYED_QUIC = Cell("traversal-quic", ("symmetric", "symmetric"), "libp2p")
PUNCHED = Cell("traversal-tcp", ("port-restricted", "port-restricted"), "libp2p")

IDLE = (
    ("go-tcp", "libp2p"),
    ("rust-quic", "libp2p"),
    ("py-tcp", "three-continents"),
    ("go-quic", "double-nat-both"),
)

SLY: Mapping[str, Cheat] = {
    # who only looks as if it tried
    "offers a stranger's address": cheat(
        CLOSED, sly.offers_of_its_own(UdpPuncher, sly.a_strangers), FAIL, B.TRIED_LITTLE
    ),
    "offers a port that it was not told": cheat(
        CLOSED, sly.offers_of_its_own(UdpPuncher, sly.the_next_port), FAIL, B.TRIED_LITTLE
    ),
    "offers a stranger's address over TCP": cheat(
        CLOSED_TCP, sly.offers_of_its_own(TcpPuncher, sly.a_strangers), FAIL, B.TRIED_LITTLE
    ),
    "probes as far as its first router": cheat(
        CLOSED, sly.with_a_ttl_of_one, FAIL, B.TRIED_LITTLE
    ),
    "checks as nobody would answer": cheat(
        ICE, sly.checks_that_nobody_would_answer, FAIL, B.TRIED_LITTLE
    ),
    "sends noise for dials over TCP": cheat(
        RELAYED, sly.sends_noise_for_dials, FAIL, B.TRIED_LITTLE
    ),
    "sends noise for dials over QUIC": cheat(
        RELAYED_QUIC, sly.sends_noise_for_dials, FAIL, B.TRIED_LITTLE
    ),
    "stops after its first attempt": cheat(
        RELAYED, sly.stops_after_one_attempt, FAIL, B.TRIED_LITTLE
    ),
    # stacks of others whose programs never try, where relayed is predicted
    **{
        f"says that it punches as {stack}, in {world}": cheat(
            Cell(stack, ("symmetric",) * 2, world), punches_nothing, FAIL, B.TRIED_LITTLE,
            f"traversal-{stack.partition('-')[2]}",
        )
        for stack, world in IDLE
    },
    # who says what is not so
    "was connected before anything came": cheat(
        OPEN, sly.connected_otherwise(sly.too_soon), FAIL, B.UNFOUNDED
    ),
    "is connected to a stranger": cheat(
        OPEN, sly.connected_otherwise(sly.to_a_stranger), FAIL, B.UNFOUNDED
    ),
    "sends back a tenth of the echo": cheat(OPEN, sly.echoes_a_tenth, FAIL),
    "upgrades in words": cheat(RELAYED, sly.upgrades_in_words, FAIL, B.FALSE_CLAIM),
    # public nodes that cheat
    "relays with a byte changed": cheat(PUNCHED, sly.tampers_with_circuits, FAIL),
    "tells peers wrong addresses": cheat(PUNCHED, sly.tells_wrong_addresses, FAIL),
    # who breaks the conversation
    "tells a time of 4000 digits": cheat(
        CLOSED, writing(sly.a_time_of_many_digits()), INCONCLUSIVE, K.PEER_FAILED
    ),
    "says a line that is deep": cheat(
        CLOSED, writing(sly.a_deep_line()), INCONCLUSIVE, K.PEER_FAILED
    ),
    "tells of steps without end": cheat(
        CLOSED, writing(sly.right_events_without_end()), INCONCLUSIVE, K.PEER_FAILED
    ),
    "reads nothing any more": cheat(
        CLOSED, sly.reads_nothing_more, INCONCLUSIVE, K.PEER_FAILED
    ),
}  # fmt: skip
