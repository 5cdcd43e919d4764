import msgspec
import pytest

from signerd.contracts import values
from signerd.contracts.values import (
    Caller,
    Enrolment,
    Entitlement,
    KeyDescription,
    LogFound,
    MacChecked,
    MacResult,
    Peer,
    PlanLimits,
    Principal,
    ProofOfEntitlement,
    Release,
    Rotated,
    SignatureResult,
    SignFor,
)

PEER = Peer(1000, 1000, 42, 123456, unit="build.service")
EXAMPLES = [
    LogFound((b"{}",), 1, 2),
    PEER,
    Caller(PEER, "signerd", token="t"),
    Principal("uid:1000", "local", frozenset({"signer.sign", "signer.keys"}), "auth-peercred"),
    ProofOfEntitlement("jwt", "e30"),
    PlanLimits(64, 1024, 100.0, 200, 1_000_000),
    Entitlement(
        "default", PlanLimits(1, 2), "entitlement-file", ("2026.01", "2026.12"), ("entitlement_cached",)
    ),
    Release("sha256:" + "a" * 64, "allowlist", "2026.11"),
    KeyDescription("ES256", "sha256:" + "a" * 64, b"\x30", ("generate",), (b"\x30",), "sha256", hardware=True),
    Enrolment(
        KeyDescription("FIDO2-ES256", "sha256:" + "a" * 64, b"\x30"), "ssh:", "", True, 1, "0" * 32, "packed"
    ),
    Rotated("file:a.v2", KeyDescription("ES256", "sha256:" + "a" * 64, b"\x30")),
    MacResult(bytes(32), "sha256:" + "a" * 64),
    MacChecked(valid=True, keyid="sha256:" + "a" * 64),
    SignFor("local", "id1", "a.b.c"),
    SignatureResult(b"\x30", "sha256:" + "a" * 64),
]


def test_every_value_has_an_example_here():
    assert {type(example).__name__ for example in EXAMPLES} == set(values.__all__)


@pytest.mark.parametrize("value", EXAMPLES)
def test_a_value_is_frozen_and_comes_back_from_another_process_as_it_went(value):
    kind = type(value)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=kind) == value
    with pytest.raises(AttributeError):
        setattr(value, kind.__struct_fields__[0], None)
    assert hash(value) == hash(msgspec.structs.replace(value))


@pytest.mark.parametrize("value", EXAMPLES)
def test_a_value_of_the_wrong_type_does_not_cross(value):
    kind = type(value)
    fields = {**msgspec.to_builtins(value, builtin_types=(bytes,)), kind.__struct_fields__[0]: 1.5}
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(fields), type=kind)


def test_no_limit_is_none():
    assert (PlanLimits(1, 2).rate, PlanLimits(1, 2).daily) == (None, None)
