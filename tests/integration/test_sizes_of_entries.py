"""What a caller fetches of the log's entries fits the links behind it, however many signatures one request had: nobody
takes the sealer from the others by asking what came of his own record (T21)."""

import contextlib
import dataclasses
import json
import sqlite3
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fakes.sigstore import Sigstore, jcs
from running.callers import request
from running.daemon import RELEASE, Running, running
from running.published import log_table
from signerd.attestation.bundle import parse_bundle
from signerd.wire.params import Options
from signerd_client import Signer, SignRequest

MANY = 64
"""As many as one request may name."""
SLSA = "https://slsa.dev/provenance/v1"


def configured(base: Path) -> str:
    """One tenant with many keys, and a log that never answers."""
    folder = base / "keys"
    folder.mkdir(mode=0o700)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(MANY)]
    for number, key in enumerate(keys):
        (folder / f"k{number}.pem").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        (folder / f"k{number}.pem").chmod(0o600)
    public = base / "log.pub"
    public.write_bytes(keys[0].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    plugins = ("auth-peercred", "entitlement-file", "predicates-intoto", "predicates-stella")
    return (
        "[sockets.sign]\n"
        + "".join(f'[plugins.{name}]\ncertificate = "none"\n' for name in plugins)
        + f'[plugins.release-allowlist]\ncertificate = "none"\nreleases = [{{ digest = "{RELEASE}" }}]\n'
        + f'[backends.file]\nscheme = "file"\ncertificate = "none"\nsettings = {{ directory = "{folder}" }}\n'
        + f"[tenants.local]\nkeys = {json.dumps([f'file:k{n}' for n in range(MANY)])}\n"
        + 'default_key = "file:k0"\n'
        + "".join(f'[keys."file:k{n}"]\nbackend = "file"\ntenant = "local"\n' for n in range(MANY))
        + log_table("http://127.0.0.1:9", public)
    )


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    base = tmp_path_factory.mktemp("entries")
    with running(base, config=configured(base)) as started:
        yield started


def log_takes_all(daemon: Running, audit_id: str) -> None:
    """Write into the outbox what a log that has taken every signature leaves there."""
    entry = jcs(Sigstore().entry2({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {}}))
    with contextlib.closing(sqlite3.connect(daemon.state / "outbox.sqlite", timeout=10)) as database:
        database.execute(
            "UPDATE outbox SET entry = ?, published_at = ? WHERE audit_id = ?",
            (entry, int(time.time() * 1000), audit_id),
        )
        database.commit()


@pytest.mark.parametrize("size", [185_000, 600_000])
def test_the_whole_bundles_of_many_signatures(size: int, daemon: Running) -> None:
    sealer = daemon.child("sealer")
    predicate = (
        '{"buildDefinition":{"buildType":"https://example.org/build","externalParameters":{"a":"%s"}},'
        '"runDetails":{"builder":{"id":"https://example.org/b"}}}' % ("x" * size)
    ).encode()
    asked: SignRequest = dataclasses.replace(
        request(size),
        predicate_type=SLSA,
        predicate=predicate,
        scanner_image_digest=None,
        options=Options(keys=tuple(f"file:k{n}" for n in range(MANY)), transparency="async"),
    )
    with Signer.connect(daemon.socket) as signer:
        signed = signer.sign_dsse(asked, deadline_s=60)
        audit_id = signed.result.receipt.audit_id
        log_takes_all(daemon, audit_id)
        found = signer.transparency_entry(audit_id, deadline_s=60)
    assert found.state == "logged"
    assert len(found.bundles) == MANY
    for one in found.bundles:
        assert isinstance(one.bundle, bytes)
        assert sha256(one.bundle).hexdigest() == one.complete_sha256
        assert len(parse_bundle(one.bundle).log_entries) == 1
    assert daemon.child("sealer") == sealer, daemon.said
