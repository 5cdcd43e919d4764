import hashlib
import os
from collections.abc import Callable

import msgspec
import pytest

from signerd.contracts.values import KeyDescription, Rotated, SignatureResult, SignFor
from signerd.errors import Fault, Refusal, SignerdError
from signerd.host.memfd import sealed_memfd
from signerd.wire.worker_calls import BatchResult, CallOutcome, DescribeResult, RotateResult, SignResultParams
from signerd.worker.calls import Calls

KEYID = "sha256:" + "0" * 64


class Backend:
    """Signs with SHA-256 of the message: what matters here is what goes in and out."""

    capabilities: tuple[str, ...] = ("generate",)

    def __init__(self, sign: Callable[[str, bytes], object] | None = None) -> None:
        self._sign = sign
        self.seen: list[bytes] = []

    def describe(self, key: str) -> KeyDescription:
        if key != "x:one":
            raise Refusal("key.not_found", "no_such_key", "there is no such key")
        return KeyDescription("ES256", KEYID, b"spki", prehash="sha256")

    def sign(self, key: str, message: bytes) -> SignatureResult:
        self.seen.append(message)
        if self._sign is not None:
            return self._sign(key, message)  # type: ignore[return-value]  # the tests return what they must not
        return SignatureResult(hashlib.sha256(message).digest(), KEYID)

    def generate(self, key: str, algorithm: str) -> KeyDescription:
        return KeyDescription(algorithm or "ES256", KEYID, key.encode())


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(value))


def ask(method: str, params: object, fds: tuple[int, ...] = (), backend: Backend | None = None) -> object:
    answer = Calls(backend or Backend(), "test").answer(method, raw(params), fds)
    return msgspec.msgpack.decode(answer)


def outcomes_of(
    items: list[object], fds: tuple[int, ...] = (), backend: Backend | None = None
) -> tuple[CallOutcome, ...]:
    answer = Calls(backend or Backend(), "test").answer("batch", raw({"items": items}), fds)
    return msgspec.msgpack.decode(answer, type=BatchResult).outcomes


def error(method: str, params: object, fds: tuple[int, ...] = (), backend: Backend | None = None) -> str:
    with pytest.raises(SignerdError) as caught:
        ask(method, params, fds, backend)
    return f"{caught.value.code} {caught.value.reason}"


def test_describe_says_what_the_sealer_needs_and_leaves_absent_what_is_absent() -> None:
    described = msgspec.convert(ask("describe", {"key": "x:one"}), DescribeResult)
    assert described == DescribeResult("ES256", KEYID, b"spki", ("generate",), (), "sha256")
    assert "chain" not in ask("describe", {"key": "x:one"})  # type: ignore[operator]  # a map


def test_sign_takes_bytes_and_unknown_keys_beside_them() -> None:
    params = {"key": "x:one", "message": b"m", "context": {"audit_id": "a"}}
    signed = msgspec.convert(ask("sign", params), SignResultParams)
    assert signed == SignResultParams(hashlib.sha256(b"m").digest(), KEYID)


def test_sign_takes_a_sealed_memfd() -> None:
    fd = sealed_memfd("message", b"m" * 5_000_000)
    backend = Backend()
    ask("sign", {"key": "x:one", "message": {"fd": 0, "size": 5_000_000}}, (fd,), backend)
    os.close(fd)
    assert backend.seen == [b"m" * 5_000_000]


def test_descriptors_that_are_not_as_they_should_be_reach_no_backend() -> None:
    fd, plain = sealed_memfd("message", b"abc"), os.open(os.devnull, os.O_RDONLY)
    backend = Backend()

    def named(index: int, size: int = 3) -> dict[str, object]:
        return {"key": "x:one", "message": {"fd": index, "size": size}}

    try:
        assert error("sign", named(1), (fd,), backend) == "request.malformed descriptor_index"
        assert error("sign", named(-1), (fd,), backend) == "request.malformed out_of_range"
        more = {"key": "x:one", "message": {"fd": 0, "size": 3, "offset": 0}}
        assert error("sign", more, (fd,), backend) == "request.unsupported unknown_key"
        assert error("sign", named(0), (), backend) == "request.malformed descriptor_index"
        assert error("sign", named(0, 4), (fd,), backend) == "request.malformed size_mismatch"
        assert error("sign", named(0), (plain,), backend) == "request.malformed not_sealed"
        outcomes = outcomes_of([{"method": "sign", "params": named(0)}] * 2, (fd,))
        assert [o.error and o.error.reason for o in outcomes] == [None, "descriptor_index"]
        assert backend.seen == []
        assert error("sign", named(0), (fd, plain), backend) == "request.malformed descriptor_surplus"
        assert error("describe", {"key": "x:one"}, (fd,)) == "request.malformed descriptor_surplus"
        assert error("batch", {"items": []}, (fd,)) == "request.malformed descriptor_surplus"
    finally:
        os.close(fd)
        os.close(plain)


def test_a_batch_has_an_outcome_for_each_item_and_one_bad_item_harms_no_other() -> None:
    good = {"method": "sign", "params": {"key": "x:one", "message": b"m"}}
    items = [
        good,
        {"method": "describe", "params": {"key": "x:two"}},
        {"method": "rotate", "params": {}},
        {"method": "batch", "params": {"items": []}},
        {"method": "sign", "params": {"key": 5}},
        {"method": "sign", "params": []},
        {"method": "describe", "params": {"key": "x:one"}},
        good,
    ]
    outcomes = outcomes_of(items)
    codes = [o.error.code if o.error else "ok" for o in outcomes]
    assert codes == [
        "ok",
        "key.not_found",
        "request.unsupported",
        "request.unsupported",
        "request.malformed",
        "request.malformed",
        "ok",
        "ok",
    ]
    assert all((o.ok is msgspec.UNSET) != (o.error is None) for o in outcomes)
    assert ask("batch", {"items": []}) == {"outcomes": []}


@pytest.mark.parametrize("params", [None, 5, b"", [], {}, {"key": None}, {"key": b"x:one"}])
def test_params_of_another_shape_are_malformed(params: object) -> None:
    for method in ("describe", "sign", "batch", "generate"):
        assert error(method, params).startswith("request.malformed")


def test_params_that_are_no_msgpack_are_malformed() -> None:
    for broken in (b"\xc1", b"\x81\xa3key", b"\x81\xa3key\xa1\xff", b"\x91" * 5000):
        with pytest.raises(Refusal) as caught:
            Calls(Backend(), "test").answer("describe", msgspec.Raw(broken), ())
        assert caught.value.code == "request.malformed"


def test_capabilities_are_declared_never_probed() -> None:
    assert Calls(Backend(), "test").methods == ("describe", "sign", "generate", "batch")
    assert ask("generate", {"key": "x:new", "algorithm": ""})
    backend = Backend()
    backend.capabilities = ()
    assert Calls(backend, "test").methods == ("describe", "sign", "batch")
    assert (
        error("generate", {"key": "x:new", "algorithm": ""}, backend=backend) == "request.unsupported method"
    )


def failing(exc: BaseException) -> Callable[[str, bytes], object]:
    def sign(key: str, message: bytes) -> object:
        raise exc

    return sign


@pytest.mark.parametrize(
    ("sign", "expected"),
    [
        (failing(RuntimeError("PIN 1234")), "key.backend_fault plugin_failed"),
        (failing(SystemExit(0)), "key.backend_fault plugin_failed"),
        (failing(Fault("internal", "lost", "x")), "key.backend_fault plugin_code"),
        (failing(Refusal("auth.required", "lie", "x")), "key.backend_fault plugin_code"),
        (failing(Refusal("key.presence_required", "touch", "x")), "key.presence_required touch"),
        (failing(Fault("key.backend_unavailable", "hsm", "x")), "key.backend_unavailable hsm"),
        (lambda key, message: b"signature", "key.backend_fault plugin_type"),
        (lambda key, message: None, "key.backend_fault plugin_type"),
        (lambda key, message: SignatureResult(bytes(300_000), KEYID), "key.backend_fault answer_size"),
        (lambda key, message: SignatureResult("text", KEYID), "key.backend_fault plugin_type"),  # type: ignore[arg-type]  # the defect
        (lambda key, message: SignatureResult(b"s", None), "key.backend_fault plugin_type"),  # type: ignore[arg-type]  # the defect
        (lambda key, message: SignatureResult(b"s", KEYID, ("text",)), "key.backend_fault plugin_type"),  # type: ignore[arg-type]  # the defect
    ],
)
def test_whatever_a_backend_does_is_a_key_code(sign: Callable[[str, bytes], object], expected: str) -> None:
    params = {"key": "x:one", "message": b"m"}
    assert error("sign", params, backend=Backend(sign)) == expected
    outcome = outcomes_of([{"method": "sign", "params": params}], backend=Backend(sign))[0]
    assert outcome.error is not None
    assert f"{outcome.error.code} {outcome.error.reason}" == expected
    assert "1234" not in outcome.error.message


class Rotating(Backend):
    capabilities = ("rotate", "attest")

    def __init__(self, made: object) -> None:
        super().__init__()
        self._made = made

    def rotate(self, key: str, algorithm: str) -> Rotated:
        self.describe(key)
        return self._made  # type: ignore[return-value]  # the tests return what they must not


def test_rotate_names_the_new_key_beside_what_describe_says() -> None:
    made = Rotated("x:two", KeyDescription("ES256", KEYID, b"new", hardware=True))
    asked = {"key": "x:one", "algorithm": "ES256"}
    result = msgspec.convert(ask("rotate", asked, backend=Rotating(made)), RotateResult)
    assert result == RotateResult("ES256", KEYID, b"new", ("rotate", "attest"), hardware=True, key="x:two")
    assert error("rotate", {**asked, "key": "x:none"}, backend=Rotating(made)) == "key.not_found no_such_key"
    assert error("rotate", asked) == "request.unsupported method"


@pytest.mark.parametrize(
    "made",
    [
        None,
        KeyDescription("ES256", KEYID, b"new"),
        Rotated(5, KeyDescription("ES256", KEYID, b"new")),  # type: ignore[arg-type]
        Rotated("x:two", "described"),  # type: ignore[arg-type]
        Rotated("x:two", KeyDescription("ES256", KEYID, b"new", hardware="yes")),  # type: ignore[arg-type]
    ],
)
def test_a_rotation_of_another_type_is_the_backends_fault(made: object) -> None:
    found = error("rotate", {"key": "x:one", "algorithm": ""}, backend=Rotating(made))
    assert found.startswith("key.backend_fault ")


def test_hardware_counts_only_where_the_backend_attests() -> None:
    class Boaster(Backend):
        def describe(self, key: str) -> KeyDescription:
            return KeyDescription("ES256", KEYID, b"spki", hardware=True)

    assert "hardware" not in ask("describe", {"key": "x:one"}, backend=Boaster())  # type: ignore[operator]  # a map


class KeylessBackend(Backend):
    """Keeps for whom it was asked to sign."""

    capabilities = ("keyless",)

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[SignFor] = []

    def describe(self, key: str) -> KeyDescription:
        return KeyDescription("ES256", "", b"", prehash="sha256")

    def sign_for(self, key: str, message: bytes, signer: SignFor) -> SignatureResult:
        self.asked.append(signer)
        return SignatureResult(message, KEYID, (b"leaf", b"root"))


def test_a_keyless_backend_is_told_for_whom_and_brings_its_certificate() -> None:
    backend = KeylessBackend()
    context = {"tenant": "acme", "audit_id": "id", "identity_token": "a.b.c"}
    answer = ask("sign", {"key": "x:one", "message": b"m", "context": context}, backend=backend)
    assert answer == {"signature": b"m", "keyid": KEYID, "chain": [b"leaf", b"root"]}
    ask("sign", {"key": "x:one", "message": b"m"}, backend=backend)
    assert backend.asked == [SignFor("acme", "id", "a.b.c"), SignFor()]
    assert "a.b.c" not in repr(backend.asked)
    described = ask("describe", {"key": "x:one"}, backend=backend)
    assert described == {
        "algorithm": "ES256", "keyid": "", "spki": b"", "capabilities": ["keyless"], "prehash": "sha256",
    }  # fmt: skip


@pytest.mark.parametrize("context", [1, {"identity_token": 1}, {"tenant": b"x"}])
def test_a_context_of_another_shape_is_malformed(context: object) -> None:
    with pytest.raises(Refusal) as caught:
        ask("sign", {"key": "x:one", "message": b"m", "context": context}, backend=KeylessBackend())
    assert caught.value.code == "request.malformed"
