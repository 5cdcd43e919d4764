"""A daemon whose one tenant has as many keys as a request may name, and a log that has taken all that they sign."""

import contextlib
import dataclasses
import json
import sqlite3
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fakes.sigstore import Sigstore, jcs
from running.callers import request
from running.daemon import RELEASE, Running
from running.published import log_table
from signerd.wire.params import KEYS_CEILING, Options
from signerd_client import Signed, Signer

__all__ = ["MANY", "logged", "many_keys", "signed_by_all"]

MANY = KEYS_CEILING
SLSA = "https://slsa.dev/provenance/v1"
_REFERENCES = [f"file:k{number}" for number in range(MANY)]
_ENTRY = jcs(Sigstore().entry2({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {}}))


def many_keys(base: Path) -> str:
    """A whole configuration; nobody listens where the log is said to be."""
    folder = base / "keys"
    folder.mkdir(mode=0o700)
    for reference in _REFERENCES:
        file = folder / f"{reference.removeprefix('file:')}.pem"
        key = ec.generate_private_key(ec.SECP256R1())
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.chmod(0o600)
    public = base / "log.pub"
    log = ed25519.Ed25519PrivateKey.generate().public_key()
    public.write_bytes(log.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    plugins = ("auth-peercred", "entitlement-file", "predicates-intoto", "predicates-stella")
    return (
        "[sockets.sign]\n"
        + "".join(f'[plugins.{name}]\ncertificate = "none"\n' for name in plugins)
        + f'[plugins.release-allowlist]\ncertificate = "none"\nreleases = [{{ digest = "{RELEASE}" }}]\n'
        + f'[backends.file]\nscheme = "file"\ncertificate = "none"\nsettings = {{ directory = "{folder}" }}\n'
        + f'[tenants.local]\nkeys = {json.dumps(_REFERENCES)}\ndefault_key = "{_REFERENCES[0]}"\n'
        + "".join(f'[keys."{reference}"]\nbackend = "file"\ntenant = "local"\n' for reference in _REFERENCES)
        + log_table("http://127.0.0.1:9", public)
    )


def signed_by_all(signer: Signer, size: int) -> Signed:
    """Have all keys sign one document of ``size`` bytes, to be logged later."""
    predicate = (
        '{"buildDefinition":{"buildType":"https://example.org/build","externalParameters":{"a":"%s"}},'
        '"runDetails":{"builder":{"id":"https://example.org/b"}}}' % ("x" * size)
    ).encode()
    options = Options(keys=tuple(_REFERENCES), transparency="async")
    plain = dataclasses.replace(request(size), scanner_image_digest=None, options=options)
    return signer.sign_dsse(dataclasses.replace(plain, predicate_type=SLSA, predicate=predicate), deadline_s=60)


def logged(daemon: Running, audit_id: str) -> None:
    """Write into the outbox what a log that has taken every signature of a record leaves there."""
    with contextlib.closing(sqlite3.connect(daemon.state / "outbox.sqlite", timeout=30)) as database:
        database.execute(
            "UPDATE outbox SET entry = ?, published_at = ? WHERE audit_id = ?",
            (_ENTRY, int(time.time() * 1000), audit_id),
        )
        database.commit()
