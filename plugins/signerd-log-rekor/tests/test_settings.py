import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fakes.sigstore import Witnessing, new_key
from signerd_log_rekor.settings import read_settings

KEY = ed25519.Ed25519PrivateKey.generate().public_key()


@pytest.fixture
def key(tmp_path: Path) -> str:
    file = tmp_path / "log.pub"
    file.write_bytes(KEY.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return str(file)


def test_a_log_is_named_by_its_host_and_key(key: str) -> None:
    made = read_settings({"shards": [{"url": "https://log.example:8443/x/", "public_key": key}]})
    (log,) = made.shards
    assert (log.url, log.host) == ("https://log.example:8443/x", "log.example")
    raw = KEY.public_bytes_raw()
    assert log.log_id == log.checkpoint_id == hashlib.sha256(b"log.example\n\x01" + raw).digest()
    assert (made.deadline_s, made.ca, made.witnesses, made.witness_threshold) == (20.0, None, (), 0)
    assert made.find_entries == 4096


def test_an_origin_may_be_another_than_the_host(key: str) -> None:
    shard = {"url": "http://127.0.0.1:3003", "public_key": key, "origin": "log.example"}
    assert read_settings({"shards": [shard]}).shards[0].host == "log.example"


@pytest.mark.parametrize(
    ("shard", "more", "said"),
    [
        ({"url": "http://log.example"}, {}, "https"),
        ({"url": "ftp://log.example"}, {}, "https"),
        ({"url": "https://user@log.example"}, {}, "url"),
        ({"url": "https://log.example?x"}, {}, "url"),
        ({"url": "log.example"}, {}, "url"),
        ({"public_key": "relative"}, {}, "absolute"),
        ({"public_key": "/absent/key"}, {}, "public_key"),
        ({"surprise": 1}, {}, "surprise"),
        ({}, {"surprise": 1}, "surprise"),
        ({}, {"deadline_s": 0}, "deadline_s"),
        ({}, {"ca": "relative"}, "ca"),
        ({}, {"witnesses": ["x"]}, "witnesses"),
        ({}, {"witness_threshold": 1}, "witness_threshold"),
        ({}, {"shards": []}, "shards"),
    ],
)
def test_what_is_wrong_is_said(shard: dict[str, object], more: dict[str, object], said: str, key: str) -> None:
    table = {"shards": [{"url": "https://log.example", "public_key": key, **shard}], **more}
    with pytest.raises(ValueError, match=said):
        read_settings(table)


def test_only_ed25519_signs_checkpoints(tmp_path: Path) -> None:
    file = tmp_path / "ec.pub"
    file.write_bytes(new_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(ValueError, match="Ed25519"):
        read_settings({"shards": [{"url": "https://log.example", "public_key": str(file)}]})


def test_witnesses_are_read(key: str) -> None:
    shards = [{"url": "https://log.example", "public_key": key}]
    witness = Witnessing()
    made = read_settings({"shards": shards, "witnesses": [witness.vkey], "witness_threshold": 1})
    assert made.witnesses[0].name == witness.name
