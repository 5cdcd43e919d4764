import json
from pathlib import Path
from typing import Any

import pytest

from fakes.fulcio import jwt
from fakes.sigstore import Sigstore
from signerd.errors import SignerdError
from signerd_conformance.sign_bundle import LARGEST_STATEMENT, sign_bundle

NOWHERE = "https://127.0.0.1:9"
DIGEST = "ab" * 32


@pytest.fixture
def place(tmp_path: Path) -> dict[str, Path]:
    """Files of an instance that nobody serves."""

    def change(root: dict[str, Any]) -> None:
        root["certificateAuthorities"][0]["uri"] = root["timestampAuthorities"][0]["uri"] = NOWHERE
        root["tlogs"][1]["baseUrl"] = NOWHERE

    services = [{"url": NOWHERE, "majorApiVersion": 1, "validFor": {"start": "2026-01-01T00:00:00Z"}}]
    config = {
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "caUrls": services,
        "rekorTlogUrls": [{**services[0], "majorApiVersion": 2}],
        "tsaUrls": services,
    }
    (tmp_path / "root.json").write_bytes(Sigstore().trusted_root(change))
    (tmp_path / "config.json").write_text(json.dumps(config))
    return {"trusted_root": tmp_path / "root.json", "signing_config": tmp_path / "config.json"}


def refused(place: dict[str, Path], content: bytes, token: str = "", **options: Any) -> tuple[str, str]:
    folder = place["trusted_root"].parent
    (folder / "file").write_bytes(content)
    with pytest.raises(SignerdError) as caught:
        sign_bundle(folder / "file", token or jwt(), folder / "out.json", **{**place, **options})
    assert not (folder / "out.json").exists()
    return caught.value.code, caught.value.reason


def statement(**change: Any) -> bytes:
    return json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "app", "digest": {"sha256": DIGEST}}],
            "predicateType": "https://in-toto.io/attestation/link/v0.3",
            "predicate": {"name": "step"},
            **change,
        }
    ).encode()


def test_nobody_is_there(place: dict[str, Path]) -> None:
    assert refused(place, b"artefact") == ("key.backend_unavailable", "fulcio_unreachable")


@pytest.mark.needs("sigstore")
def test_the_public_instance_has_no_log_of_the_kind(place: dict[str, Path]) -> None:
    # Its signing config names a Rekor v1 alone. That is found before anybody is asked.
    nothing: dict[str, Any] = {"trusted_root": None, "signing_config": None}
    assert refused(place, b"artefact", **nothing) == ("request.unsupported", "service_missing")


@pytest.mark.parametrize("token", ["", "a.b.c", "not a token"])
def test_what_is_no_token(place: dict[str, Path], token: str) -> None:
    folder = place["trusted_root"].parent
    (folder / "file").write_bytes(b"artefact")
    with pytest.raises(SignerdError) as caught:
        sign_bundle(folder / "file", token, folder / "out.json", **place)
    assert (caught.value.code, caught.value.reason) == ("key.forbidden", "token_malformed")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not json", ("statement.invalid", "statement_malformed")),
        (b'{"_type":"a","_type":"b"}', ("statement.invalid", "statement_malformed")),
        (statement(surprise=1), ("statement.invalid", "statement_malformed")),
        (statement(predicate=[]), ("statement.invalid", "statement_malformed")),
        # The daemon signs names and digests of subjects: more would be lost, and is refused.
        (
            statement(subject=[{"name": "app", "digest": {"sha256": DIGEST}, "annotations": {"a": 1}}]),
            ("statement.invalid", "statement_malformed"),
        ),
        (statement(_type="https://in-toto.io/Statement/v0.1"), ("statement.invalid", "statement_type")),
        (b" " * (LARGEST_STATEMENT + 1), ("request.too_large", "statement_too_large")),
    ],
)
def test_what_is_no_statement_to_sign(place: dict[str, Path], content: bytes, said: tuple[str, str]) -> None:
    assert refused(place, content, in_toto=True) == said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (statement(predicateType="https://example.com/unheard-of"), ("predicate.unsupported", "unknown_type")),
        (statement(predicateType="https://cyclonedx.org/bom"), ("release.untrusted", "digest_missing")),
        (statement(subject=[]), ("statement.invalid", "no_subject")),
        (statement(predicate={}), ("predicate.invalid", "schema_violation")),
    ],
)
def test_what_the_daemon_would_not_sign_for_anybody(
    place: dict[str, Path], content: bytes, said: tuple[str, str]
) -> None:
    assert refused(place, content, in_toto=True) == said


def test_files_that_are_not_there(place: dict[str, Path]) -> None:
    folder = place["trusted_root"].parent
    with pytest.raises(FileNotFoundError):
        sign_bundle(folder / "absent", jwt(), folder / "out.json", **place)
