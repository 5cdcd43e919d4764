import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from fakes.sigstore import Sigstore, b64
from outside.parts import the
from signerd.errors import Refusal
from signerd.verification.trusted_root import LARGEST_TRUSTED_ROOT, parse_trusted_root

STACK = Sigstore()
Change = Callable[[dict[str, Any]], object]


def refused(text: bytes) -> str:
    with pytest.raises(Refusal) as caught:
        parse_trusted_root(text)
    assert caught.value.code == "verification.failed"
    return caught.value.reason


def test_reads_a_root() -> None:
    root = parse_trusted_root(STACK.trusted_root())
    first, second = root.logs
    assert (first.log_id, second.log_id) == (STACK.rekor1_id, STACK.rekor2_id)
    assert second.checkpoint_id == second.log_id
    assert second.host == STACK.host
    assert (second.start, second.end) == (datetime(2026, 1, 1, tzinfo=UTC), None)
    assert second.believed(datetime(2026, 1, 1, tzinfo=UTC))
    assert not second.believed(datetime(2025, 12, 31, tzinfo=UTC))
    (authority,) = root.certificate_authorities
    assert authority.chain == (STACK.ca.certificate, STACK.root.certificate)
    assert authority.name == "example"
    assert len(root.ct_logs) == len(root.timestamp_authorities) == 1


def test_the_same_bytes_are_parsed_once() -> None:
    text = STACK.trusted_root()
    assert parse_trusted_root(text) is parse_trusted_root(bytes(bytearray(text)))


def test_an_empty_root_believes_nothing() -> None:
    for version in ("trustedroot+json;version=0.1", "trustedroot+json;version=0.2", "trustedroot.v0.2+json"):
        root = parse_trusted_root(json.dumps({"mediaType": f"application/vnd.dev.sigstore.{version}"}).encode())
        assert (root.logs, root.certificate_authorities, root.ct_logs, root.timestamp_authorities) == ((),) * 4


def test_a_log_may_sign_checkpoints_under_another_id() -> None:
    def change(root: dict[str, Any]) -> None:
        root["tlogs"][1]["checkpointKeyId"] = {"keyId": b64(b"other")}
        root["tlogs"][1]["operator"] = "example"

    log = parse_trusted_root(STACK.trusted_root(change)).logs[1]
    assert (log.log_id, log.checkpoint_id) == (STACK.rekor2_id, b"other")


def test_a_bare_rsa_key_is_read() -> None:
    key = rsa.generate_private_key(65537, 2048).public_key()

    def change(root: dict[str, Any]) -> None:
        said = root["ctlogs"][0]["publicKey"]
        said["rawBytes"] = b64(key.public_bytes(Encoding.DER, PublicFormat.PKCS1))
        said["keyDetails"] = "PKCS1_RSA_PKCS1V5"

    (log,) = parse_trusted_root(STACK.trusted_root(change)).ct_logs
    assert log.key.spki == key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_of(root: dict[str, Any]) -> Any:
    return root["tlogs"][0]["publicKey"]


def chain_of(root: dict[str, Any]) -> Any:
    return root["certificateAuthorities"][0]["certChain"]["certificates"]


REFUSED: dict[str, tuple[Change, str]] = {
    "no media type": (lambda r: r.pop("mediaType"), "trusted_root_media_type"),
    "a media type that is none": (lambda r: r.update(mediaType=["x"]), "trusted_root_malformed"),
    "a newer media type": (
        lambda r: r.update(mediaType="application/vnd.dev.sigstore.trustedroot+json;version=0.9"),
        "trusted_root_media_type",
    ),
    "an unknown field": (lambda r: r.update(extra=1), "trusted_root_malformed"),
    "an unknown field of a log": (lambda r: r["tlogs"][0].update(extra=1), "trusted_root_malformed"),
    "no start": (lambda r: key_of(r)["validFor"].pop("start"), "trusted_root_log_start"),
    "no window": (lambda r: key_of(r).pop("validFor"), "trusted_root_log_start"),
    "no window of an authority": (
        lambda r: r["timestampAuthorities"][0].pop("validFor"),
        "trusted_root_malformed",
    ),
    "a time that is none": (lambda r: key_of(r)["validFor"].update(start="yesterday"), "trusted_root_malformed"),
    "a month too many": (
        lambda r: key_of(r)["validFor"].update(start="2026-13-01T00:00:00Z"),
        "trusted_root_malformed",
    ),
    "a time without zone": (
        lambda r: key_of(r)["validFor"].update(start="2026-01-01T00:00:00"),
        "trusted_root_malformed",
    ),
    "another hash": (lambda r: r["tlogs"][0].update(hashAlgorithm="SHA2_512"), "trusted_root_hash"),
    "another key than said": (lambda r: key_of(r).update(keyDetails="PKIX_ED25519"), "trusted_root_key"),
    "a key of an unknown kind": (lambda r: key_of(r).update(keyDetails="LMS_SHA256"), "trusted_root_key"),
    "no key": (lambda r: key_of(r).update(rawBytes="AAAA"), "trusted_root_key"),
    "no base64": (lambda r: key_of(r).update(rawBytes="-_-_"), "trusted_root_malformed"),
    "no URL": (lambda r: r["tlogs"][0].update(baseUrl="https://[::"), "trusted_root_malformed"),
    "an empty chain": (lambda r: chain_of(r).clear(), "trusted_root_chain"),
    "no certificate": (lambda r: chain_of(r)[0].update(rawBytes="AAAA"), "trusted_root_chain"),
    "a number for a name": (lambda r: r["tlogs"][0].update(baseUrl=1), "trusted_root_malformed"),
    "too many": (lambda r: r.update(tlogs=r["tlogs"] * 129), "trusted_root_malformed"),
}


@pytest.mark.parametrize(("change", "reason"), REFUSED.values(), ids=REFUSED)
def test_refuses(change: Change, reason: str) -> None:
    def changed(root: dict[str, Any]) -> None:
        change(root)

    assert refused(STACK.trusted_root(changed)) == reason


def test_what_is_no_json() -> None:
    assert refused(b"") == "trusted_root_malformed"
    assert refused(b'{"mediaType":1,"mediaType":1}') == "trusted_root_malformed"
    assert refused(b" " * (LARGEST_TRUSTED_ROOT + 1)) == "trusted_root_too_large"


@given(st.binary(max_size=50))
def test_any_bytes_are_refused(data: bytes) -> None:
    assert refused(data).startswith("trusted_root_")


@pytest.mark.needs("vectors")
@pytest.mark.parametrize("store", ["store-production", "store-staging"])
def test_reads_the_roots_of_the_public_instances(store: str) -> None:
    root = parse_trusted_root((the("vectors") / "sigstore-python" / store / "trusted_root.json").read_bytes())
    assert root.logs
    assert root.ct_logs
    assert root.certificate_authorities
    assert root.timestamp_authorities
