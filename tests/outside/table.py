"""What outside verifiers accept, by key type and material: makes docs/interoperability.md.

`PYTHONPATH=tests:scripts .venv/bin/python -m outside.table > docs/interoperability.md`, with every part of NEEDS;
a test compares. Signatures are a daemon's; stamps, log entries and certificates, which it gets by itself in the keyless
rows, are those of the real Fulcio, Rekor and timestamp server.
"""

import base64
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from asn1crypto import tsp  # type: ignore[import-untyped]  # no types are published for it
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from outside.cosign import COSIGNS, cosign
from outside.parts import ROOT, the
from outside.signed import ARTIFACT, PREDICATE, TYPE, Key
from outside.trust import built
from running.configured import configuration
from running.daemon import RELEASE, running
from running.keyless_config import keyless_configuration
from running.oidc import EMAIL
from running.published import log_table, stamp_table
from running.server import ask
from running.stack import NEEDS as STACK
from running.stack import SigstoreStack, sigstore_stack
from signerd.attestation.algorithms import SIGNATURE_DIGEST
from signerd.attestation.dsse import pae
from signerd.attestation.statement import PAYLOAD_TYPE
from signerd.verification.bundle import verify_bundle
from signerd.verification.certificates import Identity
from signerd.verification.evidence import Requirements
from signerd.verification.keys import PublicKey
from signerd.verification.trusted_root import parse_trusted_root
from signerd.wire.params import Options
from signerd_client import Signer, SignRequest, Subject

__all__ = ["NEEDS", "page"]

NEEDS = (*STACK, *COSIGNS, "node", "sigstore-verify", "securesystemslib", "sigstore")
ALGORITHMS = ("ES256", "ES384", "ES512", "Ed25519", "RSA-PKCS1-SHA256")
KEYLESS = {
    "keyless, log, stamp": Options(mode="keyless", transparency="required", timestamp=True),
    "keyless, log": Options(mode="keyless", transparency="required"),
    "keyless, stamp": Options(mode="keyless", timestamp=True),
}
MATERIALS = ("key", "key, stamp", "key, log", "certificate, log, stamp", *KEYLESS)
DETAILS = {
    "ES256": "PKIX_ECDSA_P256_SHA_256",
    "ES384": "PKIX_ECDSA_P384_SHA_384",
    "ES512": "PKIX_ECDSA_P521_SHA_512",
    "Ed25519": "PKIX_ED25519",
    "RSA-PKCS1-SHA256": "PKIX_RSA_PKCS1V15_2048_SHA256",
}
JSON = {"Content-Type": "application/json"}
LOGGED = {"ES384": hashlib.sha384, "ES512": hashlib.sha512}
NOT_ASKED = "none"

HEAD = """# Interoperability

Which verifiers accept what, by the type of the key that signed and by what stands beside the signature. The table is
made by running them: `tests/outside/test_table.py` makes it again and compares. The envelopes are those that a daemon
signed with a key of that type. Stamps, log entries and certificates are those of a real timestamp server, Rekor v2
(`hashedrekord`) and Fulcio; the trusted root is the one that `signerd trust build` makes of them. securesystemslib is
given the combined envelope. The bundles called `keyless` are as a daemon made them by Fulcio, log and authority, which
it does with P-256 keys alone; in the other rows log entry, stamp and certificate were put beside its signature.

Each verifier is asked for exactly that material: the key or the identity is named, log entries and stamps must be there
and hold against the trusted root. `yes` is accepted, `no` refused; `none` is that there is nothing to ask: Rekor v2
takes no entry by such a key, no keyless key is of that type, or the verifier knows no such material.

What one needs to know of each:

- cosign loads every key with SHA-256: for ES384 and ES512 it is told `--signature-digest-algorithm sha384` and
  `sha512`, as the `verify_command` of an answer says. 2.6 needs `--new-bundle-format`, and with it a `--trusted-root`.
- sigstore-python verifies certificates alone, and of them those with P-256 keys.
- @sigstore/verify hashes with SHA-256 whatever the key.
- securesystemslib takes RSA keys for RSA-PSS unless it is told `rsa-pkcs1v15-sha256`.

"""


@dataclass(frozen=True)
class Case:
    """One bundle, and the files that a verifier is given; no bundle where the log takes no entry about it."""

    algorithm: str
    material: str
    bundle: Path | None
    envelope: Path
    key: Path
    root: Path
    issuer: str

    @property
    def text(self) -> Path:
        assert self.bundle is not None
        return self.bundle

    @property
    def logged(self) -> bool:
        return "log" in self.material

    @property
    def stamped(self) -> bool:
        return "stamp" in self.material

    @property
    def by_certificate(self) -> bool:
        return self.material.startswith(("certificate", "keyless"))


def page(stack: SigstoreStack) -> str:
    """The whole page."""
    with tempfile.TemporaryDirectory() as folder:
        rows = _rows(stack, Path(folder))
    head = ["verifier", "material", *ALGORITHMS]
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return HEAD + "\n".join(lines) + "\n"


def _rows(stack: SigstoreStack, folder: Path) -> list[list[str]]:
    cases = _cases(stack, folder)
    judges: list[tuple[str, Callable[[Sequence[Case]], list[str]]]] = [
        (f"signerd {version('signerd')}", _one_by_one(_signerd)),
        *((f"cosign {_cosign_version(name)}", _one_by_one(_cosign(name))) for name in COSIGNS),
        (f"sigstore-python {version('sigstore')}", _sigstore_python),
        (f"@sigstore/verify {_js_version()}", _one_by_one(_sigstore_js)),
        (f"securesystemslib {version('securesystemslib')}", _one_by_one(_securesystemslib)),
    ]
    asked = [case for case in cases if case.bundle is not None]
    rows = []
    for name, judge in judges:
        said = dict(zip(((case.material, case.algorithm) for case in asked), judge(asked), strict=True))
        rows += [
            [name, material, *(said.get((material, algorithm), NOT_ASKED) for algorithm in ALGORITHMS)]
            for material in MATERIALS
        ]
    return rows


def _cases(stack: SigstoreStack, folder: Path) -> list[Case]:
    root, _ = built(stack, folder)
    (folder / "artifact").write_bytes(ARTIFACT)
    keys = {algorithm: Key(algorithm) for algorithm in ALGORITHMS}
    bundles, envelope = _by_the_daemon(folder, keys)
    (folder / "envelope.json").write_bytes(envelope)
    asked = [(algorithm, material) for algorithm in ALGORITHMS for material in MATERIALS if material not in KEYLESS]
    with ThreadPoolExecutor(len(asked)) as pool:  # the log answers once a second, however many ask
        made = list(pool.map(lambda each: _with(stack, json.loads(bundles[each[0]]), keys[each[0]], each[1]), asked))
    cases = []
    for number, ((algorithm, material), bundle) in enumerate(zip(asked, made, strict=True)):
        pem = folder / f"{algorithm}.pub"
        pem.write_bytes(keys[algorithm].pem)
        file = folder / f"{number}.json"
        file.write_text(json.dumps(bundle))
        named = None if bundle is None else file
        cases.append(Case(algorithm, material, named, folder / "envelope.json", pem, root, stack.issuer.url()))
    for material, text in _keyless_by_the_daemon(stack, folder / "keyless").items():
        file = folder / f"{material}.json"
        file.write_bytes(text)
        cases.append(
            Case("ES256", material, file, folder / "envelope.json", folder / "ES256.pub", root, stack.issuer.url())
        )
    return cases


def _keyless_by_the_daemon(stack: SigstoreStack, folder: Path) -> dict[str, bytes]:
    """Have a daemon sign by certificates, and publish: a bundle by its material."""
    folder.mkdir()
    text = keyless_configuration(
        folder, stack.fulcio.url, stack.fulcio.authority.chain, stack.ct_log.public_key, [stack.issuer.url()]
    )
    text += log_table(stack.rekor.url, stack.rekor.public_key) + stamp_table(stack.tsa.url, stack.tsa.authority.chain)
    made = {}
    with running(folder, config=text) as daemon, Signer.connect(daemon.socket) as signer:
        for material, options in KEYLESS.items():
            given = msgspec.structs.replace(options, identity_token=stack.issuer.token())
            made[material] = signer.sign_dsse(_request(given), deadline_s=60).bundles[0]
    return made


def _request(options: Options) -> SignRequest:
    return SignRequest(
        subject=[Subject("artifact", {"sha256": hashlib.sha256(ARTIFACT).hexdigest()})],
        predicate_type=TYPE,
        predicate=PREDICATE,
        scanner_image_digest=RELEASE,
        options=options,
    )


def _with(stack: SigstoreStack, bundle: dict[str, Any], key: Key, material: str) -> dict[str, Any] | None:
    """The bundle with what belongs beside its signature; None where the log takes no entry about it."""
    signature = base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"])
    beside = bundle["verificationMaterial"]
    verifier: dict[str, Any] = {"publicKey": {"rawBytes": _encoded(key.spki)}}
    if material.startswith("certificate"):
        leaf = {"rawBytes": _encoded(_certificate(stack, key))}
        del beside["publicKey"]
        beside["certificate"] = leaf
        verifier = {"x509Certificate": leaf}
    if "log" in material:
        message = pae(PAYLOAD_TYPE, base64.b64decode(bundle["dsseEnvelope"]["payload"]))
        digest = LOGGED.get(key.algorithm, hashlib.sha256)(message).digest()
        verifier["keyDetails"] = DETAILS[key.algorithm]
        request = {"digest": _encoded(digest), "signature": {"content": _encoded(signature), "verifier": verifier}}
        body = json.dumps({"hashedRekordRequestV002": request}).encode()
        status, answer = ask(f"{stack.rekor.url}/api/v2/log/entries", body, JSON, seconds=60)
        if status not in (200, 201):
            # Of the key types here it refuses Ed25519 alone, whose entries need the prehashed variant.
            assert key.algorithm == "Ed25519", (key.algorithm, status, answer)
            return None
        beside["tlogEntries"] = [json.loads(answer)]
    if "stamp" in material:
        beside["timestampVerificationData"] = {
            "rfc3161Timestamps": [{"signedTimestamp": _encoded(_stamp(stack, signature))}]
        }
    return bundle


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _certificate(stack: SigstoreStack, key: Key) -> bytes:
    public = {"algorithm": "ECDSA", "content": key.pem.decode()}
    request = {"publicKey": public, "proofOfPossession": _encoded(key.sign(EMAIL.encode()))}
    body = {"credentials": {"oidcIdentityToken": stack.issuer.token()}, "publicKeyRequest": request}
    status, answer = ask(f"{stack.fulcio.url}/api/v2/signingCert", json.dumps(body).encode(), JSON, seconds=20)
    assert status == 200, answer
    pem = json.loads(answer)["signedCertificateEmbeddedSct"]["chain"]["certificates"][0]
    return load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)


def _stamp(stack: SigstoreStack, data: bytes) -> bytes:
    imprint = {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": hashlib.sha256(data).digest()}
    request = tsp.TimeStampReq({"version": 1, "message_imprint": imprint, "nonce": 7, "cert_req": True})
    status, answer = ask(
        stack.tsa.url, request.dump(), {"Content-Type": "application/timestamp-query"}, seconds=20
    )
    assert status in (200, 201), answer
    return answer


def _by_the_daemon(folder: Path, keys: dict[str, Key]) -> tuple[dict[str, bytes], bytes]:
    """Have a daemon sign one Statement with each key: a bundle for each, and the combined envelope."""
    stored = folder / "state" / "keys"
    stored.mkdir(parents=True, mode=0o700)
    stored.parent.chmod(0o700)
    tables = []
    for algorithm, key in keys.items():
        file = stored / f"{algorithm.lower()}.pem"
        file.touch(0o600)
        file.write_bytes(key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        tables.append(f'[keys."file:{algorithm.lower()}"]\nbackend = "file"\ntenant = "local"\n')
    references = [f"file:{algorithm.lower()}" for algorithm in keys]
    tenant = f'[tenants.local]\nkeys = {json.dumps(references)}\ndefault_key = "{references[0]}"\n'
    text = configuration(folder, {}).partition("[tenants.local]")[0] + tenant + "".join(tables)
    options = Options(keys=tuple(references), include=("envelope",))
    with running(folder, config=text) as daemon, Signer.connect(daemon.socket) as signer:
        signed = signer.sign_dsse(_request(options))
    assert signed.envelope is not None
    return dict(zip(keys, signed.bundles, strict=True)), signed.envelope


def _one_by_one(judge: Callable[[Case], str]) -> Callable[[Sequence[Case]], list[str]]:
    return lambda cases: [judge(case) for case in cases]


def _word(accepted: bool) -> str:
    return "yes" if accepted else "no"


def _signerd(case: Case) -> str:
    signer = Identity(EMAIL, case.issuer) if case.by_certificate else PublicKey.from_pem(case.key.read_bytes())
    beside = Requirements(int(case.logged), int(case.stamped), sct=case.by_certificate)
    verification = verify_bundle(
        case.text.read_bytes(),
        signer,
        artifact_sha256=hashlib.sha256(ARTIFACT).hexdigest(),
        predicate_type=TYPE,
        trusted_root=parse_trusted_root(case.root.read_bytes()),
        requirements=beside,
    )
    return _word(verification.verified)


def _cosign(name: str) -> Callable[[Case], str]:
    def judge(case: Case) -> str:
        command: list[str | Path] = ["verify-blob-attestation", "--bundle", case.text, "--type", TYPE]
        if name == "cosign-2-6":
            command.append("--new-bundle-format")
        if case.by_certificate:
            command += ["--certificate-identity", EMAIL, "--certificate-oidc-issuer", case.issuer]
        else:
            command += ["--key", case.key]
            digest = SIGNATURE_DIGEST.get(case.algorithm)
            command += [f"--signature-digest-algorithm={digest}"] if digest else []
        if case.logged or case.stamped or name == "cosign-2-6":
            command += ["--trusted-root", case.root]
        command += [] if case.logged else ["--insecure-ignore-tlog"]
        command += ["--use-signed-timestamps"] if case.stamped else []
        return _word(cosign([*command, case.key.with_name("artifact")], case.key.parent, name=name).returncode == 0)

    return judge


def _cosign_version(name: str) -> str:
    return the(name).parent.name.removeprefix("v")


def _js_version() -> str:
    lock = json.loads((ROOT / "tests/outside/sigstore_js/package-lock.json").read_text())
    return str(lock["packages"]["node_modules/@sigstore/verify"]["version"])


def _sigstore_js(case: Case) -> str:
    script = ROOT / "tests" / "outside" / "sigstore_js" / "verify.mjs"
    command: list[str | Path] = [the("node"), script, the("sigstore-verify"), case.text]
    command += ["-" if case.by_certificate else case.key, case.root, str(int(case.logged)), str(int(case.stamped))]
    command += [EMAIL, case.issuer] if case.by_certificate else []
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode in (0, 1), done.stderr
    return _word(done.returncode == 0)


def _sigstore_python(cases: Sequence[Case]) -> list[str]:
    program = Path(__file__).with_name("sigstore_python.py")
    command: list[str | Path] = [sys.executable, "-P", program, cases[0].root, EMAIL, cases[0].issuer]
    command += [case.text for case in cases]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return [line.split()[0] for line in done.stdout.splitlines()]


def _securesystemslib(case: Case) -> str:
    if case.material != "key":
        return NOT_ASKED
    envelope = Envelope.from_dict(json.loads(case.envelope.read_bytes()))
    # It finds signatures by their keyid, which signerd makes of the key.
    keyid = PublicKey.from_pem(case.key.read_bytes()).envelope_keyid
    scheme = "rsa-pkcs1v15-sha256" if case.algorithm.startswith("RSA") else None
    key = SSlibKey.from_crypto(load_pem_public_key(case.key.read_bytes()), keyid=keyid, scheme=scheme)
    try:
        envelope.verify([key], threshold=1)
    except VerificationError:
        return "no"
    return "yes"


def main() -> None:
    """Print the page, over a stack of its own."""
    with tempfile.TemporaryDirectory() as folder, sigstore_stack(Path(folder)) as stack:
        sys.stdout.write(page(stack))


if __name__ == "__main__":
    main()
