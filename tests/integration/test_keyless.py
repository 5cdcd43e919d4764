"""The daemon signs by certificates of the real Fulcio, and everybody verifies it; each failure has an answer."""

import base64
import contextlib
import datetime
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import tsp  # type: ignore[import-untyped]  # no types are published for it
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fakes.tls_front import TlsAuthority, tls_front
from outside.cosign import COSIGNS, cosign, trusted_root
from running.callers import SBOM, SBOM_TYPE
from running.configured import until
from running.daemon import RELEASE, Running
from running.daemon import running as running_daemon
from running.fulcio import Fulcio
from running.keyless_config import keyless_configuration
from running.oidc import EMAIL, SPIFFE_ID, OidcIssuer
from running.published import log_table, stamp_table
from running.server import ask
from running.stack import NEEDS, SigstoreStack
from signerd.attestation.log_entry import parse_log_entry
from signerd.errors import SignerdError
from signerd.verification.bundle import verify_bundle
from signerd.verification.certificates import Identity
from signerd.verification.checks import Verification
from signerd.verification.evidence import Requirements
from signerd.verification.trusted_root import parse_trusted_root
from signerd.wire.params import Options
from signerd_client import Signer, SignRequest, Subject
from signerd_client.results import Signed

pytestmark = pytest.mark.needs(*NEEDS)
ARTEFACT = b"the artefact"
DIGEST = hashlib.sha256(ARTEFACT).hexdigest()


@pytest.fixture(scope="module")
def issuers(oidc_issuer: OidcIssuer) -> list[str]:
    return [oidc_issuer.url(kind) for kind in ("email", "spiffe", "github", "gitlab")]


@pytest.fixture(scope="module")
def spiffe(oidc_issuer: OidcIssuer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("svid") / "svid.jwt"
    file.write_text(oidc_issuer.token("spiffe"))
    return file


@pytest.fixture(scope="module")
def daemon(
    sigstore_stack: SigstoreStack, issuers: list[str], spiffe: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    base = tmp_path_factory.mktemp("daemon")
    keys = {"ci": "request", "svid": f"spiffe:{spiffe}", "github": "github", "gitlab": "gitlab"}
    fulcio = sigstore_stack.fulcio
    config = keyless_configuration(
        base, fulcio.url, fulcio.authority.chain, sigstore_stack.ct_log.public_key, issuers, keys=keys
    )
    environment = {
        **sigstore_stack.issuer.ambient,
        "SIGSTORE_ID_TOKEN": sigstore_stack.issuer.token("gitlab"),
    }
    with running_daemon(base, config=config, environment=environment) as started:
        yield started


def sign(daemon: Running, token: str | None = None, **options: Any) -> Signed:
    given = Options(**options) if token is None else Options(identity_token=token, **options)
    request = SignRequest(
        subject=[Subject("artefact", {"sha256": DIGEST})],
        predicate_type=SBOM_TYPE,
        predicate=SBOM,
        scanner_image_digest=RELEASE,
        options=given,
    )
    with Signer.connect(daemon.socket) as signer:
        return signer.sign_dsse(request)


def refused(daemon: Running, token: str | None = None, **options: Any) -> tuple[str, str]:
    with pytest.raises(SignerdError) as caught:
        sign(daemon, token, **options)
    return caught.value.code, caught.value.reason


def certificates(stack: SigstoreStack) -> int:
    """How many certificates the CT log has seen."""
    status, answer = ask(f"{stack.ct_log.url}/ct/v1/get-sth")
    assert status == 200
    size: int = json.loads(answer)["tree_size"]
    return size


def leaf_of(signed: Signed) -> x509.Certificate:
    material = json.loads(signed.bundles[0])["verificationMaterial"]
    assert "publicKey" not in material
    return x509.load_der_x509_certificate(base64.b64decode(material["certificate"]["rawBytes"]))


def stamped(stack: SigstoreStack, bundle: bytes) -> bytes:
    """The bundle with a stamp of the timestamp server over its signature."""
    document = json.loads(bundle)
    signature = base64.b64decode(document["dsseEnvelope"]["signatures"][0]["sig"])
    imprint = {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": hashlib.sha256(signature).digest()}
    query = tsp.TimeStampReq({"version": 1, "message_imprint": imprint, "nonce": 7, "cert_req": True})
    status, answer = ask(stack.tsa.url, query.dump(), {"Content-Type": "application/timestamp-query"}, seconds=20)
    assert status in (200, 201)
    stamps = {"rfc3161Timestamps": [{"signedTimestamp": base64.b64encode(answer).decode()}]}
    document["verificationMaterial"]["timestampVerificationData"] = stamps
    return json.dumps(document).encode()


def test_what_it_signs_is_verified_by_us_and_by_every_cosign(
    daemon: Running, sigstore_stack: SigstoreStack, tmp_path: Path
) -> None:
    issuer = sigstore_stack.issuer
    signed = sign(daemon, issuer.token(), mode="keyless", include=("chain", "envelope"))
    (who,) = signed.result.signing_identity
    assert (who.mode, who.subject, who.issuer) == ("keyless", EMAIL, issuer.url())
    leaf = leaf_of(signed)
    assert isinstance(who.not_before, int)
    assert isinstance(who.not_after, int)
    assert who.not_after - who.not_before == 600_000
    assert who.not_before == int(leaf.not_valid_before_utc.timestamp() * 1000)
    chain = signed.result.certificate_chain
    assert isinstance(chain, tuple)
    assert len(chain) == 3
    assert who.chain == chain
    assert signed.receipt["decision"]["degraded"] == ["ephemeral"]
    assert signed.receipt["decision"]["keys"] == [{"key": "fulcio:ci", "source": "fulcio"}]
    assert any(warning.startswith("ephemeral: ") for warning in signed.result.warnings)
    root = trusted_root(sigstore_stack, tmp_path / "trusted_root.json")
    identity = Identity(EMAIL, issuer.url())

    def verified(bundle: bytes) -> Verification:
        return verify_bundle(
            bundle,
            identity,
            artifact_sha256=DIGEST,
            predicate_type=SBOM_TYPE,
            trusted_root=parse_trusted_root(root.read_bytes()),
            requirements=Requirements(log_entries=0, timestamps=0),
        )

    # Ours believes no clock of its own: what is ephemeral passes with a stamp alone.
    failure = verified(signed.bundles[0]).failure
    assert failure is not None
    assert failure.reason == "no_trusted_time"
    judged = verified(stamped(sigstore_stack, signed.bundles[0]))
    assert judged.verified, judged.failure
    (tmp_path / "bundle.sigstore.json").write_bytes(signed.bundles[0])
    (tmp_path / "artefact").write_bytes(ARTEFACT)
    (command,) = signed.result.verify_command
    arguments = [str(tmp_path / part) if (tmp_path / part).exists() else part for part in command.argv[1:]]
    for name in COSIGNS:
        done = cosign(arguments, tmp_path, name=name)
        assert done.returncode == 0, (name, done.stderr)
        other = [part if part != EMAIL else "somebody@else.example" for part in arguments]
        assert cosign(other, tmp_path, name=name).returncode != 0


def test_one_certificate_serves_many_signatures_and_no_other_identity(
    daemon: Running, sigstore_stack: SigstoreStack
) -> None:
    token = sigstore_stack.issuer.token(email="first@example.com")
    before = certificates(sigstore_stack)
    keyids = {sign(daemon, token).result.signing_identity[0].keyid for _ in range(10)}
    assert len(keyids) == 1
    assert certificates(sigstore_stack) == before + 1
    other = sign(daemon, sigstore_stack.issuer.token(email="second@example.com"))
    assert other.result.signing_identity[0].subject == "second@example.com"
    assert other.result.signing_identity[0].keyid not in keyids
    assert certificates(sigstore_stack) == before + 2


@pytest.mark.parametrize(
    ("key", "subject"),
    [
        ("svid", SPIFFE_ID),
        ("github", "https://github.com/example/project/.github/workflows/release.yml@refs/heads/main"),
        ("gitlab", "https://gitlab.com/example/project//.gitlab-ci.yml@refs/heads/main"),
    ],
)
def test_a_key_has_an_identity_of_its_own(
    daemon: Running, sigstore_stack: SigstoreStack, key: str, subject: str
) -> None:
    first, second = (sign(daemon, keys=(f"fulcio:{key}",)) for _ in range(2))
    who = first.result.signing_identity[0]
    assert who.subject == subject
    assert who.keyid == second.result.signing_identity[0].keyid
    token = sigstore_stack.issuer.token()
    assert refused(daemon, token, keys=(f"fulcio:{key}",)) == ("key.forbidden", "token_unwanted")


def test_the_record_names_the_certificate_and_never_the_token(daemon: Running, sigstore_stack: SigstoreStack) -> None:
    token = sigstore_stack.issuer.token(email="recorded@example.com")
    signed = sign(daemon, token)
    audit_id = signed.receipt["audit_id"]

    def outcome() -> dict[str, Any]:
        leaves = [json.loads(bytes(row["leaf"])) for row in daemon.leaves() if row["audit_id"] == audit_id]  # type: ignore[call-overload]  # a blob
        return next((leaf for leaf in leaves if leaf["kind"] == "outcome"), {})

    until(lambda: bool(outcome()))
    (by,) = outcome()["keyless"]
    certificate = x509.load_der_x509_certificate(base64.b64decode(by["certificate"]))
    assert certificate == leaf_of(signed)
    assert by["keyid"] == signed.result.signing_identity[0].keyid
    for part in token.split("."):
        assert part not in daemon.said
        for path in daemon.state.iterdir():
            if path.is_file():
                assert part.encode() not in path.read_bytes(), path


def test_a_request_may_sign_by_a_key_and_a_certificate(daemon: Running, sigstore_stack: SigstoreStack) -> None:
    token = sigstore_stack.issuer.token()
    signed = sign(daemon, token, keys=("file:default", "fulcio:ci"), include=("envelope",))
    assert [who.mode for who in signed.result.signing_identity] == ["keyful", "keyless"]
    materials = [json.loads(bundle)["verificationMaterial"] for bundle in signed.bundles]
    assert [list(material) for material in materials] == [["publicKey"], ["certificate"]]
    assert isinstance(signed.envelope, bytes)
    assert len(json.loads(signed.envelope)["signatures"]) == 2
    both = ("file:default", "fulcio:ci")
    assert refused(daemon, token, keys=both, mode="keyless") == ("key.forbidden", "not_keyless")
    assert refused(daemon, token, keys=("fulcio:ci",), mode="keyful") == ("key.forbidden", "not_keyful")
    assert refused(daemon, token, keys=("file:default",)) == ("request.unsupported", "token_unused")


def test_a_large_document_is_signed_by_certificate_too(daemon: Running, sigstore_stack: SigstoreStack) -> None:
    components = [{"type": "library", "name": f"part-{n}", "version": "1"} for n in range(8000)]
    document = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}
    request = SignRequest(
        subject=[Subject("artefact", {"sha256": DIGEST})],
        predicate_type=SBOM_TYPE,
        predicate=json.dumps(document).encode(),
        scanner_image_digest=RELEASE,
        options=Options(identity_token=sigstore_stack.issuer.token()),
    )
    with Signer.connect(daemon.socket) as signer:
        signed = signer.sign_dsse(request)
    assert leaf_of(signed).not_valid_after_utc > datetime.datetime.now(datetime.UTC)


@pytest.mark.parametrize(
    ("kind", "claims", "reason"),
    [
        ("email", {"lifetime_s": 10, "age_s": 100}, "token_expired"),
        ("email", {"aud": "another"}, "token_audience"),
        ("stranger", {}, "token_issuer"),
        ("email", {"nbf": 4_000_000_000}, "token_not_yet_valid"),
        ("email", {"sub": None, "email": None}, "token_identity"),
        ("email", {"email_verified": False}, "token_refused"),
    ],
)
def test_a_token_that_is_not_taken_is_refused_with_its_reason(
    daemon: Running, sigstore_stack: SigstoreStack, kind: str, claims: dict[str, Any], reason: str
) -> None:
    before = certificates(sigstore_stack)
    token = sigstore_stack.issuer.token(kind, **claims)
    assert refused(daemon, token) == ("key.forbidden", reason)
    assert token not in daemon.said
    assert certificates(sigstore_stack) == before


def test_a_forged_token_gets_nothing_although_the_identity_has_a_certificate(
    daemon: Running, sigstore_stack: SigstoreStack
) -> None:
    token = sigstore_stack.issuer.token()
    sign(daemon, token)
    head, claims, _ = token.split(".")
    assert refused(daemon, f"{head}.{claims}.AAAA") == ("key.forbidden", "token_refused")
    assert refused(daemon, "no.token") == ("key.forbidden", "token_malformed")
    assert refused(daemon) == ("key.forbidden", "token_missing")


def test_a_key_that_is_not_ephemeral_signs_nothing_without_log_or_stamp(
    sigstore_stack: SigstoreStack, issuers: list[str], tmp_path: Path
) -> None:
    fulcio = sigstore_stack.fulcio
    before = certificates(sigstore_stack)
    config = keyless_configuration(
        tmp_path, fulcio.url, fulcio.authority.chain, sigstore_stack.ct_log.public_key, issuers, trust=""
    )
    with running_daemon(tmp_path, config=config) as daemon:
        assert refused(daemon, sigstore_stack.issuer.token()) == ("key.forbidden", "ephemeral")
    assert certificates(sigstore_stack) == before


def test_an_authority_that_is_not_the_configured_one_gets_no_signature_out(
    sigstore_stack: SigstoreStack, issuers: list[str], fulcio: Fulcio, tmp_path: Path
) -> None:
    tsa = sigstore_stack.tsa.authority
    other = tmp_path / "other.pem"
    other.write_bytes(tsa.chain.read_bytes())
    config = keyless_configuration(tmp_path, fulcio.url, other, sigstore_stack.ct_log.public_key, issuers)
    with running_daemon(tmp_path, config=config) as daemon:
        assert refused(daemon, sigstore_stack.issuer.token())[0] == "key.backend_fault"
        assert sign(daemon, keys=("file:default",)).bundles


@pytest.fixture(scope="module")
def proven(
    sigstore_stack: SigstoreStack, issuers: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A daemon whose keyless key needs a log entry or a stamp, with the stack's log and authority."""
    base = tmp_path_factory.mktemp("proven")
    fulcio = sigstore_stack.fulcio
    config = keyless_configuration(
        base, fulcio.url, fulcio.authority.chain, sigstore_stack.ct_log.public_key, issuers, trust=""
    )
    config += log_table(sigstore_stack.rekor.url, sigstore_stack.rekor.public_key)
    config += stamp_table(sigstore_stack.tsa.url, sigstore_stack.tsa.authority.chain)
    with running_daemon(base, config=config) as started:
        until(lambda: started.said.count(" is up") == 2)
        yield started


def test_logged_and_stamped_it_is_verified_by_us_and_by_every_cosign_whatever_the_time(
    proven: Running, sigstore_stack: SigstoreStack, tmp_path: Path
) -> None:
    token = sigstore_stack.issuer.token()
    signed = sign(proven, token, transparency="required", timestamp=True, include=("rekor_request",))
    assert signed.receipt["decision"]["degraded"] == []
    assert signed.result.warnings == ()
    root = trusted_root(sigstore_stack, tmp_path / "trusted_root.json")
    judged = verify_bundle(
        signed.bundles[0],
        Identity(EMAIL, sigstore_stack.issuer.url()),
        artifact_sha256=DIGEST,
        predicate_type=SBOM_TYPE,
        trusted_root=parse_trusted_root(root.read_bytes()),
        requirements=Requirements(log_entries=1, timestamps=1),
        now=datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1),
    )
    assert judged.verified, judged.failure
    assert (judged.log_entries, judged.timestamps) == (1, 1)
    (tmp_path / "bundle.sigstore.json").write_bytes(signed.bundles[0])
    (tmp_path / "artefact").write_bytes(ARTEFACT)
    (command,) = signed.result.verify_command
    assert "--insecure-ignore-tlog" not in command.argv
    arguments = [str(tmp_path / part) if (tmp_path / part).exists() else part for part in command.argv[1:]]
    for name in COSIGNS:
        done = cosign(arguments, tmp_path, name=name)
        assert done.returncode == 0, (name, done.stderr)
    requests = signed.result.rekor_request
    assert isinstance(requests, tuple)
    assert isinstance(requests[0], bytes)
    verifier = json.loads(requests[0])["hashedRekordRequestV002"]["signature"]["verifier"]
    assert base64.b64decode(verifier["x509Certificate"]["rawBytes"]) == leaf_of(signed).public_bytes(Encoding.DER)


def test_either_proof_will_do_and_what_comes_later_will_not(proven: Running, sigstore_stack: SigstoreStack) -> None:
    token = sigstore_stack.issuer.token()
    assert sign(proven, token, timestamp=True).result.warnings == ()
    logged = sign(proven, token, transparency="required")
    assert any(warning.startswith("unstamped: ") for warning in logged.result.warnings)
    assert refused(proven, token, transparency="async") == ("key.forbidden", "ephemeral")
    assert refused(proven, token) == ("key.forbidden", "ephemeral")


def test_what_is_logged_later_is_logged_with_its_certificate(
    sigstore_stack: SigstoreStack, issuers: list[str], tmp_path: Path
) -> None:
    fulcio = sigstore_stack.fulcio
    config = keyless_configuration(
        tmp_path, fulcio.url, fulcio.authority.chain, sigstore_stack.ct_log.public_key, issuers
    ) + log_table(sigstore_stack.rekor.url, sigstore_stack.rekor.public_key)
    with running_daemon(tmp_path, config=config) as daemon:
        until(lambda: daemon.said.count(" is up") == 1)
        signed = sign(daemon, sigstore_stack.issuer.token(), transparency="async")
        assert signed.receipt["decision"]["degraded"] == ["ephemeral"]

        until(lambda: any(row["kind"] == "published" for row in daemon.leaves()), 30)
        with contextlib.closing(sqlite3.connect(f"file:{daemon.state}/outbox.sqlite?mode=ro", uri=True)) as database:
            ((kept,),) = database.execute("SELECT entry FROM outbox").fetchall()
        entry = parse_log_entry(kept)
        verifier = json.loads(entry.body)["spec"]["hashedRekordV002"]["signature"]["verifier"]
        assert base64.b64decode(verifier["x509Certificate"]["rawBytes"]) == leaf_of(signed).public_bytes(Encoding.DER)


def test_fulcio_over_tls_with_an_authority_of_ones_own(
    sigstore_stack: SigstoreStack, issuers: list[str], tmp_path: Path
) -> None:
    stack = sigstore_stack
    ours, other = TlsAuthority(tmp_path), TlsAuthority(tmp_path, "strangers")
    port = stack.fulcio.server.ports[0]
    said: list[object] = []
    for number, (context, ca) in enumerate(
        [(ours.context(), ours), (other.context(), ours), (ours.context(expired=True), ours)]
    ):
        base = tmp_path / str(number)
        base.mkdir()
        with tls_front(context, port) as url:
            config = keyless_configuration(
                base, url, stack.fulcio.authority.chain, stack.ct_log.public_key, issuers,
                settings=f'timeout_s = 5\ntls_ca = "{ca.file}"',
            )  # fmt: skip
            with running_daemon(base, config=config) as started:
                try:
                    said.append(len(sign(started, stack.issuer.token()).bundles))
                except SignerdError as error:
                    said.append((error.code, error.reason))
    unreachable = ("key.backend_unavailable", "fulcio_unreachable")
    assert said == [1, unreachable, unreachable]
