"""Both ways of the vendor's: a stand-in module and a stand-in tool, with real signatures."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.gost_tokens import GostToken
from fakes.tokens import Shim
from signerd.contracts.providers import KeyBackend
from signerd.errors import SignerdError
from signerd.verification.keys import PublicKey
from signerd_key_cryptopro.backend import signerd_key_backends

pytestmark = pytest.mark.needs("gost-engine", "gcc")

MODULE = "cryptopro:token=gost;object=k"
CONTAINER = "cryptopro:container=k"
MESSAGE = b"DSSEv1 \xc3\xa9 message of no special length"


@pytest.fixture
def vendor(gost_token: GostToken) -> GostToken:
    """What is reported of the vendor: signatures turned round, a digest's identifier as a parameter."""
    gost_token.environment.update(STANDIN_REVERSED="1", STANDIN_WANTS_OID="1")
    return gost_token


def both(token: GostToken, *names: str, **more: object) -> KeyBackend:
    return signerd_key_backends(token.settings(tool=token.containers(*names), **more))


def error(call: Callable[[], object]) -> str:
    with pytest.raises(SignerdError) as caught:
        call()
    assert caught.value.code.startswith("key.")
    return f"{caught.value.code} {caught.value.reason}"


@pytest.mark.parametrize("parameters", ["TC26-256-A", "CryptoPro-A", "CryptoPro-XchA", "TC26-512-A"])
def test_both_ways_sign_with_the_vendors_habits_by_default(vendor: GostToken, parameters: str) -> None:
    vendor.add("k", parameters)
    made = both(vendor, "k")
    assert isinstance(made, KeyBackend)
    described = made.describe(MODULE)
    assert described.capabilities == made.capabilities == ("attest",)
    assert made.describe(CONTAINER).keyid == described.keyid, "one key, by two ways"
    for key in (MODULE, CONTAINER):
        signed = made.sign(key, MESSAGE)
        assert signed.keyid == described.keyid
        PublicKey.from_spki(described.spki).verify(signed.signature, MESSAGE)
        assert vendor.verifies("k", signed.signature, MESSAGE)


def test_a_module_that_is_not_installed_is_away_and_nothing_takes_its_place(vendor: GostToken) -> None:
    vendor.add("k")
    vendor.module.unlink()
    made = both(vendor, "k")
    for call in (lambda: made.describe(MODULE), lambda: made.sign(MODULE, MESSAGE)):
        assert error(call) == "key.backend_unavailable module_missing"
    assert vendor.calls() == [], "the tool is no way round"
    assert vendor.verifies("k", made.sign(CONTAINER, MESSAGE).signature, MESSAGE), "but one of its own"


def test_a_tool_that_is_not_installed_is_away(vendor: GostToken) -> None:
    vendor.add("k")
    made = both(vendor, "k")
    vendor.tool.unlink()
    assert error(lambda: made.describe(CONTAINER)) == "key.backend_unavailable tool_missing"
    assert vendor.verifies("k", made.sign(MODULE, MESSAGE).signature, MESSAGE)


def test_a_module_without_the_mechanism(vendor: GostToken) -> None:
    vendor.add("k")
    vendor.environment["STANDIN_MECHANISMS"] = "1041,d4321009"
    assert error(lambda: both(vendor, "k").describe(MODULE)) == "key.algorithm_refused mechanism_missing"


def test_a_module_that_will_not_take_the_mechanism(vendor: GostToken) -> None:
    vendor.add("k")
    made = both(vendor, "k", gost={"digest_parameter": False})
    assert error(lambda: made.describe(MODULE)) == "key.algorithm_refused mechanism_refused"


def test_another_byte_order_than_reported_is_found_out(vendor: GostToken) -> None:
    vendor.add("k")
    del vendor.environment["STANDIN_REVERSED"]
    made = both(vendor, "k")
    assert error(lambda: made.describe(MODULE)) == "key.backend_fault byte_order"
    said = both(vendor, "k", gost={"signature": "s-r"})
    assert vendor.verifies("k", said.sign(MODULE, MESSAGE).signature, MESSAGE)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("cryptopro:token=gost;object=nobody", "key.not_found no_such_key"),
        ("cryptopro:token=nobody;object=k", "key.backend_unavailable token_absent"),
        ("cryptopro:container=nobody", "key.not_found no_such_container"),
        ("cryptopro:container=k;token=gost", "key.not_found uri_attribute"),
        (f"{MODULE}?pin-value=1234", "key.forbidden pin_in_uri"),
        ("cryptopro:container=k?pin-value=1234", "key.forbidden pin_in_uri"),
        (f"{MODULE}?module-path=/x.so", "key.forbidden module_path_in_uri"),
        ("pkcs11:token=gost;object=k", "key.not_found reference"),
    ],
)
def test_bad_references(vendor: GostToken, key: str, said: str) -> None:
    vendor.add("k")
    made = both(vendor, "k")
    assert error(lambda: made.describe(key)) == said
    assert error(lambda: made.sign(key, MESSAGE)) == said


def test_a_backend_without_a_tool_has_no_containers(vendor: GostToken) -> None:
    made = signerd_key_backends(vendor.settings())
    assert error(lambda: made.describe(CONTAINER)) == "key.not_found no_such_container"


@pytest.mark.parametrize("place", ["pin", "password", "pin_file", "pin_credential"])
def test_a_pin_that_would_be_an_argument_shuts_the_whole_backend(
    vendor: GostToken, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.add("k")
    tool = vendor.containers("k")
    tool["containers"]["k"][place] = "/secret-98765"  # type: ignore[index]  # a table of tables
    made = signerd_key_backends(vendor.settings(tool=tool))
    for key in (MODULE, CONTAINER):
        assert error(lambda key=key: made.describe(key)) == "key.backend_unavailable pin_in_argument"
        assert error(lambda key=key: made.sign(key, MESSAGE)) == "key.backend_unavailable pin_in_argument"
    assert vendor.calls() == []
    assert "tool.containers.k" in caplog.text
    assert "98765" not in caplog.text


def test_a_wrong_pin_is_presented_once_whatever_the_restarts(vendor: GostToken) -> None:
    vendor.add("k")
    vendor.set_pin_file("0000")
    assert error(lambda: both(vendor, "k").describe(MODULE)) == "key.backend_fault pin_incorrect"
    for _ in range(5):
        assert error(lambda: both(vendor, "k").describe(MODULE)) == "key.backend_fault pin_latched"
    assert vendor.refused_pins() == 1
    vendor.set_pin_file("12-ÿ34")
    assert vendor.verifies("k", both(vendor, "k").sign(MODULE, MESSAGE).signature, MESSAGE)
    assert vendor.refused_pins() == 0


def test_a_token_one_try_from_its_end_is_left_alone(vendor: GostToken) -> None:
    vendor.add("k")
    (vendor.keys / "failed").write_text("2\n")
    assert error(lambda: both(vendor, "k").describe(MODULE)) == "key.backend_fault pin_final_try"
    (vendor.keys / "failed").write_text("3\n")
    assert error(lambda: both(vendor, "k").describe(MODULE)) == "key.backend_fault pin_locked"
    assert vendor.refused_pins() == 3


def test_a_container_whose_kept_pin_is_refused_is_latched_too(vendor: GostToken) -> None:
    vendor.add("k")
    vendor.go_wrong("0x8010006b")
    assert error(lambda: both(vendor, "k").describe(CONTAINER)) == "key.backend_fault pin_incorrect"
    vendor.go_wrong("")
    for _ in range(3):
        assert error(lambda: both(vendor, "k").describe(CONTAINER)) == "key.backend_fault pin_latched"
    assert len(vendor.calls()) == 1
    (mark,) = (vendor.base / "state").glob("pin-*.json")
    assert json.loads(mark.read_text())["rejected"] is True
    mark.unlink()
    assert vendor.verifies("k", both(vendor, "k").sign(CONTAINER, MESSAGE).signature, MESSAGE)


def test_a_kept_pin_that_is_refused_later_is_latched_without_another_try(vendor: GostToken) -> None:
    vendor.add("k")
    made = both(vendor, "k")
    made.sign(CONTAINER, MESSAGE)
    before = len(vendor.calls())
    vendor.go_wrong("0x8010006b")
    assert error(lambda: made.sign(CONTAINER, MESSAGE)) == "key.backend_fault pin_incorrect"
    vendor.go_wrong("")
    assert error(lambda: made.sign(CONTAINER, MESSAGE)) == "key.backend_fault pin_latched"
    assert error(lambda: both(vendor, "k").describe(CONTAINER)) == "key.backend_fault pin_latched"
    assert len(vendor.calls()) == before + 1


def test_a_loss_of_the_module_is_made_good_once(vendor: GostToken, shim_file: Path) -> None:
    vendor.add("k")
    shim = Shim(vendor, shim_file)
    made = signerd_key_backends(shim.settings())
    made.describe(MODULE)
    shim.fail("C_Sign", "0x30")
    assert vendor.verifies("k", made.sign(MODULE, MESSAGE).signature, MESSAGE)
    shim.fail("C_Sign", "0x30", 3)
    assert error(lambda: made.sign(MODULE, MESSAGE)) == "key.backend_unavailable token_lost"
