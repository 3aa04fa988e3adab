"""Whom the API server is to trust: the `caBundle` of webhook configurations and CRDs, as patches. Pure.

While a certificate changes, some replicas still serve the old one: for `OVERLAP` after the new one was made the
authorities of both are trusted, so that no write fails in between. The old one then goes.
"""

from __future__ import annotations

import base64
import binascii
import copy
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

__all__ = ["OVERLAP", "bundle_patch", "trusted"]

Object = dict[str, Any]
OVERLAP = timedelta(minutes=10)


def trusted(present: str, authority_pem: bytes, issued: datetime, now: datetime) -> str:
    """The `caBundle` (base64) that is to stand where `present` stands.

    authority_pem: of the certificate in the Secret, since `issued`. Of the present authorities those that have not
    expired stay until `OVERLAP` is over.
    """
    wanted = _read(authority_pem)
    kept = []
    if now < issued + OVERLAP:
        kept = [cert for cert in _decoded(present) if cert not in wanted and now < cert.not_valid_after_utc]
    return base64.b64encode(b"".join(_pem(cert) for cert in (*wanted, *kept))).decode()


def bundle_patch(obj: Mapping[str, Any], authority_pem: bytes, issued: datetime, now: datetime) -> Object:
    """The merge patch that makes a webhook configuration, or a CRD with a conversion webhook, trust the authority;
    empty where it does. `resourceVersion` is in it: a list is patched as a whole, over nobody else's change."""
    patch: Object = {}
    if isinstance(obj.get("webhooks"), list):
        patch = _webhooks_patch(obj["webhooks"], authority_pem, issued, now)
    else:
        client = ((obj.get("spec") or {}).get("conversion") or {}).get("webhook", {}).get("clientConfig")
        if client is not None:
            bundle = trusted(client.get("caBundle") or "", authority_pem, issued, now)
            if bundle != client.get("caBundle"):
                patch = {"spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": bundle}}}}}
    if patch:
        patch["metadata"] = {"resourceVersion": obj["metadata"].get("resourceVersion")}
    return patch


def _webhooks_patch(webhooks: list[Object], authority_pem: bytes, issued: datetime, now: datetime) -> Object:
    changed = copy.deepcopy(webhooks)
    for webhook in changed:
        client = webhook.setdefault("clientConfig", {})
        client["caBundle"] = trusted(client.get("caBundle") or "", authority_pem, issued, now)
    return {"webhooks": changed} if changed != webhooks else {}


def _decoded(bundle: str) -> list[x509.Certificate]:
    try:
        return _read(base64.b64decode(bundle, validate=True))
    except (ValueError, binascii.Error):
        return []


def _read(pem: bytes) -> list[x509.Certificate]:
    """Nothing where it cannot be read: what is no certificate vouches for nothing."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
