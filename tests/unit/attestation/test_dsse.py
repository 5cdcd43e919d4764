import base64
import hashlib
import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from outside.parts import the
from signerd.attestation.dsse import (
    Envelope,
    Signature,
    decode_base64,
    encode_base64,
    encode_envelope,
    pae,
    pae_header,
    parse_envelope,
)
from signerd.errors import Refusal

texts = st.text(st.characters(exclude_categories=["Cs"]))
signatures = st.lists(st.builds(Signature, st.binary(), st.none() | texts), min_size=1, max_size=4)


@pytest.mark.needs("vectors")
def test_the_published_vector() -> None:
    vector = json.loads((the("vectors") / "dsse" / "protocol-v1.0.2-vector.json").read_text())
    encoded = pae(vector["payloadType"], vector["payload_utf8"].encode())
    assert encoded == vector["pae_utf8"].encode()
    assert hashlib.sha256(encoded).hexdigest() == vector["pae_sha256_hex"]
    read = parse_envelope(json.dumps(vector["envelope"]).encode())
    assert read.payload == b"hello world"
    assert encode_envelope(encode_base64(read.payload), read.payload_type, read.signatures) == rfc8785.dumps(
        vector["envelope"]
    )


@pytest.mark.parametrize(
    ("payload_type", "payload", "wanted"),
    [
        (
            "http://example.com/HelloWorld",
            b"hello world",
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world",
        ),
        ("", b"", b"DSSEv1 0  0 "),
        # Ten characters, fifteen bytes: the length counts the bytes.
        ("züri/日本x+y", "é".encode(), b"DSSEv1 15 z\xc3\xbcri/\xe6\x97\xa5\xe6\x9c\xacx+y 2 \xc3\xa9"),
    ],
)
def test_lengths_count_bytes(payload_type: str, payload: bytes, wanted: bytes) -> None:
    assert pae(payload_type, payload) == wanted
    assert pae(payload_type, memoryview(payload)) == wanted
    assert pae_header(payload_type, len(payload)) + payload == wanted


@given(texts, st.binary(), texts, st.binary())
def test_no_two_contents_have_the_same_pae(type_a: str, a: bytes, type_b: str, b: bytes) -> None:
    assert (pae(type_a, a) == pae(type_b, b)) == ((type_a, a) == (type_b, b))


@given(texts, st.binary(), signatures)
def test_an_envelope_written_is_the_envelope_read(kind: str, payload: bytes, signed: list[Signature]) -> None:
    text = encode_envelope(encode_base64(payload), kind, signed)
    assert parse_envelope(text) == Envelope(kind, payload, tuple(signed))
    assert rfc8785.dumps(json.loads(text)) == text


def test_reads_the_url_safe_alphabet_and_ignores_unknown_fields() -> None:
    text = json.dumps(
        {
            "payload": "-_8=",
            "payloadType": "t",
            "x": 1,
            "signatures": [{"sig": "--__", "y": 2, "keyid": None}],
        }
    )
    assert parse_envelope(text.encode()) == Envelope("t", b"\xfb\xff", (Signature(b"\xfb\xef\xff", None),))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", "not_json"),
        (b'{"payload":"","payload":""}', "duplicate_key"),
        (b"{}", "envelope_malformed"),
        (b'{"payload":1,"payloadType":"t","signatures":[{"sig":""}]}', "envelope_malformed"),
        (b'{"payload":"","payloadType":"t","signatures":{}}', "envelope_malformed"),
        (b'{"payload":"","payloadType":"t","signatures":[1]}', "envelope_malformed"),
        (b'{"payload":"","payloadType":"t","signatures":[{}]}', "envelope_malformed"),
        (b'{"payload":"","payloadType":"t","signatures":[{"sig":"","keyid":1}]}', "envelope_malformed"),
        (b'{"payload":"","payloadType":"t","signatures":[]}', "no_signature"),
        (
            b'{"payload":"","payloadType":"t","signatures":[%b]}' % b",".join([b'{"sig":""}'] * 65),
            "too_many_signatures",
        ),
        (b'{"payload":"YQ","payloadType":"t","signatures":[{"sig":""}]}', "base64_malformed"),
        (b'{"payload":"","payloadType":"t","signatures":[{"sig":"+-=="}]}', "base64_malformed"),
    ],
)
def test_refuses_to_read(text: bytes, reason: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse_envelope(text)
    assert (caught.value.code, caught.value.reason) == ("verification.failed", reason)


@given(st.binary())
def test_base64_has_one_spelling(data: bytes) -> None:
    assert encode_base64(data) == base64.b64encode(data)
    assert decode_base64(encode_base64(data).decode()) == data


@pytest.mark.parametrize(
    "text", ["YQ", "YR==", "YQ==\n", " YQ==", "Y Q==", "YQ==YQ==", "-_8=", "YQ=", "é", "\ud800", "="]
)
def test_other_spellings_are_refused(text: str) -> None:
    assert decode_base64(text) is None
