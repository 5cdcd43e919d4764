"""The cases about batches, capabilities, and calls that are not as they should be."""

from typing import Any, Final

import msgspec

from signerd.wire.messages import Error, Hello
from signerd.wire.worker_calls import BatchResult, CallOutcome, DescribeResult, RotateResult, SignResultParams
from signerd_conformance.bench import WORKER_PROTOCOL, Bench, Case, Key, verify
from signerd_conformance.profile import Judgement, ok, skip
from signerd_conformance.worker import Violation, shaped, told

__all__ = ["CALLING_CASES"]

_OPTIONAL: Final = ("generate", "rotate", "attest", "certificates", "enrol", "hmac", "presence")
_ALWAYS: Final = frozenset({"describe", "sign", "batch"})
MANY: Final = 64


def _hello(bench: Bench) -> Judgement:
    bench.drop()
    with bench.open() as worker:
        hello = worker.hello()
        if not isinstance(hello, Hello):
            raise Violation(f"no hello but {told(hello)}")
    if hello.version != 1 or 1 not in hello.versions:
        raise Violation(f"version {hello.version!r} of {hello.versions!r}")
    if isinstance(hello.methods, tuple) and (missing := sorted(_ALWAYS - set(hello.methods))):
        raise Violation(f"its methods lack {', '.join(missing)}")
    return ok(hello.software)


def _hello_version(bench: Bench) -> Judgement:
    bench.drop()
    with bench.open() as worker:
        try:
            answer = worker.hello((4_000_000_000,))
        except Violation:
            if worker.closed():
                return ok("closed without a word")
            raise
        if isinstance(answer, Hello):
            raise Violation("a hello to a client that shares no version with it")
        if answer.code != "request.unsupported" or not worker.closed():
            raise Violation(f"{told(answer)}, and not request.unsupported and the end of the link")
        return ok(told(answer))


def _outcomes(bench: Bench, items: list[tuple[str, dict[str, object]]]) -> tuple[CallOutcome, ...]:
    calls = [{"method": method, "params": params} for method, params in items]
    outcomes = bench.worker().result("batch", {"items": calls}, BatchResult).outcomes
    if len(outcomes) != len(items):
        raise Violation(f"{len(outcomes)} outcomes of {len(items)} items")
    for outcome in outcomes:
        if (outcome.ok is msgspec.UNSET) == (outcome.error is None):
            raise Violation("an outcome that has both ok and error, or neither")
        if outcome.error is not None:
            bench.start.codes.add(outcome.error.code)
    return outcomes


def _verify(key: Key, message: bytes, outcome: CallOutcome) -> None:
    if isinstance(outcome.ok, msgspec.UnsetType):
        said = outcome.error
        raise Violation(f"a good item failed: {said.code if said else ''}")
    verify(key, message, shaped(outcome.ok, SignResultParams, "sign"))


def _batch_order(bench: Bench, key: Key) -> Judgement:
    messages = [b"%d" % number for number in range(4)]
    outcomes = _outcomes(bench, [("sign", key.params(message)) for message in messages])
    for message, outcome in zip(messages, outcomes, strict=True):
        _verify(key, message, outcome)
    return ok("each at the place of its item")


def _batch_bad_item(bench: Bench, key: Key) -> Judgement:
    bad: list[tuple[str, dict[str, object]]] = [
        ("sign", {"key": bench.absent(), "message": bytes(32)}),
        ("no-such-method", {}),
        ("describe", {"key": 5}),
    ]
    first, *middle, last = _outcomes(bench, [("sign", key.params(b"a")), *bad, ("sign", key.params(b"b"))])
    _verify(key, b"a", first)
    _verify(key, b"b", last)
    if any(outcome.error is None for outcome in middle):
        raise Violation("a bad item is answered")
    return ok(", ".join(outcome.error.code for outcome in middle if outcome.error is not None))


def _batch_empty(bench: Bench) -> Judgement:
    _outcomes(bench, [])
    return ok("no outcomes of no items")


def _batch_many(bench: Bench, key: Key) -> Judgement:
    messages = [b"%d" % number for number in range(MANY)]
    outcomes = _outcomes(bench, [("sign", key.params(message)) for message in messages])
    for message, outcome in zip(messages, outcomes, strict=True):
        _verify(key, message, outcome)
    return ok(f"{MANY} items")


def _capabilities(bench: Bench, key: Key) -> Judgement:
    unknown = sorted(set(key.capabilities) - set(_OPTIONAL))
    if unknown:
        raise Violation(f"{unknown[0][:40]} is no capability")
    for name in _OPTIONAL:
        if name == "rotate" and name in key.capabilities:
            continue  # it would be served: the case "rotate" asks for it where keys may be made
        # An existing key cannot be made again, so a declared method refuses; one that is not declared is not there.
        refused = bench.worker().refusal(name, {"key": key.reference, "algorithm": key.algorithm})
        if name in ("enrol", "generate") and name in key.capabilities and refused.code == "request.unsupported":
            raise Violation(f"{name} is declared, and not served")
        if name not in key.capabilities and not refused.code.startswith(("request.unsupported", "key.")):
            raise Violation(f"{name} is not declared, and answered by {told(refused)}")
    return ok(", ".join(key.capabilities) or "none")


def _generate(bench: Bench, key: Key) -> Judgement:
    made = bench.made.get(key.reference)
    if made is None:
        return skip("the key was there" if bench.algorithm else "no --generate")
    if made.algorithm != bench.algorithm:
        raise Violation(f"{made.algorithm[:40]} was made, and {bench.algorithm} was asked for")
    if bench.worker().result("describe", {"key": key.reference}, DescribeResult) != made:
        raise Violation("describe says something else than generate did")
    with bench.another() as later:
        if later.result("describe", {"key": key.reference}, DescribeResult) != made:
            raise Violation("a worker started later has another key")
    return ok(f"{made.algorithm}, and still there in a worker started later")


def _generate_taken(bench: Bench, key: Key) -> Judgement:
    if "generate" not in key.capabilities:
        return skip("not declared")
    params = {"key": key.reference, "algorithm": key.algorithm}
    refused = bench.worker().refusal("generate", params)
    if not refused.code.startswith("key."):
        raise Violation(f"{told(refused)} for a name that is taken")
    with bench.another() as later:
        if later.result("describe", {"key": key.reference}, DescribeResult).spki != key.public.spki:
            raise Violation("another key is there now")
    return ok(told(refused))


def _rotate(bench: Bench, key: Key) -> Judgement:
    if "rotate" not in key.capabilities:
        return skip("not declared")
    if not bench.algorithm:
        return skip("no --generate")
    params = {"key": key.reference, "algorithm": key.algorithm}
    made = bench.worker().result("rotate", params, RotateResult)
    if made.key == key.reference or made.spki == key.public.spki:
        raise Violation("the same key, or one of the same name")
    if made.algorithm != key.algorithm:
        raise Violation(f"{made.algorithm[:40]} was made, and {key.algorithm} was asked for")
    with bench.another() as later:
        if later.result("describe", {"key": made.key}, DescribeResult).spki != made.spki:
            raise Violation("a worker started later does not have the new key")
        if later.result("describe", {"key": key.reference}, DescribeResult).spki != key.public.spki:
            raise Violation("the old name has another key")
    return ok("the old key stays, the new one has a name of its own")


def _unknown_method(bench: Bench) -> Judgement:
    refused = bench.worker().refusal("no-such-method", {})
    if refused.code != "request.unsupported":
        raise Violation(f"{told(refused)} and not request.unsupported")
    return ok(told(refused))


def _unknown_param(bench: Bench, key: Key) -> Judgement:
    answer = bench.worker().ask("describe", {"key": key.reference, "x-conformance": 1})
    return ok(told(answer) if isinstance(answer, Error) else "ignored")


def _wrong_types(bench: Bench, key: Key) -> Judgement:
    name = key.reference
    calls: list[tuple[str, Any]] = [
        ("describe", {}),
        ("describe", None),
        ("describe", []),
        ("describe", {"key": None}),
        ("describe", {"key": 5}),
        ("describe", {"key": name.encode()}),
        ("sign", {"key": name}),
        ("sign", {"key": name, "message": None}),
        ("sign", {"key": name, "message": "text"}),
        ("sign", {"key": name, "message": {"fd": 0, "size": 1}}),
        ("sign", {"message": bytes(32)}),
        ("batch", {"items": None}),
        ("batch", {"items": [5]}),
    ]
    for method, params in calls:
        try:
            bench.worker().refusal(method, params)
        except Violation as exc:
            raise Violation(f"{method} {params!r}: {exc}") from None
    return ok(f"{len(calls)} refused")


CALLING_CASES: Final = (
    Case("hello", "docs/protocol.md, hello", _hello),
    Case("hello-version", "docs/protocol.md, The course of a connection", _hello_version),
    Case("batch-order", f"{WORKER_PROTOCOL}: batch", judge_key=_batch_order),
    Case("batch-bad-item", f"{WORKER_PROTOCOL}: batch", judge_key=_batch_bad_item),
    Case("batch-empty", f"{WORKER_PROTOCOL}: batch", _batch_empty),
    Case("batch-many", f"{WORKER_PROTOCOL}: batch", judge_key=_batch_many),
    Case("capabilities", f"{WORKER_PROTOCOL}: capabilities", judge_key=_capabilities),
    Case("generate", f"{WORKER_PROTOCOL}: generate", judge_key=_generate, optional=True),
    Case("generate-taken", f"{WORKER_PROTOCOL}: generate", judge_key=_generate_taken, optional=True),
    Case("rotate", f"{WORKER_PROTOCOL}: rotate", judge_key=_rotate, optional=True),
    Case("unknown-method", "docs/protocol.md, Errors", _unknown_method),
    Case("unknown-param", "docs/protocol.md, What may change", judge_key=_unknown_param),
    Case("wrong-types", "docs/protocol.md, Reading this page", judge_key=_wrong_types),
)
"""Names are stable: one is never given to another case."""
