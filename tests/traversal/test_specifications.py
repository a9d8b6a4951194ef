"""Rules of the specifications that a peer can break, or that we could: each by itself."""

import asyncio
import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from testbed.traversal import Multiaddr, PeerId, PrivateKey, identify, multibase, noise, yamux
from testbed.traversal.aio import ping
from testbed.traversal.aio.muxed import MuxedConnection
from testbed.traversal.aio.quic_engine import configuration
from testbed.traversal.aio.quic_timers import QuicTimers
from testbed.traversal.envelope import PeerRecord
from testbed.traversal.errors import (
    AddressError,
    DialError,
    HandshakeError,
    LimitError,
    ProtocolError,
    TraversalError,
)
from testbed.traversal.keys import KeyType, PublicKey
from testbed.traversal.tls_certificate import make

from .nodes import address, nodes, run

pytestmark = pytest.mark.timeout(60)
KEY = PrivateKey.from_seed(bytes(range(32)))
PEER = PeerId.from_public_key(KEY.public)
KIB = 1024


# tls/tls.md


def test_a_peer_that_sends_more_than_one_certificate_is_turned_away() -> None:
    async def work() -> None:
        async with nodes("quic", {}, {}) as (evil, target):
            [endpoint] = evil.host.transports._quic
            credentials = make(evil.options.identity)
            endpoint._client = configuration(credentials, QuicTimers(), client=True)
            endpoint._client.certificate_chain = [make(KEY).certificate]
            try:
                connection = await evil.dial(address(target))
                await asyncio.wait_for(connection.wait_closed(), 5)
            except DialError:
                pass
            assert not target.host.connections

    run(work)


# connections/inlined-muxer-negotiation.md


@pytest.mark.parametrize("ours", [("/yamux/1.0.0",), ("/mplex/6.7.0",)])
def test_inlined_muxers_without_one_in_common_end_the_handshake(ours: tuple[str, ...]) -> None:
    initiator = noise.Handshake(KEY, initiator=True, muxers=ours)
    responder = noise.Handshake(KEY, initiator=False, muxers=("/other/1",))
    responder.receive_data(initiator.data_to_send())
    with pytest.raises(HandshakeError, match="no muxer"):
        initiator.receive_data(responder.data_to_send())


# RFC 0003


def told(sequence: int, *addresses: str) -> identify.PeerInfo:
    parsed = tuple(map(Multiaddr.parse, addresses))
    record = PeerRecord(PEER, sequence, parsed).seal(KEY)
    return identify.decode(identify.encode(identify.PeerInfo(PEER), KEY.public, record), PEER)


ONE, TWO = "/ip4/9.9.9.9/tcp/1", "/ip4/9.9.9.9/tcp/2"


def test_a_record_with_a_lower_sequence_does_not_replace_a_newer_one() -> None:
    newer, older = told(7, ONE), told(6, TWO)
    assert [str(a) for a in older.merged(newer).addresses] == [ONE]
    assert [str(a) for a in newer.merged(older).addresses] == [ONE]
    assert older.merged(newer).merged(told(6, TWO)).addresses == newer.addresses
    assert [str(a) for a in told(8, TWO).merged(newer).addresses] == [TWO]


def test_unsigned_addresses_do_not_replace_those_of_a_record() -> None:
    unsigned = identify.PeerInfo(PEER, (Multiaddr.parse(TWO),))
    assert [str(a) for a in unsigned.merged(told(7, ONE)).addresses] == [ONE]


def test_of_a_record_only_addresses_that_can_be_dialed_are_taken() -> None:
    undialable = (
        "/ip4/239.1.1.1/tcp/1",
        "/ip4/0.0.0.0/tcp/1",
        "/ip4/9.9.9.9/tcp/0",
        "/ip6/::/tcp/1",
    )
    assert [str(a) for a in told(1, *undialable, ONE).addresses] == [ONE]


def test_a_node_signs_no_address_that_cannot_be_dialed() -> None:
    async def work() -> None:
        options = {"announce": ("/ip4/0.0.0.0/tcp/1", ONE)}
        async with nodes("tcp", options, {}) as (a, b):
            await b.identify.wait(await b.dial(address(a)))
            assert [str(x) for x in b.identify.peers[a.peer].addresses] == [ONE]

    run(work)


# ping/ping.md


def test_a_third_ping_stream_at_once_is_refused_and_two_are_served() -> None:
    async def work() -> None:
        async with nodes("tcp", {}, {}) as (a, b):
            connection = await a.dial(address(b))
            streams = [await a.host.open_stream(connection, [ping.PROTOCOL]) for _ in range(2)]
            for stream in streams:
                await stream.write(bytes(32))
                assert await stream.read_exactly(32) == bytes(32)
            third = await a.host.open_stream(connection, [ping.PROTOCOL])
            with pytest.raises(TraversalError):
                await third.read_exactly(32)
            await streams[0].write(bytes(32))
            assert await streams[0].read_exactly(32) == bytes(32)

    run(work)


def test_pings_at_once_take_turns_on_one_stream() -> None:
    async def work() -> None:
        async with nodes("tcp", {}, {}) as (a, b):
            await a.dial(address(b))
            assert len(await asyncio.gather(*(a.ping(b.peer) for _ in range(20)))) == 20

    run(work)


# Yamux


def test_streams_that_the_remote_does_not_acknowledge_are_limited() -> None:
    session = yamux.Session(client=True, now=0.0, limits=yamux.Limits(max_unacknowledged=3))
    other = yamux.Session(client=False, now=0.0)
    for _ in range(3):
        session.open_stream()
    with pytest.raises(LimitError, match="acknowledged"):
        session.open_stream()
    other.receive_data(session.data_to_send(), 0.0)
    session.receive_data(other.data_to_send(), 0.0)
    session.open_stream()


@given(st.integers(1, 256), st.integers(1, 64))
def test_a_window_below_256_kib_holds_once_the_first_is_read(window: int, part: int) -> None:
    """The first window is fixed by the specification, and afterwards there is no more room."""
    limits = yamux.Limits(window=window * KIB)
    ours = yamux.Session(client=True, now=0.0, limits=limits)
    theirs = yamux.Session(client=False, now=0.0)
    stream = ours.open_stream()
    theirs.receive_data(ours.data_to_send(), 0.0)
    sent = read = 0
    while sent < 1024 * KIB:
        before = sent
        while count := theirs.send(stream, bytes(part * KIB)):
            sent += count
        assert sent > before, "the writer is stuck"
        got = ours.receive_data(theirs.data_to_send(), 0.0)
        size = sum(len(e.data) for e in got if isinstance(e, yamux.DataReceived))
        if read:
            assert size <= window * KIB
        read += size
        ours.consume(stream, size, 0.0)
        theirs.receive_data(ours.data_to_send(), 0.0)


def test_a_stream_that_carries_more_than_a_small_window_at_its_beginning_is_in_order() -> None:
    ours = yamux.Session(client=True, now=0.0, limits=yamux.Limits(window=16 * KIB))
    theirs = yamux.Session(client=False, now=0.0)
    theirs.send(theirs.open_stream(), bytes(60 * KIB))
    assert len(ours.receive_data(theirs.data_to_send(), 0.0)) == 2


def test_who_went_away_may_still_open_streams_and_gets_none() -> None:
    ours, theirs = (yamux.Session(client=c, now=0.0) for c in (True, False))
    theirs.go_away()
    ours.receive_data(theirs.data_to_send(), 0.0)
    with pytest.raises(TraversalError):
        ours.open_stream()
    syn = yamux.Session(client=False, now=0.0)
    syn.open_stream()
    assert ours.receive_data(syn.data_to_send(), 0.0) == [yamux.StreamOpened(2)]


def _syn(*streams: int) -> bytes:
    return b"".join(bytes((0, 1, 0, 1)) + one.to_bytes(4, "big") + bytes(4) for one in streams)


@pytest.mark.parametrize("client", [True, False])
@pytest.mark.parametrize("order", [(1, 0), (2, 0, 1), (3, 1, 2, 0), (100, 99, 0)])
def test_streams_that_a_remote_opens_at_once_may_come_in_any_order(
    client: bool, order: tuple[int, ...]
) -> None:
    ours = yamux.Session(client=client, now=0.0)
    streams = [2 * place + (2 if client else 1) for place in order]
    assert ours.receive_data(_syn(*streams), 0.0) == [yamux.StreamOpened(one) for one in streams]


@pytest.mark.parametrize("again", [1, 2, 3, 5, 9, 3001])
def test_a_stream_is_opened_once_and_none_that_is_long_past(again: int) -> None:
    ours = yamux.Session(client=False, now=0.0)
    ours.receive_data(_syn(3, 9, 5, 3001), 0.0)
    with pytest.raises(ProtocolError):
        ours.receive_data(_syn(again), 0.0)


def test_a_remote_that_goes_away_because_of_an_error_ends_the_connection() -> None:
    async def work() -> None:
        async with nodes("tcp", {}, {}) as (a, b):
            connection = await a.dial(address(b))
            [there] = b.host.connections_to(a.peer)
            assert isinstance(there, MuxedConnection)
            there._session.go_away(yamux.GoAwayCode.INTERNAL_ERROR)
            there._wake()
            async with asyncio.timeout(5):
                await connection.wait_closed()
            assert "went away" in (connection.close_reason or "")

    run(work)


# Text forms


def test_a_peer_id_is_read_in_every_base_that_the_field_writes() -> None:
    cid = bytes([1, 0x72]) + PEER.multihash
    base36 = ""
    number = int.from_bytes(cid, "big")
    while number:
        number, digit = divmod(number, 36)
        base36 = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + base36
    base32 = base64.b32encode(cid).decode().rstrip("=")
    texts = (
        str(PEER), PEER.to_cid(), "B" + base32, "b" + base32.lower(), "k" + base36,
        "K" + base36.upper(), "f" + cid.hex(), multibase.encode_base64url(cid),
    )  # fmt: skip
    assert {PeerId.parse(text) for text in texts} == {PEER}


@pytest.mark.parametrize("text", ["", "k", "b!", "u+", "kÄ", "b" + "a" * 3000, "x123", "f1"])
def test_no_text_is_a_peer_id_by_accident(text: str) -> None:
    with pytest.raises(AddressError):
        PeerId.parse(text)


def test_a_certificate_hash_is_written_as_go_writes_it_and_read_in_any_base() -> None:
    digest = bytes([0x12, 32]) + bytes(range(32))
    way = "/ip4/9.9.9.9/udp/1/quic-v1/webtransport/certhash/"
    base32 = "b" + base64.b32encode(digest).decode().lower().rstrip("=")
    address = Multiaddr.parse(way + base32)
    assert str(address) == way + "u" + base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert Multiaddr.decode(address.encode()) == address


@given(st.binary(max_size=40))
def test_what_follows_an_unknown_protocol_is_kept_and_what_stands_before_is_read(
    rest: bytes,
) -> None:
    before = Multiaddr.parse("/ip4/9.9.9.9/udp/7/quic-v1").encode()
    wire = before + b"\xff\xff\x7f" + rest
    address = Multiaddr.decode(wire)
    assert (str(address.ip), address.port) == ("9.9.9.9", 7)
    assert address.transport is None
    assert not address.is_dialable
    assert address.encode() == wire
    assert Multiaddr.parse(str(address)) == address


def test_unknown_is_no_way_to_write_what_is_known() -> None:
    hidden = multibase.encode_base64url(Multiaddr.parse(ONE).encode())
    with pytest.raises(AddressError):
        Multiaddr.parse(f"/unknown/{hidden}")


def test_short_rsa_keys_are_refused() -> None:
    """peer-ids/peer-ids.md: less than 2048 bits are no identity."""
    for bits, fits in ((1024, False), (2048, True)):
        key = PublicKey(KeyType.RSA, rsa.generate_private_key(65537, bits).public_key())
        if fits:
            assert PublicKey.decode(key.encode()) == key
        else:
            with pytest.raises(AddressError):
                PublicKey.decode(key.encode())
