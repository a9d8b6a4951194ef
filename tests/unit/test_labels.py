"""What a packet's label owes to the packets before it, and to what the peers told."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import count
from typing import Any

import pytest
from counting import lines, require_linear
from hypothesis import given
from hypothesis import strategies as st

from testbed.evidence.labels import labels
from testbed.model.contract import (
    Connected,
    Event,
    Observed,
    Offer,
    Offered,
    Path,
    Reserved,
    Step,
    StepName,
)
from testbed.model.contract import Endpoint as Spoken
from testbed.model.journey import Fate, Hop, Journey, Label
from testbed.model.packet import ACK, FIN, PSH, RST, SYN, Endpoint, Packet, Quoted

MS = 1_000_000
WAY = 20  # ms from host to host
RELAY = "29.0.0.34:4001"
INSIDE = {"a": "10.0.0.2:4001", "b": "10.0.1.2:4001", "server": RELAY}
OUTSIDE = {"a": "29.0.0.2:4001", "b": "29.0.0.18:4001", "server": RELAY}
NATS = {"a": "nat-a", "b": "nat-b"}


def end(text: str) -> Endpoint:
    address, port = text.split(":")
    return Endpoint(IPv4Address(address), int(port))


class Story:
    """Journeys between a, b (each behind a NAT) and the public server, told in ms."""

    def __init__(self) -> None:
        self.journeys: list[Journey] = []
        self.events: list[tuple[str, Event]] = []
        self._numbers = count(1)

    def sight(self, node: str, ms: float, out: bool, ends: tuple[str, str], **more: Any) -> Packet:
        known: dict[str, Any] = {
            "number": next(self._numbers),
            "vantage": f"{node}:eth0",
            "time_ns": int(ms * MS),
            "outgoing": out,
            "ethertype": 0x0800,
            "protocol": "udp",
            "source": end(ends[0]),
            "destination": end(ends[1]),
            "ttl": 64,
            "ip_id": 0,
            "tcp_flags": 0,
            "tcp_seq": 0,
            "tcp_ack": 0,
            "icmp_type": None,
            "icmp_code": None,
            "quoted": None,
            "payload": b"",
            "original_length": 0,
            "frame": b"",
        }
        return Packet(**(known | more))

    def sent(self, ms: float, source: str, to: str, lost_at: str | None = None, **more: Any) -> int:
        """From host to host through their NATs, or as far as ``lost_at``; gives its number."""
        inner = (INSIDE[source], OUTSIDE[to])
        middle = (OUTSIDE[source], OUTSIDE[to])
        last = (OUTSIDE[source], INSIDE[to])
        hops = [Hop(source, Fate.SENT, outward=self.sight(source, ms, True, inner, **more))]
        if source in NATS:
            inward = self.sight(NATS[source], ms, False, inner, **more)
            outward = self.sight(NATS[source], ms, True, middle, **more)
            hops.append(Hop(NATS[source], Fate.TRANSLATED, inward, outward))
        late = ms + WAY
        if to in NATS:
            inward = self.sight(NATS[to], late, False, middle, **more)
            if lost_at == NATS[to]:
                hops.append(Hop(NATS[to], Fate.DROPPED, inward))
            else:
                outward = self.sight(NATS[to], late, True, last, **more)
                hops.append(Hop(NATS[to], Fate.TRANSLATED, inward, outward))
        if lost_at is None:
            arrived = self.sight(to, late, False, last, **more)
            hops.append(Hop(to, Fate.ARRIVED, arrived))
        self.journeys.append(Journey(tuple(hops)))
        return self.journeys[-1].first.number

    def tcp(self, ms: float, source: str, to: str, flags: int, **more: Any) -> int:
        return self.sent(ms, source, to, protocol="tcp", tcp_flags=flags, **more)

    def says(self, ms: float, node: str, event: Event) -> None:
        self.events.append((node, event.model_copy(update={"at": int(ms * MS)})))

    def step(self, ms: float, node: str, name: StepName, attempt: int = 1) -> None:
        self.says(ms, node, Step(at=0, name=name, attempt=attempt, realtime=int(ms * MS)))

    def read(self) -> dict[int, Label]:
        self.journeys.sort(key=lambda journey: journey.first.time_ns)
        return dict(labels(self.journeys, self.events, 0))

    def text(self, number: int) -> str:
        return self.read()[number].text


# TCP.


def test_syns_that_cross_name_one_another() -> None:
    story = Story()
    a = story.tcp(0, "a", "b", SYN, tcp_seq=100)
    b = story.tcp(5, "b", "a", SYN, tcp_seq=900)
    ack_a = story.tcp(25, "a", "b", SYN | ACK, tcp_seq=100, tcp_ack=901)
    ack_b = story.tcp(20, "b", "a", SYN | ACK, tcp_seq=900, tcp_ack=101)
    said = story.read()
    assert said[a].text == f"SYN, crosses #{b}"
    assert said[b].text == f"SYN, crosses #{a}"
    assert said[ack_a].text == f"SYN-ACK, simultaneous open after #{a}, answer to #{b}"
    assert said[ack_b].text == f"SYN-ACK, simultaneous open after #{b}, answer to #{a}"


def test_syns_cross_also_where_one_is_dropped_at_the_other_nat() -> None:
    story = Story()
    a = story.tcp(0, "a", "b", SYN, tcp_seq=100, lost_at="nat-b")
    b = story.tcp(5, "b", "a", SYN, tcp_seq=900)
    assert story.text(a) == f"SYN, crosses #{b}"


def test_syns_one_after_the_other_do_not_cross() -> None:
    story = Story()
    a = story.tcp(0, "a", "b", SYN, tcp_seq=100, lost_at="nat-b")
    b = story.tcp(WAY + 1, "b", "a", SYN, tcp_seq=900)
    said = story.read()
    assert (said[a].text, said[b].text) == ("SYN", "SYN")


def test_syns_between_other_ports_do_not_cross() -> None:
    story = Story()
    a = story.tcp(0, "a", "b", SYN, tcp_seq=100)
    story.tcp(1, "server", "a", SYN, tcp_seq=900)
    assert story.text(a) == "SYN"


def test_a_handshake_is_followed() -> None:
    story = Story()
    syn = story.tcp(0, "a", "server", SYN, tcp_seq=100)
    synack = story.tcp(20, "server", "a", SYN | ACK, tcp_seq=900, tcp_ack=101)
    ack = story.tcp(40, "a", "server", ACK, tcp_seq=101, tcp_ack=901)
    later = story.tcp(50, "a", "server", ACK, tcp_seq=101, tcp_ack=901)
    said = story.read()
    assert said[synack].text == f"SYN-ACK, answer to #{syn}"
    assert said[ack].text == f"ACK of #{synack}"
    assert said[later].text == "ACK"


def test_a_syn_ack_to_another_number_answers_nothing() -> None:
    story = Story()
    story.tcp(0, "a", "server", SYN, tcp_seq=100)
    synack = story.tcp(20, "server", "a", SYN | ACK, tcp_seq=900, tcp_ack=500)
    assert story.text(synack) == "SYN-ACK"


def test_an_answer_cannot_leave_before_what_it_answers_is_there() -> None:
    story = Story()
    story.tcp(0, "a", "server", SYN, tcp_seq=100)
    early = story.tcp(WAY - 1, "server", "a", SYN | ACK, tcp_seq=900, tcp_ack=101)
    assert story.text(early) == "SYN-ACK"


def test_retransmissions_are_numbered() -> None:
    story = Story()
    first, second, third = (
        story.tcp(at, "a", "b", SYN, tcp_seq=100, lost_at="nat-b") for at in (0, 1000, 3000)
    )
    anew = story.tcp(4000, "a", "b", SYN, tcp_seq=200, lost_at="nat-b")
    said = story.read()
    assert said[second].text == f"SYN, retransmission 1 of #{first}"
    assert said[third].text == f"SYN, retransmission 2 of #{first}"
    assert said[third].field("repetition") == "2"
    assert said[anew].text == "SYN"


def test_data_and_fin_are_retransmitted_but_acknowledgements_are_not() -> None:
    story = Story()
    data = {"tcp_seq": 101, "payload": b"\xff" * 10}
    first = story.tcp(0, "a", "b", PSH | ACK, **data)
    again = story.tcp(300, "a", "b", PSH | ACK, **data)
    fin = story.tcp(400, "a", "b", FIN | ACK, tcp_seq=111)
    fin_again = story.tcp(800, "a", "b", FIN | ACK, tcp_seq=111)
    for at in (900, 901):
        ack = story.tcp(at, "a", "b", ACK, tcp_seq=112)
    said = story.read()
    assert said[again].text == f"data, 10 bytes, retransmission 1 of #{first}"
    assert said[fin_again].text == f"FIN, retransmission 1 of #{fin}"
    assert said[ack].text == "ACK"


def rejected(story: Story, ms: float, answer: dict[str, object]) -> int:
    """nat-b itself answers what a sends to b."""
    reply = story.sight("nat-b", ms, True, (OUTSIDE["b"], OUTSIDE["a"]), **answer)
    there = story.sight("a", ms + WAY, False, (OUTSIDE["b"], INSIDE["a"]), **answer)
    hops = (Hop("nat-b", Fate.SENT, outward=reply), Hop("a", Fate.ARRIVED, inward=there))
    story.journeys.append(Journey(hops))
    return reply.number


def test_a_reset_says_which_syn_it_refuses() -> None:
    story = Story()
    syn = story.tcp(0, "a", "b", SYN, tcp_seq=100, lost_at="nat-b")
    refusal = {"protocol": "tcp", "tcp_flags": RST | ACK, "tcp_ack": 101}
    assert story.text(rejected(story, WAY, refusal)) == f"RST, answer to #{syn}"


def test_a_reset_without_ack_says_whose_number_it_took_over() -> None:
    story = Story()
    synack = story.tcp(0, "a", "b", SYN | ACK, tcp_seq=100, tcp_ack=777, lost_at="nat-b")
    refusal = {"protocol": "tcp", "tcp_flags": RST, "tcp_seq": 777}
    assert story.text(rejected(story, WAY, refusal)) == f"RST, answer to #{synack}"


def test_an_icmp_error_says_which_packet_it_complains_about() -> None:
    story = Story()
    story.sent(0, "a", "b", payload=b"one", ip_id=6, lost_at="nat-b")
    sent = story.sent(1, "a", "b", payload=b"two", ip_id=7, lost_at="nat-b")
    quoted = Quoted("udp", end(OUTSIDE["a"]), end(OUTSIDE["b"]), 7)
    error = {"protocol": "icmp", "icmp_type": 3, "icmp_code": 3, "quoted": quoted}
    assert story.text(rejected(story, WAY + 1, error)) == (
        f"port unreachable: udp 29.0.0.2:4001 to 29.0.0.18:4001, answer to #{sent}"
    )


# STUN.

COOKIE = b"\x21\x12\xa4\x42"


def stun(kind: bytes, transaction: bytes) -> bytes:
    return kind + b"\0\0" + COOKIE + transaction * 12


def test_stun_is_answered_by_transaction() -> None:
    story = Story()
    first = story.sent(0, "a", "server", payload=stun(b"\0\1", b"x"))
    again = story.sent(500, "a", "server", payload=stun(b"\0\1", b"x"))
    other = story.sent(501, "a", "server", payload=stun(b"\0\1", b"y"))
    answer = story.sent(521, "server", "a", payload=stun(b"\1\1", b"x"))
    stray = story.sent(522, "server", "a", payload=stun(b"\1\1", b"z"))
    said = story.read()
    assert said[again].text == f"Binding request, retransmission 1 of #{first}"
    assert said[other].text == "Binding request"
    assert said[answer].field("answers") == f"#{again}"
    assert said[stray].field("answers") is None


def test_our_probes_are_answered_by_number() -> None:
    story = Story()
    head = b"\xf5tb1%c\0" + bytes(16) + b"\0\0\0%c\0\0"
    probe = story.sent(0, "a", "b", payload=head % (1, 7))
    story.sent(1, "a", "b", payload=head % (1, 8))
    answer = story.sent(30, "b", "a", payload=head % (2, 7))
    assert story.text(answer) == f"ACK 7, answer to #{probe}"


# Streams.

HEADER, NOISE = b"\x13/multistream/1.0.0\n", b"\x07/noise\n"


def stream(story: Story, source: str, to: str, *segments: bytes) -> list[str]:
    """The texts of segments in a row."""
    seq, found = 101, []
    story.tcp(0, source, to, SYN, tcp_seq=100)
    for at, payload in enumerate(segments, 1):
        found.append(story.tcp(at, source, to, PSH | ACK, tcp_seq=seq, payload=payload))
        seq += len(payload)
    said = story.read()
    return [said[number].text for number in found]


def test_the_noise_handshake_is_numbered_by_its_roles() -> None:
    story = Story()
    client = stream(
        story, "a", "b",
        HEADER + NOISE + b"\0\x20" + bytes(32), b"\0\x80" + bytes(128), b"\0\x20" + bytes(32),
    )  # fmt: skip
    assert client == [
        "/multistream/1.0.0 + /noise + Noise XX message 1",
        "Noise XX message 3",
        "encrypted, 34 bytes",
    ]
    server = stream(Story(), "b", "a", HEADER, NOISE, b"\0\xd8" + bytes(216), b"\0\x20" + bytes(32))
    assert server[2:] == ["Noise XX message 2", "encrypted, 34 bytes"]


def test_a_message_may_span_segments() -> None:
    turn = b"\x40\x00\x00\x64" + bytes(100)
    bound = stun(b"\1\x09", b"x")
    assert stream(Story(), "server", "a", bound + turn[:50], turn[50:] + bound, bound) == [
        "ChannelBind success + ChannelData 0x4000: 100 bytes",
        "rest of a message, 54 bytes + ChannelBind success",
        "ChannelBind success",
    ]


def test_after_a_gap_nothing_is_guessed() -> None:
    story = Story()
    story.tcp(0, "a", "b", SYN, tcp_seq=100)
    story.tcp(1, "a", "b", PSH | ACK, tcp_seq=101, payload=HEADER + NOISE)
    later = story.tcp(2, "a", "b", PSH | ACK, tcp_seq=500, payload=b"\0\x20" + bytes(32))
    last = story.tcp(3, "a", "b", PSH | ACK, tcp_seq=534, payload=b"\0\x20" + bytes(32))
    assert [story.text(number) for number in (later, last)] == ["data, 34 bytes"] * 2


def test_a_message_may_span_many_segments() -> None:
    turn = b"\x40\x00\x00\x64" + bytes(100)
    bound = stun(b"\1\x09", b"x")
    assert stream(Story(), "server", "a", bound + turn[:50], turn[50:60], turn[60:] + bound)[
        1:
    ] == [
        "rest of a message, 10 bytes",
        "rest of a message, 44 bytes + ChannelBind success",
    ]


# QUIC.


def initial(destination: bytes, source: bytes, size: int = 1150) -> bytes:
    ids = bytes([len(destination)]) + destination + bytes([len(source)]) + source
    return b"\xc0\0\0\0\1" + ids + b"\0" + (0x4000 | size).to_bytes(2, "big") + bytes(size)


def connected(story: Story) -> None:
    story.sent(0, "a", "b", payload=initial(b"random--", b"client--"))
    story.sent(20, "b", "a", payload=initial(b"client--", b"server--"))


def test_an_initial_is_answered_and_said_again() -> None:
    story = Story()
    first = story.sent(0, "a", "b", payload=initial(b"random--", b"client--"), lost_at="nat-b")
    again = story.sent(200, "a", "b", payload=initial(b"random--", b"client--"))
    answer = story.sent(220, "b", "a", payload=initial(b"client--", b"server--"))
    said = story.read()
    assert said[again].text == f"Initial, again after #{first} (1)"
    assert said[answer].field("answers") in (f"#{first}", f"#{again}")


def test_a_short_header_to_a_known_id_is_1_rtt() -> None:
    story = Story()
    connected(story)
    known = story.sent(40, "a", "b", payload=b"\x41server--" + bytes(50))
    assert story.read()[known].field("DCID") == b"server--".hex()


def test_a_short_header_to_an_unknown_id_is_1_rtt_within_a_connection_alone() -> None:
    story = Story()
    connected(story)
    inside = story.sent(41, "a", "b", payload=b"\x41another-" + bytes(50))
    outside = story.sent(42, "a", "server", payload=b"\x41another-" + bytes(50))
    said = story.read()
    assert said[inside].text == "1-RTT, 59 bytes"
    assert said[outside].text == "59 bytes"


def test_random_bytes_of_a_quic_port_are_a_punch_datagram() -> None:
    story = Story()
    early = [story.sent(at, "b", "a", payload=b"\x55" * 64) for at in (0, 5)]
    story.sent(10, "a", "b", payload=initial(b"random--", b"client--"))
    story.sent(30, "b", "a", payload=initial(b"client--", b"server--"))
    late = story.sent(51, "b", "a", payload=b"\x44" * 64)
    said = story.read()
    assert [said[n].text for n in (*early, late)] == ["punch datagram"] * 3


def test_random_bytes_of_another_port_are_only_bytes() -> None:
    story = Story()
    connected(story)
    sent = story.sent(0, "server", "a", payload=b"\x55" * 64)
    assert story.text(sent) == "64 bytes"


# Relay and DCUtR.


def heard(address: str) -> Spoken:
    host, port = address.split(":")
    return Spoken(address=IPv4Address(host), port=int(port))


class Upgrade(Story):
    """A reservation, a circuit and a punch, by UDP payloads that nobody can read."""

    def __init__(self) -> None:
        super().__init__()
        self._secret = count(1)

    def secret(self, ms: float, source: str, to: str, size: int = 100) -> int:
        return self.sent(ms, source, to, payload=b"\x00" + bytes([next(self._secret)]) * size)

    def reserved(self) -> tuple[int, int]:
        self.secret(0, "b", "server")
        asked = self.secret(10, "b", "server", 40)
        self.secret(11, "b", "server", 32)  # an acknowledgement
        answer = self.secret(31, "server", "b", 300)
        event = Reserved(at=0, relay=heard(RELAY), circuit="/p2p-circuit")
        self.says(52, "b", event)
        for node in "ab":
            self.says(60, node, Offered(at=0, offer=Offer(addresses=(), ice=None)))
        return asked, answer

    def circuit(self) -> tuple[int, int, int]:
        hop = self.secret(100, "a", "server")
        self.secret(100.5, "a", "server", 40)  # no CONNECT fits in
        stop = self.secret(121, "server", "b")
        self.secret(142, "b", "server")
        up = self.secret(163, "server", "a")
        for node in "ab":
            local, remote = heard(INSIDE[node]), heard(RELAY)
            event = Connected(at=0, local=local, remote=remote, path=Path.RELAYED)
            self.says(184, node, event)
        return hop, stop, up

    def message(self, ms: float, source: str, word: str, heard: bool = True) -> tuple[int, int]:
        to = {"a": "b", "b": "a"}[source]
        self.step(ms, source, StepName(f"{word}_sent"))
        legs = self.secret(ms + 0.5, source, "server"), self.secret(ms + 21, "server", to)
        if heard:
            self.step(ms + 42, to, StepName(f"{word}_received"))
        return legs


def test_a_reservation_is_named_by_what_the_peer_told() -> None:
    story = Upgrade()
    asked, answer = story.reserved()
    said = story.read()
    assert said[asked].text.endswith(", relay: RESERVE")
    assert said[answer].text.endswith(", relay: reservation accepted")
    assert said[answer].field("told by") == "b's reserved"


def test_a_circuit_is_named_on_both_sides_of_the_relay() -> None:
    story = Upgrade()
    story.reserved()
    hop, stop, up = story.circuit()
    said = story.read()
    assert said[hop].text.endswith(", relay: CONNECT to b")
    assert said[stop].text.endswith(", relay: CONNECT from a")
    assert said[up].text.endswith(", relayed connection is up")


def test_dcutr_is_named_on_both_legs() -> None:
    story = Upgrade()
    story.reserved()
    for at, source, word in ((300, "b", "connect"), (343, "a", "connect"), (386, "b", "sync")):
        to = {"a": "b", "b": "a"}[source]
        legs = story.message(at, source, word)
        said = story.read()
        text = f", DCUtR {word.upper()} 1, {source} to {to}"
        assert all(said[leg].text.endswith(text) for leg in legs)


def test_what_the_other_side_never_told_of_is_named_on_the_first_leg_alone() -> None:
    story = Upgrade()
    story.reserved()
    first, second = story.message(300, "b", "connect", heard=False)
    said = story.read()
    assert "DCUtR CONNECT 1, b to the other" in said[first].text
    assert "DCUtR" not in said[second].text


def test_the_punch_is_named_until_the_attempt_ends() -> None:
    story = Upgrade()
    story.reserved()
    story.step(400, "a", StepName.PUNCHING)
    punch = story.tcp(401, "a", "b", SYN, tcp_seq=1)
    story.step(500, "a", StepName.FAILED)
    later = story.tcp(501, "a", "b", SYN, tcp_seq=2)
    others = story.tcp(402, "b", "a", SYN, tcp_seq=3)
    relay = story.tcp(403, "a", "server", SYN, tcp_seq=4)
    said = story.read()
    assert said[punch].text.endswith("punch of attempt 1")
    assert not any("attempt" in said[number].text for number in (later, others, relay))


def test_leaving_the_relay_is_named() -> None:
    story = Upgrade()
    story.reserved()
    story.step(600, "a", StepName.RELAY_LEFT)
    last = story.secret(601, "a", "server")
    assert story.text(last).endswith("relayed connection closed by a")


def test_without_a_circuit_nothing_is_tied_to_a_relay() -> None:
    """A TURN server's reservation is in clear on the wire."""
    story = Upgrade()
    story.says(52, "b", Reserved(at=0, relay=heard(RELAY), circuit=None))
    first, _ = story.message(300, "b", "connect")
    assert "DCUtR" not in story.text(first)


def test_without_the_clock_steps_bring_it_along() -> None:
    story = Upgrade()
    _, answer = story.reserved()
    story.message(300, "b", "connect")
    assert "reservation" in labels(story.journeys, story.events)[answer].text
    silent = [(node, e) for node, e in story.events if not isinstance(e, Step)]
    assert "reservation" not in labels(story.journeys, silent)[answer].text


# Whatever comes.


def test_nothing_gives_no_labels() -> None:
    assert labels(()) == {}
    observed = Observed(at=0, address=heard(RELAY), server=heard(RELAY))
    assert labels((), [("a", observed)], 0) == {}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 50),
            st.sampled_from(["a", "b"]),
            st.sampled_from(["udp", "tcp", "icmp"]),
            st.integers(0, 255),
            st.integers(0, 3),
            st.sampled_from([
                b"", HEADER, NOISE, b"\0\x20" + bytes(32), stun(b"\0\1", b"x"),
                stun(b"\1\1", b"x"), initial(b"d", b"s", 5), b"\x41s" + bytes(62), bytes(64),
                b"\x40\0\0\x04", b"\xf5tb1",
            ]),
        ),
        max_size=12,
    ),
)  # fmt: skip
def test_any_journeys_are_labelled(
    made: Sequence[tuple[int, str, str, int, int, bytes]],
) -> None:
    story = Upgrade()
    story.reserved()
    story.step(20, "a", StepName.PUNCHING)
    for ms, source, protocol, flags, number, payload in made:
        to = {"a": "b", "b": "a"}[source]
        kind = 3 if protocol == "icmp" else None
        story.sent(ms, source, to, protocol=protocol, tcp_flags=flags, tcp_seq=number,
                   tcp_ack=number, payload=payload, icmp_type=kind, icmp_code=kind)  # fmt: skip
    said = story.read()
    assert set(said) == {journey.first.number for journey in story.journeys}
    assert all(one.text.isprintable() for one in said.values())


@pytest.mark.parametrize("payload", [b"", bytes(1200), HEADER, stun(b"\0\1", b"x")])
def test_the_cost_of_labelling_many_alike_grows_with_their_number_alone(payload: bytes) -> None:
    """The same packet over and over is the worst case of every index."""

    def cost(number: int) -> int:
        story = Story()
        story.tcp(0, "a", "b", SYN, tcp_seq=1, payload=payload)
        first = story.journeys[0]
        hop = first.hops[0]
        assert hop.outward is not None
        journeys = [
            Journey(
                (replace(hop, outward=replace(hop.outward, number=n, time_ns=n)), *first.hops[1:])
            )
            for n in range(1, number)
        ]
        return lines(lambda: labels(journeys))

    require_linear(cost, 500)
