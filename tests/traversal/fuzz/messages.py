"""Targets: identities and the messages of the protocols."""

import datetime
import functools
import random

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from testbed.traversal import (
    autonat_v1,
    autonat_v2,
    dcutr,
    envelope,
    identify,
    relay,
    tls_certificate,
)
from testbed.traversal.errors import AddressError, ProtocolError
from testbed.traversal.keys import PrivateKey, PublicKey
from testbed.traversal.multiaddr import Multiaddr
from testbed.traversal.peer_id import PeerId

from .registry import ADDRESSES, KEY, PEER, modes, prefixed, target

_DER, _SPKI = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo


@functools.cache
def _other_keys() -> tuple[bytes, ...]:
    """Public keys of the other kinds, as their protobuf."""
    ecdsa = ec.derive_private_key(7, ec.SECP256R1()).public_key().public_bytes(_DER, _SPKI)
    point = ec.derive_private_key(7, ec.SECP256K1()).public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    )  # fmt: skip
    modulus = rsa.RSAPublicNumbers(65537, (1 << 1023) + 1155).public_key().public_bytes(_DER, _SPKI)
    return tuple(
        bytes([8, kind, 0x12]) + _length(data) + data
        for kind, data in ((0, modulus), (2, point), (3, ecdsa))
    )


def _length(data: bytes) -> bytes:
    size = len(data)
    return bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])


@target(PEER.multihash, str(PEER).encode(), PEER.to_cid().encode(), bytes([0x12, 32]) + bytes(32))
def peer_ids(data: bytes) -> None:
    """Binary and text; an accepted id has every form."""
    for peer in (_peer_of(data, binary=True), _peer_of(data, binary=False)):
        if peer is not None:
            assert PeerId(peer.multihash) == PeerId.parse(str(peer)) == PeerId.parse(peer.to_cid())
            assert len(str(peer)) <= 64
            peer.short()


def _peer_of(data: bytes, *, binary: bool) -> PeerId | None:
    try:
        return PeerId(data) if binary else PeerId.parse(data.decode("utf-8", "surrogateescape"))
    except AddressError:
        return None


@target(
    *prefixed(0, KEY.public.encode(), *_other_keys()),
    *prefixed(1, KEY.encode()),
    *prefixed(2, PEER.multihash),
)
def keys(data: bytes) -> None:
    """Public, private and inlined keys."""
    mode, data = modes(data, 3)
    if mode == 1:
        private = PrivateKey.decode(data)
        assert private.public.verify(private.sign(b"x"), b"x")
        return
    public = PublicKey.decode(data) if mode == 0 else PeerId(data).public_key()
    if public is not None:
        assert PublicKey.decode(public.encode()) == public
        assert public.verify(b"", b"") is False
        assert public.verify(data, b"x") is False
        PeerId.from_public_key(public)


_RECORD = envelope.PeerRecord(PEER, 1, ADDRESSES)
_TYPE = envelope.PEER_RECORD_TYPE


@functools.cache
def _record_payload() -> bytes:
    sealed = envelope.open_envelope(_RECORD.seal(KEY), envelope.PEER_RECORD_DOMAIN, _TYPE)
    return sealed.payload


@target(*prefixed(0, _RECORD.seal(KEY)), *prefixed(1, _record_payload()))
def envelopes(data: bytes) -> None:
    """As it came, and as the payload of an envelope whose signature is right."""
    mode, data = modes(data, 2)
    if mode:
        data = envelope.seal(KEY, envelope.PEER_RECORD_DOMAIN, _TYPE, data[:4096])
    record = envelope.PeerRecord.open(data)
    assert record.peer == PEER
    assert len(record.addresses) <= 64
    assert envelope.PeerRecord.open(record.seal(KEY)) == record


_INFO = identify.PeerInfo(PEER, ADDRESSES, frozenset({"/a", "/b"}), ADDRESSES[0], "agent", "ipfs")


@target(
    identify.encode(_INFO, KEY.public),
    identify.encode(_INFO, KEY.public, _RECORD.seal(KEY)),
    b"\x0a\x00",
)
def identifies(data: bytes) -> None:
    """What a peer says of itself, alone and merged into what it said before."""
    info = identify.decode(data, PEER)
    assert len(info.addresses) <= 64
    assert len(info.protocols) <= 256
    assert max(len(info.agent), len(info.protocol_version)) <= 256
    assert identify.decode(identify.encode(info, KEY.public), PEER) == info
    assert info.merged(_INFO).merged(info).peer == PEER


_HOP = relay.HopMessage(
    2, relay.Peer(PEER.multihash, (ADDRESSES[0].encode(),)),
    relay.Reservation(1000, (ADDRESSES[0].encode(),), relay.seal_voucher(KEY, PEER, PEER, 1000)),
    relay.Limit(120, 1 << 17), 100,
)  # fmt: skip


@target(
    *prefixed(0, _HOP.encode(), relay.HopMessage(relay.HopType.RESERVE).encode()),
    *prefixed(1, relay.StopMessage(0, relay.Peer(PEER.multihash), relay.Limit(1, 2), 1).encode()),
    *prefixed(2, relay.seal_voucher(KEY, PEER, PEER, 1000)),
    *prefixed(3, b"\x0a\x26" + PEER.multihash + b"\x12\x26" + PEER.multihash + b"\x18\xe8\x07"),
)
def relays(data: bytes) -> None:
    """Hop, stop, a voucher as it came, and a voucher's payload rightly signed."""
    mode, data = modes(data, 4)
    if mode == 0:
        hop = relay.HopMessage.decode(data)
        assert relay.HopMessage.decode(hop.encode()) == hop
        relay.status_name(hop.status or 0)
    elif mode == 1:
        stop = relay.StopMessage.decode(data)
        assert relay.StopMessage.decode(stop.encode()) == stop
    else:
        if mode == 3:
            data = envelope.seal(KEY, "libp2p-relay-rsvp", b"\x03\x02", data[:4096])
        relay.check_voucher(data, PEER, PEER, 1000)


_CONNECT = dcutr.Initiator(ADDRESSES).start(0.0)


@target(*prefixed(0, _CONNECT), *prefixed(1, _CONNECT), *prefixed(2, b"\x08\xac\x02"))
def dcutrs(data: bytes) -> None:
    """A first and a second message, to either side."""
    mode, data = modes(data, 3)
    initiator, responder = dcutr.Initiator(ADDRESSES), dcutr.Responder(ADDRESSES)
    initiator.start(0.0)
    side = initiator if mode == 0 else responder
    if mode == 2:
        responder.receive(_CONNECT, 0.0)
    answer = side.receive(data, 1.0)
    assert len(answer) <= dcutr.MAX_MESSAGE
    assert len(side.remote) <= dcutr.MAX_ADDRESSES
    assert not any(a.is_relayed or a.peer_id for a in side.remote)


@target(
    *prefixed(0, autonat_v1.encode_request(PEER, ADDRESSES)),
    *prefixed(1, autonat_v1.encode_answer(autonat_v1.Answer(autonat_v1.Status.OK, ADDRESSES[0]))),
    *prefixed(1, autonat_v1.encode_answer(autonat_v1.Answer(autonat_v1.Status(101), None, "no"))),
)
def autonat_v1s(data: bytes) -> None:
    """A server never picks an address off the observed IP, whatever is asked."""
    mode, data = modes(data, 2)
    if mode:
        answer = autonat_v1.decode_answer(data)
        assert autonat_v1.decode_answer(autonat_v1.encode_answer(answer)) == answer
        return
    asked = autonat_v1.decode_request(data, PEER)
    assert autonat_v1.decode_request(autonat_v1.encode_request(PEER, asked), PEER) == asked
    chosen = autonat_v1.addresses_to_dial(asked, ADDRESSES[0], allow_private=True)
    assert len(chosen) <= 8
    assert {a.ip for a in chosen} == {ADDRESSES[0].ip}


_BLOBS = tuple(a.encode() for a in ADDRESSES)
_FOREIGN = Multiaddr.parse("/ip4/8.8.8.8/tcp/1").encode()


@target(
    *prefixed(0, autonat_v2.Message(autonat_v2.DialRequest(_BLOBS, 7)).encode()),
    *prefixed(0, autonat_v2.Message(autonat_v2.DialRequest((_FOREIGN,), 7)).encode()),
    *prefixed(0, autonat_v2.Message(response=autonat_v2.DialResponse(200, 0, 200)).encode()),
    *prefixed(1, autonat_v2.dial_data_frames(1)[0][:200], b"\x22\x03\x0a\x01x"),
    *prefixed(2, autonat_v2.DialBack(7).encode()),
)
def autonat_v2s(data: bytes) -> None:
    """A foreign IP is never free; dial data counts for no more than its bytes."""
    mode, data = modes(data, 3)
    if mode == 2:
        back = autonat_v2.DialBack.decode(data)
        assert autonat_v2.DialBack.decode(back.encode()) == back
        return
    if mode == 1:
        meter = autonat_v2.DialDataMeter(10)
        meter.receive(data)
        assert 10 - len(data) < meter.due < 10
        return
    message = autonat_v2.Message.decode(data)
    assert autonat_v2.Message.decode(message.encode()) == message
    if message.data_request is not None:
        autonat_v2.dial_data_frames(message.data_request.num_bytes or 0)
    _check_choice(message.request.addrs if message.request else ())


def _check_choice(blobs: tuple[bytes, ...]) -> None:
    observed = ADDRESSES[0]
    kinds = frozenset({"tcp", "quic-v1"})
    choice = autonat_v2.choose(blobs, observed, kinds, random.Random(1), allow_private=True)
    if choice is not None:
        assert choice.index < autonat_v2.MAX_ADDRESSES
        foreign = choice.address.ip != observed.ip
        assert foreign == (choice.dial_data >= autonat_v2.MIN_DIAL_DATA)


_TLS_KEY = ec.derive_private_key(11, ec.SECP256R1())
_EXTENSION = tls_certificate.EXTENSION
_CERTIFICATE = tls_certificate.make(KEY).certificate


def _certificate(value: bytes) -> x509.Certificate:
    """A certificate in good order but for the value of its libp2p extension."""
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    name = x509.Name([])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(_TLS_KEY.public_key())
        .serial_number(1)
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.UnrecognizedExtension(_EXTENSION, value), critical=False)
        .sign(_TLS_KEY, hashes.SHA256())
    )


def _extension_value() -> bytes:
    found = _CERTIFICATE.extensions.get_extension_for_oid(_EXTENSION).value
    assert isinstance(found, x509.UnrecognizedExtension)
    return found.value


def _der(tag: int, body: bytes) -> bytes:
    return bytes([tag, 0x82]) + len(body).to_bytes(2, "big") + body


def _self_signed(body: bytes) -> bytes:
    """Any to-be-signed part, rightly signed."""
    signature = _TLS_KEY.sign(body, ec.ECDSA(hashes.SHA256()))
    ecdsa_with_sha256 = bytes.fromhex("300a06082a8648ce3d040302")
    return _der(0x30, body + ecdsa_with_sha256 + _der(0x03, b"\0" + signature))


@target(
    *prefixed(0, _CERTIFICATE.public_bytes(_DER)),
    *prefixed(1, _extension_value(), b"\x30\x04\x04\x00\x04\x00", b"\x30\x80\x04\x00\x00\x00"),
    *prefixed(2, _certificate(_extension_value()).tbs_certificate_bytes),
)
def tls_certificates(data: bytes) -> None:
    """A whole certificate; its libp2p extension; and all of one whose signature is right."""
    mode, data = modes(data, 3)
    if mode == 1:
        certificate = _certificate(data)
    else:
        try:
            certificate = x509.load_der_x509_certificate(_self_signed(data) if mode else data)
        except (ValueError, x509.InvalidVersion) as error:  # aioquic's part
            raise ProtocolError("tls", "not a certificate") from error
    tls_certificate.verify(certificate)
