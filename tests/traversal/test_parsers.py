"""Property tests: what is written is read back, and no bytes do worse than a typed error."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.traversal import (
    autonat_v1,
    autonat_v2,
    base58,
    dcutr,
    envelope,
    identify,
    multibase,
    multistream,
    noise,
    relay,
    resume,
    varint,
    yamux,
)
from testbed.traversal.errors import AddressError, FrameTooLargeError, ProtocolError, TraversalError
from testbed.traversal.keys import PrivateKey, PublicKey
from testbed.traversal.multiaddr import Multiaddr
from testbed.traversal.peer_id import PeerId

KEY = PrivateKey.from_seed(bytes(range(32)))
PEER = PeerId.from_public_key(KEY.public)
OTHER = PrivateKey.from_seed(bytes(32))


def _noise(initiator: bool) -> Callable[[bytes], object]:
    return lambda data: noise.Handshake(KEY, initiator=initiator).receive_data(data)


def _attached() -> resume.Session:
    session = resume.Session()
    session.attach(0)
    return session


PARSERS: dict[str, Callable[[bytes], object]] = {
    "multiaddr": Multiaddr.decode,
    "multiaddr text": lambda data: Multiaddr.parse(data.decode("latin1")),
    "peer id": PeerId,
    "peer id text": lambda data: PeerId.parse(data.decode("latin1")),
    "public key": PublicKey.decode,
    "private key": PrivateKey.decode,
    "envelope": lambda data: envelope.open_envelope(data, "domain", b"\x03\x01"),
    "peer record": envelope.PeerRecord.open,
    "voucher": lambda data: relay.check_voucher(data, PEER, PEER, 0),
    "identify": lambda data: identify.decode(data, PEER),
    "hop": relay.HopMessage.decode,
    "stop": relay.StopMessage.decode,
    "dcutr": lambda data: dcutr.Responder(()).receive(data, 0.0),
    "autonat v1 request": lambda data: autonat_v1.decode_request(data, PEER),
    "autonat v1 answer": autonat_v1.decode_answer,
    "autonat v2": autonat_v2.Message.decode,
    "dial data": lambda data: autonat_v2.DialDataMeter(10).receive(data),
    "multistream listener": lambda data: multistream.Listener(["/a"]).receive_data(data),
    "multistream dialer": lambda data: multistream.Dialer(["/a"]).receive_data(data),
    "noise initiator": _noise(True),
    "noise responder": _noise(False),
    "multibase": lambda data: multibase.decode(data.decode("latin1")),
    "resume hello": lambda data: resume.Hello.decode(data).check(),
    "resume welcome": resume.Welcome.decode,
    "resume frames": lambda data: _attached().receive_data(data),
    "yamux": lambda data: yamux.Session(client=False, now=0.0).receive_data(data, 0.0),
}

# Real messages to start from, so that mutations get past the first byte.
_ADDRESS = Multiaddr.parse("/ip4/1.2.3.4/udp/4001/quic-v1").encode()
SEEDS = [
    _ADDRESS,
    PEER.multihash,
    KEY.public.encode(),
    envelope.PeerRecord(PEER, 1, (Multiaddr.decode(_ADDRESS),)).seal(KEY),
    relay.HopMessage(1, relay.Peer(PEER.multihash), limit=relay.Limit(1, 2)).encode(),
    autonat_v1.encode_request(PEER, (Multiaddr.decode(_ADDRESS),)),
    autonat_v2.Message(autonat_v2.DialRequest((_ADDRESS,), 7)).encode(),
    multistream.Dialer(["/a"]).data_to_send(),
    multibase.encode_base64url(PEER.multihash).encode(),
    resume.Hello(bytes(16), "/put/1", 7, 1).encode(),
    bytes.fromhex("000000000268690200000000"),
    bytes.fromhex("0001000100000001000000000000000000000001000000026869"),
]


@st.composite
def hostile(draw: st.DrawFn) -> bytes:
    """Random bytes, or a real message with some bytes changed, cut or doubled."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=300))
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    cut = draw(st.integers(0, len(data)))
    return bytes(data[:cut]) + draw(st.sampled_from([b"", bytes(data[cut:]), bytes(data)]))


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=200, deadline=None)
@given(data=hostile())
def test_any_bytes_give_a_value_or_a_typed_error(name: str, data: bytes) -> None:
    with contextlib.suppress(TraversalError, varint.IncompleteError):
        PARSERS[name](data)


@given(st.integers(0, 2**63 - 1))
def test_a_varint_is_read_back(value: int) -> None:
    data = varint.encode(value)
    assert varint.decode(data) == (value, len(data))


@pytest.mark.parametrize("data", [b"\x80\x00", b"\xff" * 10, b"\x81\x80\x00"])
def test_varints_that_are_too_long_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        varint.decode(data)


@given(st.lists(st.binary(max_size=50)), st.integers(1, 20))
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    frames: list[bytes], size: int
) -> None:
    wire = b"".join(map(varint.frame, frames))
    decoder, got = varint.FrameDecoder(50), []
    for start in range(0, len(wire), size):
        decoder.feed(wire[start : start + size])
        while (frame := decoder.next_frame()) is not None:
            got.append(frame)
    assert got == frames


def test_an_oversize_frame_is_refused_at_its_length() -> None:
    decoder = varint.FrameDecoder(100)
    decoder.feed(varint.encode(101))
    with pytest.raises(FrameTooLargeError):
        decoder.next_frame()


@given(st.binary(max_size=64))
def test_base58_is_read_back(data: bytes) -> None:
    assert base58.decode(base58.encode(data)) == data


IPS = st.ip_addresses()
PORTS = st.integers(0, 65535)


@given(IPS, PORTS, st.sampled_from(["tcp", "quic-v1"]), st.booleans())
def test_a_multiaddr_is_read_back_from_text_and_bytes(
    ip: object, port: int, transport: str, circuit: bool
) -> None:
    address = Multiaddr.from_socket(str(ip), port, transport)
    if circuit:
        address = address.with_peer(PEER).circuit().with_peer(PEER)
    assert Multiaddr.parse(str(address)) == Multiaddr.decode(address.encode()) == address
    assert address.transport == ("circuit" if circuit else transport)


@pytest.mark.parametrize(
    "text",
    ["", "ip4/1.2.3.4", "/ip4", "/ip4/1.2.3", "/tcp/65536", "/tcp/-1", "/tcp/ 1", "/nonsense/1",
     "/ip6/::g", "/p2p/xyz", "/ip4/1.2.3.4/tcp"],
)  # fmt: skip
def test_malformed_multiaddrs_are_refused(text: str) -> None:
    with pytest.raises(AddressError):
        Multiaddr.parse(text)


@given(st.binary(max_size=200), st.binary(max_size=10))
def test_an_envelope_opens_only_with_its_domain_and_type(payload: bytes, kind: bytes) -> None:
    sealed = envelope.seal(KEY, "domain", kind, payload)
    assert envelope.open_envelope(sealed, "domain", kind).payload == payload
    with pytest.raises(ProtocolError):
        envelope.open_envelope(sealed, "another", kind)
    with pytest.raises(ProtocolError):
        envelope.open_envelope(sealed, "domain", kind + b"x")


def test_a_peer_record_of_somebody_else_is_refused() -> None:
    record = envelope.PeerRecord(PEER, 1, ())
    assert envelope.PeerRecord.open(record.seal(KEY)) == record
    with pytest.raises(ProtocolError, match="another peer"):
        envelope.PeerRecord.open(record.seal(OTHER))


def test_a_voucher_counts_only_for_its_relay_its_peer_and_its_reservation() -> None:
    client = PeerId.from_public_key(OTHER.public)
    voucher = relay.seal_voucher(KEY, PEER, client, 1000)
    relay.check_voucher(voucher, PEER, client, 1000)
    wrong: Callable[[], object]
    for wrong in (
        lambda: relay.check_voucher(voucher, client, client, 1000),
        lambda: relay.check_voucher(voucher, PEER, PEER, 1000),
        lambda: relay.check_voucher(voucher, PEER, client, 1001),  # a replayed older one
        lambda: relay.check_voucher(
            relay.seal_voucher(OTHER, PEER, client, 1000), PEER, client, 1000
        ),
    ):
        with pytest.raises(ProtocolError):
            wrong()


def test_identify_is_read_back_and_refuses_another_peers_key() -> None:
    info = identify.PeerInfo(
        PEER,
        (Multiaddr.parse("/ip4/1.2.3.4/tcp/1"),),
        frozenset({"/a", "/b"}),
        Multiaddr.parse("/ip4/5.6.7.8/tcp/2"),
        "agent/1",
        "ipfs/0.1.0",
    )
    record = envelope.PeerRecord(PEER, 1, info.addresses).seal(KEY)
    data = identify.encode(info, KEY.public, record)
    assert identify.decode(data, PEER) == info
    with pytest.raises(ProtocolError):
        identify.decode(data, PeerId.from_public_key(OTHER.public))


def test_a_signed_record_that_does_not_open_costs_only_itself() -> None:
    info = identify.PeerInfo(PEER, (Multiaddr.parse("/ip4/1.2.3.4/tcp/1"),), frozenset({"/a"}))
    payload = envelope.PeerRecord(PEER, 1, ()).seal(KEY)
    legacy = envelope.seal(KEY, "libp2p-routing-state", b"/libp2p/routing-state-record", payload)
    forged = envelope.PeerRecord(PEER, 1, ()).seal(OTHER)
    for odd in (legacy, forged, payload[:-1] + b"x", b"", b"\xff", bytes(9000)):
        assert identify.decode(identify.encode(info, KEY.public, odd), PEER) == info


def test_a_sound_record_of_another_peer_is_an_error() -> None:
    record = envelope.PeerRecord(PeerId.from_public_key(OTHER.public), 1, ()).seal(OTHER)
    with pytest.raises(ProtocolError, match="another peer"):
        identify.decode(identify.encode(identify.PeerInfo(PEER), KEY.public, record), PEER)


def test_a_push_without_some_fields_keeps_the_older_ones() -> None:
    older = identify.PeerInfo(PEER, (Multiaddr.parse("/ip4/1.2.3.4/tcp/1"),), frozenset({"/a"}))
    push = identify.PeerInfo(PEER, protocols=frozenset({"/b"}))
    assert push.merged(older) == identify.PeerInfo(PEER, older.addresses, frozenset({"/b"}))
