"""The sans-io cores, two of them joined by hand: no socket, no clock."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.traversal import autonat_v1, autonat_v2, dcutr, multistream, noise, relay, yamux
from testbed.traversal.errors import (
    ConnectionClosedError,
    HandshakeError,
    LimitError,
    NegotiationError,
    PeerIdMismatchError,
    ProtocolError,
    StreamResetError,
)
from testbed.traversal.keys import PrivateKey
from testbed.traversal.multiaddr import Multiaddr
from testbed.traversal.observed import Mapping, Observation, ObservedAddresses
from testbed.traversal.peer_id import PeerId

A, B = (PrivateKey.from_seed(bytes([n]) * 32) for n in (1, 2))
PEER_A, PEER_B = (PeerId.from_public_key(k.public) for k in (A, B))
MUXERS = (yamux.PROTOCOL,)


def address(text: str) -> Multiaddr:
    return Multiaddr.parse(text)


# multistream-select


def test_the_first_common_protocol_is_selected_and_the_rest_is_handed_on() -> None:
    dialer, listener = multistream.Dialer(["/x", "/b"]), multistream.Listener({"/a", "/b"})
    for _ in range(3):
        listener.receive_data(dialer.data_to_send())
        dialer.receive_data(listener.data_to_send())
    assert dialer.selected == listener.selected == "/b"
    late = multistream.Listener({"/b"})
    late.receive_data(multistream.Dialer(["/b"]).data_to_send() + b"early")
    assert late.trailing_data == b"early"


def test_no_common_protocol_is_an_error_of_its_own() -> None:
    dialer, listener = multistream.Dialer(["/x"]), multistream.Listener({"/a"})
    listener.receive_data(dialer.data_to_send())
    with pytest.raises(NegotiationError):
        dialer.receive_data(listener.data_to_send())


def test_a_listener_does_not_take_proposals_without_end() -> None:
    listener = multistream.Listener({"/a"})
    listener.receive_data(multistream.Dialer(["/x"]).data_to_send())
    with pytest.raises(NegotiationError):
        listener.receive_data(b"\x03/x\n" * multistream.MAX_PROPOSALS)


# Noise


def handshake(
    expected: PeerId | None = PEER_B, muxers: tuple[str, ...] = MUXERS
) -> tuple[noise.Handshake, noise.Handshake]:
    initiator = noise.Handshake(A, initiator=True, expected=expected, muxers=MUXERS)
    responder = noise.Handshake(B, initiator=False, muxers=muxers)
    for _ in range(2):
        responder.receive_data(initiator.data_to_send())
        initiator.receive_data(responder.data_to_send())
    return initiator, responder


def test_noise_proves_both_peer_ids_and_agrees_on_the_muxer() -> None:
    initiator, responder = handshake()
    assert (initiator.remote_peer, responder.remote_peer) == (PEER_B, PEER_A)
    assert initiator.muxer == responder.muxer == yamux.PROTOCOL
    assert handshake(muxers=())[1].muxer is None


@settings(deadline=None, max_examples=20)
@given(st.lists(st.binary(max_size=200_000), max_size=3), st.integers(1, 70_000))
def test_noise_carries_any_bytes_however_they_are_cut(parts: list[bytes], size: int) -> None:
    initiator, responder = handshake()
    assert initiator.channel
    assert responder.channel
    wire = b"".join(map(initiator.channel.seal, parts))
    got = b"".join(responder.channel.open(wire[i : i + size]) for i in range(0, len(wire), size))
    assert got == b"".join(parts)


def test_noise_refuses_another_peer_than_the_dialed_one() -> None:
    with pytest.raises(PeerIdMismatchError):
        handshake(expected=PEER_A)


def test_noise_refuses_a_stolen_identity() -> None:
    """A man in the middle replays A's signature, which is over A's static key, not his."""
    thief = noise.Handshake(B, initiator=True)
    thief._payload = noise.Handshake(A, initiator=True)._payload  # type: ignore[method-assign]
    responder = noise.Handshake(B, initiator=False)
    responder.receive_data(thief.data_to_send())
    thief.receive_data(responder.data_to_send())
    with pytest.raises(HandshakeError, match="signature"):
        responder.receive_data(thief.data_to_send())


def test_a_changed_noise_message_does_not_open() -> None:
    initiator, responder = handshake()
    assert initiator.channel
    assert responder.channel
    wire = bytearray(initiator.channel.seal(b"hello"))
    wire[-1] ^= 1
    with pytest.raises(ProtocolError, match="authenticate"):
        responder.channel.open(bytes(wire))


# Yamux


class Pair:
    """A client and a server; `step` carries what both have to say."""

    def __init__(self, **limits: float) -> None:
        settings_ = yamux.Limits(**limits)  # type: ignore[arg-type]
        self.client = yamux.Session(client=True, now=0.0, limits=settings_)
        self.server = yamux.Session(client=False, now=0.0, limits=settings_)

    def step(self, now: float = 0.0) -> tuple[list[yamux.Event], list[yamux.Event]]:
        at_server = self.server.receive_data(self.client.data_to_send(), now)
        at_client = self.client.receive_data(self.server.data_to_send(), now)
        return at_client, at_server


def test_a_yamux_stream_opens_carries_bytes_both_ways_and_ends() -> None:
    pair = Pair()
    stream = pair.client.open_stream()
    pair.client.send(stream, b"question")
    pair.client.close_write(stream)
    _, events = pair.step()
    assert events == [
        yamux.StreamOpened(stream), yamux.DataReceived(stream, b"question"),
        yamux.WriteClosed(stream),
    ]  # fmt: skip
    pair.server.send(stream, b"answer")
    pair.server.close_write(stream)
    events, _ = pair.step()
    assert yamux.DataReceived(stream, b"answer") in events
    assert yamux.WriteClosed(stream) in events
    with pytest.raises(StreamResetError):
        pair.client.send(stream, b"more")


def test_a_yamux_sender_stops_at_the_window_until_the_reader_has_consumed() -> None:
    pair = Pair()
    stream = pair.client.open_stream()
    sent = 0
    while n := pair.client.send(stream, bytes(100_000)):
        sent += n
    assert sent == yamux.INITIAL_WINDOW
    _, events = pair.step()
    pair.server.consume(stream, sum(len(e.data) for e in events if hasattr(e, "data")), 0.0)
    events, _ = pair.step()
    assert yamux.WindowOpened(stream) in events
    assert pair.client.send(stream, bytes(10)) == 10


def test_more_than_the_window_is_a_protocol_error_before_it_is_buffered() -> None:
    server = yamux.Session(client=False, now=0.0)
    header = bytes.fromhex("0000000100000001") + (yamux.INITIAL_WINDOW + 1).to_bytes(4, "big")
    with pytest.raises(ProtocolError, match="window"):
        server.receive_data(header, 0.0)
    assert server.data_to_send()[1] == 3  # it says goodbye


def test_streams_beyond_the_limit_are_reset_and_the_others_live() -> None:
    pair = Pair(max_inbound=2)
    streams = [pair.client.open_stream() for _ in range(3)]
    at_client, at_server = pair.step()
    assert at_server == [yamux.StreamOpened(s) for s in streams[:2]]
    assert yamux.StreamReset(streams[2]) in at_client
    assert pair.client.send(streams[0], b"x") == 1


def test_opening_streams_without_end_meets_our_own_limit() -> None:
    pair = Pair(max_outbound=3)
    for _ in range(3):
        pair.client.open_stream()
    with pytest.raises(LimitError):
        pair.client.open_stream()


def test_a_keepalive_measures_the_round_trip_and_a_missing_answer_ends_the_session() -> None:
    pair = Pair(keepalive=30.0, keepalive_timeout=10.0)
    pair.client.tick(29.9)
    assert not pair.client.data_to_send()
    pair.client.tick(30.0)
    at_client, _ = pair.step(now=30.5)
    assert at_client == [yamux.PingAnswered(0.5)]
    pair.client.tick(60.5)
    with pytest.raises(ConnectionClosedError):
        pair.client.tick(70.5)


@pytest.mark.parametrize(
    "header",
    ["010000000000000100000000", "000400000000000100000000", "000000000000000000000000",
     "000200010000000100000000", "000100010000000200000000"],
)  # fmt: skip
def test_malformed_yamux_headers_are_protocol_errors(header: str) -> None:
    with pytest.raises(ProtocolError):
        yamux.Session(client=False, now=0.0).receive_data(bytes.fromhex(header), 0.0)


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_yamux_keeps_every_stream_whole_whatever_the_order(data: st.DataObject) -> None:
    pair = Pair()
    sent: dict[int, bytearray] = {pair.client.open_stream(): bytearray() for _ in range(3)}
    got = {stream: bytearray() for stream in sent}
    for _ in range(data.draw(st.integers(1, 30))):
        stream = data.draw(st.sampled_from(list(sent)))
        chunk = random.Random(0).randbytes(data.draw(st.integers(0, 60_000)))
        sent[stream] += chunk[: pair.client.send(stream, chunk)]
        wire = pair.client.data_to_send()
        cut = data.draw(st.integers(0, len(wire)))
        for part in (wire[:cut], wire[cut:]):
            for event in pair.server.receive_data(part, 0.0):
                if isinstance(event, yamux.DataReceived):
                    got[event.stream_id] += event.data
                    pair.server.consume(event.stream_id, len(event.data), 0.0)
        pair.client.receive_data(pair.server.data_to_send(), 0.0)
    assert got == sent


# Relay


def test_a_refresh_is_not_a_second_reservation_and_expiry_frees_the_slot() -> None:
    ledger = relay.Ledger(relay.RelayLimits(reservations=1, reservation_ttl=10))
    assert ledger.reserve(PEER_A, "1.1.1.1", 100.7) == (relay.Status.OK, 110)
    assert ledger.reserve(PEER_A, "1.1.1.1", 105.0) == (relay.Status.OK, 115)
    assert ledger.reserve(PEER_B, "2.2.2.2", 105.0)[0] is relay.Status.RESERVATION_REFUSED
    assert ledger.reserve(PEER_B, "2.2.2.2", 115.0)[0] is relay.Status.OK


def test_reservations_are_limited_per_ip() -> None:
    ledger = relay.Ledger(relay.RelayLimits(reservations_per_ip=1))
    assert ledger.reserve(PEER_A, "1.1.1.1", 0)[0] is relay.Status.OK
    assert ledger.reserve(PEER_B, "1.1.1.1", 0)[0] is relay.Status.RESERVATION_REFUSED
    ledger.disconnected(PEER_A)
    assert ledger.reserve(PEER_B, "1.1.1.1", 0)[0] is relay.Status.OK


def test_circuits_need_a_reservation_and_are_limited_per_peer() -> None:
    ledger = relay.Ledger(relay.RelayLimits(circuits_per_peer=1))
    assert ledger.connect(PEER_A, PEER_B, 0) is relay.Status.NO_RESERVATION
    ledger.reserve(PEER_B, "1.1.1.1", 0)
    assert ledger.connect(PEER_A, PEER_B, 0) is relay.Status.OK
    assert ledger.connect(PEER_A, PEER_B, 0) is relay.Status.RESOURCE_LIMIT_EXCEEDED
    ledger.close(PEER_A, PEER_B)
    assert ledger.connect(PEER_A, PEER_B, 0) is relay.Status.OK


@given(st.integers(1, 1000), st.lists(st.integers(1, 300)))
def test_an_allowance_passes_its_limit_to_the_byte(limit: int, chunks: list[int]) -> None:
    allowance = relay.Allowance(limit)
    assert sum(map(allowance.take, chunks)) == min(limit, sum(chunks))


# DCUtR


def test_dcutr_runs_connect_connect_sync_and_the_initiator_waits_half_the_round_trip() -> None:
    ours, theirs = (address(f"/ip4/9.9.9.{n}/tcp/1") for n in (1, 2))
    b, a = dcutr.Initiator((ours,)), dcutr.Responder((theirs,))
    connect = b.start(10.0)
    answer = a.receive(connect, 10.04)
    sync = b.receive(answer, 10.08)
    assert a.receive(sync, 10.12) == b""
    assert (a.remote, b.remote) == ((ours,), (theirs,))
    assert (a.state, b.state) == (dcutr.State.PUNCH, dcutr.State.PUNCH)
    assert b.rtt == pytest.approx(0.08)
    assert b.punch_at == pytest.approx(10.12)


def test_dcutr_messages_out_of_order_are_refused() -> None:
    b, a = dcutr.Initiator(()), dcutr.Responder(())
    connect = b.start(0.0)
    with pytest.raises(ProtocolError):
        dcutr.Responder(()).receive(b.receive(a.receive(connect, 0.0), 0.0), 0.0)  # SYNC first
    with pytest.raises(ProtocolError):
        a.receive(connect, 0.0)  # CONNECT twice


def test_dcutr_ignores_relayed_addresses_in_connect() -> None:
    relayed = address(f"/ip4/1.1.1.1/tcp/1/p2p/{PEER_A}/p2p-circuit")
    a = dcutr.Responder(())
    a.receive(dcutr.Initiator((relayed,)).start(0.0), 0.0)
    assert a.remote == ()


# AutoNAT


def test_v1_dials_only_the_observed_ip() -> None:
    observed = address("/ip4/9.9.9.9/tcp/50000")
    asked = tuple(map(address, (
        "/ip4/8.8.8.8/tcp/4001", "/ip4/192.168.1.2/tcp/4002", "/ip6/2001:db8::1/tcp/4003",
        f"/ip4/9.9.9.9/tcp/1/p2p/{PEER_A}/p2p-circuit",
    )))  # fmt: skip
    dialed = autonat_v1.addresses_to_dial(asked, observed)
    assert {str(a.ip) for a in dialed} == {"9.9.9.9"}
    assert {a.port for a in dialed} == {4001, 4002, 50000}
    assert not autonat_v1.addresses_to_dial(asked, address("/ip4/10.0.0.1/tcp/1"))
    assert not autonat_v1.addresses_to_dial(asked, observed.with_peer(PEER_A).circuit())


def test_v1_needs_more_than_three_servers_at_distinct_addresses() -> None:
    votes = autonat_v1.Votes()
    for n in (1, 1, 1, 2, 3):
        votes.add(address(f"/ip4/9.9.9.{n}/tcp/1").ip, autonat_v1.Status.OK)  # type: ignore[arg-type]
    before = votes.verdict
    votes.add(address("/ip4/9.9.9.4/tcp/1").ip, autonat_v1.Status.OK)  # type: ignore[arg-type]
    assert (before, votes.verdict) == (
        autonat_v1.Reachability.UNKNOWN, autonat_v1.Reachability.PUBLIC,
    )  # fmt: skip


def test_requests_beyond_the_rate_are_not_served_until_the_window_has_passed() -> None:
    limiter = autonat_v1.RateLimiter(autonat_v1.RateLimits(overall=3, per_peer=2, window=60))
    assert [limiter.admit(PEER_A, t) for t in (0, 1, 2)] == [True, True, False]
    assert [limiter.admit(PEER_B, t) for t in (3, 4)] == [True, False]
    assert limiter.admit(PEER_A, 60.0)


def test_v2_takes_the_first_address_it_can_dial_and_charges_for_a_foreign_ip() -> None:
    observed = address("/ip4/9.9.9.9/tcp/1")
    asked = tuple(map(address, (
        "/ip4/192.168.0.1/tcp/1", "/ip4/8.8.8.8/udp/1/quic-v1", "/ip4/8.8.8.8/tcp/1",
    )))  # fmt: skip
    blobs = (b"junk", *(a.encode() for a in asked))
    choice = autonat_v2.choose(blobs, observed, frozenset({"tcp"}), random.Random(1))
    assert choice is not None
    assert (choice.index, choice.address) == (3, asked[2])
    assert autonat_v2.MIN_DIAL_DATA <= choice.dial_data <= autonat_v2.MAX_DIAL_DATA
    own = autonat_v2.choose((observed.encode(),), observed, frozenset({"tcp"}), random.Random(1))
    assert own is not None
    assert own.dial_data == 0


def test_v2_dial_data_is_paid_exactly_and_a_greedy_server_is_refused() -> None:
    frame, times = autonat_v2.dial_data_frames(30_001)
    meter = autonat_v2.DialDataMeter(30_001)
    for _ in range(times):
        assert not meter.paid
        meter.receive(frame)
    assert meter.paid
    with pytest.raises(ProtocolError):
        autonat_v2.dial_data_frames(10**9)
    too_big = autonat_v2.Message(data_response=autonat_v2.DialDataResponse(bytes(4097)))
    with pytest.raises(ProtocolError):
        autonat_v2.DialDataMeter(9999).receive(too_big.encode())


# Observed addresses

LOCAL = address("/ip4/10.0.0.2/tcp/4001")


def observe(manager: ObservedAddresses, n: int, seen: str, *, outbound: bool = True) -> bool:
    observer = address(f"/ip4/9.9.9.{n}/tcp/4001")
    return manager.add(
        ("connection", n, seen), Observation(LOCAL, address(seen), observer, outbound)
    )


def test_an_address_is_advertised_from_four_distinct_observers_on_and_punchable_from_one() -> None:
    manager, seen = ObservedAddresses(), "/ip4/5.5.5.5/tcp/4001"
    for n in (1, 2, 3):
        observe(manager, n, seen)
    assert (manager.advertised, manager.punchable) == ((), (address(seen),))
    assert manager.mapping("tcp") is Mapping.UNKNOWN
    observe(manager, 4, seen)
    assert manager.advertised == (address(seen),)
    assert manager.mapping("tcp") is Mapping.ENDPOINT_INDEPENDENT


def test_one_machine_with_many_identities_is_one_observer() -> None:
    manager = ObservedAddresses()
    observer = address("/ip4/9.9.9.1/tcp/4001")
    for n in range(10):
        seen = address("/ip4/5.5.5.5/tcp/4001")
        manager.add(n, Observation(LOCAL, seen, observer, True))
    assert manager.advertised == ()


def test_two_observers_that_differ_show_a_dependent_mapping_unless_inbound() -> None:
    manager = ObservedAddresses()
    observe(manager, 1, "/ip4/5.5.5.5/tcp/4001")
    observe(manager, 2, "/ip4/5.5.5.5/tcp/7777", outbound=False)
    assert manager.mapping("tcp") is Mapping.UNKNOWN
    observe(manager, 3, "/ip4/5.5.5.5/tcp/8888")
    assert manager.mapping("tcp") is Mapping.ENDPOINT_DEPENDENT


def test_worthless_observations_are_not_counted_and_lost_ones_no_longer() -> None:
    manager = ObservedAddresses()
    relayed = f"/ip4/5.5.5.5/tcp/1/p2p/{PEER_A}/p2p-circuit"
    for seen in (relayed, "/ip4/5.5.5.5/udp/1/quic-v1", "/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1"):
        assert not observe(manager, 1, seen)
    assert observe(manager, 1, "/ip4/5.5.5.5/tcp/1")
    manager.remove(("connection", 1, "/ip4/5.5.5.5/tcp/1"))
    assert manager.punchable == ()


def test_a_ping_whose_answer_waits_behind_bytes_that_move_ends_nothing() -> None:
    """Found by random schedules: a link of 50 kB/s with a megabyte in its queue."""
    limits = yamux.Limits(keepalive=10, keepalive_timeout=5)
    session = yamux.Session(client=True, now=0.0, limits=limits)
    session.ask(0.0)
    session.moved(4.0)
    session.tick(8.0)
    other = yamux.Session(client=False, now=0.0)
    other.send(other.open_stream(), b"bytes")
    session.receive_data(other.data_to_send(), 8.5)
    session.tick(13.0)
    with pytest.raises(ConnectionClosedError):
        session.tick(13.6)
