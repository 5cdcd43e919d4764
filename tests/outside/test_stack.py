"""The stack that the keyless tests stand on is sound, whatever signerd does: each part is asked, and cosign uses it."""

import base64
import datetime
import hashlib
import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import tsp  # type: ignore[import-untyped]  # no types are published for it
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from outside.cosign import COSIGNS, cosign, signing_config, trusted_root
from outside.signed import Key, statement
from running.authority import Authority, timestamp_authority
from running.ct import CtLog
from running.ct_certificate import SCT_LIST, precertificate_entry, sct_input, without
from running.fulcio import Fulcio, fulcio_server
from running.merkle import leaf_hash, root_from_path
from running.oidc import AUDIENCE, EMAIL, SPIFFE_ID, OidcIssuer
from running.rekor import Rekor, rekor_server
from running.server import Server, ask
from running.stack import NEEDS, SigstoreStack
from running.tsa import TimestampServer, timestamp_server
from signerd.attestation.dsse import pae
from signerd.attestation.statement import PAYLOAD_TYPE

JSON = {"Content-Type": "application/json"}
ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
TYPE = "https://example.com/attestation/v1"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def certify(fulcio: Fulcio, token: str, challenge: str, key: Key | None = None) -> tuple[int, dict[str, Any]]:
    key = key or Key()
    public = {"algorithm": "ECDSA", "content": key.pem.decode()}
    request = {"publicKey": public, "proofOfPossession": encoded(key.sign(challenge.encode()))}
    body = {"credentials": {"oidcIdentityToken": token}, "publicKeyRequest": request}
    status, answer = ask(f"{fulcio.url}/api/v2/signingCert", json.dumps(body).encode(), JSON, seconds=20)
    return status, json.loads(answer)


def issued(answer: dict[str, Any]) -> list[x509.Certificate]:
    chain = answer["signedCertificateEmbeddedSct"]["chain"]["certificates"]
    return [x509.load_pem_x509_certificate(each.encode()) for each in chain]


@pytest.mark.needs("fulcio")
@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
@pytest.mark.parametrize(
    ("kind", "challenge", "identity"),
    [
        ("email", EMAIL, EMAIL),
        ("spiffe", SPIFFE_ID, SPIFFE_ID),
        (
            "github",
            "repo:example/project:ref:refs/heads/main",
            "https://github.com/example/project/.github/workflows/release.yml@refs/heads/main",
        ),
        (
            "gitlab",
            "project_path:example/project:ref_type:branch:ref:main",
            "https://gitlab.com/example/project//.gitlab-ci.yml@refs/heads/main",
        ),
    ],
)
def test_fulcio_gives_a_certificate_for_a_token_of_our_issuer(
    kind: str, challenge: str, identity: str, algorithm: str, fulcio: Fulcio, oidc_issuer: OidcIssuer
) -> None:
    key = Key()
    status, answer = certify(fulcio, oidc_issuer.token(kind, algorithm=algorithm), challenge, key)
    assert status == 200, answer
    leaf, *above = issued(answer)
    assert above == [fulcio.authority.certificate, fulcio.authority.root]
    leaf.verify_directly_issued_by(above[0])
    assert leaf.public_key() == key.public
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == [identity]
    issuer = leaf.extensions.get_extension_for_oid(ISSUER).value
    assert isinstance(issuer, x509.UnrecognizedExtension)
    assert issuer.value[2:].decode() == oidc_issuer.url(kind)


@pytest.mark.needs("fulcio")
def test_the_ambient_token_of_a_job_is_one_of_github(fulcio: Fulcio, oidc_issuer: OidcIssuer) -> None:
    url = f"{oidc_issuer.ambient['ACTIONS_ID_TOKEN_REQUEST_URL']}&audience={AUDIENCE}"
    bearer = {"Authorization": f"bearer {oidc_issuer.ambient['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"}
    assert ask(url)[0] == 401
    status, answer = ask(url, headers=bearer)
    assert status == 200
    assert certify(fulcio, json.loads(answer)["value"], "repo:example/project:ref:refs/heads/main")[0] == 200


@pytest.mark.needs("fulcio")
@pytest.mark.parametrize(
    ("kind", "told", "challenge"),
    [
        ("stranger", {}, EMAIL),
        ("email", {"age_s": 600}, EMAIL),
        ("email", {"aud": "another"}, EMAIL),
        ("email", {"email_verified": False}, EMAIL),
        ("email", {}, "another@example.com"),  # the proof of possession is over another name
    ],
)
def test_fulcio_refuses_what_it_must(
    kind: str, told: dict[str, Any], challenge: str, fulcio: Fulcio, oidc_issuer: OidcIssuer
) -> None:
    status, answer = certify(fulcio, oidc_issuer.token(kind, **told), challenge)
    assert status == 400, answer
    assert certify(fulcio, oidc_issuer.token(), EMAIL)[0] == 200


@pytest.mark.needs("fulcio")
def test_a_second_fulcio_runs_beside_the_first_and_without_a_log_gives_no_sct(
    fulcio: Fulcio, oidc_issuer: OidcIssuer, tmp_path: Path
) -> None:
    with fulcio_server(tmp_path, fulcio.authority, oidc_issuer, None) as second:
        status, answer = certify(second, oidc_issuer.token(), EMAIL)
    assert status == 200, answer
    detached = answer["signedCertificateDetachedSct"]
    assert not detached.get("signedCertificateTimestamp")
    leaf = x509.load_pem_x509_certificate(detached["chain"]["certificates"][0].encode())
    assert SCT_LIST not in {extension.oid for extension in leaf.extensions}
    assert "signedCertificateEmbeddedSct" in certify(fulcio, oidc_issuer.token(), EMAIL)[1]


@pytest.mark.needs("fulcio")
def test_the_sct_in_a_certificate_is_the_log_s_and_its_entry_is_in_the_tree(
    fulcio: Fulcio, oidc_issuer: OidcIssuer, ct_log: CtLog
) -> None:
    leaf, issuer, _ = issued(certify(fulcio, oidc_issuer.token(), EMAIL)[1])
    scts = leaf.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps).value
    (sct,) = scts
    assert sct.log_id == ct_log.log_id
    # Another library's idea of the TBSCertificate without the list.
    assert without(leaf.tbs_certificate_bytes, SCT_LIST) == leaf.tbs_precertificate_bytes
    stamp = int(sct.timestamp.replace(tzinfo=datetime.UTC).timestamp()) * 1000 + sct.timestamp.microsecond // 1000
    entry = precertificate_entry(leaf, issuer)
    public = load_pem_public_key(ct_log.public_key.read_bytes())
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(sct.signature, sct_input(stamp, entry), ec.ECDSA(SHA256()))
    with pytest.raises(InvalidSignature):
        public.verify(sct.signature, sct_input(stamp + 1, entry), ec.ECDSA(SHA256()))
    head = json.loads(ask(f"{ct_log.url}/ct/v1/get-sth")[1])
    root, size = base64.b64decode(head["sha256_root_hash"]), head["tree_size"]
    signed = b"\0\1" + head["timestamp"].to_bytes(8) + size.to_bytes(8) + root
    public.verify(base64.b64decode(head["tree_head_signature"])[4:], signed, ec.ECDSA(SHA256()))
    hashed = leaf_hash(b"\0\0" + stamp.to_bytes(8) + entry.encoded + b"\0\0")
    asked = base64.urlsafe_b64encode(hashed).decode().replace("-", "%2B").replace("_", "%2F").replace("=", "%3D")
    status, answer = ask(f"{ct_log.url}/ct/v1/get-proof-by-hash?hash={asked}&tree_size={size}")
    assert status == 200, answer
    proof = json.loads(answer)
    path = [base64.b64decode(each) for each in proof["audit_path"]]
    assert root_from_path(hashed, proof["leaf_index"], size, path) == root


def certificate(issuer: Authority, *, poisoned: bool) -> x509.Certificate:
    """A leaf that the authority's key signed."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a leaf")])
    now = datetime.datetime.now(datetime.UTC)
    subject = ec.generate_private_key(ec.SECP256R1()).public_key()
    builder = x509.CertificateBuilder(issuer.certificate.subject, name, subject, x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(minutes=10))
    if poisoned:
        builder = builder.add_extension(x509.PrecertPoison(), critical=True)
    return builder.sign(issuer.private, SHA256())


@pytest.mark.needs("fulcio")
def test_the_ct_log_takes_what_is_under_its_roots_and_nothing_else(
    fulcio: Fulcio, ct_log: CtLog, tmp_path: Path
) -> None:
    def add(method: str, *chain: x509.Certificate) -> tuple[int, bytes]:
        body = {"chain": [encoded(each.public_bytes(Encoding.DER)) for each in chain]}
        return ask(f"{ct_log.url}/ct/v1/{method}", json.dumps(body).encode(), JSON)

    ours, foreign = fulcio.authority, timestamp_authority(tmp_path)
    plain, poisoned = certificate(ours, poisoned=False), certificate(ours, poisoned=True)
    for method, leaf in ("add-chain", plain), ("add-pre-chain", poisoned):
        status, first = add(method, leaf, ours.certificate)
        assert status == 200, first
        assert add(method, leaf, ours.certificate, ours.root) == (200, first)  # once logged, the same SCT
    assert add("add-pre-chain", plain, ours.certificate)[0] == 400
    assert add("add-chain", poisoned, ours.certificate)[0] == 400
    assert add("add-chain", plain)[0] == 400  # its issuer is missing
    assert add("add-chain", certificate(foreign, poisoned=False), foreign.certificate)[0] == 400
    assert add("add-chain", certificate(foreign, poisoned=False), ours.certificate)[0] == 400
    assert ask(f"{ct_log.url}/ct/v1/add-chain", b"no JSON")[0] == 400


def post(rekor: Rekor, key: Key, message: bytes) -> tuple[int, dict[str, Any]]:
    verifier = {"publicKey": {"rawBytes": encoded(key.spki)}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"}
    request = {
        "digest": encoded(hashlib.sha256(message).digest()),
        "signature": {"content": encoded(key.sign(message)), "verifier": verifier},
    }
    body = json.dumps({"hashedRekordRequestV002": request}).encode()
    status, answer = ask(f"{rekor.url}/api/v2/log/entries", body, JSON, seconds=60)
    return status, json.loads(answer)


def checked(rekor: Rekor, entry: dict[str, Any]) -> dict[str, Any]:
    """The body of an entry whose proof leads to a checkpoint that the log has signed."""
    assert base64.b64decode(entry["logId"]["keyId"]) == rekor.log_id
    proof, body = entry["inclusionProof"], base64.b64decode(entry["canonicalizedBody"])
    path = [base64.b64decode(each) for each in proof["hashes"]]
    index, size = int(proof["logIndex"]), int(proof["treeSize"])
    root = root_from_path(leaf_hash(body), index, size, path)
    assert root == base64.b64decode(proof["rootHash"])
    text, _, signatures = proof["checkpoint"]["envelope"].partition("\n\n")
    assert text.split("\n") == [rekor.origin, str(size), encoded(root)]
    line = re.fullmatch(rf"— {rekor.origin} (\S+)\n", signatures)
    assert line
    signature = base64.b64decode(line[1])
    assert signature[:4] == rekor.log_id[:4]
    rekor.private.public_key().verify(signature[4:], f"{text}\n".encode())
    found: dict[str, Any] = json.loads(body)
    return found


@pytest.mark.needs("rekor")
def test_rekor_takes_a_hashedrekord_for_a_dsse_envelope_and_proves_it(rekor: Rekor) -> None:
    message, key = pae(PAYLOAD_TYPE, statement()), Key()
    status, entry = post(rekor, key, message)
    assert status == 201, entry
    body = checked(rekor, entry)
    assert (body["kind"], body["apiVersion"]) == ("hashedrekord", "0.0.2")
    logged = body["spec"]["hashedRekordV002"]
    assert base64.b64decode(logged["data"]["digest"]) == hashlib.sha256(message).digest()
    assert base64.b64decode(logged["signature"]["verifier"]["publicKey"]["rawBytes"]) == key.spki


@pytest.mark.needs("rekor")
def test_rekor_serves_what_it_has_logged_and_knows_it_again_after_a_restart(tmp_path: Path) -> None:
    class Same(Key):
        """One signature for every call, as a deterministic key has."""

        made = b""

        def sign(self, message: bytes) -> bytes:
            self.made = self.made or super().sign(message)
            return self.made

    with rekor_server(tmp_path) as rekor:
        key = Same()
        assert post(rekor, key, b"message")[0] == 201
        checkpoint = ask(f"{rekor.url}/api/v2/checkpoint")
        assert checkpoint[0] == 200
        assert checkpoint[1].decode().startswith(f"{rekor.origin}\n1\n")
        entry = json.loads(ask(f"{rekor.url}/api/v2/tile/entries/000.p/1")[1][2:])
        assert entry["kind"] == "hashedrekord"
        assert ask(f"{rekor.url}/api/v2/tile/../../rekor.key")[0] == 404
        rekor.server.end(signal.SIGKILL)
        assert ask(f"{rekor.url}/api/v2/log/entries", b"{}", JSON)[0] == 502
        rekor.server.start()
        status, answer = post(rekor, key, b"message")
        assert (status, answer["code"]) == (409, 6)
        assert post(rekor, Key(), b"not what was signed")[0] == 201


@pytest.mark.needs("rekor")
def test_rekor_refuses_a_signature_by_another_key(rekor: Rekor) -> None:
    class Lying(Key):
        def sign(self, message: bytes) -> bytes:
            return Key().sign(message)

    assert post(rekor, Lying(), b"message")[0] == 400


def stamp(tsa: TimestampServer, data: bytes) -> Any:
    imprint = {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": hashlib.sha256(data).digest()}
    request = tsp.TimeStampReq({"version": 1, "message_imprint": imprint, "nonce": 7, "cert_req": True})
    headers = {"Content-Type": "application/timestamp-query"}
    status, answer = ask(tsa.url, request.dump(), headers, seconds=20)
    assert status in (200, 201), answer
    return tsp.TimeStampResp.load(answer)


@pytest.mark.needs("timestamp-server")
def test_a_stamp_over_signature_bytes_is_the_timestamp_server_s(tsa: TimestampServer) -> None:
    signature = Key().sign(b"message")
    before = time.time()
    answer = stamp(tsa, signature)
    assert answer["status"]["status"].native == "granted"
    signed = answer["time_stamp_token"]["content"]
    info = signed["encap_content_info"]["content"].parsed
    assert info["message_imprint"]["hashed_message"].native == hashlib.sha256(signature).digest()
    assert info["nonce"].native == 7
    assert abs(info["gen_time"].native.timestamp() - before) < 60
    (signer,) = signed["signer_infos"]
    told = {each["type"].native: each["values"][0] for each in signer["signed_attrs"]}
    content = bytes(signed["encap_content_info"]["content"])
    hashed = hashlib.new(signer["digest_algorithm"]["algorithm"].native, content).digest()
    assert told["message_digest"].native == hashed
    public = tsa.authority.certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    # RFC 5652, 5.4: the attributes are signed as a SET, not under their implicit tag.
    attributes = b"\x31" + signer["signed_attrs"].dump()[1:]
    public.verify(signer["signature"].native, attributes, ec.ECDSA(SHA256()))


@pytest.mark.needs("timestamp-server")
def test_two_timestamp_servers_bear_each_other(tsa: TimestampServer, tmp_path: Path) -> None:
    with timestamp_server(tmp_path) as second:
        assert second.authority.root != tsa.authority.root
        for each in tsa, second:
            assert stamp(each, b"data")["status"]["status"].native == "granted"
        second.server.end()
        with pytest.raises(ConnectionRefusedError):
            ask(second.url)
        second.server.start()
        assert stamp(second, b"data")["status"]["status"].native == "granted"


@pytest.mark.needs("fulcio", "rekor", "timestamp-server")
def test_every_part_is_a_process_of_its_own_on_loopback(sigstore_stack: SigstoreStack) -> None:
    stack = sigstore_stack
    servers: list[Server] = [stack.issuer.server, stack.ct_log.server, stack.fulcio.server]
    servers += [stack.rekor.server, stack.rekor.front, stack.tsa.server]
    assert len({server.pid for server in servers}) == 6
    assert all(server.healthy() for server in servers)


@pytest.fixture(scope="module")
def made(sigstore_stack: SigstoreStack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the newest cosign has signed by the stack: artifact, bundle.json, trusted_root.json."""
    folder = tmp_path_factory.mktemp("cosign")
    artifact, predicate, token = folder / "artifact", folder / "predicate.json", folder / "token"
    artifact.write_bytes(b"an artifact")
    predicate.write_text("{}")
    token.write_text(sigstore_stack.issuer.token())
    root = trusted_root(sigstore_stack, folder / "trusted_root.json")
    command: list[str | Path] = ["attest-blob", "--identity-token", token, "--trusted-root", root, "--type", TYPE]
    command += ["--signing-config", signing_config(sigstore_stack, folder / "signing_config.json")]
    command += ["--bundle", folder / "bundle.json", "--predicate", predicate, "-y", artifact]
    done = cosign(command, folder)
    assert done.returncode == 0, done.stderr
    return folder


def verify(made: Path, name: str, identity: str, issuer: str) -> tuple[int, str]:
    command: list[str | Path] = ["verify-blob-attestation", "--bundle", made / "bundle.json", "--type", TYPE]
    command += ["--trusted-root", made / "trusted_root.json", "--use-signed-timestamps"]
    command += ["--certificate-identity", identity, "--certificate-oidc-issuer", issuer, made / "artifact"]
    done = cosign(command, made, name=name)
    return done.returncode, done.stderr


@pytest.mark.needs(*NEEDS, "cosign")
def test_cosign_signs_by_the_stack_with_certificate_entry_and_stamp(made: Path, sigstore_stack: SigstoreStack) -> None:
    bundle = json.loads((made / "bundle.json").read_text())
    assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    material = bundle["verificationMaterial"]
    leaf = x509.load_der_x509_certificate(base64.b64decode(material["certificate"]["rawBytes"]))
    leaf.verify_directly_issued_by(sigstore_stack.fulcio.authority.certificate)
    (entry,) = material["tlogEntries"]
    logged = checked(sigstore_stack.rekor, entry)["spec"]["hashedRekordV002"]["signature"]["verifier"]
    assert base64.b64decode(logged["x509Certificate"]["rawBytes"]) == leaf.public_bytes(Encoding.DER)
    assert len(material["timestampVerificationData"]["rfc3161Timestamps"]) == 1


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.needs(name)) for name in COSIGNS])
@pytest.mark.needs(*NEEDS, "cosign")
def test_each_cosign_verifies_what_cosign_signed_and_for_nobody_else(
    name: str, made: Path, oidc_issuer: OidcIssuer
) -> None:
    status, said = verify(made, name, EMAIL, oidc_issuer.url())
    assert status == 0, said
    for identity, issuer in (("another@example.com", oidc_issuer.url()), (EMAIL, oidc_issuer.url("stranger"))):
        status, said = verify(made, name, identity, issuer)
        assert status != 0
        assert "no matching" in said


@pytest.mark.needs(*NEEDS, "cosign")
def test_cosign_refuses_it_under_the_trusted_root_of_another_log(
    made: Path, oidc_issuer: OidcIssuer, tmp_path: Path
) -> None:
    root = json.loads((made / "trusted_root.json").read_text())
    other = Key().public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for list_name in "ctlogs", "tlogs":
        changed = json.loads(json.dumps(root))
        changed[list_name][0]["publicKey"]["rawBytes"] = encoded(other)
        (tmp_path / "trusted_root.json").write_text(json.dumps(changed))
        for name in "bundle.json", "artifact":
            (tmp_path / name).write_bytes((made / name).read_bytes())
        assert verify(tmp_path, "cosign", EMAIL, oidc_issuer.url())[0] != 0
