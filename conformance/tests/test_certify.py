import datetime
import json
from base64 import b64decode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from signerd.attestation.dsse import pae, parse_envelope
from signerd.attestation.statement import PAYLOAD_TYPE, parse_statement
from signerd.contracts.hookspecs import KEY_BACKENDS_GROUP, PLUGINS_GROUP
from signerd.host.certificate import PREDICATE_TYPE, Case, check_certificate
from signerd.host.distribution import LoadError, find_entry, verify
from signerd_conformance.certifier import CertifierKey
from signerd_conformance.certify import Judgeable, certificate, judged_binary, judged_distribution

KEY = CertifierKey(ec.generate_private_key(ec.SECP256R1()))
NOON = datetime.datetime(2026, 11, 3, 12, tzinfo=datetime.UTC)
TIMES = (NOON - datetime.timedelta(hours=2), NOON - datetime.timedelta(hours=1))
CASES = [Case("hello", "ok"), Case("generate", "skip", optional=True)]


def test_the_daemon_accepts_what_is_made(tmp_path: Path) -> None:
    key = CertifierKey(ed25519.Ed25519PrivateKey.generate())
    judged = judged_distribution("signerd_key.file", KEY_BACKENDS_GROUP, "file")
    made = certificate(judged, CASES, "worker-protocol", TIMES, key)
    (tmp_path / "c.json").write_bytes(made)
    (tmp_path / "c.pub").write_text(key.public.pem)
    (tmp_path / "c.pub").chmod(0o644)
    dist = verify(find_entry(KEY_BACKENDS_GROUP, "file"), development=False)
    held = check_certificate(
        "file", str(tmp_path / "c.json"), [str(tmp_path / "c.pub")], KEY_BACKENDS_GROUP, dist
    )
    assert held is not None
    assert str(held) == f"{key.public.keyid} 2026-11-03"


def test_it_says_what_was_judged_and_where_and_names_no_host(tmp_path: Path) -> None:
    (tmp_path / "worker").write_bytes(b"program")
    envelope = parse_envelope(
        certificate(judged_binary(tmp_path / "worker"), CASES, "worker-protocol", TIMES, KEY)
    )
    KEY.public.verify(envelope.signatures[0].sig, pae(PAYLOAD_TYPE, envelope.payload))
    statement = parse_statement(envelope.payload)
    assert statement.predicate_type == PREDICATE_TYPE
    assert [subject.name for subject in statement.subjects] == ["worker"]
    told = json.loads(json.dumps(statement.predicate))
    assert set(told) == {"kind", "contract", "kit", "cases", "counts", "host", "started", "finished"}
    assert (told["kind"], told["counts"], told["finished"]) == ("binary", {"ok": 1, "skip": 1}, "2026-11-03T11:00:00Z")
    assert set(told["host"]) == {"os", "arch", "python"}


@pytest.mark.parametrize(
    ("cases", "said"),
    [
        ([Case("hello", "ok"), Case("sign", "FAIL")], "these cases failed: sign"),
        ([Case("hello", "ok"), Case("sign", "skip")], "not optional and were skipped: sign"),
        ([Case("hello", "ok"), Case("hello", "ok")], "its counts"),
        ([], "no case was passed"),
    ],
)
def test_a_run_that_was_not_passed_gets_none(cases: list[Case], said: str) -> None:
    judged = Judgeable((("worker", "0" * 64),), None)
    with pytest.raises(ValueError, match=said):
        certificate(judged, cases, "worker-protocol", TIMES, KEY)


def test_a_distribution_that_does_not_offer_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="offered by signerd-key-file, not by signerd-auth-peercred"):
        judged_distribution("signerd-auth-peercred", KEY_BACKENDS_GROUP, "file")
    with pytest.raises(LoadError, match="no installed distribution"):
        judged_distribution("signerd-auth-peercred", PLUGINS_GROUP, "nobody")
    with pytest.raises(OSError, match="No such file"):
        judged_binary(tmp_path / "absent")


def test_files_of_equal_content_are_all_named() -> None:
    judged = Judgeable((("a/__init__.py", "0" * 64), ("b/__init__.py", "0" * 64)), None)
    made = certificate(judged, CASES, "worker-protocol", TIMES, KEY)
    payload = json.loads(b64decode(json.loads(made)["payload"]))
    assert [subject["name"] for subject in payload["subject"]] == ["a/__init__.py", "b/__init__.py"]
