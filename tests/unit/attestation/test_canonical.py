import inspect
import json
import math
import sys

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from outside.parts import the
from signerd.attestation.canonical import DEEPEST, LARGEST_INTEGER, canonical_json, canonicalise
from signerd.errors import Refusal

REASONS = {
    "not_json",
    "not_object",
    "byte_order_mark",
    "not_utf8",
    "duplicate_key",
    "too_deep",
    "integer_range",
    "not_finite",
    "lone_surrogate",
}

texts = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from(':"\\/{}[]\uffee\ue000\U00010000é')
)
integers = st.integers(-LARGEST_INTEGER, LARGEST_INTEGER)
fractions = st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda number: not (LARGEST_INTEGER < abs(number) < 1e21)
)
values = st.recursive(
    st.none() | st.booleans() | integers | fractions | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=25,
)
documents: st.SearchStrategy[dict[str, object]] = st.dictionaries(texts, values, max_size=6)


def shuffled(value: object, draw: st.DrawFn) -> object:
    if isinstance(value, dict):
        return {key: shuffled(value[key], draw) for key in draw(st.permutations(list(value)))}
    return [shuffled(item, draw) for item in value] if isinstance(value, list) else value


@st.composite
def document_and_shuffled(draw: st.DrawFn) -> tuple[dict[str, object], object]:
    document = draw(documents)
    return document, shuffled(document, draw)


def refused(text: bytes) -> tuple[str, object]:
    with pytest.raises(Refusal) as caught:
        canonicalise(text)
    assert caught.value.code == "predicate.invalid"
    return caught.value.reason, caught.value.details.get("pointer")


@given(documents, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_agrees_with_rfc8785(document: dict[str, object], escaped: bool, indent: int | str | None) -> None:
    text = json.dumps(document, ensure_ascii=escaped, indent=indent).encode()
    canonical = canonicalise(text)
    assert canonical.text == rfc8785.dumps(document)  # type: ignore[arg-type]  # its own recursive type
    assert canonical.value == json.loads(canonical.text)
    assert canonicalise(canonical.text) == canonical


@given(document_and_shuffled())
def test_the_order_of_keys_does_not_matter(pair: tuple[dict[str, object], object]) -> None:
    assert canonicalise(json.dumps(pair[0]).encode()).text == canonicalise(json.dumps(pair[1]).encode()).text


@given(fractions)
@example(1e21)
@example(-0.0)
@example(5e-324)
@example(1.7976931348623157e308)
@example(1e-6)
@example(1e-7)
@example(123456789012345680000.0 * 10)
def test_numbers_are_written_as_ecmascript_writes_them(number: float) -> None:
    assert canonicalise(b'{"n":%b}' % repr(number).encode()).text == rfc8785.dumps({"n": number})


VECTORS = ["arrays", "french", "structures", "unicode", "values", "weird"]


@pytest.mark.needs("vectors")
@pytest.mark.parametrize("name", VECTORS)
def test_the_published_vectors(name: str) -> None:
    folder = the("vectors") / "json-canonicalization"
    source, wanted = (folder / part / f"{name}.json" for part in ("input", "output"))
    outhex = bytes.fromhex((folder / "outhex" / f"{name}.txt").read_text())
    assert outhex == wanted.read_bytes()
    if source.read_bytes().lstrip().startswith(b"{"):
        assert canonicalise(source.read_bytes()).text == outhex
    else:
        # One vector is an array: no document by itself, but a value of one.
        assert canonicalise(b'{"":' + source.read_bytes() + b"}").text == b'{"":' + outhex + b"}"
        assert refused(source.read_bytes())[0] == "not_object"


@pytest.mark.needs("vectors")
def test_the_vectors_are_all_there_are() -> None:
    folder = the("vectors") / "json-canonicalization" / "input"
    assert sorted(path.stem for path in folder.iterdir()) == VECTORS


@pytest.mark.parametrize(
    ("text", "reason", "pointer"),
    [
        (b"", "not_json", None),
        (b"{", "not_json", None),
        (b'{"a":1,}', "not_json", None),
        (b'{"a":01}', "not_json", None),
        (b'{"a":"\x00"}', "not_json", None),
        (b"{} {}", "not_json", None),
        (b"{'a':1}", "not_json", None),
        (b"[]", "not_object", None),
        (b'"a"', "not_object", None),
        (b"null", "not_object", None),
        (b"1.5", "not_object", None),
        (b"\xef\xbb\xbf{}", "byte_order_mark", None),
        (b'{"a":"\xff"}', "not_utf8", None),
        (b'{"\xc0\x80":1}', "not_utf8", None),
        (b'{"a":"\xed\xa0\x80"}', "not_utf8", None),
        (b"\xff\xfe{\x00}\x00", "not_utf8", None),
        (b'{"a":1,"a":1}', "duplicate_key", "/a"),
        (b'{"a":1,"b":{"x~/":[{"k":1,"k":{"v":2}}]}}', "duplicate_key", None),
        (b'{"b":[0,{"x~/y":1,"x~/y":2}]}', "duplicate_key", "/b/1/x~0~1y"),
        (b'{"a":1,"\\u0061":2}', "duplicate_key", "/a"),
        (b'{"a":1,"a":"\\u003a"}', "duplicate_key", "/a"),
        (b'{"a":"\\u003a\\u003A","b":{"c":1,"c":"::"}}', "duplicate_key", "/b/c"),
        (b'{"a:":1,"a\\u003a":2}', "duplicate_key", "/a:"),
        (b'{"":1,"":2}', "duplicate_key", "/"),
        (b'{"a":9007199254740992}', "integer_range", "/a"),
        (b'{"a":[0,-9007199254740992]}', "integer_range", "/a/1"),
        (b'{"a":18446744073709551616}', "integer_range", "/a"),
        (b'{"a":{"b":%b}}' % (b"1" * 4000), "integer_range", "/a/b"),
        (b'{"a":%b}' % (b"1" * 10000), "integer_range", None),
        (b'{"a":9007199254740993.0}', "integer_range", "/a"),
        (b'{"a":1e20}', "integer_range", "/a"),
        (b'{"a":NaN}', "not_finite", "/a"),
        (b'{"a":[-Infinity]}', "not_finite", "/a/0"),
        (b'{"a":{"b":1e999}}', "not_finite", "/a/b"),
        (b'{"a":-1E400,"b":1e20}', "not_finite", "/a"),
        (b'{"a":"\\ud800"}', "lone_surrogate", "/a"),
        (b'{"a":["\\udc00\\ud800"]}', "lone_surrogate", "/a/0"),
        (b'{"a":"\\ud800\\u0041"}', "lone_surrogate", "/a"),
        (b'{"\\ud800":1}', "lone_surrogate", None),
    ],
)
def test_refuses(text: bytes, reason: str, pointer: str | None) -> None:
    found = refused(text)
    assert found[0] == reason
    if pointer is not None:
        assert found[1] == pointer


@pytest.mark.parametrize(("opening", "closing"), [(b'{"a":', b"}"), (b"[", b"]")])
def test_depth(opening: bytes, closing: bytes) -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' + opening * (levels - 1) + b"0" + closing * (levels - 1) + b"}"

    assert canonicalise(nested(DEEPEST)).text == nested(DEEPEST)
    for levels in (DEEPEST + 1, 990, 1100, 100_000):
        assert refused(nested(levels))[0] == "too_deep"
    assert refused(b'{"a":' + opening * 100_000)[0] == "too_deep"


def test_brackets_within_strings_are_not_levels() -> None:
    text = json.dumps({"a": '[{"' * 500, "b": ['\\"[' * 3] * 300}).encode()
    assert json.loads(canonicalise(text).text) == json.loads(text)


def test_long_digits_within_strings_and_fractions_are_not_integers() -> None:
    text = b'{"a":"9007199254740993","b":0.12345678901234567890,"c":9007199254740991,"d":1e30}'
    assert canonicalise(text).text == rfc8785.dumps(json.loads(text))


def test_a_string_that_crosses_a_slice_stays_a_string() -> None:
    text = json.dumps({"a": "]" * (1 << 20), "b": [["x"] * 2] * 300, "c": '"\\' * (1 << 19)}).encode()
    assert canonicalise(text).text == rfc8785.dumps(json.loads(text))
    twice = text[:-1] + b',"b":1}'
    assert refused(twice)[0] == "duplicate_key"


def test_a_pointer_is_cut_after_a_whole_token() -> None:
    key = "k" * 100
    text = b'{"%b":{"%b":{"%b":9007199254740992}}}' % ((key.encode(),) * 3)
    assert refused(text) == ("integer_range", f"/{key}/{key}")


def test_no_pointer_is_sought_in_a_large_document() -> None:
    filler = b'"f":"' + b"x" * 300_000 + b'"'
    assert refused(b'{"a":1,"a":2,' + filler + b"}") == ("duplicate_key", None)
    assert refused(b'{"a":NaN,' + filler + b"}") == ("not_finite", None)


def test_a_low_recursion_limit_is_a_refusal_too() -> None:
    text = b'{"a":' + b"[" * 150 + b"]" * 150 + b"}"

    def at_depth(levels: int) -> str:
        return at_depth(levels - 1) if levels else refused(text)[0]

    used = len(inspect.stack(0))
    assert at_depth(sys.getrecursionlimit() - used - 60) == "too_deep"


def test_a_memoryview_is_a_document() -> None:
    assert canonicalise(memoryview(b'{"b":1,"a":2}')).text == b'{"a":2,"b":1}'


@given(st.binary(max_size=64) | st.text('{}[]":,\\u03ad8e+-.01 NaIfinty', max_size=40).map(str.encode))
def test_any_bytes_give_a_document_or_a_refusal(text: bytes) -> None:
    try:
        canonical = canonicalise(text)
    except Refusal as refusal:
        assert refusal.code == "predicate.invalid"  # noqa: PT017  # it may succeed too
        assert refusal.reason in REASONS  # noqa: PT017  # it may succeed too
    else:
        assert json.loads(canonical.text) == canonical.value
        assert rfc8785.dumps(canonical.value) == canonical.text  # type: ignore[arg-type]  # its own recursive type


@given(documents, st.data())
def test_a_damaged_document_is_read_as_the_standard_library_reads_it_or_refused(
    document: dict[str, object], data: st.DataObject
) -> None:
    text = bytearray(json.dumps(document).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        value = canonicalise(bytes(text)).value
    except Refusal:
        return
    assert value == json.loads(bytes(text))


def pairs_twice(pairs: list[tuple[str, object]]) -> object:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@given(
    st.recursive(
        st.just("1"),
        lambda inner: st.lists(
            st.tuples(
                st.sampled_from(['"a"', '"b"', '"\\u0061"', '":"', '"\\u003a"', '"\\u003A"', '"\\\\u003a"']),
                inner,
            ),
            max_size=4,
        ).map(lambda pairs: "{" + ",".join(f"{key}:{value}" for key, value in pairs) + "}"),
    )
)
def test_a_key_stands_twice_exactly_where_the_standard_library_sees_it(text: str) -> None:  # fmt: skip
    if text == "1":
        return
    try:
        json.loads(text, object_pairs_hook=pairs_twice)
    except AssertionError:
        assert refused(text.encode())[0] == "duplicate_key"
    else:
        canonicalise(text.encode())


own_values = st.recursive(
    st.booleans() | integers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(own_values)
@example({"\uffee": 1, "\U00010000": {"\ue000": 2, "\U0010ffff": 3}})
def test_what_signerd_builds_is_written_in_the_form_of_rfc8785(value: object) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)  # type: ignore[arg-type]  # its own recursive type


def test_finite_means_finite() -> None:
    assert math.isfinite(canonicalise(b'{"a":1.7976931348623157e308}').value["a"])  # type: ignore[arg-type]
