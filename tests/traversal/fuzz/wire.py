"""Targets: framing, addresses, the secure channel and the muxer."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from testbed.traversal import base58, multistream, noise, protobuf, varint, yamux
from testbed.traversal.multiaddr import Multiaddr, decode_all
from testbed.traversal.noise_xx import XX

from .registry import ADDRESSES, KEY, PEER, modes, prefixed, target

_LIMIT = 300


@target(b"\x00", b"\x7f", b"\x80\x01", b"\xff" * 8 + b"\x7f", varint.frame(b"hello") * 3)
def varints(data: bytes) -> None:
    """One value, then the whole input as frames, whole and in pieces."""
    try:
        value, end = varint.decode(data)
    except varint.IncompleteError:
        assert len(data) < varint.MAX_BYTES
        return
    assert varint.encode(value) == data[:end]
    whole, pieces = varint.FrameDecoder(_LIMIT), varint.FrameDecoder(_LIMIT)
    whole.feed(data)
    for offset in range(0, len(data), 7):
        pieces.feed(data[offset : offset + 7])
    used = 0
    while (frame := whole.next_frame()) is not None:
        assert pieces.next_frame() == frame
        assert len(frame) <= _LIMIT
        assert data[used:].startswith(varint.frame(frame))
        used += len(varint.frame(frame))
    assert whole.trailing_data == data[used:]


@dataclass(frozen=True)
class _Leaf(protobuf.Message):
    number: int | None = protobuf.uint(1)
    words: tuple[str, ...] = protobuf.texts(2)


@dataclass(frozen=True)
class _Tree(protobuf.Message):
    number: int | None = protobuf.uint(1)
    fixed: int | None = protobuf.fixed64(2)
    data: bytes | None = protobuf.blob(3)
    blobs: tuple[bytes, ...] = protobuf.blobs(4)
    word: str | None = protobuf.text(5)
    leaf: _Leaf | None = protobuf.message(16, _Leaf)  # noqa: RUF009
    leaves: tuple[_Leaf, ...] = protobuf.messages(17, _Leaf)


_LEAF = _Leaf(7, ("a", "ü"))


@target(
    _LEAF.encode(),
    _Tree(1, 2, b"x", (b"", b"y"), "z", _LEAF, (_LEAF, _Leaf())).encode(),
    _Tree(2**64 - 1).encode() + b"\x7d\x00\x00\x00\x00",  # and an unknown fixed32
)
def protobufs(data: bytes) -> None:
    """Every kind of field: the canonical form reads back, and is no longer than what came."""
    tree = _Tree.decode(data)
    assert _Tree.decode(tree.encode()) == tree
    assert len(tree.encode()) <= len(data)


_PROTOCOLS = ("/a", "/noise", "/yamux/1.0.0")


@target(
    *prefixed(0, multistream.Dialer(_PROTOCOLS).data_to_send(), b"\x13/multistream/1.0.0\n"),
    *prefixed(1, b"\x13/multistream/1.0.0\n\x03na\n\x03na\n\x0e/yamux/1.0.0\nrest"),
    *prefixed(0, b"\x13/multistream/1.0.0\n\x03ls\n" + b"\x03/x\n" * 40),
)
def multistreams(data: bytes) -> None:
    """Either side; what it says is bounded, and what it leaves is the input's end."""
    mode, data = modes(data, 2)
    machine = multistream.Dialer(_PROTOCOLS) if mode else multistream.Listener(_PROTOCOLS)
    try:
        machine.receive_data(data)
    finally:
        assert len(machine.data_to_send()) <= 20 + 20 * multistream.MAX_PROPOSALS
        assert data.endswith(machine.trailing_data)
    assert machine.selected is None or machine.selected in _PROTOCOLS
    assert machine.done or len(machine.trailing_data) <= multistream.MAX_LINE + 2


@target(*(a.encode() for a in ADDRESSES))
def multiaddrs(data: bytes) -> None:
    """What is read can be written again, in both forms."""
    address = Multiaddr.decode(data)
    assert Multiaddr.decode(address.encode()) == address
    assert len(address.encode()) == len(data)
    assert Multiaddr.parse(str(address)) == address if data else True
    assert len(str(address)) <= 32 * len(data) + 1
    _questions(address)
    assert decode_all((data, data)) == (address, address)


@target(*(str(a).encode() for a in ADDRESSES))
def multiaddr_texts(data: bytes) -> None:
    """Any text, not only ASCII."""
    address = Multiaddr.parse(data.decode("utf-8", "surrogateescape"))
    assert Multiaddr.parse(str(address) or "/") == address
    if len(wire := address.encode()) <= 1024:
        assert Multiaddr.decode(wire) == address
    _questions(address)


def _questions(address: Multiaddr) -> None:
    """Whatever a caller asks of an address that was accepted has an answer."""
    _ = address.is_relayed, address.transport, address.ip, address.port, address.is_public
    if address.peer_id is not None and address.without_peer().peer_id is None:
        assert address.without_peer().with_peer(address.peer_id) == address
    if address.is_relayed:
        address.relay()


@target(b"", b"1", base58.encode(PEER.multihash).encode(), b"1" * 128)
def base58_texts(data: bytes) -> None:
    """One text for one value."""
    decoded = base58.decode(data.decode("latin1"))
    assert base58.encode(decoded).encode("latin1") == data


def _static() -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


_NOISE_PAYLOAD = noise.Handshake(KEY, initiator=True, muxers=("/yamux/1.0.0",))._payload()


@target(
    *prefixed(0, noise.Handshake(KEY, initiator=True).data_to_send()),
    *prefixed(1, b"\x00\x60" + bytes(96)),
    *prefixed(2, _NOISE_PAYLOAD, b""),
    *prefixed(3, _NOISE_PAYLOAD, b""),
    *prefixed(4, b"\x00\x10" + bytes(16), b"hello"),
)
def noises(data: bytes) -> None:
    """Bytes from a stranger; then payloads from one who does the cryptography right."""
    mode, data = modes(data, 5)
    if mode < 2:
        raw = noise.Handshake(KEY, initiator=mode == 1)
        raw.receive_data(data)
        assert not raw.done
        return
    hostile = XX(_static(), _static())
    ours = noise.Handshake(KEY, initiator=mode == 2, muxers=("/yamux/1.0.0",))
    if mode == 2:
        hostile.read_1(ours.data_to_send()[2:])
        ours.receive_data(_framed(hostile.write_2(data)))
    else:
        ours.receive_data(_framed(hostile.write_1()))
        hostile.read_2(ours.data_to_send()[2:])
        payload = data if mode == 3 else _signed_by_hostile()
        ours.receive_data(_framed(hostile.write_3(payload)))
    assert ours.done
    assert ours.remote_peer is not None
    assert ours.channel is not None
    if mode == 4:
        assert ours.channel.open(data) == b""  # nobody can seal without the key


def _signed_by_hostile() -> bytes:
    static = _static().public_key().public_bytes_raw()
    signature = KEY.sign(b"noise-libp2p-static-key:" + static)
    return b"".join((b"\x0a", varint.frame(KEY.public.encode()), b"\x12", varint.frame(signature)))


def _framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def _yamux(kind: int, flags: int, stream: int, length: int, data: bytes = b"") -> bytes:
    head = bytes([0, kind]) + flags.to_bytes(2, "big")
    return head + stream.to_bytes(4, "big") + length.to_bytes(4, "big") + data


_OPEN = _yamux(1, 1, 1, 0)


@target(
    *prefixed(0, _OPEN + _yamux(0, 0, 1, 5, b"hello") + _yamux(0, 4, 1, 0)),
    *prefixed(1, _yamux(1, 2, 1, 0) + _yamux(2, 1, 0, 7) + _yamux(2, 2, 0, 1) + _yamux(3, 0, 0, 0)),
    *prefixed(0, _OPEN + _yamux(1, 0, 1, 2**32 - 1), _yamux(0, 1, 1, 300_000), _OPEN + _OPEN),
    *prefixed(0, b"".join(_yamux(1, 1, n, 0) + _yamux(1, 8, n, 0) for n in range(1, 40, 2))),
)
def yamuxes(data: bytes) -> None:
    """Nothing comes out that did not come in; answers are no longer than the questions."""
    mode, data = modes(data, 2)
    limits = yamux.Limits(max_inbound=8)
    session = yamux.Session(client=mode == 1, now=0.0, limits=limits)
    if mode:
        session.open_stream()
    asked = len(session.data_to_send())
    opened: set[int] = set()
    received = 0
    try:
        for event in session.receive_data(data, 1.0):
            if isinstance(event, yamux.DataReceived):
                received += len(event.data)
            elif isinstance(event, yamux.StreamOpened):
                assert event.stream_id not in opened
                opened.add(event.stream_id)
    finally:
        assert session.pending <= len(data) + asked + 12
    assert received <= len(data)
    for stream_id in opened:
        session.consume(stream_id, 1, 1.0)
        session.reset(stream_id)
    session.tick(31.0)
