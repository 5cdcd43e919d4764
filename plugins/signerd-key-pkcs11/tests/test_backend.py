import hashlib
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.tokens import Shim, SoftHsm
from signerd.contracts.providers import Generator, KeyBackend
from signerd.errors import SignerdError
from signerd.verification.keys import PublicKey
from signerd_key_pkcs11.backend import Pkcs11Backend, signerd_key_backends

pytestmark = pytest.mark.needs("softhsm2", "gcc")

ALGORITHMS = ["ES256", "ES384", "ES512", "Ed25519", "RSA-PKCS1-SHA256"]
MESSAGE = b"DSSEv1 \xc3\xa9 message of no special length"
KEY = "pkcs11:token=demo;object=k"
OK = 0x0
LOSSES = {
    "session handle invalid": "0xb3",
    "session closed": "0xb0",
    "device removed": "0x32",
    "device error": "0x30",
    "token not present": "0xe0",
    "object handle invalid": "0x82",
    "key handle invalid": "0x60",
    "user not logged in": "0x101",
}


def signed(made: Pkcs11Backend, key: str = KEY, message: bytes = MESSAGE) -> bytes:
    """Sign as the sealer does, verify as it does."""
    description = made.describe(key)
    result = made.sign(key, hashlib.sha256(message).digest() if description.prehash == "sha256" else message)
    assert result.keyid == description.keyid
    PublicKey.from_spki(description.spki).verify(result.signature, message)
    return result.signature


def error(call: Callable[[], object]) -> str:
    with pytest.raises(SignerdError) as caught:
        call()
    assert caught.value.code.startswith("key.")
    return f"{caught.value.code} {caught.value.reason}"


def test_it_fulfils_the_contracts_that_it_declares(hsm: SoftHsm) -> None:
    made = signerd_key_backends(hsm.settings())
    assert isinstance(made, KeyBackend)
    assert isinstance(made, Generator)
    assert made.capabilities == ("generate", "rotate", "attest")
    with pytest.raises(ValueError, match="unknown key"):
        signerd_key_backends({"library": "/x"})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("sessions", [1, 3])
def test_each_algorithm_signs_what_verifies(hsm: SoftHsm, algorithm: str, sessions: int) -> None:
    made = Pkcs11Backend(hsm.settings(sessions=sessions))
    description = made.generate(KEY, algorithm)
    key = PublicKey.from_spki(description.spki)
    assert (description.algorithm, description.keyid) == (algorithm, key.keyid) == (key.algorithm, key.keyid)
    assert description.prehash == ("sha256" if algorithm in ("ES256", "RSA-PKCS1-SHA256") else None)
    for number in range(2 * sessions):
        signed(made, message=bytes([number]) * number)


@pytest.mark.needs("pkcs11-tool")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_second_reader_has_the_same_public_key_and_openssl_accepts_the_signature(
    hsm: SoftHsm, algorithm: str, tmp_path: Path
) -> None:
    made = Pkcs11Backend(hsm.settings())
    description = made.generate(f"{KEY};id=%01", algorithm)
    (tmp_path / "p.der").write_bytes(description.spki)
    (tmp_path / "m").write_bytes(MESSAGE)
    (tmp_path / "s").write_bytes(signed(made))
    if algorithm.startswith("RSA"):
        hsm.tool("--read-object", "--type", "pubkey", "--id", "01", "--output-file", str(tmp_path / "read.der"))
        assert (tmp_path / "read.der").read_bytes() == description.spki
    else:
        # The point is what an SPKI ends in; reading one out as SPKI is not for every curve with Debian's pkcs11-tool.
        point = re.search(r"EC_POINT: +([0-9a-f]+)\n", hsm.tool("--list-objects", "--type", "pubkey").stdout)
        assert point
        assert description.spki.endswith(bytes.fromhex(point[1])[3 if algorithm == "ES512" else 2 :])
    command = "openssl pkeyutl -verify -pubin -keyform DER -inkey p.der -rawin -in m -sigfile s"
    if algorithm != "Ed25519":
        digest = {"ES384": "sha384", "ES512": "sha512"}.get(algorithm, "sha256")
        command = f"openssl dgst -{digest} -keyform DER -verify p.der -signature s m"
    subprocess.run(command.split(), check=True, capture_output=True, cwd=tmp_path, timeout=60)


def test_a_signature_costs_one_call_and_no_login(shim: Shim) -> None:
    made = Pkcs11Backend(shim.settings(sessions=2))
    made.generate(KEY, "ES256")
    before, logins = len(shim.calls("C_Sign")), len(shim.calls("C_Login"))
    for _ in range(6):
        signed(made)
    calls = shim.calls("C_Sign")[before:]
    assert len(calls) == 6
    assert len({session for _, session in calls}) == 2, "the sessions take turns"
    assert len(shim.calls("C_Login")) == logins == 1


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_is_made_good_once(shim: Shim, loss: str) -> None:
    made = Pkcs11Backend(shim.settings(sessions=2))
    description = made.generate(KEY, "ES256")
    shim.fail("C_Sign", LOSSES[loss])
    signed(made)
    assert made.describe(KEY) == description
    logins = 1 if loss.endswith("handle invalid") and not loss.startswith("session") else 2
    assert len(shim.calls("C_Login")) == logins
    assert list((shim.hsm.base / "state").iterdir()) == []


def test_but_not_twice(shim: Shim) -> None:
    made = Pkcs11Backend(shim.settings())
    made.generate(KEY, "ES256")
    shim.fail("C_Sign", "0x32", 3)
    assert error(lambda: made.sign(KEY, bytes(32))) == "key.backend_unavailable token_lost"
    signed(made)


def test_a_token_that_goes_while_a_key_is_looked_for(shim: Shim) -> None:
    Pkcs11Backend(shim.settings()).generate(KEY, "ES256")
    made = Pkcs11Backend(shim.settings())
    shim.fail("C_Sign", "0x30")  # the proof that private and public key are a pair
    signed(made)


def test_other_keys_of_a_lost_token_go_on_too(shim: Shim) -> None:
    made = Pkcs11Backend(shim.settings())
    other = f"{KEY}2"
    made.generate(KEY, "ES256")
    made.generate(other, "Ed25519")
    for fault in ("0xb3", "0x30"):
        shim.fail("C_Sign", fault)
        signed(made)
        assert signed(made, other)
    assert len(shim.calls("C_Login")) == 3


def test_what_is_no_loss_is_a_fault_and_the_key_goes_on(shim: Shim) -> None:
    made = Pkcs11Backend(shim.settings())
    made.generate(KEY, "ES256")
    for code, said in (
        ("0x5", "key.backend_fault module_failed"),
        ("0x31", "key.backend_unavailable token_busy"),
        ("0x80000001", "key.backend_fault module_failed"),
    ):
        shim.fail("C_Sign", code)
        assert error(lambda: made.sign(KEY, bytes(32))) == said
        signed(made)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # python-pkcs11 ends a search twice
def test_a_session_that_is_stuck_in_an_operation_is_replaced(shim: Shim) -> None:
    made = Pkcs11Backend(shim.settings())
    made.generate(KEY, "ES256")
    shim.fail("C_Sign", "stuck")
    assert error(lambda: made.sign(KEY, bytes(32))) == "key.backend_fault module_failed"
    signed(made)


@pytest.mark.needs("pkcs11-tool")
def test_a_key_that_is_deleted_underneath_is_not_found_and_never_another(hsm: SoftHsm) -> None:
    made = Pkcs11Backend(hsm.settings())
    made.generate(f"{KEY};id=%01", "ES256")
    signed(made)
    signed(made, f"{KEY};id=%01")
    for kind in ("privkey", "pubkey"):
        hsm.tool("--delete-object", "--type", kind, "--id", "01")
    assert error(lambda: made.sign(KEY, bytes(32))) == "key.not_found no_such_key"
    hsm.tool("--keypairgen", "--key-type", "EC:prime256v1", "--id", "01", "--label", "k", "--usage-sign")
    assert error(lambda: made.sign(KEY, bytes(32))) == "key.backend_fault key_replaced"
    assert error(lambda: made.sign(f"{KEY};id=%01", bytes(32))) == "key.backend_fault key_replaced"
    assert Pkcs11Backend(hsm.settings()).describe(KEY).algorithm == "ES256"


@pytest.mark.needs("pkcs11-tool")
def test_a_key_that_is_renamed_underneath_still_signs_until_it_is_looked_for(shim: Shim) -> None:
    made = Pkcs11Backend(shim.settings())
    made.generate(f"{KEY};id=%01", "ES256")
    first = made.describe(KEY)
    shim.hsm.tool("--set-id", "02", "--type", "privkey", "--id", "01")
    shim.hsm.tool("--set-id", "02", "--type", "pubkey", "--id", "01")
    shim.fail("C_Sign", "0x82")
    assert made.sign(KEY, bytes(32)).keyid == first.keyid, "it has its label still"
    shim.fail("C_Sign", "0x82")
    assert error(lambda: made.sign(f"{KEY};id=%01", bytes(32))) == "key.not_found no_such_key"


def test_a_token_that_cannot_do_what_is_needed(hsm: SoftHsm, shim_file: Path) -> None:
    made = Pkcs11Backend(Shim(hsm, shim_file, SHIM_NO_MECHANISM="0x1041").settings())
    assert error(lambda: made.generate(KEY, "ES256")) == "key.algorithm_refused mechanism_missing"
    assert error(lambda: made.describe(KEY)) == "key.not_found no_such_key", "none was made in vain"
    assert made.generate(f"{KEY}2", "Ed25519").algorithm == "Ed25519"
    Pkcs11Backend(hsm.settings()).generate(KEY, "ES256")
    assert error(lambda: made.describe(KEY)) == "key.algorithm_refused mechanism_missing"


def test_a_digest_of_another_length_is_not_signed(shim: Shim) -> None:
    made = Pkcs11Backend(shim.settings())
    made.generate(KEY, "ES256")
    before = len(shim.calls("C_Sign"))
    assert error(lambda: made.sign(KEY, b"whole message")) == "key.backend_fault digest_length"
    assert len(shim.calls("C_Sign")) == before


@pytest.mark.parametrize("method", ["describe", "sign", "generate"])
@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("file:default", "key.not_found reference"),
        (f"{KEY}?pin-value=1", "key.forbidden pin_in_uri"),
        ("pkcs11:token=nobody;object=k", "key.backend_unavailable token_absent"),
    ],
)
def test_bad_references_are_refused_by_every_method(shim: Shim, method: str, key: str, said: str) -> None:
    made = Pkcs11Backend(shim.settings())
    more = {"describe": (), "sign": (bytes(32),), "generate": ("ES256",)}[method]
    assert error(lambda: getattr(made, method)(key, *more)) == said
    assert shim.calls("C_Login") == []


def test_a_making_of_a_key_that_was_cut_short_is_not_repeated(shim: Shim) -> None:
    made = Pkcs11Backend(shim.settings())
    made.generate(f"{KEY}1", "ES256")
    shim.fail("C_OpenSession", "0x32")
    assert error(lambda: made.generate(KEY, "ES256")) == "key.backend_unavailable token_lost"
    assert error(lambda: made.describe(KEY)) == "key.not_found no_such_key"
    assert made.generate(KEY, "ES256").algorithm == "ES256"
