"""Certificates and trust (WH-05, WH-06), under a clock that the test holds."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from armature.operator.admission.bundles import OVERLAP, bundle_patch, trusted
from armature.operator.admission.certificates import (
    LIFE,
    generate,
    judge_secret,
    secret_data,
    service_names,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
NAMES = service_names("dynamo-operator-webhook", "dynamo-system")
PAIR = generate(NAMES, NOW)
OTHER = generate(NAMES, NOW)
CA, OTHER_CA = PAIR.authority_pem, OTHER.authority_pem


def secret(pair=PAIR, **changed):
    return {"data": secret_data(pair) | changed}


def test_a_certificate_names_the_service_as_the_api_server_calls_it():
    """WH-06: root and server certificate for ten years."""
    assert NAMES[0] == "dynamo-operator-webhook.dynamo-system.svc"
    cert = x509.load_pem_x509_certificate(PAIR.certificate_pem)
    found = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(found.get_values_for_type(x509.DNSName)) == set(NAMES)
    root = x509.load_pem_x509_certificate(CA)
    for one in (cert, root):
        assert one.not_valid_after_utc == NOW + timedelta(days=3650)
    cert.verify_directly_issued_by(root)
    assert judge_secret(secret(), NAMES, NOW).pair == PAIR


def test_no_key_of_a_root_is_kept():
    assert b"PRIVATE" not in PAIR.authority_pem + PAIR.certificate_pem
    assert PAIR.key_pem.count(b"BEGIN PRIVATE KEY") == 1


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({}, "no readable tls.crt"),
        ({"data": None}, "no readable tls.crt"),
        (secret(**{"tls.key": "***"}), "no readable tls.key"),
        ({"data": {key: value for key, value in secret()["data"].items() if key != "ca.crt"}}, "ca.crt"),
        (secret(**{"tls.crt": base64.b64encode(b"x").decode()}), "is no PEM"),
        (secret(**{"tls.key": secret(OTHER)["data"]["tls.key"]}), "tls.key is not the key of tls.crt"),
        (secret(**{"ca.crt": secret(OTHER)["data"]["ca.crt"]}), "tls.crt is not signed by ca.crt"),
        (secret(generate(NAMES[1:], NOW)), f"does not name {NAMES[0]}"),
        (secret(generate(("other.svc",), NOW)), "does not name"),
        (secret(generate(NAMES, NOW - LIFE - DAY)), "expired on"),
        (secret(generate(NAMES, NOW + DAY)), "not valid before"),
    ],
)
def test_a_secret_that_cannot_be_served_says_why(broken, said):
    verdict = judge_secret(broken, NAMES, NOW)
    assert verdict.pair is None
    assert said in verdict.problem


@pytest.mark.parametrize(
    ("life", "left", "renew"),
    [
        (LIFE, 31 * DAY, False),
        (LIFE, 29 * DAY, True),
        (9 * DAY, 4 * DAY, False),
        (9 * DAY, 2 * DAY, True),
    ],
)
def test_it_is_renewed_before_it_expires(life, left, renew):
    """Thirty days before, or a third of a shorter life; until then what is there is served."""
    verdict = judge_secret(secret(generate(NAMES, NOW - life + left, life)), NAMES, NOW)
    assert verdict.pair is not None
    assert bool(verdict.problem) == renew
    assert verdict.since == NOW - life + left


def test_addresses_and_wildcards_are_names_too():
    pair = generate(("127.0.0.1", "::1", "*.dynamo-system.svc"), NOW)
    assert judge_secret(secret(pair), ("127.0.0.1", "::1", "any.dynamo-system.svc"), NOW).pair
    assert not judge_secret(secret(pair), ("127.0.0.2",), NOW).pair


# Trust


def encoded(*pems):
    return base64.b64encode(b"".join(pems)).decode()


def test_both_authorities_are_trusted_while_replicas_change_over():
    both = trusted(encoded(OTHER_CA), CA, NOW, NOW + timedelta(seconds=1))
    assert both == encoded(CA, OTHER_CA)
    assert trusted(both, CA, NOW, NOW + OVERLAP - timedelta(seconds=1)) == both
    assert trusted(both, CA, NOW, NOW + OVERLAP) == encoded(CA)


@pytest.mark.parametrize("present", ["", "***", encoded(b"junk"), encoded(CA)])
def test_what_vouches_for_nothing_is_not_kept(present):
    assert trusted(present, CA, NOW, NOW) == encoded(CA)
    assert trusted(encoded(generate(NAMES, NOW - LIFE - DAY).authority_pem), CA, NOW, NOW) == encoded(CA)


def configuration(*bundles):
    return {
        "metadata": {"name": "x", "resourceVersion": "7"},
        "webhooks": [
            {"name": str(n), "clientConfig": {"caBundle": b, "url": "u"}} for n, b in enumerate(bundles)
        ],
    }


def test_a_bundle_is_patched_only_where_it_differs():
    assert bundle_patch(configuration(encoded(CA), encoded(CA)), CA, NOW, NOW) == {}
    patch = bundle_patch(configuration(encoded(CA), ""), CA, NOW, NOW)
    assert patch == configuration(encoded(CA), encoded(CA)) | {"metadata": {"resourceVersion": "7"}}


def test_a_crd_is_patched_where_it_has_a_conversion_webhook():
    def crd(conversion):
        return {"metadata": {"name": "x", "resourceVersion": "7"}, "spec": {"conversion": conversion}}

    assert bundle_patch(crd({"strategy": "None"}), CA, NOW, NOW) == {}
    hooked = {"strategy": "Webhook", "webhook": {"clientConfig": {"url": "u"}}}
    patch = bundle_patch(crd(hooked), CA, NOW, NOW)
    assert patch["spec"]["conversion"]["webhook"] == {"clientConfig": {"caBundle": encoded(CA)}}
    hooked["webhook"]["clientConfig"]["caBundle"] = encoded(CA)
    assert bundle_patch(crd(hooked), CA, NOW, NOW) == {}
