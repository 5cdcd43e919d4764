"""Makes a conformance certificate of a run of the kit: binds the judged files to its cases, and signs both.

The form is :mod:`signerd.host.certificate`'s, which reads it.
"""

import datetime
import hashlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from signerd.attestation.canonical import canonical_json
from signerd.attestation.dsse import Signature, encode_base64, encode_envelope, pae
from signerd.attestation.statement import MOST_SUBJECTS, PAYLOAD_TYPE, Subject, build_statement
from signerd.host.certificate import (
    MOST_BYTES,
    PREDICATE_TYPE,
    Case,
    Certified,
    CertifiedDistribution,
    judged_files,
)
from signerd.host.distribution import find_entry, verify
from signerd_conformance import __version__
from signerd_conformance.certifier import CertifierKey

__all__ = ["Judgeable", "certificate", "judged_binary", "judged_distribution"]



@dataclass(frozen=True, slots=True)
class Judgeable:
    """What a run judges: its files with their SHA-256 in hex, and for a distribution whose they are."""

    files: tuple[tuple[str, str], ...]
    distribution: CertifiedDistribution | None


def judged_distribution(name: str, group: str, entry_point: str) -> Judgeable:
    """Return the installed distribution ``name``, which must offer ``entry_point`` of ``group``; files are verified.

    Raises LoadError, and ValueError where another distribution offers it or it has too many files.
    """
    dist = verify(find_entry(group, entry_point), development=False)
    if _normal(dist.name) != _normal(name):
        raise ValueError(f"the entry point {entry_point} of {group} is offered by {dist.name}, not by {name}")
    files = tuple(sorted(judged_files(dist).items()))
    if len(files) > MOST_SUBJECTS:
        raise ValueError(f"{name} has {len(files)} files, a certificate speaks of {MOST_SUBJECTS} at most")
    return Judgeable(files, CertifiedDistribution(dist.name, dist.version, dist.record_sha256, group, entry_point))


def _normal(name: str) -> str:
    # PyPA specification "Names and normalization", as far as installed names differ by it.
    return name.lower().replace("_", "-").replace(".", "-")


def judged_binary(path: Path) -> Judgeable:
    """Return a worker's program that is no Python distribution: one file, named without its folder. Raises OSError."""
    with path.open("rb") as file:
        return Judgeable(((path.name, hashlib.file_digest(file, "sha256").hexdigest()),), None)


def certificate(
    judged: Judgeable,
    cases: Sequence[Case],
    contract: str,
    times: tuple[datetime.datetime, datetime.datetime],
    key: CertifierKey,
) -> bytes:
    """Return the signed certificate of a run between ``times``; ValueError where the run earns none."""
    results = [case.result for case in cases]
    # As the daemon will read it: what it would refuse is not signed.
    certified = msgspec.convert(
        {
            "kind": "binary" if judged.distribution is None else "distribution",
            "contract": contract,
            "kit": f"signerd-conformance/{__version__}",
            "cases": msgspec.to_builtins(tuple(cases)),
            "counts": {kind: results.count(kind) for kind in ("ok", "skip")},
            "host": {
                "os": f"{platform.system()} {platform.release()}",
                "arch": platform.machine(),
                "python": platform.python_version(),
            },
            "started": _text(times[0]),
            "finished": _text(times[1]),
            "distribution": msgspec.to_builtins(judged.distribution),
        },
        Certified,
    )
    problem = certified.problem()
    if problem:
        raise ValueError(f"no certificate: {problem}")
    subjects = [Subject(name, {"sha256": digest}) for name, digest in judged.files]
    statement = build_statement(subjects, PREDICATE_TYPE, canonical_json(msgspec.to_builtins(certified)))
    signature = Signature(key.sign(pae(PAYLOAD_TYPE, statement)), key.public.keyid)
    envelope = encode_envelope(encode_base64(statement), PAYLOAD_TYPE, [signature])
    if len(envelope) > MOST_BYTES:
        raise ValueError(f"no certificate: it would have more than {MOST_BYTES} bytes")
    return envelope


def _text(time: datetime.datetime) -> str:
    return time.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
