"""Daemons whose tenant has a compliance profile, and keys of every algorithm that the file backend signs with."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from running.daemon import RELEASE

__all__ = ["ALGORITHMS", "GOST_ALGORITHMS", "profiled", "reference"]

_MAKERS: Mapping[str, Callable[[], Any]] = {
    "es256": partial(ec.generate_private_key, ec.SECP256R1()),
    "es384": partial(ec.generate_private_key, ec.SECP384R1()),
    "es512": partial(ec.generate_private_key, ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "rsa2048": partial(rsa.generate_private_key, 65537, 2048),
    "rsa3072": partial(rsa.generate_private_key, 65537, 3072),
}
ALGORITHMS: Mapping[str, str] = {
    "es256": "ES256",
    "es384": "ES384",
    "es512": "ES512",
    "ed25519": "Ed25519",
    "rsa2048": "RSA-PKCS1-SHA256",
    "rsa3072": "RSA-PKCS1-SHA256",
}
"""By the name that a key's reference has after ``file:``."""


GOST_ALGORITHMS: Mapping[str, str] = {"gost256": "GOST3410-2012-256", "gost512": "GOST3410-2012-512"}
"""The same of keys that the backend ``gost`` makes when it starts."""


def reference(name: str) -> str:
    """Return the reference of the key with that name."""
    return f"gost:{name}" if name in GOST_ALGORITHMS else f"file:{name}"


def profiled(base: Path, profile: str, keys: Sequence[str] = tuple(ALGORITHMS), second: Sequence[str] = ()) -> str:
    """Make key files, and return a configuration with an admin socket and one tenant of ``profile``; keys named in
    ``second`` are served by another worker than the rest."""
    folder = base / "keys"
    folder.mkdir(mode=0o700)
    served = {name: "gost" if name in GOST_ALGORITHMS else "second" if name in second else "first" for name in keys}
    for name in served:
        if name in _MAKERS:
            file = folder / f"{name}.pem"
            pem = _MAKERS[name]().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            file.write_bytes(pem)
            file.chmod(0o600)
    references = ", ".join(f'"{reference(name)}"' for name in keys)
    tables = "".join(
        f'[keys."{reference(name)}"]\nbackend = "{backend}"\ntenant = "local"\n'
        + (f'generate = "{GOST_ALGORITHMS[name]}"\n' if backend == "gost" else "")
        for name, backend in served.items()
    )
    backends = "".join(
        f'[backends.{name}]\nscheme = "{"gost" if name == "gost" else "file"}"\ncertificate = "none"\n'
        f'settings = {{ directory = "{folder}" }}\n'
        for name in dict.fromkeys(served.values())
    )
    plugins = "".join(
        f'[plugins.{name}]\ncertificate = "none"\n'
        for name in ("auth-peercred", "entitlement-file", "predicates-intoto", "predicates-stella")
    )
    return f"""
[sockets.sign]
[sockets.admin]
{plugins}
[plugins.release-allowlist]
certificate = "none"
releases = [{{ digest = "{RELEASE}" }}]
{backends}
[tenants.local]
keys = [{references}]
default_key = "{reference(keys[0])}"
profile = "{profile}"
{tables}
"""
