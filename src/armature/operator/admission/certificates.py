"""Serving certificates: made, read from a Secret, and judged. No I/O; the clock is passed in (WH-05, WH-06).

Each generation has a root of its own, whose key is forgotten as soon as it has signed: nobody can make a second
certificate that the API server would trust. Keys are ECDSA P-256.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = [
    "AUTHORITY",
    "CERTIFICATE",
    "KEY",
    "LIFE",
    "KeyPair",
    "Verdict",
    "generate",
    "judge_secret",
    "secret_data",
    "service_names",
]

LIFE = timedelta(days=3650)
"""Of root and server certificate alike (WH-06)."""
_RENEW_BEFORE = timedelta(days=30)
_SKEW = timedelta(hours=1)
"""Clocks that differ by this much still take a new certificate for valid."""
CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate, its key, and the authority (or several) that vouches for it; PEM."""

    certificate_pem: bytes
    key_pem: bytes
    authority_pem: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a Secret is good for. pair: to be served, None where it cannot be. problem: why it must be replaced, or,
    where there is a pair all the same, soon; empty where all is well. since: when it was made."""

    pair: KeyPair | None
    problem: str = ""
    since: datetime | None = None


def service_names(service: str, namespace: str) -> tuple[str, ...]:
    """Under which names a Service is called from inside the cluster; `.svc` is the API server's."""
    return (
        f"{service}.{namespace}.svc",
        service,
        f"{service}.{namespace}",
        f"{service}.{namespace}.svc.cluster.local",
    )


def generate(names: Sequence[str], now: datetime, life: timedelta = LIFE) -> KeyPair:
    """A new root and a server certificate for these names (DNS names or IP addresses), the first being its subject."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = _name("armature-webhook-ca")
    root = (
        _builder(issuer, issuer, root_key, now, life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    server = (
        _builder(_name(names[0]), issuer, key, now, life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False
        )
        .sign(root_key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return KeyPair(_pem(server), key_pem, _pem(root))


def secret_data(pair: KeyPair) -> dict[str, str]:
    """`data` of a Secret of type kubernetes.io/tls."""
    parts = {CERTIFICATE: pair.certificate_pem, KEY: pair.key_pem, AUTHORITY: pair.authority_pem}
    return {key: base64.b64encode(pem).decode() for key, pem in parts.items()}


def judge_secret(secret: Mapping[str, Any], names: Sequence[str], now: datetime) -> Verdict:
    """Whether the Secret's certificate can be served under all these names, and for how long yet."""
    pems: dict[str, bytes] = {}
    for key in (CERTIFICATE, KEY, AUTHORITY):
        try:
            pems[key] = base64.b64decode((secret.get("data") or {})[key], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error):
            return Verdict(None, f"it has no readable {key}")
    pair = KeyPair(pems[CERTIFICATE], pems[KEY], pems[AUTHORITY])
    try:
        chain = x509.load_pem_x509_certificates(pair.certificate_pem)
        authorities = x509.load_pem_x509_certificates(pair.authority_pem)
        private = serialization.load_pem_private_key(pair.key_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        return Verdict(None, f"its certificate, key or authority is no PEM that can be read ({error})")
    server = chain[0]
    starts = server.not_valid_before_utc
    if _spki(private.public_key()) != _spki(server.public_key()):
        return Verdict(None, f"{KEY} is not the key of {CERTIFICATE}")
    missing = [name for name in names if not _covers(server, name)]
    if missing:
        return Verdict(None, f"its certificate does not name {', '.join(missing)}")
    if not any(_vouches(authority, chain[-1]) for authority in authorities):
        return Verdict(None, f"{CERTIFICATE} is not signed by {AUTHORITY}")
    if now < starts:
        return Verdict(None, f"its certificate is not valid before {starts:%Y-%m-%d %H:%M} UTC")
    ends = min(cert.not_valid_after_utc for cert in (*chain, *authorities))
    if ends <= now:
        return Verdict(None, f"it expired on {ends:%Y-%m-%d %H:%M} UTC")
    expiring = ends - now < min(_RENEW_BEFORE, (ends - starts) / 3)
    said = f"it expires on {ends:%Y-%m-%d %H:%M} UTC" if expiring else ""
    return Verdict(pair, said, starts + _SKEW)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - _SKEW)
        .not_valid_after(now.astimezone(UTC) + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common: str) -> x509.Name:
    """A common name holds 64 characters; the alternative names are what counts."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _covers(certificate: x509.Certificate, name: str) -> bool:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return False
    wanted = _alternative(name)
    wildcard = x509.DNSName(f"*.{name.partition('.')[2]}")
    return any(given in (wanted, wildcard) for given in extension.value)


def _vouches(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return certificate == authority  # self-signed, given as its own authority
    return True


def _spki(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
