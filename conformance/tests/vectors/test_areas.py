"""The vectors are what scripts/vectors writes, other programs agree with them, and so does signerd."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import msgpack  # type: ignore[import-untyped]  # it ships no types
import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from outside.parts import ROOT
from signerd.attestation.canonical import canonicalise
from signerd.attestation.dsse import pae
from signerd.attestation.statement import Subject, build_statement, check_subjects, parse_statement
from signerd.contracts.providers import KeyBackend
from signerd.contracts.values import KeyDescription, SignatureResult
from signerd.errors import CODES, Refusal, SignerdError
from signerd.verification.keys import PublicKey
from signerd.wire.connection import Connection, ConnectionClosed, Rejected, Role
from signerd.wire.events import NEED_DATA, RemoteProtocolError
from signerd.wire.messages import Error, Hello, Limits, Message, Request, Response
from signerd.wire.worker_calls import (
    BatchParams,
    BatchResult,
    DescribeResult,
    GenerateParams,
    SignParams,
    SignResultParams,
)
from signerd.worker.calls import Calls
from signerd.worker.key import Session
from signerd_conformance.vectors.areas import AREAS, text_of
from vector_areas import written


def vectors(area: str, kind: str = "accept") -> list[Any]:
    """Parameters of a test: one for each vector, named by its comment."""
    return [pytest.param(vector, id=vector["comment"]) for vector in json.loads(text_of(area))[kind]]


def test_the_files_are_what_the_script_writes(tmp_path: Path) -> None:
    assert {area: text_of(area) for area in AREAS} == written()
    subprocess.run([sys.executable, str(ROOT / "scripts" / "vectors"), str(tmp_path)], check=True)
    assert {file.name: file.read_text("ascii") for file in tmp_path.iterdir()} == {
        f"{area}.json": text_of(area) for area in AREAS
    }


@pytest.mark.parametrize("area", AREAS)
def test_every_area_and_vector_says_what_it_is_about(area: str) -> None:
    found = json.loads(text_of(area))
    assert found["comment"]
    all_of_them = [*found.get("accept", ()), *found.get("refuse", ())]
    comments = [vector["comment"] for vector in all_of_them]
    assert all(comments)
    assert len(set(comments)) == len(comments)
    assert {vector["code"] for vector in all_of_them if "code" in vector} <= set(CODES)


@pytest.mark.parametrize("vector", vectors("pae"))
def test_pae(vector: dict[str, str]) -> None:
    assert pae(vector["payload_type"], bytes.fromhex(vector["payload_hex"])).hex() == vector["pae_hex"]


@pytest.mark.parametrize("vector", vectors("canonical-json"))
def test_canonical_json(vector: dict[str, str]) -> None:
    found = canonicalise(vector["input"].encode())
    assert found.text == vector["canonical"].encode()
    assert canonicalise(found.text).text == found.text
    assert json.loads(vector["canonical"]) == json.loads(vector["input"])


@pytest.mark.parametrize("vector", vectors("canonical-json", "refuse"))
def test_what_is_no_canonical_json(vector: dict[str, str]) -> None:
    given = bytes.fromhex(vector["input_hex"]) if "input_hex" in vector else vector["input"].encode()
    with pytest.raises(Refusal) as caught:
        canonicalise(given)
    assert said(caught.value) == expected(vector)


def said(error: SignerdError) -> tuple[str, str, object]:
    return error.code, error.reason, error.details.get("pointer")


def expected(vector: dict[str, str]) -> tuple[str, str, object]:
    return vector["code"], vector["reason"], vector.get("pointer")


def subjects_of(vector: dict[str, Any]) -> list[Subject]:
    return [Subject(one["name"], one["digest"]) for one in vector["subjects"]]


@pytest.mark.parametrize("vector", vectors("statements"))
def test_statements(vector: dict[str, Any]) -> None:
    subjects = subjects_of(vector)
    check_subjects(subjects)
    predicate = canonicalise(vector["predicate"].encode()).text
    statement = build_statement(subjects, vector["predicate_type"], predicate)
    assert statement == vector["statement"].encode()
    assert parse_statement(statement).subjects == tuple(subjects)


@pytest.mark.parametrize("vector", vectors("statements", "refuse"))
def test_what_is_no_statement(vector: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        check_subjects(subjects_of(vector))
    assert said(caught.value) == expected(vector)


@pytest.mark.parametrize("vector", vectors("key-ids"))
def test_key_ids(vector: dict[str, str]) -> None:
    spki = bytes.fromhex(vector["spki_hex"])
    public = PublicKey.from_spki(spki)
    assert (public.algorithm, public.keyid, public.hint) == (vector["algorithm"], vector["keyid"], vector["hint"])
    assert public.envelope_keyid == vector["openssh"]


@pytest.mark.needs("ssh-keygen")
@pytest.mark.parametrize("vector", vectors("key-ids"))
def test_key_ids_are_what_openssh_says(vector: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "key.pub"
    spki = bytes.fromhex(vector["spki_hex"])
    file.write_bytes(load_der_public_key(spki).public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    told = subprocess.run(["ssh-keygen", "-l", "-f", file], capture_output=True, text=True, check=True).stdout
    assert told.split()[1] == vector["openssh"]


def openssl(vector: dict[str, str], signature: bytes, folder: Path) -> bool:
    """Whether OpenSSL's own program takes the signature."""
    digest = {"ES256": "-sha256", "ES384": "-sha384"}[vector["algorithm"]]
    public = load_der_public_key(bytes.fromhex(vector["spki_hex"]))
    (folder / "key.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (folder / "message").write_bytes(bytes.fromhex(vector["message_hex"]))
    (folder / "signature").write_bytes(signature)
    command = ["openssl", "dgst", digest, "-verify", "key.pem", "-signature", "signature", "message"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("vector", vectors("ecdsa-der"))
def test_raw_signatures_become_der(vector: dict[str, str], tmp_path: Path) -> None:
    raw, der = bytes.fromhex(vector["raw_hex"]), bytes.fromhex(vector["der_hex"])
    width = len(raw) // 2
    assert encode_dss_signature(int.from_bytes(raw[:width]), int.from_bytes(raw[width:])) == der
    message = bytes.fromhex(vector["message_hex"])
    PublicKey.from_spki(bytes.fromhex(vector["spki_hex"])).verify(der, message)
    assert openssl(vector, der, tmp_path)
    assert not openssl({**vector, "message_hex": "00"}, der, tmp_path)


@pytest.mark.parametrize("vector", vectors("ecdsa-der", "refuse"))
def test_a_signature_that_is_not_der_is_refused(vector: dict[str, str]) -> None:
    public = PublicKey.from_spki(bytes.fromhex(vector["spki_hex"]))
    with pytest.raises((SignerdError, InvalidSignature)) as caught:
        public.verify(bytes.fromhex(vector["signature_hex"]), bytes.fromhex(vector["message_hex"]))
    assert isinstance(caught.value, SignerdError)
    assert caught.value.code == "verification.failed"


class Held:
    """The backend that the worker's vectors speak of."""

    capabilities = ("generate",)

    def __init__(self, seed: bytes) -> None:
        self.keys = {"x:given": ed25519.Ed25519PrivateKey.from_private_bytes(seed)}

    def describe(self, key: str) -> KeyDescription:
        if key not in self.keys:
            raise Refusal("key.not_found", "no_such_key", "no such key")
        spki = self.keys[key].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return KeyDescription("Ed25519", PublicKey.from_spki(spki).keyid, spki, self.capabilities)

    def sign(self, key: str, message: bytes) -> SignatureResult:
        described = self.describe(key)
        return SignatureResult(self.keys[key].sign(message), described.keyid)

    def generate(self, key: str, algorithm: str) -> KeyDescription:
        if key in self.keys:
            raise Refusal("key.forbidden", "exists", "the key is there already")
        self.keys[key] = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
        return self.describe(key)


@pytest.fixture
def worker() -> Session:
    """The key worker's own session, greeted."""
    area = json.loads(text_of("worker-frames"))
    session = Session(Calls(cast("KeyBackend", Held(bytes.fromhex(area["seed_hex"]))), "x"))
    answer = msgpack.unpackb(session.answer(bytes.fromhex(area["hello_hex"])[4:], ())[4:])
    assert answer["type"] == "hello"
    assert answer["version"] == 1
    return session


def without_texts(value: Any) -> Any:
    """The answer without what is free in it."""
    if isinstance(value, dict):
        return {name: without_texts(inner) for name, inner in value.items() if name not in ("message", "operator")}
    return [without_texts(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("vector", vectors("worker-frames"))
def test_worker_frames(vector: dict[str, str], worker: Session) -> None:
    request, answer = bytes.fromhex(vector["request_hex"]), bytes.fromhex(vector["answer_hex"])
    given = msgpack.unpackb(worker.answer(request[4:], ())[4:])
    assert without_texts(given) == without_texts(msgpack.unpackb(answer[4:]))
    # The types that the sealer works with write and read the same bytes.
    asked = msgspec.msgpack.decode(request[4:], type=Message)
    assert isinstance(asked, Request)
    kinds: dict[str, Any] = {"batch": BatchParams, "sign": SignParams, "generate": GenerateParams}
    if asked.method in kinds:
        params = msgspec.msgpack.decode(asked.params, type=kinds[asked.method])
        assert msgspec.msgpack.encode(params) == bytes(asked.params)
    assert msgspec.msgpack.encode(asked) == request[4:]
    told = msgspec.msgpack.decode(answer[4:], type=Message)
    assert msgspec.msgpack.encode(told) == answer[4:]
    if isinstance(told, Response):
        results: dict[str, Any] = {"batch": BatchResult, "sign": SignResultParams}
        result = msgspec.msgpack.decode(told.result, type=results.get(asked.method, DescribeResult))
        assert msgspec.msgpack.encode(result) == bytes(told.result)


@pytest.mark.parametrize("vector", vectors("worker-frames", "refuse"))
def test_worker_frames_that_are_refused(vector: dict[str, str], worker: Session) -> None:
    frame = bytes.fromhex(vector["request_hex"])[4:]
    answer = msgpack.unpackb(worker.answer(frame, ())[4:])
    assert (answer["type"], answer["id"]) == ("error", msgpack.unpackb(frame)["id"])
    assert answer["code"] == vector["code"]
    assert not worker.over


def refusal_of(connection: Connection) -> tuple[Error, bool]:
    """What a server answers with, and whether the connection ends."""
    while True:
        try:
            event = connection.next_event()
        except RemoteProtocolError as broken:
            return broken.error, True
        assert event is not NEED_DATA
        assert not isinstance(event, ConnectionClosed)
        if isinstance(event, Rejected):
            return event.error, False
        if isinstance(event, Hello):
            connection.send(SERVER_HELLO)


SERVER_HELLO = Hello(
    (1,),
    "signerd/0",
    version=1,
    limits=Limits(**dict.fromkeys(Limits.__struct_fields__, 1)),
    methods=(),
    profiles=(),
    nonce=bytes(16),
)


@pytest.mark.parametrize("vector", vectors("wire-frames", "refuse"))
def test_wire_frames_that_are_refused(vector: dict[str, Any]) -> None:
    connection = Connection(Role.SERVER)
    if vector["hello"]:
        connection.receive_data(bytes.fromhex(json.loads(text_of("wire-frames"))["hello_hex"]))
    event = connection.next_event() if vector["hello"] else None
    if isinstance(event, Hello):
        connection.send(SERVER_HELLO)
    connection.receive_data(bytes.fromhex(vector["data_hex"]))
    error, ends = refusal_of(connection)
    assert error.details is not msgspec.UNSET
    assert (error.code, error.details["reason"], ends) == (vector["code"], vector["reason"], vector["connection_ends"])


def test_the_wheel_brings_them() -> None:
    import signerd_conformance

    folder = Path(os.fspath(signerd_conformance.__file__)).parent / "vectors"
    assert ROOT / "conformance" not in folder.parents
    assert {file.stem for file in folder.glob("*.json")} == set(AREAS)
