"""Published vectors: libp2p specs (peer-ids, tls), flynn/noise's Noise vectors, Yamux's table."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from testbed.traversal import noise_xx, tls_certificate, yamux
from testbed.traversal.errors import HandshakeError
from testbed.traversal.keys import KeyType, PrivateKey, PublicKey
from testbed.traversal.peer_id import PeerId

# specs/peer-ids/peer-ids.md, "Test vectors".
KEYS = {
    KeyType.ECDSA: (
        "08031279307702010104203E5B1FE9712E6C314942A750BD67485DE3C1EFE85B1BFB520AE8F9AE3DFA4A4CA00A"
        "06082A8648CE3D030107A14403420004DE3D300FA36AE0E8F5D530899D83ABAB44ABF3161F162A4BC901D8E6EC"
        "DA020E8B6D5F8DA30525E71D6851510C098E5C47C646A597FB4DCEC034E9F77C409E62",
        "0803125b3059301306072a8648ce3d020106082a8648ce3d03010703420004de3d300fa36ae0e8f5d530899d83"
        "abab44abf3161f162a4bc901d8e6ecda020e8b6d5f8da30525e71d6851510c098e5c47c646a597fb4dcec034e9"
        "f77c409e62",
    ),
    KeyType.ED25519: (
        "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d1ed1e8fae2c4a144b8"
        "be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e",
        "080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e",
    ),
    KeyType.SECP256K1: (
        "0802122053DADF1D5A164D6B4ACDB15E24AA4C5B1D3461BDBD42ABEDB0A4404D56CED8FB",
        "08021221037777e994e452c21604f91de093ce415f5432f701dd8cd1a7a6fea0e630bfca99",
    ),
}

# specs/tls/tls.md, "Test vectors".
_HEAD = (
    "020204499602d2300a06082a8648ce3d040302302031123010060355040a13096c69627032702e696f310a300806"
    "035504051301313020170d3735303130313133303030305a180f34303936303130313133303030305a3020311230"
    "10060355040a13096c69627032702e696f310a300806035504051301313059301306072a8648ce3d020106082a86"
    "48ce3d030107034200040c901d423c831ca85e27c73c263ba132721bb9d7a84c4f0380b2a6756fd601331c887023"
    "4dec878504c174144fa4b14b66a651691606d8173e55bd37e381569ea3"
)
CERTIFICATES = {
    "12D3KooWM6CgA9iBFZmcYAHA6A2qvbAxqfkmrYiRQuz3XEsk4Ksv": (
        "308201ae30820156a00302010"
        + _HEAD[1:]
        + "7c307a3078060a2b0601040183a25a0101046a306804240801"
        "1220a77f1d92fedb59dddaea5a1c4abd1ac2fbde7d7b879ed364501809923d7c11b90440d90d2769db992d5e6195"
        "dbb08e706b6651e024fda6cfb8846694a435519941cac215a8207792e42849cccc6cd8136c6e4bde92a58c5e08cf"
        "d4206eb5fe0bf909300a06082a8648ce3d0403020346003043021f50f6b6c52711a881778718238f650c9fb48943"
        "ae6ee6d28427dc6071ae55e702203625f116a7a454db9c56986c82a25682f7248ea1cb764d322ea983ed36a31b77"
    ),
    "QmfXbAwNjJLXfesgztEHe8HwgVDCMMpZ9Eax1HYq6hn9uE": (
        "308201f63082019da00302010"
        + _HEAD[1:]
        + "81c23081bf3081bc060a2b0601040183a25a01010481ad3081"
        "aa045f0803125b3059301306072a8648ce3d020106082a8648ce3d03010703420004bf30511f909414ebdd324217"
        "8fd290f093a551cf75c973155de0bb5a96fedf6cb5d52da7563e794b512f66e60c7f55ba8a3acf3dd72a801980d2"
        "05e8a1ad29f2044730450220064ea8124774caf8f50e57f436aa62350ce652418c019df5d98a3ac666c9386a0221"
        "00aa59d704a931b5f72fb9222cb6cc51f954d04a4e2e5450f8805fe8918f71eaae300a06082a8648ce3d04030203"
        "470030440220799395b0b6c1e940a7e4484705f610ab51ed376f19ff9d7c16757cfbf61b8d4302206205c03fbb0f"
        "95205c779be86581d3e31c01871ad5d1f3435bcf375cb0e5088a"
    ),
    "16Uiu2HAkutTMoTzDw1tCvSRtu6YoixJwS46S1ZFxW8hSx9fWHiPs": (
        "308201ba3082015fa00302010"
        + _HEAD[1:]
        + "8184308181307f060a2b0601040183a25a01010471306f0425"
        "080212210206dc6968726765b820f050263ececf7f71e4955892776c0970542efd689d2382044630440220145e15"
        "a991961f0d08cd15425bb95ec93f6ffa03c5a385eedc34ecf464c7a8ab022026b3109b8a3f40ef833169777eb2aa"
        "337cfb6282f188de0666d1bcec2a4690dd300a06082a8648ce3d0403020349003046022100e1a217eeef9ec9204b"
        "3f774a08b70849646b6a1e6b8b27f93dc00ed58545d9fe022100b00dafa549d0f03547878338c7b15e7502888f6d"
        "45db387e5ae6b5d46899cef0"
    ),
}
FORGED = (
    "308201f73082019da00302010"
    + _HEAD[1:]
    + "81c23081bf3081bc060a2b0601040183a25a01010481ad3081aa04"
    "5f0803125b3059301306072a8648ce3d020106082a8648ce3d03010703420004bf30511f909414ebdd3242178fd290f0"
    "93a551cf75c973155de0bb5a96fedf6cb5d52da7563e794b512f66e60c7f55ba8a3acf3dd72a801980d205e8a1ad29f2"
    "04473045022100bb6e03577b7cc7a3cd1558df0da2b117dfdcc0399bc2504ebe7de6f65cade72802206de96e2a5be9b6"
    "202adba24ee0362e490641ac45c240db71fe955f2c5cf8df6e300a06082a8648ce3d0403020348003045022100e847f2"
    "67f43717358f850355bdcabbefb2cfbf8a3c043b203a14788a092fe8db022027c1d04a2d41fd6b57a7e8b3989e470325"
    "de4406e52e084e34a3fd56eef0d0df"
)


@pytest.mark.parametrize("kind", KEYS)
def test_private_keys_of_the_specification_give_its_public_keys(kind: KeyType) -> None:
    private, public = (bytes.fromhex(text) for text in KEYS[kind])
    key = PrivateKey.decode(private)
    assert (key.kind, key.public.encode()) == (kind, public)
    assert PublicKey.decode(public).verify(key.sign(b"message"), b"message")
    assert not PublicKey.decode(public).verify(key.sign(b"message"), b"other")


def test_an_ed25519_private_key_is_written_as_it_was_read() -> None:
    private = bytes.fromhex(KEYS[KeyType.ED25519][0])
    assert PrivateKey.decode(private).encode() == private


@pytest.mark.parametrize("peer", CERTIFICATES)
def test_certificates_of_the_specification_prove_their_peer_ids(peer: str) -> None:
    certificate = x509.load_der_x509_certificate(bytes.fromhex(CERTIFICATES[peer]))
    assert str(tls_certificate.verify(certificate)) == peer


def test_the_forged_certificate_of_the_specification_is_refused() -> None:
    with pytest.raises(HandshakeError, match="does not verify"):
        tls_certificate.verify(x509.load_der_x509_certificate(bytes.fromhex(FORGED)))


@pytest.mark.parametrize("kind", KEYS)
def test_our_own_certificate_proves_the_identity_it_was_made_for(kind: KeyType) -> None:
    identity = PrivateKey.decode(bytes.fromhex(KEYS[kind][0]))
    certificate = tls_certificate.make(identity).certificate
    assert tls_certificate.verify(certificate) == PeerId.from_public_key(identity.public)


def test_both_text_forms_of_a_peer_id_are_the_same_id() -> None:
    text = "12D3KooWM6CgA9iBFZmcYAHA6A2qvbAxqfkmrYiRQuz3XEsk4Ksv"
    peer = PeerId.parse(text)
    assert PeerId.parse(peer.to_cid()) == peer
    assert str(peer) == text


# github.com/flynn/noise vectors.txt, Noise_XX_25519_ChaChaPoly_SHA256.
NOISE = {
    "init_static": "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    "resp_static": "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20",
    "init_ephemeral": "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f",
    "resp_ephemeral": "4142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f60",
}
NOISE_MESSAGES = [
    ("test_msg_0", "358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254"
     "746573745f6d73675f30"),
    ("test_msg_1", "64b101b1d0be5a8704bd078f9895001fc03e8e9f9522f188dd128d9846d484663414af878d3e"
     "46a2f58911a816d6e8346d4ea17a6f2a0bb4ef4ed56c133cff4572e7a2ba5123ac30618b3d205f5c2d17f50cbca2"
     "16483ac56bcc78e33bf520303278db641e5e731b2e3a"),
    ("test_msg_2", "87f864c11ba449f46a0a4f4e2eacbb7b0457784f4fca1937f572c93603e9c4d9f27e318e43ba"
     "630594c4d08eeb3b36d97c7377a2f4f9144b2f0c8095ad92140505b2ab53eff244b14138"),
]  # fmt: skip
NOISE_TRANSPORT = [
    ("yellowsubmarine", "a52ef02ba60e12696d1d6b9ef4245c88fca757b6134ad6e76b56e310a6adf6"),
    ("submarineyellow", "2445aa438ebd649281c636cc7269ca82f1d9023d72520943aeabf909cdf521"),
]


def test_noise_xx_writes_the_published_messages() -> None:
    key = {n: X25519PrivateKey.from_private_bytes(bytes.fromhex(v)) for n, v in NOISE.items()}
    initiator = noise_xx.XX(key["init_static"], key["init_ephemeral"])
    responder = noise_xx.XX(key["resp_static"], key["resp_ephemeral"])
    steps = [
        (initiator.write_1, responder.read_1),
        (responder.write_2, initiator.read_2),
        (initiator.write_3, responder.read_3),
    ]
    for (payload, expected), (write, read) in zip(NOISE_MESSAGES, steps, strict=True):
        message = write(payload.encode())
        assert message.hex() == expected
        assert read(message) == payload.encode()
    ciphers = initiator.state.split()
    for cipher, (payload, expected) in zip(ciphers, NOISE_TRANSPORT, strict=True):
        assert cipher.encrypt(payload.encode()).hex() == expected


def test_yamux_frames_have_the_layout_of_the_specification() -> None:
    session = yamux.Session(client=True, now=0.0)
    stream = session.open_stream()
    session.send(stream, b"hi")
    session.close_write(stream)
    # version, type, flags, stream id, length: SYN by window update, data, FIN by empty data
    assert session.data_to_send().hex() == (
        "00" "01" "0001" "00000001" "00000000"
        "00" "00" "0000" "00000001" "00000002" "6869"
        "00" "00" "0004" "00000001" "00000000"
    )  # fmt: skip
