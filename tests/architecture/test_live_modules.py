"""What each live process has imported: import-linter sees no import that is made at run time.

A daemon signs small and large documents first, so that everything that is imported late has been.
"""

import json
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from architecture.layout import DISTRIBUTIONS
from running.callers import request
from running.configured import until
from running.daemon import RELEASE, running
from running.loaded import asked, listening_environment
from running.published import log_table, publishing
from signerd_client import Signer, SignRequest, Subject

PLUGINS = {d.package.name for d in DISTRIBUTIONS if d.folder.parent.name == "plugins"}
BACKENDS = {
    "signerd_key_cryptopro", "signerd_key_fido2", "signerd_key_file", "signerd_key_fulcio", "signerd_key_gost",
    "signerd_key_hmac", "signerd_key_pkcs11",
}  # fmt: skip
PREDICATES = {"signerd_predicates_intoto", "signerd_predicates_stella"}
VALIDATORS = {"jsonschema_rs", "jsonschema", "cyclonedx", "spdx_python_model"}
"""What predicate plugins bring: heavy, and fed with callers' bytes."""
NOBODY = {"asyncio", "concurrent", "http", "multiprocessing", "pytest", "unittest", "xml", "xmlrpc"}
"""Large parts of the standard library that signerd has no use for; trio brings ``ssl`` into front end and publisher."""

# Packages that must be there, or the list was not taken from this process, and packages that must not.
MAY_NOT = {
    "front end": (
        {"signerd.daemon", "signerd.pipeline", "trio"},
        {
            "signerd.sealer", "signerd.worker", "sqlite3", "signerd_client", "signerd_conformance", *BACKENDS,
            # What reads certificates and policies belongs to the worker that verifies, and costs a start 25 ms.
            "cryptography.x509", "signerd.verification.certificates", "signerd.verification.policy",
        },
    ),
    "sealer": (
        {"signerd.sealer", "signerd.verification", "sqlite3"},
        {
            "signerd.cli", "signerd.daemon", "signerd.pipeline", "signerd.worker", "trio", "signerd_client",
            *PLUGINS, *VALIDATORS,
        },
    ),
    "key": (
        {"signerd.worker.calls", "signerd_key_file"},
        {
            "signerd.cli", "signerd.daemon", "signerd.pipeline", "signerd.sealer", "trio", "sqlite3",
            "signerd_client", *(PLUGINS - {"signerd_key_file"}), *VALIDATORS,
        },
    ),
    "document": (
        {"signerd.worker.process", "signerd_predicates_intoto", "jsonschema_rs"},
        {
            "signerd.cli", "signerd.daemon", "signerd.sealer", "trio", "sqlite3", "signerd_client",
            *(PLUGINS - PREDICATES),
        },
    ),
    "publisher": (
        {"signerd.worker.process", "signerd_log_rekor", "httpcore", "trio"},
        {
            "signerd.cli", "signerd.daemon", "signerd.pipeline", "signerd.sealer", "sqlite3", "signerd_client",
            *(PLUGINS - {"signerd_log_rekor"}), *VALIDATORS,
        },
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, frozenset[str]]]:
    """The names that each process has in ``sys.modules``, by role."""
    folder = tmp_path_factory.mktemp("loaded")
    base = tmp_path_factory.mktemp("daemon")
    key = base / "log.pub"
    made = ed25519.Ed25519PrivateKey.generate().public_key()
    key.write_bytes(made.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    config = publishing(base, log_table("http://localhost:9", key))
    with running(base, config=config, environment=listening_environment(folder)) as daemon:
        until(lambda: "publisher rekor is up" in daemon.said)
        components = [{"type": "library", "name": f"part-{n}", "version": "1"} for n in range(8000)]
        large = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}
        with Signer.connect(daemon.socket) as signer:
            signer.sign_dsse(request())
            signer.sign_dsse(
                SignRequest(
                    subject=[Subject("app", {"sha256": "00" * 32})],
                    predicate_type="https://cyclonedx.org/bom",
                    predicate=json.dumps(large).encode(),
                    scanner_image_digest=RELEASE,
                )
            )
            signer.keys()
            signer.info()
        processes = {"front end": daemon.pid, **daemon.children()}
        yield {role: asked(folder, pid)[1] for role, pid in processes.items()}


def packages(names: frozenset[str], of: set[str]) -> set[str]:
    """Return those of ``of`` that are loaded, themselves or a module below them."""
    return {package for package in of for name in names if name == package or name.startswith(f"{package}.")}


def test_every_process_answered(modules: dict[str, frozenset[str]]) -> None:
    assert set(modules) == set(MAY_NOT)


@pytest.mark.parametrize("role", MAY_NOT)
def test_it_has_imported_its_own_and_nothing_that_it_may_not(role: str, modules: dict[str, frozenset[str]]) -> None:
    must, may_not = MAY_NOT[role]
    assert packages(modules[role], must) == must
    assert packages(modules[role], may_not) == set()


@pytest.mark.parametrize("role", MAY_NOT)
def test_it_carries_nothing_heavy_that_it_has_no_use_for(role: str, modules: dict[str, frozenset[str]]) -> None:
    assert packages(modules[role], NOBODY if role in ("front end", "publisher") else {*NOBODY, "ssl"}) == set()


def test_only_the_key_worker_has_code_that_signs(modules: dict[str, frozenset[str]]) -> None:
    signing = {role for role, names in modules.items() if packages(names, BACKENDS)}
    assert signing == {"key"}


def test_the_programs_are_started_and_not_imported(modules: dict[str, frozenset[str]]) -> None:
    """A program that runs is ``__main__``; under its own name it is there where another has imported it."""
    programs = {"signerd.sealer.main", "signerd.worker.key", "signerd.worker.document", "signerd.worker.publisher"}
    assert {role for role, names in modules.items() if names & programs} == set()
