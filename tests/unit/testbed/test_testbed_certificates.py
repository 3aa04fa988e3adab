"""The testbed's certificates are such that TLS takes them, and say what Kubernetes reads from them."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading

from cryptography import x509
from cryptography.x509.oid import NameOID

from armature_testbed.certificates import Authority, KeyPair, new_key_pem, public_key_pem

NOW = datetime.datetime(2026, 11, 25, tzinfo=datetime.UTC)


def write(path, pair: KeyPair):
    path.write_bytes(pair.certificate_pem + pair.key_pem)
    return path


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> dict[str, object]:
    """What the server sees of the client's certificate. Raises ssl.SSLError when either refuses the other."""
    ours, theirs = socket.socketpair()
    seen: dict[str, object] = {}

    def serve():
        with server.wrap_socket(theirs, server_side=True) as end:
            seen.update(end.getpeercert() or {})
            end.sendall(b"x")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(ours, server_hostname=name) as end:
            assert end.recv(1) == b"x"
    finally:
        ours.close()
        thread.join()
    return seen


def test_server_and_client_of_one_authority_trust_each_other(tmp_path):
    authority = Authority.new("test", datetime.datetime.now(datetime.UTC))
    now = datetime.datetime.now(datetime.UTC)
    (tmp_path / "ca").write_bytes(authority.pair.certificate_pem)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca"))
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(
        write(tmp_path / "server", authority.server("server", ("10.96.0.1", "kubernetes"), now))
    )
    client = ssl.create_default_context(cafile=str(tmp_path / "ca"))
    client.load_cert_chain(write(tmp_path / "client", authority.client("jane", ("dev", "ops"), now)))
    for name in ("10.96.0.1", "kubernetes"):
        subject = [pair for part in handshake(server, client, name)["subject"] for pair in part]
        assert ("commonName", "jane") in subject
        assert [value for key, value in subject if key == "organizationName"] == ["dev", "ops"]


def test_groups_are_organisations_in_order():
    pair = Authority.new("test", NOW).client("jane", ("dev", "ops"), NOW)
    subject = x509.load_pem_x509_certificate(pair.certificate_pem).subject
    assert [name.value for name in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == [
        "dev",
        "ops",
    ]


def test_certificates_hold_from_before_now_for_a_clock_that_is_behind():
    certificate = x509.load_pem_x509_certificate(Authority.new("test", NOW).pair.certificate_pem)
    assert certificate.not_valid_before_utc < NOW < certificate.not_valid_after_utc


def test_public_half_belongs_to_its_key():
    key = new_key_pem()
    assert public_key_pem(key) == public_key_pem(key) != public_key_pem(new_key_pem())
    assert public_key_pem(key).startswith(b"-----BEGIN PUBLIC KEY-----")
