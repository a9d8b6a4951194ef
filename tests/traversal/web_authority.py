"""Certificates of the web, by an authority of a lab's own."""

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True)
class Authority:
    """A lab's own: who trusts it, and who has its certificate for a name and an address."""

    folder: Path  # of ca.pem, cert.pem and key.pem
    trusted: ssl.SSLContext
    certified: ssl.SSLContext


def make_authority(folder: Path, *names: str) -> Authority:
    """For 127.0.0.1 and these names; its files are written to `folder`."""
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    root, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a lab's authority")])
    root_key, own_key = (
        x509.SubjectKeyIdentifier.from_public_key(one.public_key()) for one in (root, key)
    )
    ca = (
        x509.CertificateBuilder(issuer, issuer, root.public_key(), 1, now - day, now + day)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(root_key, critical=False)
        .sign(root, hashes.SHA256())
    )
    alternatives: list[x509.GeneralName] = [
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        *map(x509.DNSName, names),
    ]
    identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_key)
    cert = (
        x509.CertificateBuilder(issuer, x509.Name([]), key.public_key(), 2, now - day, now + day)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=True)
        .add_extension(own_key, critical=False)
        .add_extension(identifier, critical=False)
        .sign(root, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    pkcs8 = serialization.PrivateFormat.PKCS8
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    (folder / "cert.pem").write_bytes(cert.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, pkcs8, plain))
    certified = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certified.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return Authority(folder, ssl.create_default_context(cafile=str(folder / "ca.pem")), certified)
