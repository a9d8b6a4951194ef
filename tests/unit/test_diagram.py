"""The diagram shows what mattered, once, between the right nodes, however long the run was."""

from typing import Any

import pytest
from ways import Wire, evidence, lab, labelled

from testbed.evidence.protocols.notes import noted
from testbed.explain.diagram import COMFORT, LIMIT, columns, diagram
from testbed.explain.worth import Worth, worth
from testbed.model.explanation import Diagram
from testbed.model.journey import Fate, Hop, Journey, Label, LabelNote, NoteKind, Weight
from testbed.model.packet import ACK, SYN
from testbed.model.refusal import Refusal
from testbed.model.statement.filters import Answered, Dropped

FILLER: dict[str, Any] = {"weight": Weight.USUAL, "filler": True}


def test_the_dialers_side_is_left_and_the_listeners_right() -> None:
    assert columns(lab().topology, "a", "b") == ("a", "nat-a", "core", "server", "nat-b", "b")
    assert columns(lab().topology, "b", "a") == ("b", "nat-b", "core", "server", "nat-a", "a")


def test_a_nat_that_both_are_behind_is_there_once() -> None:
    assert columns(lab("carrier").topology, "a", "b") == (
        *("a", "nat-a", "cgn", "core", "server", "nat-b", "b"),
    )
    assert columns(lab("same-lan").topology, "a", "b") == ("a", "nat-a", "core", "server", "b")


def test_a_neighbour_stands_between_a_peer_and_its_nat() -> None:
    party = lab("lan-party").topology
    assert columns(party, "a", "server")[:5] == ("a", "b", "c", "d", "nat-a")


def test_every_node_of_every_preset_has_one_column() -> None:
    for name in (
        "libp2p",
        "carrier",
        "same-lan",
        "lan-party",
        "relay-behind-cgn",
        "three-continents",
    ):
        topology = lab(name).topology
        nodes = {node.name for node in topology.routers} | {node.name for node in topology.hosts}
        found = columns(topology, "a", "server")
        assert sorted(found) == sorted({*nodes, *topology.cores}), name


def test_arrows_have_the_addresses_of_their_part_of_the_way_and_pass_the_core() -> None:
    journey = Wire().punch(1.5)
    [message] = diagram(evidence(), [journey], labelled([journey]), ()).messages
    inside, outside = message.segments
    assert (inside.start, inside.to, inside.end) == ("a", "nat-a", Fate.TRANSLATED)
    assert str(inside.source) == "10.0.0.2:4001"
    assert (outside.start, outside.to, outside.end) == ("nat-a", "nat-b", Fate.DROPPED)
    assert str(outside.source) == "29.0.0.2:35968"
    assert outside.note == Dropped((Refusal.UNSOLICITED,))
    assert {*inside.packets, *outside.packets} == set(journey.packets)
    assert message.time_ms == 1.5


def test_the_core_is_shown_only_where_a_packet_ended_there() -> None:
    wire = Wire()
    ended = wire.way(
        0,
        ("a", "10.0.0.2:4001", "10.0.1.2:4001"),
        ("nat-a", "29.0.0.2:4001", "10.0.1.2:4001"),
        ("core", "29.0.0.2:4001", "10.0.1.2:4001"),
        fate=Fate.DROPPED,
    )
    passed = wire.punch(1)
    both = diagram(evidence(), [ended, passed], labelled([ended, passed]), ())
    assert both.columns == ("a", "nat-a", "core", "nat-b")
    assert diagram(evidence(), [passed], labelled([passed]), ()).columns == ("a", "nat-a", "nat-b")


def test_a_packet_that_was_seen_at_one_node_stays_there() -> None:
    packet = Wire().packet("nat-b", 0, "9.9.9.9:1", "29.0.0.18:1")
    journey = Journey((Hop("nat-b", Fate.DROPPED, inward=packet),))
    [message] = diagram(evidence(), [journey], {}, ()).messages
    assert [(part.start, part.to) for part in message.segments] == [("nat-b", "nat-b")]
    assert message.segments[0].packets == (packet.number,)


def test_repeats_in_turn_are_counted_and_not_repeated() -> None:
    wire = Wire()
    journeys = [j for ms in range(40) for j in (wire.punch(ms), wire.counter_punch(ms))]
    found = diagram(evidence(), journeys, labelled(journeys), ())
    assert [message.count for message in found.messages] == [40, 40]
    assert found.omitted == 0


def test_what_fares_differently_is_no_repeat() -> None:
    wire = Wire()
    journeys = [wire.punch(0), wire.punch(1, fate=Fate.LOST, rules=())]
    found = diagram(evidence(), journeys, labelled(journeys), ())
    assert [message.segments[-1].end for message in found.messages] == [Fate.DROPPED, Fate.LOST]


def test_repeats_after_something_new_are_told_after_it() -> None:
    wire = Wire()
    journeys = [wire.punch(0), wire.punch(1), wire.asked(2), wire.punch(3)]
    found = diagram(evidence(), journeys, labelled(journeys), ())
    assert [(message.count, len(message.segments)) for message in found.messages] == [
        (2, 2),
        (1, 2),
        (1, 2),
    ]
    assert [message.time_ms for message in found.messages] == [0, 2, 3]


def test_bursts_in_turn_do_not_fill_the_diagram() -> None:
    wire = Wire()
    burst = [wire.punch, wire.punch, wire.punch, wire.counter_punch, wire.counter_punch]
    journeys = [burst[ms % 5](ms) for ms in range(100)]
    found = diagram(evidence(), journeys, labelled(journeys), ())
    assert [message.count for message in found.messages] == [3, 40, 57]


def test_a_decisive_packet_has_a_message_of_its_own_among_its_like() -> None:
    wire = Wire()
    journeys = [wire.punch(ms) for ms in range(5)]
    decisive = journeys[2].packets[-1:]
    found = diagram(evidence(), journeys, labelled(journeys), decisive)
    assert [(message.count, message.decisive) for message in found.messages] == [
        *((2, False), (1, True), (2, False)),
    ]


def bare_ack(wire: Wire, ms: float, **more: Any) -> Journey:
    return wire.asked(ms, protocol="tcp", tcp_flags=ACK, payload=b"", **more)


def test_usual_traffic_is_left_out_and_counted() -> None:
    wire = Wire()
    usual = [
        bare_ack(wire, 0),
        wire.asked(1),
        wire.asked(2, protocol="other"),
        wire.asked(3, server="observer-1"),
    ]
    told = labelled(usual) | {
        usual[1].first.number: Label("turn", "Refresh request", weight=Weight.NOTHING)
    }
    opening = wire.asked(4, protocol="tcp", tcp_flags=SYN, payload=b"")
    found = diagram(evidence(lab("libp2p")), [*usual, opening], told, ())
    assert len(found.messages) == 1
    assert found.omitted == 4


def test_usual_traffic_that_decided_is_shown() -> None:
    ack = bare_ack(Wire(), 0)
    found = diagram(evidence(), [ack], {}, ack.packets)
    assert [message.decisive for message in found.messages] == [True]


@pytest.mark.parametrize("length", [LIMIT, 5000])
def test_a_diagram_is_short_however_long_the_run(length: int) -> None:
    wire = Wire()
    journeys = [
        wire.way(
            ms,
            ("a", "10.0.0.2:4001", f"29.0.0.34:{ms + 1}"),
            ("nat-a", "29.0.0.2:4001", f"29.0.0.34:{ms + 1}"),
            ("server", "29.0.0.2:4001", f"29.0.0.34:{ms + 1}"),
        )
        for ms in range(length)
    ]
    last = journeys[-1]
    found = diagram(evidence(), journeys, labelled(journeys), last.packets)
    assert len(found.messages) == LIMIT
    assert found.messages[-1].decisive
    assert found.omitted + sum(message.count for message in found.messages) == length


def test_where_there_is_not_room_for_all_trouble_goes_before_payload() -> None:
    wire = Wire()
    payload = [wire.asked(ms, server="server", payload=b"x") for ms in range(1)]
    many = []
    for port in range(1, 100):
        ends = (f"10.0.0.2:{port}", "29.0.0.34:9"), (f"29.0.0.2:{port}", "29.0.0.34:9")
        many.append(wire.way(port, ("a", *ends[0]), ("nat-a", *ends[1]), ("server", *ends[1])))
    trouble = wire.punch(200)
    journeys = [*payload, *many, trouble]
    told = labelled([*payload, *many], "udp", "100 bytes", **FILLER) | labelled([trouble])
    found = diagram(evidence(), journeys, told, ())
    assert [message.segments[-1].end for message in found.messages] == [Fate.DROPPED]


def test_sizes_alone_make_no_difference() -> None:
    wire = Wire()
    journeys = [wire.asked(0), wire.asked(1)]
    told = {j.first.number: Label("tcp", f"{n} bytes") for n, j in enumerate(journeys)}
    assert [message.count for message in diagram(evidence(), journeys, told, ()).messages] == [2]


def test_an_answer_is_an_arrow_back_and_a_sealed_step_is_its_step() -> None:
    journeys = [Wire().asked(0)]
    answer = LabelNote(NoteKind.ANSWER, "answer to #1")
    success = Label("stun", "Binding success: 29.0.0.2:31939", notes=(answer,))
    sealed = Label("noise", "encrypted, 33 bytes", sealed=True, **FILLER)
    for label, words in (
        (success, "Binding success: 29.0.0.2:31939"),
        (noted(sealed, "relay: RESERVE"), "relay: RESERVE"),
        (noted(sealed, "DCUtR CONNECT 1, b to a"), "DCUtR CONNECT 1, b to a"),
        (sealed, "encrypted, 33 bytes"),
    ):
        told = {journeys[0].first.number: label}
        [message] = diagram(evidence(), journeys, told, ()).messages
        assert message.label == words


def test_what_a_packet_says_is_worth_more_than_that_it_says_something() -> None:
    """A step that is known of what is encrypted makes it telling; an answer does not."""
    [journey] = [Wire().asked(0)]
    sealed = Label("noise", "encrypted, 33 bytes", sealed=True, **FILLER)
    assert worth(journey, sealed) is Worth.USUAL
    assert worth(journey, noted(sealed, "relay: RESERVE")) is Worth.EXCHANGE
    assert worth(journey, noted(sealed, "answer to #1", kind=NoteKind.ANSWER)) is Worth.USUAL
    assert worth(journey, Label("x", "Refresh", weight=Weight.NOTHING)) is Worth.NOTHING
    assert worth(journey, Label("x", "encrypted, 33 bytes")) is Worth.EXCHANGE


def test_a_retransmission_and_another_attempt_say_the_same_but_another_address_does_not() -> None:
    again = LabelNote(NoteKind.AGAIN, "retransmission 2 of #7")
    first, second = (LabelNote(NoteKind.CONTEXT, f"punch of attempt {n}") for n in (1, 2))
    syns = [
        Label("x", "SYN", notes=(first,)),
        Label("x", "SYN", notes=(again, first)),
        Label("x", "SYN", notes=(again, second)),
    ]
    texts = [
        "Binding success: 29.0.0.2:31939",
        "Binding success: 29.0.0.2:31940",
        "ChannelData 0x4000: echo 1",
        "ChannelData 0x4000: echo 2",
        "ChannelData 0x4001: echo 2",
    ]
    wire = Wire()
    said = [*syns, *(Label("x", text) for text in texts)]
    journeys = [wire.asked(ms) for ms in range(len(said))]
    told = {j.first.number: label for j, label in zip(journeys, said, strict=True)}
    found = diagram(evidence(), journeys, told, ())
    assert [(message.label, message.count) for message in found.messages] == [
        ("SYN, punch of attempt 1", 3),
        *((texts[0], 1), (texts[1], 1), (texts[2], 2), (texts[4], 1)),
    ]


def test_payload_is_shown_only_where_the_diagram_stays_comfortable() -> None:
    def messages_with(others: int) -> Diagram:
        wire = Wire()
        many = [
            wire.way(
                ms,
                ("a", f"10.0.0.2:{ms + 1}", "29.0.0.34:9"),
                ("server", f"10.0.0.2:{ms + 1}", "29.0.0.34:9"),
            )
            for ms in range(others)
        ]
        payload = wire.asked(others)
        told = labelled(many) | labelled([payload], "tcp", "data, 1200 bytes", **FILLER)
        return diagram(evidence(), [*many, payload], told, ())

    few, many = messages_with(COMFORT - 1), messages_with(COMFORT)
    assert (len(few.messages), few.omitted) == (COMFORT, 0)
    assert (len(many.messages), many.omitted) == (COMFORT, 1)


def test_what_the_capture_ended_on_is_left_out() -> None:
    for length in (1, 2, 3):
        journey = Journey(Wire().punch(0).hops[:length])
        assert diagram(evidence(), [journey], labelled([journey]), ()).omitted == 1
        decided = diagram(evidence(), [journey], labelled([journey]), journey.packets)
        assert "core" not in decided.columns


def test_a_reset_says_what_the_router_answered() -> None:
    wire = Wire()
    journey = wire.punch(0, fate=Fate.REJECTED, rules=())
    answer = wire.packet("nat-b", 1, "29.0.0.18:4001", "29.0.0.2:35968", protocol="tcp")
    journey = Journey((*journey.hops[:-1], Hop("nat-b", Fate.REJECTED, None, None, (), answer)))
    told = labelled([journey])
    [message] = diagram(evidence(), [journey], told, ()).messages
    assert message.segments[-1].note == Answered(protocol="tcp")
    told[answer.number] = Label("icmp", "port unreachable")
    [message] = diagram(evidence(), [journey], told, ()).messages
    assert message.segments[-1].note == Answered("port unreachable", "tcp")


def test_time_counts_from_the_common_start_else_from_the_first_packet() -> None:
    journeys = [Wire().punch(100)]
    started = diagram(evidence(start_ns=40_000_000), journeys, {}, ())
    never = diagram(evidence(start_ns=None), journeys, {}, ())
    assert [diagram.messages[0].time_ms for diagram in (started, never)] == [60, 0]


def test_nothing_seen_is_an_empty_diagram() -> None:
    assert diagram(evidence(), [], {}, ()).columns == ()
