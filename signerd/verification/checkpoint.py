"""Checkpoints of logs: signed notes with the signatures of the log and of its witnesses.

Source: C2SP ``signed-note``, ``tlog-checkpoint`` and ``tlog-cosignature``. Lines of signers that are not known are
ignored, in whatever order they stand; a line that names a known signer must be by it.
"""

import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signerd.attestation.dsse import decode_base64
from signerd.errors import Refusal
from signerd.verification.keys import PublicKey

__all__ = ["Checkpoint", "NoteSignature", "Witness", "check_log_signature", "count_witnesses", "parse_checkpoint"]

_LARGEST: Final = 64 * 1024
_MOST_SIGNATURES: Final = 100
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_COSIGNATURE: Final = 4
"""The signature type of a timestamped Ed25519 cosignature (``tlog-cosignature``)."""


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """A signature line: the name, the four bytes that hint at the key, and the signature itself."""

    name: str
    hint: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says of its tree. ``text`` is what is signed, its last line end included."""

    origin: str
    size: int
    root: bytes
    text: bytes
    signatures: tuple[NoteSignature, ...]


@dataclass(frozen=True, slots=True)
class Witness:
    """One who cosigns checkpoints that are consistent with those it saw before.

    ``hint`` is the key id of its timestamped signatures.
    """

    name: str
    hint: bytes
    key: PublicKey

    @classmethod
    def parse(cls, vkey: str) -> "Witness":
        """Read a verifier key, ``name+hint+base64(0x04 || Ed25519 key)``.

        Refuses with ``request.malformed``, reason ``witness_key``.
        """
        name, _, rest = vkey.partition("+")
        hint, _, encoded = rest.partition("+")
        key = decode_base64(encoded) or b""
        computed = hashlib.sha256(name.encode(errors="replace") + b"\n" + key).digest()[:4]
        if not name or re.search(r"\s", name) or len(key) != 33 or key[0] != _COSIGNATURE or computed.hex() != hint:
            raise Refusal("request.malformed", "witness_key", "not the verifier key of a witness")
        spki = Ed25519PublicKey.from_public_bytes(key[1:]).public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        return cls(name, computed, PublicKey.from_spki(spki))


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a checkpoint with its signatures, none of them verified.

    Refuses ``verification.failed`` (``checkpoint_malformed``).
    """
    body, separator, rest = text.partition("\n\n")
    lines = body.split("\n")
    if not separator or not rest.endswith("\n") or len(text) > _LARGEST or len(lines) < 3:
        _malformed()
    origin, size, root = lines[:3]
    hashed = decode_base64(root)
    if not origin or hashed is None or len(hashed) != 32 or not _SIZE.fullmatch(size) or int(size) >= 2**63:
        _malformed()
    found = rest[:-1].split("\n")
    if len(found) > _MOST_SIGNATURES:
        _malformed()
    try:
        signed = f"{body}\n".encode()
    except UnicodeEncodeError:
        _malformed()
    return Checkpoint(origin, int(size), hashed, signed, tuple(map(_read_signature, found)))


def check_log_signature(checkpoint: Checkpoint, key: PublicKey, hint: bytes, name: str | None) -> None:
    """Refuse unless the log with this ``key`` and key ``hint`` signed the checkpoint.

    With ``name`` it must have signed under that name and be the checkpoint's origin. Refuses with
    ``verification.failed``: ``checkpoint_origin``, ``checkpoint_unsigned`` (no line of this log),
    ``checkpoint_signature`` (its line is not by it).
    """
    if name is not None and checkpoint.origin != name:
        _refuse("checkpoint_origin", f"the checkpoint is of another log: {checkpoint.origin}")
    lines = [
        line for line in checkpoint.signatures if line.hint == hint and (name is None or line.name == name)
    ]
    if not lines:
        _refuse("checkpoint_unsigned", "the checkpoint has no signature of this log")
    for line in lines:
        try:
            key.verify(line.signature, checkpoint.text)
        except Refusal:
            _refuse("checkpoint_signature", "the checkpoint's signature is not by this log")


def count_witnesses(checkpoint: Checkpoint, witnesses: Sequence[Witness]) -> int:
    """Return how many of these distinct ``witnesses`` cosigned; a witness counts once.

    Refuses (``witness_signature``) a line that names one of them and is not by it.
    """
    seen: set[PublicKey] = set()
    for witness in witnesses:
        for line in checkpoint.signatures:
            if (line.name, line.hint) == (witness.name, witness.hint):
                _check_cosignature(checkpoint, witness, line)
                seen.add(witness.key)
    return len(seen)


def _check_cosignature(checkpoint: Checkpoint, witness: Witness, line: NoteSignature) -> None:
    stamp, signature = line.signature[:8], line.signature[8:]
    message = b"cosignature/v1\ntime %d\n%b" % (int.from_bytes(stamp, "big"), checkpoint.text)
    try:
        witness.key.verify(signature, message)
    except Refusal:
        _refuse("witness_signature", f"a cosignature is not by the witness {witness.name}")


def _read_signature(line: str) -> NoteSignature:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    try:
        data = binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:
        _malformed()
    if dash != "\N{EM DASH}" or not name or "+" in name or len(data) < 5:
        _malformed()
    return NoteSignature(name, data[:4], data[4:])


def _malformed() -> NoReturn:
    _refuse("checkpoint_malformed", "not a checkpoint with its signatures")


def _refuse(reason: str, public: str) -> NoReturn:
    raise Refusal("verification.failed", reason, public) from None
