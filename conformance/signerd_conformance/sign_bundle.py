"""``sign-bundle`` of the client protocol, by a daemon of one's own: a Statement is signed, never a file.

The protocol asks for a signature over whatever file it names. Here the file is read, and what is signed is a Statement
that it was seen, under a decision and on a record like every other; or, with ``--in-toto``, the Statement that the file
is, where the daemon's catalogue has its predicate type and lets it pass.
"""

import hashlib
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from signerd.attestation.canonical import canonical_json, canonicalise
from signerd.attestation.statement import STATEMENT_TYPE
from signerd.errors import Fault, Refusal
from signerd.verification.oidc import read_claims
from signerd.wire.methods import SignResult
from signerd.wire.params import Options, SignDsse, Subject
from signerd_conformance.one_request import ask
from signerd_conformance.own_daemon import KEY, own_daemon
from signerd_conformance.public_instance import bounded, public_file, root_of
from signerd_conformance.signing_config import LARGEST_SIGNING_CONFIG, services_of

__all__ = ["SEEN", "sign_bundle"]

SEEN: Final = "https://in-toto.io/attestation/link/v0.3"
"""The predicate type of what is said of a file: a step that had it as its material and as its product, and did nothing.
It is the weakest word of the catalogue. It claims no build, no release and no verdict, and needs no scanner's release.
"""
LARGEST_STATEMENT: Final = 512 * 1024
"""Bytes: within a frame both ways."""
SECONDS: Final = 60.0
"""For the certificate, the entries and the stamps."""
_STEP: Final = "signerd-conformance-client sign-bundle"


class _Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    digest: dict[str, str]


class _Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: str = msgspec.field(name="_type")
    subject: tuple[_Subject, ...]
    predicate_type: str = msgspec.field(name="predicateType")
    predicate: dict[str, object]


def sign_bundle(
    artifact: Path,
    token: str,
    bundle: Path,
    *,
    in_toto: bool = False,
    staging: bool = False,
    trusted_root: Path | None = None,
    signing_config: Path | None = None,
) -> None:
    """Have the artifact signed in the name of ``token`` (OIDC), and write the bundle, whole or not at all.

    Without the two files those of the public instance hold, or of the staging instance. Refuses as
    :func:`~signerd_conformance.signing_config.services_of`, :func:`~signerd_conformance.own_daemon.own_daemon` and the
    daemon do; ``statement.invalid`` for a Statement with more in it than the daemon would sign. OSError: a file.
    """
    claims = read_claims(token)
    root = root_of(trusted_root, staging)
    if signing_config is None:
        config = public_file("signing_config.v0.2.json", staging, LARGEST_SIGNING_CONFIG)
    else:
        config = bounded(signing_config, LARGEST_SIGNING_CONFIG)
    services = services_of(config, root, datetime.now(UTC))
    options = Options(
        mode="keyless", keys=(KEY,), transparency="required", timestamp=bool(services.stamps), identity_token=token
    )
    wanted = _given(artifact, options) if in_toto else _seen(artifact, options)
    with own_daemon(services, claims.issuer) as socket:
        answer = ask(socket, "sign.dsse", wanted, SECONDS)
    made = answer.bundles[0] if isinstance(answer, SignResult) and answer.bundles else None
    if not isinstance(made, bytes):
        raise Fault("internal", "answer_shape", "the daemon's answer has no bundle in it")
    _write(bundle, made)


def _seen(artifact: Path, options: Options) -> SignDsse:
    with artifact.open("rb") as file:
        digest = {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    named = {"digest": digest, "name": artifact.name}
    link = {"name": _STEP, "materials": [named]}
    return SignDsse((Subject(artifact.name, digest),), SEEN, canonical_json(link), options=options)


def _given(path: Path, options: Options) -> SignDsse:
    """Return the Statement of a file as the daemon's request: what that could not carry is not dropped but refused."""
    text = bounded(path, LARGEST_STATEMENT)
    if len(text) > LARGEST_STATEMENT:
        raise Refusal("request.too_large", "statement_too_large", f"a Statement of more than {LARGEST_STATEMENT} bytes")
    try:
        read = msgspec.convert(canonicalise(text).value, _Statement)
    except (msgspec.ValidationError, Refusal) as exc:
        _invalid("statement_malformed", f"the file is no Statement that can be signed: {exc}")
    if read.type != STATEMENT_TYPE:
        _invalid("statement_type", f"only {STATEMENT_TYPE} is signed")
    subjects = tuple(Subject(one.name, one.digest) for one in read.subject)
    return SignDsse(subjects, read.predicate_type, canonical_json(read.predicate), options=options)


def _invalid(reason: str, public: str) -> NoReturn:
    raise Refusal("statement.invalid", reason, public) from None


def _write(path: Path, text: bytes) -> None:
    fd, made = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(text)
        os.chmod(made, 0o644)
        os.replace(made, path)
    except BaseException:
        os.unlink(made)
        raise
