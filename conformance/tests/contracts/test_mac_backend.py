"""The contract finds each flaw that a backend for MACs can have, and no other."""

import hmac
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from fakes.contracts import failing, plugin
from signerd.attestation.macs import KEYID_LABEL, MACS, mac_keyid
from signerd.contracts.values import KeyDescription, MacChecked, MacResult, SignatureResult
from signerd.errors import Refusal, SignerdError
from signerd_conformance.contracts import MacBackendContract

(
    DESCRIBED, DECLARED, CUT, COMPARED, ANOTHER, ONE_ALGORITHM, THROUGH, THREADS, SIGNS, ABSENT, GENERATED,
) = (
    "mac_keys_are_described_without_a_public_half",
    "mac_capabilities_are_declared_and_there",
    "a_mac_is_the_same_however_its_message_is_cut",
    "a_mac_is_compared_whole",
    "a_mac_of_another_key_is_not_valid",
    "a_secret_is_used_with_one_algorithm",
    "what_the_message_raises_comes_through",
    "many_threads_at_once",
    "a_secret_signs_nothing",
    "a_mac_key_that_is_not_there_is_not_found",
    "a_secret_is_generated_once_and_never_overwritten",
)  # fmt: skip
HASHES = {"HMAC-SHA256": "sha256", "HMAC-SHA512": "sha512"}


class Flawed:
    """Secrets in files ``NAME.ALGORITHM``, with one flaw."""

    def __init__(self, flaw: str, folder: Path) -> None:
        self.flaw = flaw
        self.folder = folder
        self.capabilities = ("generate",) if flaw == "undeclared" else ("generate", "hmac")
        self.shared = hmac.new(b"x", digestmod="sha256")

    def _find(self, key: str) -> tuple[str, bytes]:
        name = key.removeprefix("x:")
        found = sorted(self.folder.glob(f"{name}.*")) if re.fullmatch("[a-z-]+[0-9a-f]*", name) else []
        if name == key or not found:
            raise Refusal("key.forbidden" if self.flaw == "other_code" else "key.not_found", "none", "no such key")
        return found[0].suffix[1:], found[0].read_bytes()

    def describe(self, key: str) -> KeyDescription:
        algorithm, secret = self._find(key)
        keyid = mac_keyid(hmac.digest(secret, KEYID_LABEL, "sha256"))
        if self.flaw == "same_keyid":
            keyid = "sha256:" + "00" * 32
        spki = b"public" if self.flaw == "spki" else b""
        return KeyDescription("HS256" if self.flaw == "own_name" else algorithm, keyid, spki, self.capabilities)

    def sign(self, key: str, message: bytes) -> SignatureResult:
        _, secret = self._find(key)
        if self.flaw == "signs":
            return SignatureResult(hmac.digest(secret, message, "sha256"), self.describe(key).keyid)
        raise Refusal("key.forbidden", "mac_key", "no")

    def hmac(self, key: str, algorithm: str, message: Iterable[bytes | memoryview]) -> MacResult:
        own, secret = self._find(key)
        if algorithm != own and (self.flaw != "any_algorithm" or algorithm not in HASHES):
            raise Refusal("key.algorithm_refused", "other", "no")
        if self.flaw == "ignores_key":
            secret = b"k"
        made = hmac.new(secret, digestmod=HASHES[algorithm])
        parts = []
        try:
            for part in message:
                if self.flaw == "keeps":
                    parts.append(part)
                else:
                    made.update(part)
        except SignerdError:
            if self.flaw != "swallows":
                raise
        for part in parts:
            made.update(part)
        mac = made.digest()
        return MacResult(mac[:16] if self.flaw == "cuts" else mac, self.describe(key).keyid)

    def check_hmac(
        self, key: str, algorithm: str, message: Iterable[bytes | memoryview], mac: bytes
    ) -> MacChecked:
        made = self.hmac(key, algorithm, message)
        valid = mac == made.mac
        if self.flaw == "prefix":
            valid = bool(mac) and made.mac.startswith(mac)
        if self.flaw == "always":
            valid = True
        return MacChecked(valid, made.keyid)

    def generate(self, key: str, algorithm: str) -> KeyDescription:
        taken = list(self.folder.glob(f"{key.removeprefix('x:')}.*"))
        if algorithm not in HASHES or (taken and self.flaw != "overwrites"):
            raise Refusal("key.forbidden", "exists", "no")
        for file in taken:
            file.unlink()
        secret = (key * 64).encode()[:64][:: -1 if taken else 1]
        (self.folder / f"{key.removeprefix('x:')}.{algorithm}").write_bytes(secret)
        return self.describe(key)


class Contract(MacBackendContract):
    scheme = "x"

    def keys(self) -> Sequence[str]:
        return ["x:first", "x:second"]

    def free(self) -> tuple[str, str] | None:
        return "x:new", "HMAC-SHA256"


def judged(flaw: str, folder: Path) -> set[str]:
    for name, algorithm in (("first", "HMAC-SHA256"), ("second", "HMAC-SHA512")):
        (folder / f"{name}.{algorithm}").write_bytes((name * 64).encode()[:64])

    def introduce(settings: dict[str, object]) -> object:
        if settings:
            raise ValueError("no settings")
        return Flawed(flaw, folder)

    return set(failing(Contract, plugin("signerd_key_backends", introduce)))


def test_every_published_name_could_be_a_keys() -> None:
    assert set(HASHES) <= set(MACS)


@pytest.mark.parametrize(
    ("flaw", "failed"),
    [
        ("none", set()),
        ("undeclared", {DESCRIBED, DECLARED}),
        ("spki", {DESCRIBED}),
        ("same_keyid", {DESCRIBED}),
        ("signs", {SIGNS}),
        ("any_algorithm", {ONE_ALGORITHM}),
        ("keeps", {CUT, THREADS}),
        ("swallows", {THROUGH}),
        ("cuts", {CUT, COMPARED}),
        ("prefix", {COMPARED}),
        ("always", {COMPARED, ANOTHER}),
        ("other_code", {ABSENT}),
        ("overwrites", {GENERATED}),
    ],
)
def test_mac_backends(flaw: str, failed: set[str], tmp_path: Path) -> None:
    assert judged(flaw, tmp_path) == failed


def test_a_name_of_ones_own_is_no_algorithm(tmp_path: Path) -> None:
    assert DESCRIBED in judged("own_name", tmp_path)


def test_what_is_generated_must_be_named(tmp_path: Path) -> None:
    class Silent(Contract):
        def free(self) -> tuple[str, str] | None:
            return None

    def introduce(settings: dict[str, object]) -> object:
        if settings:
            raise ValueError("no settings")
        return Flawed("none", tmp_path)

    for name in ("first", "second"):
        (tmp_path / f"{name}.HMAC-SHA256").write_bytes(name.encode() * 32)
    assert failing(Silent, plugin("signerd_key_backends", introduce)) == {DECLARED}
