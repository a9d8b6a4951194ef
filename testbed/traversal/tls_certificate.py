"""The self-signed certificate that carries a peer id in TLS 1.3 and QUIC (libp2p TLS spec)."""

import datetime
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from .errors import HandshakeError
from .keys import RSA_BITS, PrivateKey, PublicKey
from .peer_id import PeerId

ALPN = "libp2p"
EXTENSION = x509.ObjectIdentifier("1.3.6.1.4.1.53594.1.1")
_PREFIX = b"libp2p-tls-handshake:"
_NAME = x509.Name([x509.NameAttribute(x509.NameOID.SERIAL_NUMBER, "1")])
_LIFETIME = datetime.timedelta(days=365 * 100)
_SKEW = datetime.timedelta(hours=1)  # a peer's clock may be behind ours
_BROKEN = (hashes.MD5, hashes.SHA1)
_SEQUENCE, _OCTET_STRING = 0x30, 0x04


@dataclass(frozen=True)
class Credentials:
    """A certificate and the key that it was made for."""

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey


def make(identity: PrivateKey) -> Credentials:
    """A fresh P-256 key in a certificate that `identity` vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    value = signed_key(identity, key.public_key())
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.UnrecognizedExtension(EXTENSION, value), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Credentials(certificate, key)


def signed_key(identity: PrivateKey, key: CertificatePublicKeyTypes) -> bytes:
    """The value of the libp2p extension: `identity` vouches for the certificate's key."""
    signature = identity.sign(_PREFIX + _spki(key))
    public = _der(_OCTET_STRING, identity.public.encode())
    return _der(_SEQUENCE, public + _der(_OCTET_STRING, signature))


def verify(certificate: x509.Certificate) -> PeerId:
    """The peer id that the certificate proves.  Raises HandshakeError."""
    try:
        return _verify(certificate)
    # A certificate is parsed no sooner than it is asked: each question may fail.
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise HandshakeError("tls", f"certificate: {error}") from error


def _verify(certificate: x509.Certificate) -> PeerId:
    now = datetime.datetime.now(datetime.UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise HandshakeError("tls", "certificate is not valid at this time")
    _check_self_signed(certificate)
    key_bytes, signature = _signed_key(certificate)
    key = PublicKey.decode(key_bytes)
    if not key.verify(signature, _PREFIX + _spki(certificate.public_key())):
        raise HandshakeError("tls", "identity signature does not verify")
    return PeerId.from_public_key(key)


def _signed_key(certificate: x509.Certificate) -> tuple[bytes, bytes]:
    try:
        extensions = certificate.extensions
        value = extensions.get_extension_for_oid(EXTENSION).value
    except x509.ExtensionNotFound as error:
        raise HandshakeError("tls", f"libp2p extension: {error}") from error
    for extension in extensions:
        unknown = isinstance(extension.value, x509.UnrecognizedExtension)
        if extension.critical and unknown and extension.oid != EXTENSION:
            raise HandshakeError("tls", f"unknown critical extension {extension.oid}")
    if not isinstance(value, x509.UnrecognizedExtension):
        raise HandshakeError("tls", "libp2p extension has an unknown form")
    body, rest = _read_der(_SEQUENCE, value.value)
    public_key, tail = _read_der(_OCTET_STRING, body)
    signature, end = _read_der(_OCTET_STRING, tail)
    if rest or end:
        raise HandshakeError("tls", "trailing bytes in the libp2p extension")
    return public_key, signature


def _check_self_signed(certificate: x509.Certificate) -> None:
    key, algorithm = certificate.public_key(), certificate.signature_hash_algorithm
    if isinstance(algorithm, _BROKEN):
        raise HandshakeError("tls", f"certificate is signed by way of {algorithm.name}")
    signature, signed = certificate.signature, certificate.tbs_certificate_bytes
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and algorithm is not None:
            key.verify(signature, signed, ec.ECDSA(algorithm))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, signed)
        elif isinstance(key, rsa.RSAPublicKey) and algorithm is not None:
            if key.key_size not in RSA_BITS:
                raise HandshakeError("tls", f"certificate has an RSA key of {key.key_size} bits")
            scheme = certificate.signature_algorithm_parameters
            if not isinstance(scheme, padding.PSS | padding.PKCS1v15):
                raise HandshakeError("tls", "certificate signature of an unknown scheme")
            key.verify(signature, signed, scheme, algorithm)
        else:
            raise HandshakeError("tls", "certificate key of an unsupported kind")
    except InvalidSignature as error:
        raise HandshakeError("tls", "certificate is not signed by its own key") from error


def _spki(key: CertificatePublicKeyTypes) -> bytes:
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.DER, info)


def _der(tag: int, body: bytes) -> bytes:
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes(2, "big").lstrip(b"\0")
    return bytes([tag, 0x80 | len(size)]) + size + body


def _read_der(tag: int, data: bytes) -> tuple[bytes, bytes]:
    """The body of the first element, and what follows it."""
    if len(data) < 2 or data[0] != tag:
        raise HandshakeError("tls", "libp2p extension is not the expected ASN.1")
    length, start = data[1], 2
    if length & 0x80:
        count = length & 0x7F
        length, start = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
        if not 1 <= count <= 2:
            raise HandshakeError("tls", "libp2p extension has an odd length")
    if len(data) < start + length:
        raise HandshakeError("tls", "libp2p extension is cut off")
    return data[start : start + length], data[start + length :]
