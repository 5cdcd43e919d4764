"""A conformance certificate: a certifier's word that these very files of a plugin passed the conformance kit.

A DSSE envelope with one signature over an in-toto Statement v1. Its subjects are the distribution's files, named as in
RECORD, each with its SHA-256; its predicate (:data:`PREDICATE_TYPE`, :class:`Certified`) says which distribution and
entry point were judged, by which kit and how each case ended. ``signerd-conformance`` makes it; here it is held against
what is installed, before any of that is imported. It has no expiry: it speaks of files, and other files are not
certified.

No catalogue has this predicate type, so that no caller of a daemon can have a certificate signed.
"""

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from signerd.attestation.dsse import pae, parse_envelope
from signerd.attestation.statement import PAYLOAD_TYPE, STATEMENT_TYPE, Statement, parse_statement
from signerd.errors import Refusal
from signerd.host.distribution import Distribution, LoadError

if TYPE_CHECKING:
    from signerd.verification.keys import PublicKey

__all__ = [
    "MOST_BYTES",
    "NONE",
    "PREDICATE_TYPE",
    "Case",
    "Certificate",
    "Certified",
    "CertifiedDistribution",
    "Host",
    "check_certificate",
    "judged_files",
]

PREDICATE_TYPE: Final = "https://signerd.dev/attestations/conformance/v1"
NONE: Final = "none"
"""What an entry of the configuration says in place of a path."""
MOST_BYTES: Final = 1024 * 1024
"""A certificate is at most this long; 1024 subjects and a few dozen cases take half of it."""

_MOST_KEY_BYTES: Final = 16 * 1024
_OF_THE_INSTALLER: Final = frozenset({"INSTALLER", "REQUESTED", "direct_url.json"})
"""Files of .dist-info that say how it was installed, and are no part of what was built (PyPA specifications "Recording
installed projects" and "Direct URL"). Nobody imports them."""


class Case(msgspec.Struct, frozen=True):
    """A case of the kit: its name, how it ended, and whether it may be skipped (a capability that is optional)."""

    name: str
    result: Literal["ok", "skip", "FAIL"]
    optional: bool = False


class Host(msgspec.Struct, frozen=True):
    """Where the kit ran: operating system, architecture, version of Python. Never a host's name."""

    os: str
    arch: str
    python: str


class CertifiedDistribution(msgspec.Struct, frozen=True):
    """What was judged. ``record`` (hex SHA-256 of RECORD) is the judged installation's own: the subjects bind."""

    name: str
    version: str
    record: str
    group: str
    entry_point: str


class Certified(msgspec.Struct, frozen=True, omit_defaults=True):
    """The predicate. ``kind`` ``binary``: a worker's program, no Python distribution. Times are RFC 3339 in UTC.

    ``contract``: ``worker-protocol``, or ``contract-classes`` for a policy plugin. ``counts``: cases by result.
    """

    kind: Literal["distribution", "binary"]
    contract: Literal["worker-protocol", "contract-classes"]
    kit: str
    cases: tuple[Case, ...]
    counts: Mapping[str, int]
    host: Host
    started: str
    finished: str
    distribution: CertifiedDistribution | None = None

    def problem(self) -> str:
        """Return what of the run stands against a certificate; empty where nothing does."""
        failed = [case.name for case in self.cases if case.result == "FAIL"]
        skipped = [case.name for case in self.cases if case.result == "skip" and not case.optional]
        counts = {kind: sum(case.result == kind for case in self.cases) for kind in ("ok", "skip", "FAIL")}
        if failed:
            return f"these cases failed: {', '.join(failed)}"
        if skipped:
            return f"these cases are not optional and were skipped: {', '.join(skipped)}"
        if not counts["ok"]:
            return "no case was passed"
        if len({case.name for case in self.cases}) != len(self.cases) or counts != {"FAIL": 0, **self.counts}:
            return "its counts are not those of its cases"
        return ""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that holds: the certifier's key id, the kit, when the run ended, SHA-256 (hex) of the file."""

    certifier: str
    kit: str
    finished: str
    sha256: str

    def __str__(self) -> str:
        """Return the certifier and the day, as ``daemon.info`` shows them."""
        return f"{self.certifier} {self.finished[:10]}"


def judged_files(dist: Distribution) -> dict[str, str]:
    """Return the hex SHA-256 of each file that a certificate speaks of, by its path from the import folder, with
    slashes: all that RECORD gives a hash for, but for what an installer writes about the installation.
    """
    base = dist.base
    named = {os.path.relpath(path, base).replace(os.sep, "/"): digest.hex() for path, digest in dist.files.items()}
    return {name: digest for name, digest in named.items() if not _of_the_installer(name)}


def _of_the_installer(name: str) -> bool:
    folder, _, last = name.rpartition("/")
    return folder.endswith(".dist-info") and "/" not in folder and last in _OF_THE_INSTALLER


def check_certificate(
    plugin: str, path: str, certifiers: Sequence[str], group: str, dist: Distribution
) -> Certificate | None:
    """Return the certificate at ``path`` after holding it against ``dist``, verified; None where path is ``none``.

    ``certifiers`` are files with public keys (PEM), ``plugin`` the name of the entry point of ``group``. Raises
    LoadError for a file that is no certificate, is signed by none of these keys or speaks of anything but exactly this
    distribution's files, name, version and entry point, and for a run that was not passed.
    """
    if path == NONE:
        return None
    if dist.editable:
        raise LoadError(plugin, "an editable installation has no files that a certificate could speak of")
    keys = [_key(plugin, certifier) for certifier in certifiers]
    text = _read(plugin, path, MOST_BYTES)
    try:
        statement, certifier = _verified(plugin, path, text, keys)
    except Refusal as exc:
        raise LoadError(plugin, f"it is no certificate ({exc.reason})", file=path) from exc
    certified = _predicate(plugin, path, statement)
    _compare(plugin, path, statement, certified, group, dist)
    digest = hashlib.sha256(text).hexdigest()
    return Certificate(certifier.keyid, certified.kit, certified.finished, digest)


def _verified(plugin: str, path: str, text: bytes, keys: Sequence["PublicKey"]) -> tuple[Statement, "PublicKey"]:
    envelope = parse_envelope(text)
    if envelope.payload_type != PAYLOAD_TYPE:
        raise LoadError(plugin, "its payload type is not that of an in-toto Statement", file=path)
    if len(envelope.signatures) != 1:
        # With two, who certifies it would depend on which is looked at first.
        raise LoadError(plugin, f"it has {len(envelope.signatures)} signatures where one is expected", file=path)
    (signature,) = envelope.signatures
    signed = pae(envelope.payload_type, envelope.payload)
    for key in keys:
        try:
            # The keyid in an envelope is not signed: each key is tried.
            key.verify(signature.sig, signed)
        except Refusal:
            continue
        return parse_statement(envelope.payload), key
    raise LoadError(plugin, "it is signed by no key of [conformance] certifiers", file=path)


def _predicate(plugin: str, path: str, statement: Statement) -> Certified:
    if statement.type != STATEMENT_TYPE or statement.predicate_type != PREDICATE_TYPE:
        raise LoadError(plugin, f"it is no Statement v1 of the predicate type {PREDICATE_TYPE}", file=path)
    try:
        certified = msgspec.convert(statement.predicate, Certified)
    except msgspec.ValidationError as exc:
        raise LoadError(plugin, f"its predicate is not that of {PREDICATE_TYPE}: {exc}", file=path) from exc
    problem = certified.problem()
    if problem:
        raise LoadError(plugin, f"it tells of a run that was not passed: {problem}", file=path)
    return certified


def _compare(
    plugin: str, path: str, statement: Statement, certified: Certified, group: str, dist: Distribution
) -> None:
    told = certified.distribution
    if certified.kind != "distribution" or told is None:
        raise LoadError(plugin, "it certifies a program, not a distribution", file=path)
    for what, wanted, found in (
        ("distribution", dist.name, told.name),
        ("version", dist.version, told.version),
        ("entry point", f"{group}:{plugin}", f"{told.group}:{told.entry_point}"),
    ):
        if wanted != found:
            raise LoadError(plugin, f"it certifies the {what} {found!r}, installed is {wanted!r}", file=path)
    subjects = {subject.name: subject.digest.get("sha256", "") for subject in statement.subjects}
    files = judged_files(dist)
    if len(subjects) != len(statement.subjects):
        raise LoadError(plugin, "it names a file twice", file=path)
    for sentence, names in (
        ("it does not know of installed files", files.keys() - subjects.keys()),
        ("it names files that are not installed", subjects.keys() - files.keys()),
        ("files are not those that were certified", {n for n in files.keys() & subjects if files[n] != subjects[n]}),
    ):
        if names:
            shown = ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")
            raise LoadError(plugin, f"{sentence}: {shown}", file=path)


def _key(plugin: str, path: str) -> "PublicKey":
    # Most workers have no certificate to look at, and start without the library that this brings in.
    from signerd.verification.keys import PublicKey

    text = _read(plugin, path, _MOST_KEY_BYTES, trusted=True)
    try:
        return PublicKey.from_pem(text)
    except Refusal as exc:
        raise LoadError(plugin, f"a certifier's public key in PEM is expected ({exc.reason})", file=path) from exc


def _read(plugin: str, path: str, most: int, *, trusted: bool = False) -> bytes:
    """Read a regular file of at most ``most`` bytes; one that is ``trusted`` only its owner may write, root or this
    user: whoever can write a certifier's key decides what is certified."""
    try:
        # Neither a link, which may come to point elsewhere, nor blocking: a FIFO must not hold the start up.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        with open(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise LoadError(plugin, "a regular file is expected", file=path)
            if trusted and (found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
                raise LoadError(plugin, "it must be root's or signerd's, and nobody else's to write", file=path)
            text = file.read(most + 1)
    except OSError as exc:
        raise LoadError(plugin, f"it cannot be read ({exc.strerror})", file=path) from exc
    if len(text) > most:
        raise LoadError(plugin, f"at most {most} bytes are expected", file=path)
    return text
