import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fakes.gost import SoftGost
from fakes.sigstore import Sigstore
from outside.signed import Key
from signerd.errors import Refusal
from signerd.verification.keys import PublicKey
from signerd.verification.trust_parts import (
    AuthorityPart,
    LogPart,
    Parts,
    ServicePart,
    read_chain,
    signing_config,
    trusted_root,
)
from signerd.verification.trusted_root import parse_trusted_root

STACK = Sigstore()
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
PEM = [each.certificate.public_bytes(Encoding.PEM) for each in (STACK.ca, STACK.root)]


def refused(pem: bytes) -> str:
    with pytest.raises(Refusal) as caught:
        read_chain(pem)
    assert caught.value.code == "request.malformed"
    return caught.value.reason


def test_a_chain_goes_from_who_issues_to_the_root() -> None:
    assert read_chain(b"".join(PEM)) == (STACK.ca.certificate, STACK.root.certificate)
    assert read_chain(PEM[1]) == (STACK.root.certificate,)


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        (b"", "chain_malformed"),
        (Key().pem, "chain_malformed"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "chain_malformed"),
        (PEM[1] * 17, "chain_malformed"),
        (PEM[0], "chain_order"),
        (PEM[1] + PEM[0], "chain_order"),
        (PEM[0] + Sigstore().root.certificate.public_bytes(Encoding.PEM), "chain_order"),
    ],
)
def test_anything_else_is_no_chain(pem: bytes, reason: str) -> None:
    assert refused(pem) == reason


def parts(**more: Any) -> Parts:
    chain = read_chain(b"".join(PEM))
    key = PublicKey.from_pem(Key("Ed25519").pem)
    return Parts(
        "tests",
        fulcio=[AuthorityPart("https://fulcio.example", SINCE, None, chain)],
        rekor=[LogPart("https://rekor.example", SINCE, SINCE + timedelta(days=1), key, "rekor.example")],
        **more,
    )


def test_our_own_verifier_reads_the_root() -> None:
    root = parse_trusted_root(trusted_root(parts()))
    (log,) = root.logs
    assert (log.host, log.start, log.end) == ("rekor.example", SINCE, SINCE + timedelta(days=1))
    (authority,) = root.certificate_authorities
    assert authority.chain[0].public_bytes(Encoding.PEM) == PEM[0]
    assert (root.ct_logs, root.timestamp_authorities) == ((), ())


def test_the_same_instant_is_the_same_bytes_in_any_offset() -> None:
    elsewhere = SINCE.astimezone(timezone(timedelta(hours=5)))
    services = [ServicePart("https://issuer.example", at, None) for at in (SINCE, elsewhere)]
    first, second = (signing_config(parts(oidc=[service])) for service in services)
    assert first == second


def test_a_signing_config_without_stamps_selects_none() -> None:
    made = json.loads(signing_config(parts()))
    assert set(made) == {"mediaType", "caUrls", "rekorTlogUrls", "rekorTlogConfig"}
    assert [each["majorApiVersion"] for each in made["rekorTlogUrls"]] == [2]


def test_a_key_of_an_odd_kind_or_size_has_no_name() -> None:
    odd = rsa.generate_private_key(65537, 2560).public_key()
    key = PublicKey.from_pem(odd.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(Refusal) as caught:
        trusted_root(Parts("tests", ct_logs=[LogPart("https://ct.example", SINCE, None, key)]))
    assert caught.value.reason == "key_size"
    gost = PublicKey.from_spki(SoftGost().spki)
    with pytest.raises(Refusal) as caught:
        trusted_root(Parts("tests", ct_logs=[LogPart("https://ct.example", SINCE, None, gost)]))
    assert (caught.value.code, caught.value.reason) == ("request.malformed", "key_type")
