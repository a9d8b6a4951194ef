"""Noise and TLS behind one interface: what both do, what TLS refuses, who speaks which to whom."""

import datetime
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from testbed.traversal import (
    AddressError,
    DialError,
    DialFailure,
    Node,
    PeerId,
    PeerIdMismatchError,
    PrivateKey,
    RelayLimits,
    tls,
    tls_certificate,
)
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.stream import Stream
from testbed.traversal.errors import HandshakeError, TraversalError
from testbed.traversal.events import Upgraded
from testbed.traversal.security import BOTH, MUXERS, NOISE, TLS, Handshake, Security

from .nodes import address, nodes, run, wait_event
from .test_nodes import STAY_RELAYED, echoed

pytestmark = pytest.mark.timeout(60)
A, B, C = (PrivateKey.from_seed(bytes([n]) * 32) for n in (1, 2, 3))
SECURITY = {key: Security(key) for key in (A, B)}
PEER_A, PEER_B = (PeerId.from_public_key(key.public) for key in (A, B))
EACH = pytest.mark.parametrize("protocol", BOTH)


def pair(
    protocol: str, *, expected: PeerId | None = PEER_B, muxers: tuple[str, ...] = MUXERS
) -> tuple[Handshake, Handshake]:
    if muxers != MUXERS:
        settings = tls.Settings(A, muxers)
        initiator: Handshake = settings.handshake(initiator=True, expected=expected)
    else:
        initiator = SECURITY[A].handshake(protocol, initiator=True, expected=expected)
    return initiator, SECURITY[B].handshake(protocol, initiator=False)


def shake(one: Handshake, other: Handshake, cut: Callable[[bytes], list[bytes]]) -> None:
    """Until neither has anything to say."""
    while True:
        moved = False
        for source, target in ((one, other), (other, one)):
            for piece in cut(source.data_to_send()):
                moved = True
                target.receive_data(piece)
        if not moved:
            return


def whole(data: bytes) -> list[bytes]:
    return [data] if data else []


def slices(size: int) -> Callable[[bytes], list[bytes]]:
    return lambda data: [data[i : i + size] for i in range(0, len(data), size)]


@EACH
@settings(deadline=None)
@given(
    written=st.lists(st.binary(max_size=40_000), max_size=4),
    shaking=st.integers(5, 3000),
    size=st.integers(1, 5000),
)
def test_what_one_end_seals_the_other_opens_however_it_is_cut(
    protocol: str, written: list[bytes], shaking: int, size: int
) -> None:
    one, other = pair(protocol)
    shake(one, other, slices(shaking))
    assert (one.remote_peer, other.remote_peer) == (PEER_B, PEER_A)
    assert one.muxer == other.muxer == MUXERS[0]
    assert one.channel is not None
    assert other.channel is not None
    for source, target in ((one.channel, other.channel), (other.channel, one.channel)):
        wire = b"".join(map(source.seal, written)) + source.end()
        read = b"".join(map(target.open, slices(size)(wire)))
        assert read == b"".join(written)


@EACH
def test_what_comes_with_the_last_message_is_read_at_once(protocol: str) -> None:
    one, other = pair(protocol)
    other.receive_data(one.data_to_send())
    one.receive_data(other.data_to_send())
    if not one.done:  # Noise has three messages, and so has its initiator
        shake(one, other, whole)
    assert one.channel is not None
    other.receive_data(one.data_to_send() + one.channel.seal(b"early"))
    assert other.channel is not None
    assert other.channel.open(b"") == b"early"


@EACH
def test_a_peer_that_is_another_than_was_dialed_ends_the_handshake(protocol: str) -> None:
    one, other = pair(protocol, expected=PeerId.from_public_key(C.public))
    with pytest.raises(PeerIdMismatchError):
        shake(one, other, whole)


def test_a_wire_byte_that_was_changed_is_an_error() -> None:
    for protocol in BOTH:
        one, other = pair(protocol)
        shake(one, other, whole)
        assert one.channel is not None
        assert other.channel is not None
        wire = bytearray(one.channel.seal(b"hello"))
        wire[-1] ^= 1
        with pytest.raises(TraversalError):
            other.channel.open(bytes(wire))


# The muxer by ALPN (connections/inlined-muxer-negotiation.md).


def test_a_client_that_knows_no_muxers_in_alpn_negotiates_as_before() -> None:
    one, other = pair(TLS, muxers=())
    shake(one, other, whole)
    assert one.muxer is other.muxer is None


def test_a_client_with_other_muxers_alone_falls_back_to_libp2p() -> None:
    one, other = pair(TLS, muxers=("/mplex/6.7.0",))
    shake(one, other, whole)
    assert one.muxer is other.muxer is None


def test_alpn_without_an_overlap_ends_the_handshake() -> None:
    settings = tls.Settings(A, MUXERS)
    settings._context.set_alpn_protos([b"h2"])
    one = settings.handshake(initiator=True)
    with pytest.raises(HandshakeError, match="no ALPN"):
        shake(one, SECURITY[B].handshake(TLS, initiator=False), whole)


# Certificates (tls/tls.md).


EC = ec.generate_private_key(ec.SECP256R1())
WEAK = rsa.generate_private_key(65537, 1024)
OTHER_OID = x509.ObjectIdentifier("1.3.6.1.4.1.53594.1.2")


def certificate(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = EC,
    *,
    oid: x509.ObjectIdentifier = tls_certificate.EXTENSION,
    value: bytes | None = None,
    days: tuple[int, int] = (-1, 1),
    signer: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
) -> x509.Certificate:
    """A certificate that A vouches for, in good order but for what is asked for."""
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    name = x509.Name([])
    if value is None:
        value = tls_certificate.signed_key(A, key.public_key())
    return (
        x509.CertificateBuilder(name, name, key.public_key(), 7)
        .not_valid_before(now + days[0] * day)
        .not_valid_after(now + days[1] * day)
        .add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
        .sign(signer or key, hashes.SHA256())
    )


BAD = {
    "expired": certificate(days=(-2, -1)),
    "not yet valid": certificate(days=(1, 2)),
    "without the extension": certificate(oid=OTHER_OID),
    "an empty extension": certificate(value=b""),
    "an extension that is cut off": certificate(
        value=tls_certificate.signed_key(A, EC.public_key())[:-1]
    ),
    "vouched for by way of another key": certificate(
        value=tls_certificate.signed_key(A, WEAK.public_key())
    ),
    "signed by another key": certificate(signer=ec.generate_private_key(ec.SECP256R1())),
    "RSA with 1024 bits": certificate(WEAK),
}


def settings_with(made: x509.Certificate | None, *, more: bool = False) -> tls.Settings:
    """A's, but with this certificate or none; or with a second one."""
    settings = tls.Settings(A, MUXERS)
    context = SSL.Context(SSL.TLS_METHOD)
    # As a server needs one, only a client can have none.
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    context.set_alpn_protos([name.encode() for name in MUXERS])
    context.set_alpn_select_callback(lambda _, offered: offered[0])
    context.set_cipher_list(b"ALL:@SECLEVEL=0")  # it is the other end that must refuse
    if made is not None:
        context.use_certificate(made)
        weak = made.public_key() == WEAK.public_key()
        context.use_privatekey(WEAK if weak else EC)
    if more:
        context.add_extra_chain_cert(certificate())
    settings._context = context
    return settings


def refuses(evil: tls.Settings, *, client: bool) -> None:
    """B must have raised, whatever its part; a client may be told only after its own end."""
    theirs = evil.handshake(initiator=client)
    ours = SECURITY[B].handshake(TLS, initiator=not client)
    with pytest.raises(HandshakeError) as caught:
        shake(theirs, ours, whole)
    assert not ours.done, caught.value
    assert caught.traceback[-1].frame.f_locals.get("self") is not theirs


@pytest.mark.parametrize("client", [True, False], ids=["client", "server"])
@pytest.mark.parametrize("kind", BAD)
def test_a_certificate_that_proves_nothing_ends_the_handshake(kind: str, client: bool) -> None:
    refuses(settings_with(BAD[kind]), client=client)


@pytest.mark.parametrize("client", [True, False], ids=["client", "server"])
def test_a_certificate_in_good_order_is_the_control(client: bool) -> None:
    theirs = settings_with(certificate()).handshake(initiator=client)
    ours = SECURITY[B].handshake(TLS, initiator=not client)
    shake(theirs, ours, whole)
    assert ours.remote_peer == PEER_A


@pytest.mark.parametrize("client", [True, False], ids=["client", "server"])
def test_more_than_one_certificate_ends_the_handshake(client: bool) -> None:
    refuses(settings_with(certificate(), more=True), client=client)


def test_a_client_without_a_certificate_is_refused() -> None:
    refuses(settings_with(None), client=True)


def test_a_client_of_tls_1_2_is_refused() -> None:
    evil = settings_with(certificate())
    evil._context.set_max_proto_version(SSL.TLS1_2_VERSION)
    refuses(evil, client=True)


# Nodes.


def kinds_of(*nodes_: Node) -> set[str]:
    return {c.security for node in nodes_ for c in node.host.connections}


@pytest.mark.parametrize(
    ("dialing", "listening", "spoken"),
    [
        (BOTH, BOTH, NOISE),
        ((TLS, NOISE), BOTH, TLS),
        (BOTH, (TLS, NOISE), NOISE),  # it is the dialer who proposes
        (BOTH, (TLS,), TLS),
        ((TLS, NOISE), (NOISE,), NOISE),
    ],
)
def test_what_the_dialer_prefers_and_the_listener_speaks_is_spoken(
    dialing: tuple[str, ...], listening: tuple[str, ...], spoken: str
) -> None:
    async def work() -> None:
        async with nodes("tcp", {"security": dialing}, {"security": listening}) as (a, b):
            connection = await a.dial(address(b))
            assert connection.security == spoken
            assert await echoed(a, b.peer, bytes(300_000)) == bytes(300_000)
            assert kinds_of(a, b) == {spoken}

    run(work)


def test_what_a_peer_does_not_speak_is_proposed_to_it_only_once() -> None:
    async def work() -> None:
        async with nodes("tcp", {}, {"security": (TLS,)}) as (a, b):
            assert a.host.security.order(b.peer) == (NOISE, TLS)
            await (await a.dial(address(b))).close()
            assert a.host.security.order(b.peer) == (TLS, NOISE)
            assert a.host.security.order(a.peer) == (NOISE, TLS)

    run(work)


def test_two_without_a_protocol_in_common_do_not_meet() -> None:
    async def work() -> None:
        async with nodes("tcp", {"security": (NOISE,)}, {"security": (TLS,)}) as (a, b):
            with pytest.raises(DialError, match="speaks none of") as caught:
                await a.dial(address(b))
            assert caught.value.failure is DialFailure.HANDSHAKE

    run(work)


def test_another_peer_than_was_dialed_is_told_as_such_over_tls() -> None:
    async def work() -> None:
        async with nodes("tcp", {"security": (TLS,)}, {}) as (a, b):
            with pytest.raises(DialError) as caught:
                await a.dial(address(b).with_peer(PEER_A))
            assert caught.value.failure is DialFailure.WRONG_PEER

    run(work)


@pytest.mark.parametrize("speaks", [(TLS,), BOTH], ids=["tls", "both"])
def test_over_a_circuit_it_is_negotiated_alike_and_upgraded(speaks: tuple[str, ...]) -> None:
    async def work() -> None:
        some = {"security": speaks}
        async with nodes("tcp", {"relay": RelayLimits()}, some, {"security": (TLS,)}) as (
            hub,
            a,
            b,
        ):
            held = await b.reserve(address(hub))
            assert (await a.dial(held.addresses[0])).security == TLS
            direct = await a.wait_direct(b.peer, 10)
            assert direct.security == TLS
            await wait_event(a, Upgraded)

    run(work)


def test_a_circuit_that_stays_carries_tls_whole() -> None:
    async def work() -> None:
        some = {"security": (TLS,), "upgrade": STAY_RELAYED}
        async with nodes("tcp", {"relay": RelayLimits()}, some, some) as (hub, a, b):
            held = await b.reserve(address(hub))
            assert (await a.dial(held.addresses[0])).relayed
            assert await echoed(a, b.peer, bytes(30_000)) == bytes(30_000)

    run(work)


def test_the_end_of_a_connection_over_tls_loses_nothing_and_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[bytes] = []
    end = tls.Channel.end

    def ending(channel: tls.Channel) -> bytes:
        told.append(end(channel))
        return told[-1]

    monkeypatch.setattr(tls.Channel, "end", ending)

    async def work() -> None:
        got = bytearray()
        async with nodes("tcp", {"security": (TLS,)}, {}) as (a, b):

            async def take(stream: Stream, connection: Connection) -> None:
                del connection
                while data := await stream.read():
                    got.extend(data)

            b.set_handler("/take/1", take)
            connection = await a.dial(address(b))
            stream = await a.open_stream(b.peer, ["/take/1"])
            await stream.write(bytes(2_000_000))
            await a.close()
            assert connection.undelivered_at_end == 0
        assert len(got) == 2_000_000
        assert told[0]  # close_notify

    run(work)


@pytest.mark.parametrize("protocols", [(), ("/plaintext/2.0.0",)])
def test_a_protocol_that_is_not_known_is_an_address_error(protocols: tuple[str, ...]) -> None:
    with pytest.raises(AddressError, match="security protocols"):
        Security(A, protocols)
