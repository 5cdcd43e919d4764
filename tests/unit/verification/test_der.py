import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.sigstore import der
from signerd.verification.der import INTEGER, OCTET_STRING, SEQUENCE, DerError, Reader, context


@given(st.lists(st.binary(max_size=300), max_size=4))
def test_what_was_written_is_read(parts: list[bytes]) -> None:
    reader = Reader(der(SEQUENCE, *(der(OCTET_STRING, part) for part in parts))).inside()
    for part in parts:
        element = reader.take(OCTET_STRING)
        assert (element.content, element.whole) == (part, der(OCTET_STRING, part))
    assert not reader.more
    reader.end()


def test_optional_elements() -> None:
    reader = Reader(der(context(0), b"x") + der(INTEGER, b"\1"))
    assert reader.maybe(INTEGER) is None
    found = reader.maybe(context(0))
    assert found is not None
    assert found.content == b"x"
    with pytest.raises(DerError, match="follows"):
        reader.end()
    assert reader.take().tag == INTEGER
    assert reader.maybe(INTEGER) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x30\x01",
        b"\x04\x01x",
        b"\x30\x80\x00\x00",  # indefinite length
        b"\x30\x81\x01x",  # a long form for a short length
        b"\x30\x82\x00\x80" + bytes(128),  # a leading zero in the length
        b"\x30\x85\x01\x00\x00\x00\x00x",
        b"\x3f\x81\x01\x00",  # a high tag number
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(DerError):
        Reader(data).take(SEQUENCE)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    reader = Reader(data)
    try:
        while reader.more:
            element = reader.take()
            assert element.whole.endswith(element.content)
    except DerError:
        pass
