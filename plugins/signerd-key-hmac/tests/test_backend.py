import hashlib
import hmac
import threading
from pathlib import Path

import pytest

from signerd.attestation.macs import MACS
from signerd.errors import SignerdError
from signerd_key_hmac.backend import HmacBackend


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "secrets"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def backend(folder: Path) -> HmacBackend:
    return HmacBackend({"directory": str(folder)})


def error(function: object, *args: object) -> str:
    assert callable(function)
    with pytest.raises(SignerdError) as caught:
        function(*args)
    return f"{caught.value.code} {caught.value.reason}"


def test_the_id_is_of_the_secret_whatever_its_algorithm(backend: HmacBackend, folder: Path) -> None:
    secret = bytes(range(64))
    for name in ("a.hmac-sha256", "b.hmac-sha512", "c.hmac-sha256"):
        (folder / name).write_bytes(secret if name[0] != "c" else secret[::-1])
        (folder / name).chmod(0o600)
    label = hmac.digest(secret, b"signerd: id of a MAC key, version 1", "sha256")
    expected = f"sha256:{hashlib.sha256(label).hexdigest()}"
    assert backend.describe("hmac:a").keyid == backend.describe("hmac:b").keyid == expected
    assert backend.describe("hmac:c").keyid != expected
    assert backend.describe("hmac:a").spki == b""


def test_a_secret_is_used_with_its_own_algorithm_alone(backend: HmacBackend) -> None:
    for algorithm in MACS:
        backend.generate(f"hmac:{algorithm}", algorithm)
        for other in MACS:
            if other != algorithm:
                refused = error(backend.hmac, f"hmac:{algorithm}", other, [b"x"])
                assert refused == "key.algorithm_refused other_algorithm"
                refused = error(backend.check_hmac, f"hmac:{algorithm}", other, [b"x"], bytes(32))
                assert refused == "key.algorithm_refused other_algorithm"
        made = backend.hmac(f"hmac:{algorithm}", algorithm, [b"x"])
        assert backend.check_hmac(f"hmac:{algorithm}", algorithm, [b"x"], made.mac).valid
        for wrong in (b"", made.mac[:-1], made.mac + b"\0", bytes(len(made.mac))):
            assert not backend.check_hmac(f"hmac:{algorithm}", algorithm, [b"x"], wrong).valid


def test_it_signs_nothing(backend: HmacBackend) -> None:
    backend.generate("hmac:k", "")
    assert backend.describe("hmac:k").algorithm == "HMAC-SHA256"
    assert error(backend.sign, "hmac:k", bytes(32)) == "key.forbidden mac_key"
    assert error(backend.sign, "hmac:no", bytes(32)) == "key.not_found no_such_key"


def test_many_threads_make_macs_at_once(backend: HmacBackend) -> None:
    backend.generate("hmac:k", "HMAC-SHA512")
    expected = [backend.hmac("hmac:k", "HMAC-SHA512", [bytes([n]) * 100_000]).mac for n in range(8)]
    made: dict[int, bytes] = {}

    def work(number: int) -> None:
        parts = (bytes([number]) * 1000 for _ in range(100))
        made[number] = backend.hmac("hmac:k", "HMAC-SHA512", parts).mac

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [made[number] for number in range(8)] == expected


def test_a_rotated_key_has_a_name_and_a_secret_of_its_own(backend: HmacBackend) -> None:
    first = backend.generate("hmac:k", "HMAC-SHA384")
    second = backend.rotate("hmac:k", "")
    third = backend.rotate(second.key, "")
    assert (second.key, third.key) == ("hmac:k.v2", "hmac:k.v3")
    assert len({first.keyid, second.description.keyid, third.description.keyid}) == 3
    assert backend.describe("hmac:k") == first
    backend.generate(f"hmac:{'a' * 60}", "")
    assert error(backend.rotate, f"hmac:{'a' * 60}", "") == "key.forbidden no_free_name"
    assert error(backend.rotate, "hmac:nobody", "HMAC-SHA256") == "key.not_found no_such_key"


@pytest.mark.parametrize("reference", ["", "hmac:", "file:k", "hmac:../k", "hmac:a/b", "hmac:.k", "hmac:" + "a" * 65])
def test_what_is_no_reference(backend: HmacBackend, reference: str) -> None:
    assert error(backend.describe, reference) == "key.not_found reference"
