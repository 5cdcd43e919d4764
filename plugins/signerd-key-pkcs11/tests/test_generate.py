import re

import pytest

from fakes.tokens import SoftHsm
from signerd.errors import SignerdError
from signerd_key_pkcs11.backend import Pkcs11Backend

pytestmark = pytest.mark.needs("softhsm2")

ALGORITHMS = ["ES256", "ES384", "ES512", "Ed25519", "RSA-PKCS1-SHA256"]


def refused(backend: Pkcs11Backend, key: str, algorithm: str = "ES256") -> str:
    with pytest.raises(SignerdError) as caught:
        backend.generate(key, algorithm)
    return f"{caught.value.code} {caught.value.reason}"


@pytest.mark.needs("pkcs11-tool")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_signs_and_does_nothing_else_and_never_leaves_the_token(hsm: SoftHsm, algorithm: str) -> None:
    backend = Pkcs11Backend(hsm.settings())
    assert backend.generate("pkcs11:token=demo;object=k;id=%01%02", algorithm).algorithm == algorithm
    listed = hsm.tool("--list-objects", "--type", "privkey").stdout
    assert re.search(r"label: +k\n", listed)
    assert re.search(r"ID: +0102\n", listed)
    assert re.search(r"Usage: +sign\n", listed)
    assert re.search(r"Access: +sensitive, always sensitive, never extractable, local\n", listed)
    public = hsm.tool("--list-objects", "--type", "pubkey").stdout
    assert re.search(r"Usage: +verify\n", public)
    assert re.search(r"ID: +0102\n", public)


def test_without_an_id_each_key_has_its_own(hsm: SoftHsm) -> None:
    backend = Pkcs11Backend(hsm.settings())
    first = backend.generate("pkcs11:token=demo;object=a", "ES256")
    second = backend.generate("pkcs11:token=demo;object=b", "ES256")
    assert first.keyid != second.keyid
    assert Pkcs11Backend(hsm.settings()).describe("pkcs11:token=demo;object=a") == first


def test_without_a_label_the_id_names_it(hsm: SoftHsm) -> None:
    backend = Pkcs11Backend(hsm.settings())
    made = backend.generate("pkcs11:token=demo;id=%0a", "")
    assert made.algorithm == "ES256"
    assert backend.describe("pkcs11:token=demo;id=%0A") == made


def test_no_name_is_used_twice(hsm: SoftHsm) -> None:
    backend = Pkcs11Backend(hsm.settings())
    first = backend.generate("pkcs11:token=demo;object=a;id=%01", "ES256")
    for key in ("object=a", "id=%01", "object=a;id=%02", "object=b;id=%01"):
        assert refused(backend, f"pkcs11:token=demo;{key}") == "key.forbidden exists"
    assert backend.describe("pkcs11:token=demo;object=a") == first
    assert refused(backend, "pkcs11:token=demo;object=b;id=%03", "RS256") == "key.algorithm_refused unknown_algorithm"
    with pytest.raises(SignerdError) as caught:
        backend.describe("pkcs11:token=demo;object=b")
    assert caught.value.reason == "no_such_key"
