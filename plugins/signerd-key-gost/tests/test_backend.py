from pathlib import Path

import pytest

from outside.gost import Gost
from signerd.contracts.providers import Generator, KeyBackend, Rotator
from signerd.errors import SignerdError
from signerd.verification.keys import PublicKey
from signerd_key_gost.backend import GostBackend, signerd_key_backends

pytestmark = pytest.mark.needs("gost-engine")


def told(function: object, *args: object) -> str:
    assert callable(function)
    with pytest.raises(SignerdError) as caught:
        function(*args)
    return f"{caught.value.code} {caught.value.reason}"


@pytest.fixture
def made(tmp_path: Path) -> GostBackend:
    return GostBackend({"directory": str(tmp_path / "keys"), "parameters_512": "TC26-512-C"})


def test_the_hook_introduces_it(tmp_path: Path) -> None:
    found = signerd_key_backends({"directory": str(tmp_path)})
    assert isinstance(found, KeyBackend)
    assert isinstance(found, Generator)
    assert isinstance(found, Rotator)
    assert found.capabilities == ("generate", "rotate")


def test_keys_are_made_described_and_sign(made: GostBackend) -> None:
    for name, algorithm in (("gost:short", "GOST3410-2012-256"), ("gost:long", "GOST3410-2012-512")):
        described = made.generate(name, algorithm)
        assert (described.algorithm, described.prehash, described.hardware) == (algorithm, None, False)
        public = PublicKey.from_spki(described.spki)
        assert public.keyid == described.keyid
        signed = made.sign(name, b"m")
        assert signed.keyid == described.keyid
        public.verify(signed.signature, b"m")
    assert made.generate("gost:other", "").algorithm == "GOST3410-2012-256"
    assert told(made.generate, "gost:other", "") == "key.forbidden exists"
    assert told(made.generate, "gost:es256", "ES256") == "key.algorithm_refused unknown_algorithm"


def test_a_key_that_is_placed_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gost = Gost(tmp_path)
    path = gost.new_key("CryptoPro-A")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    keys = {"a": {"path": str(path)}, "b": {"credential": path.name}, "c": {"path": str(tmp_path / "absent")}}
    made = GostBackend({"keys": keys})
    assert made.capabilities == ()
    assert made.describe("gost:a").spki == made.describe("gost:b").spki == PublicKey.from_pem(gost.public(path)).spki
    assert told(made.describe, "gost:c") == "key.not_found no_such_key"
    assert told(made.describe, "gost:d") == "key.not_found no_such_key"
    assert told(made.generate, "gost:d", "") == "key.forbidden not_generated_here"
    path.chmod(0o640)
    assert told(GostBackend({"keys": keys}).describe, "gost:a") == "key.backend_fault file_mode"


def test_keys_with_a_password(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_bytes(b"secret\n")
    password.chmod(0o600)
    settings = {"directory": str(tmp_path / "keys"), "password_file": str(password)}
    described = GostBackend(settings).generate("gost:a", "")
    assert b"ENCRYPTED" in (tmp_path / "keys" / "a.pem").read_bytes()
    assert GostBackend(settings).describe("gost:a") == described
    for wrong, reason in (
        (b"other\n", "password_wrong"),
        (b"\n", "password_format"),
        (b"a\0b", "password_format"),
        (b"a" * 1025, "password_format"),
    ):
        password.write_bytes(wrong)
        assert told(GostBackend(settings).describe, "gost:a") == f"key.backend_fault {reason}"
    # Nothing is left of a key that could never be opened again.
    assert told(GostBackend(settings).generate, "gost:b", "") == "key.backend_fault password_format"
    assert not (tmp_path / "keys" / "b.pem").exists()
    del settings["password_file"]
    assert told(GostBackend(settings).describe, "gost:a") == "key.backend_fault password_missing"


def test_rotation_makes_a_key_beside(made: GostBackend) -> None:
    assert told(made.rotate, "gost:a", "") == "key.not_found no_such_key"
    first = made.generate("gost:a", "GOST3410-2012-512")
    second = made.rotate("gost:a", "")
    third = made.rotate("gost:a.v2", "GOST3410-2012-256")
    assert (second.key, third.key) == ("gost:a.v2", "gost:a.v3")
    assert (second.description.algorithm, third.description.algorithm) == ("GOST3410-2012-512", "GOST3410-2012-256")
    assert made.describe("gost:a") == first
    made.generate("gost:" + "b" * 64, "")
    assert told(made.rotate, "gost:" + "b" * 64, "") == "key.forbidden no_free_name"


def test_references_that_are_none(made: GostBackend) -> None:
    for reference in ("file:a", "gost:", "gost:../a", "gost:a/b", "gost:.a", "gost:" + "a" * 65, "gost:a\n"):
        assert told(made.describe, reference) == "key.not_found reference"
