"""``signerctl verify``: does a bundle verify with this key? Asks nobody: no daemon, no network."""

import argparse
from typing import Final

from signerd.attestation.bundle import LARGEST_BUNDLE
from signerd.errors import Refusal, exit_code
from signerd.verification.bundle import Verification, verify_bundle
from signerd.verification.keys import PublicKey
from signerd_client.files import read_file, unreadable
from signerd_client.output import json_text, note, table, write_stdout
from signerd_client.subjects import file_sha256

__all__ = ["run"]

_LARGEST_PEM: Final = 64 * 1024

_SHORT_NAMES: Final = {
    "cyclonedx": "https://cyclonedx.org/bom",
    "openvex": "https://openvex.dev/ns",
    "report": "https://stella-ops.org/attestations/report/v1",
    "slsaprovenance": "https://slsa.dev/provenance/v0.2",
    "slsaprovenance02": "https://slsa.dev/provenance/v0.2",
    "slsaprovenance1": "https://slsa.dev/provenance/v1",
    "spdx": "https://spdx.dev/Document",
    "spdxjson": "https://spdx.dev/Document",
}
"""Short names of ``--type``, as cosign resolves them, and our own report; the bundle itself holds the URI
alone."""

_NOT_SERVED: Final = ("certificate_identity", "certificate_oidc_issuer", "trusted_root", "policy")


def run(arguments: argparse.Namespace) -> int:
    """Verify; 0 where it does, 6 for any bundle that does not, malformed ones included."""
    _check_usage(arguments)
    key = _key(arguments.key)
    bundle = read_file(arguments.bundle, LARGEST_BUNDLE + 1)
    verification = verify_bundle(
        bundle,
        key,
        artifact_sha256=_artifact(arguments.subject),
        predicate_type=_predicate_type(arguments.type),
    )
    _print(arguments, verification)
    failure = verification.failure
    if failure is not None or not verification.verified:
        why = "no check passed" if failure is None else f"{failure.name} ({failure.reason}): {failure.detail}"
        note(f"signerctl: does not verify: {why}")
        return exit_code("verification.failed")
    if arguments.type is None:
        note(f"note: without --type any type passes; this one is {verification.predicate_type}")
    if arguments.subject is None:
        note("note: without --subject any artefact passes; none was compared")
    note("verified")
    return 0


def _check_usage(arguments: argparse.Namespace) -> None:
    for name in _NOT_SERVED:
        if getattr(arguments, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise Refusal(
                "request.unsupported",
                "option_not_served",
                f"{option} is not served by this version, which verifies with --key",
                details={"name": option},
            )
    if arguments.key is None:
        # Nothing that stands in a bundle is a trust anchor: whoever signed it chose it.
        raise Refusal("request.malformed", "key_missing", "--key is needed: a bundle cannot vouch for itself")


def _key(path: str) -> PublicKey:
    try:
        return PublicKey.from_pem(read_file(path, _LARGEST_PEM))
    except Refusal as refusal:
        if refusal.reason == "unreadable_file":
            raise
        # A wrong key file is wrong usage, whichever code the reader of keys has for it.
        raise Refusal("request.malformed", refusal.reason, f"{path}: {refusal.public}") from refusal


def _artifact(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return file_sha256(path)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def _predicate_type(name: str | None) -> str | None:
    if name is None or ":" in name or "@" in name:
        return name
    found = _SHORT_NAMES.get(name)
    if found is None:
        text = f"--type {name}: a URI is needed, or one of {', '.join(_SHORT_NAMES)}"
        raise Refusal("request.malformed", "type_unknown", text)
    return found


def _print(arguments: argparse.Namespace, verification: Verification) -> None:
    if arguments.output == "table":
        rows = [(check.name, check.outcome, check.detail) for check in verification.checks]
        write_stdout(table(("CHECK", "OUTCOME", "DETAIL"), rows).encode())
        return
    checks = [
        {"name": check.name, "outcome": check.outcome, "detail": check.detail}
        | ({"reason": check.reason} if check.reason else {})
        for check in verification.checks
    ]
    answer: dict[str, object] = {"verified": verification.verified, "checks": checks}
    if verification.predicate_type is not None:
        answer["predicate_type"] = verification.predicate_type
        answer["subject"] = [
            {"name": subject.name, "digest": dict(subject.digest)} for subject in verification.subjects
        ]
    write_stdout(json_text(answer))
