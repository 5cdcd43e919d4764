from typing import Any

import msgspec
import pytest

from fakes.sealing import SoftKey
from signerd.errors import Refusal
from signerd.sealer.descriptions import Lie, read_description, read_rotation, signs_digest
from signerd.wire.worker_calls import DescribeResult, RotateResult

KEY = SoftKey()
EDWARDS = SoftKey(algorithm="Ed25519")


def raw(of: SoftKey = KEY, /, **changes: Any) -> msgspec.Raw:
    made = {"algorithm": of.public.algorithm, "keyid": of.public.keyid, "spki": of.public.spki, **changes}
    return msgspec.Raw(msgspec.msgpack.encode(made))


def test_what_bears_out_is_believed() -> None:
    assert read_description(raw(hardware=True, unknown=1)) == DescribeResult(
        "ES256", KEY.public.keyid, KEY.public.spki, hardware=True
    )
    assert read_rotation(raw(key="file:a.v2")) == RotateResult(
        "ES256", KEY.public.keyid, KEY.public.spki, key="file:a.v2"
    )


@pytest.mark.parametrize(
    "lie",
    [{"keyid": EDWARDS.public.keyid}, {"algorithm": "ES384"}, {"spki": "text"}, {"hardware": "yes"}, {"keyid": 5}],
)
def test_what_contradicts_itself_is_a_lie(lie: dict[str, Any]) -> None:
    for read in (read_description, read_rotation):
        with pytest.raises(Lie):
            read(raw(**{"key": "file:a.v2", **lie}))


@pytest.mark.parametrize("bad", [b"\xc1", b"\x80", b"\x91" * 5000 + b"\xc0"])
def test_what_is_out_of_shape_too(bad: bytes) -> None:
    with pytest.raises(Lie):
        read_description(msgspec.Raw(bad))


def test_a_rotation_must_name_its_key() -> None:
    with pytest.raises(Lie):
        read_rotation(raw())


def test_a_key_that_signerd_does_not_use_is_refused() -> None:
    with pytest.raises(Refusal):
        read_description(raw(spki=b"no DER"))


def test_a_digest_is_signed_only_where_the_algorithm_hashes_so() -> None:
    assert signs_digest(read_description(raw(prehash="sha256")))
    assert not signs_digest(read_description(raw()))
    assert not signs_digest(read_description(raw(EDWARDS, prehash="sha256")))


def test_a_credential_is_described_where_one_is_expected_and_nowhere_else() -> None:
    for key, algorithm in ((KEY, "FIDO2-ES256"), (EDWARDS, "FIDO2-Ed25519")):
        told = raw(key, algorithm=algorithm, prehash="sha256")
        described = read_description(told, approves=True)
        assert described.algorithm == algorithm
        assert not signs_digest(described), "what it signs is no digest: it never signs a job"
        with pytest.raises(Refusal) as caught:
            read_description(told)
        assert (caught.value.code, caught.value.reason) == ("key.forbidden", "approval_only")
    with pytest.raises(Refusal) as caught:
        read_description(raw(), approves=True)
    assert (caught.value.code, caught.value.reason) == ("key.forbidden", "no_credential")
    with pytest.raises(Lie):
        read_description(raw(algorithm="FIDO2-Ed25519"), approves=True)
    with pytest.raises(Lie):
        read_description(raw(algorithm="FIDO2-ES256", keyid=EDWARDS.public.keyid), approves=True)


SECRET: dict[str, Any] = {
    "algorithm": "HMAC-SHA256", "keyid": "sha256:" + "ab" * 32, "spki": b"", "capabilities": ("hmac",),
}  # fmt: skip


def mac(**changes: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode({**SECRET, **changes}))


def test_a_secret_is_described_by_its_id_alone() -> None:
    described = read_description(mac(), mac="HMAC-SHA256")
    assert (described.keyid, described.spki) == (SECRET["keyid"], b"")
    assert read_rotation(mac(key="hmac:a.v2"), "HMAC-SHA256").key == "hmac:a.v2"
    assert not signs_digest(described)


@pytest.mark.parametrize(
    ("changes", "wanted", "reason"),
    [
        ({}, "", "mac_key"),
        ({}, "HMAC-SHA512", "other_algorithm"),
        ({"spki": b"public"}, "HMAC-SHA256", "signing_key"),
        ({"chain": (b"leaf",)}, "HMAC-SHA256", "signing_key"),
        ({"algorithm": "ES256"}, "HMAC-SHA256", "signing_key"),
    ],
)
def test_a_key_is_what_the_configuration_says(changes: dict[str, Any], wanted: str, reason: str) -> None:
    for read, more in ((read_description, {}), (read_rotation, {"key": "hmac:a.v2"})):
        with pytest.raises(Refusal) as caught:
            read(mac(**changes, **more), mac=wanted)
        assert caught.value.reason == reason


@pytest.mark.parametrize("lie", [{"keyid": "x"}, {"keyid": ""}, {"capabilities": ()}, {"capabilities": ("generate",)}])
def test_a_secret_without_its_id_is_a_lie(lie: dict[str, Any]) -> None:
    with pytest.raises(Lie):
        read_description(mac(**lie), mac="HMAC-SHA256")


def test_a_key_that_signs_is_refused_where_macs_are_made() -> None:
    with pytest.raises(Refusal):
        read_description(raw(), mac="HMAC-SHA256")
